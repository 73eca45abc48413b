// The types PretokenCounter and Learner of the extension module.
#pragma once

#include "python.hpp"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "learner.hpp"
#include "merges.hpp"
#include "pattern_name.hpp"
#include "pretoken_counter.hpp"

namespace bpe_tok {

// For one thread at a time: a second one is refused, for to wait would be to hold the GIL.
template <class Contents>
class Exclusive {
 public:
  template <class... Args>
  explicit Exclusive(Args&&... args) : contents_(std::forward<Args>(args)...) {}

  class Use {
   public:
    explicit Use(Exclusive& owner) : owner_(owner) {
      if (owner_.in_use_.exchange(true))
        raise(PyExc_RuntimeError, "the object is in use by another thread");
    }
    ~Use() { owner_.in_use_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Contents* operator->() { return &owner_.contents_; }
    Contents& operator*() { return owner_.contents_; }

   private:
    Exclusive& owner_;
  };

 private:
  Contents contents_;
  std::atomic<bool> in_use_{false};
};

using ExclusiveCounter = Exclusive<PretokenCounter>;
using ExclusiveLearner = Exclusive<Learner>;

// Set when the module is made.
inline PyTypeObject* counter_type = nullptr;
inline PyTypeObject* learner_type = nullptr;

inline PyObject* counter_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    check_no_keywords(kwargs);
    const char* pattern;
    PyObject* specials_list;
    check(PyArg_ParseTuple(args, "sO", &pattern, &specials_list));
    const Items items(specials_list, "specials");
    std::vector<std::string> specials;
    for (size_t i = 0; i < items.size(); ++i) {
      const Text text = text_of(items[i]);
      if (text.size == 0) raise(PyExc_ValueError, "a special token is empty");
      specials.emplace_back(reinterpret_cast<const char*>(text.data), text.size);
    }
    return new_object(type, std::make_unique<ExclusiveCounter>(pattern_of(pattern), specials))
        .release();
  });
}

inline PyObject* counter_add(PyObject* self, PyObject* object) {
  return guarded([&]() -> PyObject* {
    const Text text = text_of(object);
    ExclusiveCounter::Use counter(contents_of<ExclusiveCounter>(self));
    maybe_without_gil(text.size, [&] { counter->add(text.data, text.size); });
    Py_RETURN_NONE;
  });
}

inline PyObject* counter_add_pieces(PyObject* self, PyObject* pieces) {
  return guarded([&]() -> PyObject* {
    const Items items(pieces, "pieces");
    ExclusiveCounter::Use counter(contents_of<ExclusiveCounter>(self));
    for (size_t i = 0; i < items.size(); ++i) {
      const Ref bytes = bytes_of_piece(items[i]);
      const Text piece = text_of(bytes.get());
      if (piece.size) counter->add_pretoken(piece.data, piece.size, 1);
    }
    Py_RETURN_NONE;
  });
}

inline PyObject* counter_merge(PyObject* self, PyObject* other) {
  return guarded([&]() -> PyObject* {
    if (Py_TYPE(other) != counter_type) raise(PyExc_TypeError, "other must be a PretokenCounter");
    if (self == other) raise(PyExc_ValueError, "a counter cannot be merged with itself");
    ExclusiveCounter::Use into(contents_of<ExclusiveCounter>(self));
    ExclusiveCounter::Use from(contents_of<ExclusiveCounter>(other));
    from->for_each([&into](const uint8_t* bytes, size_t size, uint64_t count) {
      into->add_pretoken(bytes, size, count);
    });
    from->clear();
    Py_RETURN_NONE;
  });
}

inline PyObject* counter_counts(PyObject* self, PyObject*) {
  return guarded([&]() -> PyObject* {
    Ref counts = owned(PyDict_New());
    ExclusiveCounter::Use counter(contents_of<ExclusiveCounter>(self));
    counter->for_each([&counts](const uint8_t* bytes, size_t size, uint64_t count) {
      const Ref key = owned(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes),
                                                      static_cast<Py_ssize_t>(size)));
      const Ref value = owned(PyLong_FromUnsignedLongLong(count));
      check(PyDict_SetItem(counts.get(), key.get(), value.get()) == 0);
    });
    return counts.release();
  });
}

inline PyObject* counter_learner(PyObject* self, PyObject* minimum) {
  return guarded([&]() -> PyObject* {
    const unsigned long long min_frequency = PyLong_AsUnsignedLongLong(minimum);
    check(min_frequency != static_cast<unsigned long long>(-1) || !PyErr_Occurred());
    ExclusiveCounter::Use counter(contents_of<ExclusiveCounter>(self));
    std::vector<uint8_t> bytes;
    std::vector<uint32_t> lengths;
    std::vector<uint64_t> counts;
    std::unique_ptr<ExclusiveLearner> learner;
    {
      const WithoutGil release;
      lengths.reserve(counter->distinct());
      counts.reserve(counter->distinct());
      counter->for_each([&](const uint8_t* data, size_t size, uint64_t count) {
        if (size > kMaxLong) throw std::length_error("a pretoken of 4 GiB or more");
        bytes.insert(bytes.end(), data, data + size);
        lengths.push_back(static_cast<uint32_t>(size));
        counts.push_back(count);
      });
      counter->clear();
      learner = std::make_unique<ExclusiveLearner>(std::move(bytes), std::move(lengths),
                                                   std::move(counts), min_frequency);
    }
    return new_object(learner_type, std::move(learner)).release();
  });
}

inline PyObject* learner_learn(PyObject* self, PyObject* number) {
  return guarded([&]() -> PyObject* {
    const size_t wanted = PyLong_AsSize_t(number);
    check(wanted != static_cast<size_t>(-1) || !PyErr_Occurred());
    ExclusiveLearner::Use learner(contents_of<ExclusiveLearner>(self));
    std::vector<std::pair<uint32_t, uint32_t>> merges;
    {
      const WithoutGil release;
      merges = learner->learn(wanted);
    }
    Ref list = owned(PyList_New(static_cast<Py_ssize_t>(merges.size())));
    for (size_t i = 0; i < merges.size(); ++i) {
      Ref pair = owned(Py_BuildValue("II", merges[i].first, merges[i].second));
      PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), pair.release());
    }
    return list.release();
  });
}

inline PyMethodDef counter_methods[] = {{"add", counter_add, METH_O, nullptr},
                                 {"add_pieces", counter_add_pieces, METH_O, nullptr},
                                 {"merge", counter_merge, METH_O, nullptr},
                                 {"counts", counter_counts, METH_NOARGS, nullptr},
                                 {"learner", counter_learner, METH_O, nullptr},
                                 {}};

inline PyMethodDef learner_methods[] = {{"learn", learner_learn, METH_O, nullptr}, {}};

}  // namespace bpe_tok
