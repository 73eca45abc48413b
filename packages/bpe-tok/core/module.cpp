// bpe_tok._core: the engine in C++ behind the interface that bpe_tok._pure specifies.

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030A0000
#endif
#include <Python.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "encoder.hpp"
#include "learner.hpp"
#include "pretoken_counter.hpp"

namespace {

using bpe_tok::Encoder;
using bpe_tok::IdBuffer;
using bpe_tok::IdCounter;
using bpe_tok::IdSpan;
using bpe_tok::Learner;
using bpe_tok::Merges;
using bpe_tok::Pattern;
using bpe_tok::PretokenCounter;
using bpe_tok::Specials;
using bpe_tok::TokenTable;
using bpe_tok::Vocabulary;

// A Python exception is set.
struct PythonError {};

[[noreturn]] void raise(PyObject* type, const char* message) {
  PyErr_SetString(type, message);
  throw PythonError();
}

// An owned reference.
class Ref {
 public:
  explicit Ref(PyObject* object = nullptr) : object_(object) {}
  Ref(Ref&& other) noexcept : object_(other.release()) {}
  Ref& operator=(Ref&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() { Py_XDECREF(object_); }
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }

 private:
  PyObject* object_;
};

Ref owned(PyObject* object) {
  if (!object) throw PythonError();
  return Ref(object);
}

void check(bool ok) {
  if (!ok) throw PythonError();
}

// Runs a body that may throw, and turns what it throws into a Python exception.
template <class Body>
auto guarded(Body body, decltype(body()) failed) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const PythonError&) {
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  }
  return failed;
}

template <class Body>
PyObject* guarded(Body body) noexcept {
  return guarded(body, static_cast<PyObject*>(nullptr));
}

// Lets other threads run; exceptions pass after the GIL is held again.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    // Where the interpreter is going away, Python before 3.14 ends the thread by unwinding it,
    // which must not pass through C++ nor release an object without the GIL. The thread sleeps
    // until the process ends, as it does from 3.14 on.
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// Giving up the GIL costs more than encoding a line.
constexpr size_t kReleaseBytes = 1 << 13;

template <class Body>
void maybe_without_gil(size_t bytes, Body body) {
  if (bytes < kReleaseBytes) return body();
  const WithoutGil release;
  body();
}

// The bytes of a str (as UTF-8) or bytes; they live as long as the object.
struct Text {
  const uint8_t* data;
  size_t size;
};

Text text_of(PyObject* object) {
  if (PyUnicode_Check(object)) {
    Py_ssize_t size;
    const char* data = PyUnicode_AsUTF8AndSize(object, &size);
    check(data != nullptr);
    return {reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size)};
  }
  if (!PyBytes_Check(object)) {
    const Ref name = owned(PyObject_GetAttrString(
        reinterpret_cast<PyObject*>(Py_TYPE(object)), "__name__"));
    PyErr_Format(PyExc_TypeError, "text must be str or bytes, not %U", name.get());
    throw PythonError();
  }
  char* data;
  Py_ssize_t size;
  check(PyBytes_AsStringAndSize(object, &data, &size) == 0);
  return {reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size)};
}

// Pretokens cut in Python may hold stray bytes in the way of "surrogateescape".
Ref bytes_of_piece(PyObject* piece) {
  if (!PyUnicode_Check(piece)) raise(PyExc_TypeError, "pieces must be strings");
  return owned(PyUnicode_AsEncodedString(piece, "utf-8", "surrogateescape"));
}

uint32_t id_of(PyObject* object, size_t limit, const char* what) {
  const long long value = PyLong_AsLongLong(object);
  check(value != -1 || !PyErr_Occurred());
  if (value < 0 || static_cast<unsigned long long>(value) >= limit) {
    PyErr_Format(PyExc_ValueError, "%s %lld is not in the vocab", what, value);
    throw PythonError();
  }
  return static_cast<uint32_t>(value);
}

Pattern pattern_of(const char* name) {
  constexpr std::pair<const char*, Pattern> kPatterns[] = {{"gpt2", Pattern::kGpt2},
                                                           {"cl100k", Pattern::kCl100k},
                                                           {"llama3", Pattern::kLlama3},
                                                           {"qwen2", Pattern::kQwen2},
                                                           {"o200k", Pattern::kO200k}};
  for (const auto& [known, pattern] : kPatterns)
    if (std::strcmp(known, name) == 0) return pattern;
  PyErr_Format(PyExc_ValueError, "no pattern is named %s", name);
  throw PythonError();
}

// A list that no other thread can change while it is read.
class Items {
 public:
  Items(PyObject* sequence, const char* what) : tuple_(PySequence_Tuple(sequence)) {
    if (!tuple_.get()) {
      check(PyErr_ExceptionMatches(PyExc_TypeError));
      PyErr_Clear();
      PyErr_Format(PyExc_TypeError, "%s must be a list", what);
      throw PythonError();
    }
  }
  size_t size() const { return static_cast<size_t>(PyTuple_Size(tuple_.get())); }
  PyObject* operator[](size_t i) const {
    return PyTuple_GetItem(tuple_.get(), static_cast<Py_ssize_t>(i));
  }

 private:
  Ref tuple_;
};

// ---------------------------------------------------------------------------------------------
// Encoder

// The encoder for either width of an id.
class AnyEncoder {
 public:
  explicit AnyEncoder(Vocabulary&& vocabulary)
      : vocabulary_(std::move(vocabulary)),
        narrow_(vocabulary_.tokens.count() <= 0x10000 ? new Encoder<uint16_t>(vocabulary_)
                                                      : nullptr),
        wide_(narrow_ ? nullptr : new Encoder<uint32_t>(vocabulary_)) {
    ints_.reserve(vocabulary_.tokens.count());
    for (size_t id = 0; id < vocabulary_.tokens.count(); ++id)
      ints_.push_back(owned(PyLong_FromSize_t(id)).release());
  }
  ~AnyEncoder() {
    for (PyObject* number : ints_) Py_DECREF(number);
  }
  AnyEncoder(const AnyEncoder&) = delete;
  AnyEncoder& operator=(const AnyEncoder&) = delete;

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Calls body(encoder, Id{}) with the one that there is.
  template <class Body>
  auto visit(Body body) {
    return narrow_ ? body(*narrow_, uint16_t{}) : body(*wide_, uint32_t{});
  }

  template <class Id>
  Ref list_of(const Id* ids, size_t count) const {
    Ref list = owned(PyList_New(static_cast<Py_ssize_t>(count)));
    const auto set = [&](size_t i) {
      PyObject* number = ints_[ids[i]];
      Py_INCREF(number);
      PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), number);
    };
    // The objects of a large vocab do not fit the near caches.
    constexpr size_t kAhead = 12;
    size_t i = 0;
    for (; i + kAhead < count; ++i) {
      BPE_TOK_PREFETCH(ints_[ids[i + kAhead]]);
      set(i);
    }
    for (; i < count; ++i) set(i);
    return list;
  }

 private:
  Vocabulary vocabulary_;
  std::unique_ptr<Encoder<uint16_t>> narrow_;
  std::unique_ptr<Encoder<uint32_t>> wide_;
  std::vector<PyObject*> ints_;  // the ids as Python's objects, owned
};

struct EncoderObject {
  PyObject ob_base;
  AnyEncoder* encoder;
};

AnyEncoder& encoder_of(PyObject* self) { return *reinterpret_cast<EncoderObject*>(self)->encoder; }

std::vector<uint32_t> byte_ids_of(const TokenTable& tokens) {
  std::vector<uint32_t> ids(256, TokenTable::kAbsent);
  for (uint32_t id = 0; id < tokens.count(); ++id)
    if (tokens.has(id) && tokens.size(id) == 1) ids[*tokens.data(id)] = id;
  if (std::find(ids.begin(), ids.end(), TokenTable::kAbsent) != ids.end())
    raise(PyExc_ValueError, "a byte is not in the vocab");
  return ids;
}

Merges listed_merges(const TokenTable& tokens, PyObject* merges) {
  PyObject *lefts_list, *rights_list, *wholes_list;
  if (!PyTuple_Check(merges)) raise(PyExc_TypeError, "merges must be a tuple of three lists");
  check(PyArg_ParseTuple(merges, "OOO", &lefts_list, &rights_list, &wholes_list));
  const Items lefts(lefts_list, "merges"), rights(rights_list, "merges"),
      wholes(wholes_list, "merges");
  const size_t count = lefts.size();
  if (rights.size() != count || wholes.size() != count)
    raise(PyExc_ValueError, "merges must be three lists of one length");
  if (count >= bpe_tok::kMaxMerges) raise(PyExc_ValueError, "too many merges");
  std::vector<Merges::Merge> listed;
  listed.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t left = id_of(lefts[i], tokens.count(), "merged id");
    const uint32_t right = id_of(rights[i], tokens.count(), "merged id");
    const uint32_t whole = id_of(wholes[i], tokens.count(), "merged id");
    listed.push_back({left, right, static_cast<uint32_t>(i), whole});
  }
  Merges result(byte_ids_of(tokens), listed);
  if (result.num_distinct() != count) raise(PyExc_ValueError, "a merge comes twice");
  return result;
}

// tiktoken's rule: two tokens merge if their bytes joined are a token, whose id is the rank.
Merges merges_by_id(const TokenTable& tokens) {
  std::vector<Merges::Merge> splits;
  for (uint32_t id = 0; id < tokens.count(); ++id) {
    if (!tokens.has(id) || tokens.find(tokens.data(id), tokens.size(id)) != id) continue;
    for (size_t cut = 1; cut < tokens.size(id); ++cut) {
      const uint32_t left = tokens.find(tokens.data(id), cut);
      if (left == TokenTable::kAbsent) continue;
      const uint32_t right = tokens.find(tokens.data(id) + cut, tokens.size(id) - cut);
      if (right != TokenTable::kAbsent) splits.push_back({left, right, id, id});
    }
  }
  return Merges(byte_ids_of(tokens), splits);
}

AnyEncoder* make_encoder(PyObject* args) {
  PyObject *tokens_list, *merges, *specials_list;
  int ignore_merges;
  const char* pattern;
  check(PyArg_ParseTuple(args, "OOpsO", &tokens_list, &merges, &ignore_merges, &pattern,
                         &specials_list));
  const Items token_objects(tokens_list, "tokens"), special_objects(specials_list, "specials");
  if (token_objects.size() >= bpe_tok::kMaxTokens) raise(PyExc_ValueError, "too many tokens");

  TokenTable tokens;
  tokens.reserve(token_objects.size());
  for (size_t id = 0; id < token_objects.size(); ++id) {
    if (token_objects[id] == Py_None) {
      tokens.skip();
      continue;
    }
    if (!PyBytes_Check(token_objects[id])) raise(PyExc_TypeError, "tokens must be bytes or None");
    const Text token = text_of(token_objects[id]);
    if (token.size == 0) raise(PyExc_ValueError, "a token is empty");
    tokens.add(token.data, token.size);
  }

  std::vector<std::string> specials;
  std::vector<uint32_t> special_ids;
  std::vector<bool> is_special(token_objects.size());
  for (size_t i = 0; i < special_objects.size(); ++i) {
    PyObject *special, *id;
    if (!PyTuple_Check(special_objects[i])) raise(PyExc_TypeError, "specials must be tuples");
    check(PyArg_ParseTuple(special_objects[i], "SO", &special, &id));
    const Text text = text_of(special);
    if (text.size == 0) raise(PyExc_ValueError, "a special token is empty");
    specials.emplace_back(reinterpret_cast<const char*>(text.data), text.size);
    special_ids.push_back(id_of(id, tokens.count(), "special token's id"));
    // A byte stays what its text is made of, even where it is a special token too.
    if (text.size > 1) is_special[special_ids.back()] = true;
  }
  const bool by_id = merges == Py_None;
  // A special token that merges make is an ordinary token too.
  if (!by_id) {
    const Ref wholes = owned(PySequence_GetItem(merges, 2));
    const Items whole_ids(wholes.get(), "merges");
    for (size_t i = 0; i < whole_ids.size(); ++i)
      is_special[id_of(whole_ids[i], tokens.count(), "merged id")] = false;
  }
  tokens.index([&is_special](uint32_t id) { return !is_special[id]; });
  Merges table = by_id ? merges_by_id(tokens) : listed_merges(tokens, merges);
  return new AnyEncoder(Vocabulary{std::move(tokens), std::move(table), ignore_merges || by_id,
                                   pattern_of(pattern), Specials(specials),
                                   std::move(special_ids)});
}

PyObject* encoder_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    if (kwargs && PyDict_Size(kwargs)) raise(PyExc_TypeError, "no keyword arguments are taken");
    std::unique_ptr<AnyEncoder> encoder(make_encoder(args));
    auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    Ref self = owned(allocate(type, 0));
    reinterpret_cast<EncoderObject*>(self.get())->encoder = encoder.release();
    return self.release();
  });
}

template <class Object>
void free_object(PyObject* self, Object* contents) {
  PyTypeObject* type = Py_TYPE(self);
  delete contents;
  auto* release = reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free));
  release(self);
  Py_DECREF(type);
}

void encoder_dealloc(PyObject* self) {
  free_object(self, reinterpret_cast<EncoderObject*>(self)->encoder);
}

void check_arguments(Py_ssize_t given, Py_ssize_t expected) {
  if (given == expected) return;
  PyErr_Format(PyExc_TypeError, "%zd arguments are taken, not %zd", expected, given);
  throw PythonError();
}

const uint8_t* flags_of(PyObject* object, const AnyEncoder& encoder) {
  if (object == Py_None) return nullptr;
  if (!PyBytes_Check(object)) raise(PyExc_TypeError, "allowed must be bytes or None");
  const Text flags = text_of(object);
  if (flags.size != encoder.vocabulary().specials.size())
    raise(PyExc_ValueError, "allowed must have one byte for each special token");
  return flags.data;
}

constexpr size_t kLastingIds = size_t{1} << 17;  // a larger buffer is not worth keeping

PyObject* encoder_encode(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = encoder_of(self);
    const Text text = text_of(args[0]);
    const uint8_t* allowed = flags_of(args[1], any);
    return any.visit([&](auto& encoder, auto id) {
      // A buffer that lasts is quicker than one for each call. It is taken out while in use, for a
      // new list may start a garbage collection, which may run any code, another call too.
      thread_local IdBuffer<decltype(id)> lasting;
      IdBuffer<decltype(id)> ids;
      ids.swap(lasting);
      ids.clear();
      maybe_without_gil(text.size, [&] { encoder.encode(text.data, text.size, allowed, ids); });
      Ref list = any.list_of(ids.data(), ids.size());
      if (ids.capacity() <= kLastingIds) ids.swap(lasting);
      return list.release();
    });
  });
}

template <class Written, class Id>
Ref packed(Encoder<Id>& encoder, Text text, const uint8_t* allowed) {
  // At most an id for each byte, and the scribble of a span.
  const size_t most = (text.size + 16) * sizeof(Written);
  Ref array = owned(PyByteArray_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(most)));
  char* memory = PyByteArray_AsString(array.get());
  size_t made;
  if constexpr (std::is_same_v<Written, Id>) {
    IdSpan<Id> ids(reinterpret_cast<Id*>(memory));
    maybe_without_gil(text.size, [&] { encoder.encode(text.data, text.size, allowed, ids); });
    made = ids.size();
  } else {
    IdBuffer<Id> ids;
    maybe_without_gil(text.size, [&] { encoder.encode(text.data, text.size, allowed, ids); });
    made = ids.size();
    std::copy(ids.data(), ids.data() + made, reinterpret_cast<Written*>(memory));
  }
  check(PyByteArray_Resize(array.get(), static_cast<Py_ssize_t>(made * sizeof(Written))) == 0);
  return array;
}

PyObject* encoder_encode_packed(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 3);
    AnyEncoder& any = encoder_of(self);
    const Text text = text_of(args[0]);
    const uint8_t* allowed = flags_of(args[1], any);
    const long width = PyLong_AsLong(args[2]);
    check(width != -1 || !PyErr_Occurred());
    return any.visit([&](auto& encoder, auto id) -> PyObject* {
      if (width == 4) return packed<uint32_t>(encoder, text, allowed).release();
      if (width != 2) raise(PyExc_ValueError, "width must be 2 or 4");
      if constexpr (sizeof(id) == 2) return packed<uint16_t>(encoder, text, allowed).release();
      else raise(PyExc_ValueError, "the ids of this vocab do not fit a width of 2");
    });
  });
}

PyObject* encoder_encode_batch(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = encoder_of(self);
    const Items items(args[0], "texts");
    const uint8_t* allowed = flags_of(args[1], any);
    std::vector<Text> texts;
    size_t bytes = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      texts.push_back(text_of(items[i]));
      bytes += texts.back().size;
    }
    return any.visit([&](auto& encoder, auto id) {
      IdBuffer<decltype(id)> ids;
      std::vector<size_t> ends;
      ends.reserve(texts.size());
      maybe_without_gil(bytes, [&] {
        for (const Text& text : texts) {
          encoder.encode(text.data, text.size, allowed, ids);
          ends.push_back(ids.size());
        }
      });
      Ref lists = owned(PyList_New(static_cast<Py_ssize_t>(texts.size())));
      size_t begin = 0;
      for (size_t i = 0; i < texts.size(); ++i) {
        Ref list = any.list_of(ids.data() + begin, ends[i] - begin);
        PyList_SetItem(lists.get(), static_cast<Py_ssize_t>(i), list.release());
        begin = ends[i];
      }
      return lists.release();
    });
  });
}

PyObject* encoder_encode_pieces(PyObject* self, PyObject* pieces) {
  return guarded([&]() -> PyObject* {
    AnyEncoder& any = encoder_of(self);
    const Items items(pieces, "pieces");
    return any.visit([&](auto& encoder, auto id) {
      IdBuffer<decltype(id)> ids;
      ids.room(0);
      for (size_t i = 0; i < items.size(); ++i) {
        const Ref bytes = bytes_of_piece(items[i]);
        const Text piece = text_of(bytes.get());
        encoder.encode_piece(piece.data, piece.size, ids);
      }
      return any.list_of(ids.data(), ids.size()).release();
    });
  });
}

PyObject* encoder_count(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = encoder_of(self);
    const Text text = text_of(args[0]);
    const uint8_t* allowed = flags_of(args[1], any);
    return any.visit([&](auto& encoder, auto id) {
      IdCounter<decltype(id)> ids;
      maybe_without_gil(text.size, [&] { encoder.encode(text.data, text.size, allowed, ids); });
      return owned(PyLong_FromSize_t(ids.size())).release();
    });
  });
}

PyObject* encoder_find_special(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = encoder_of(self);
    const Text text = text_of(args[0]);
    const uint8_t* wanted = flags_of(args[1], any);
    const Specials::Match match =
        any.vocabulary().specials.find(text.data, text.data + text.size, wanted);
    if (match.index == Specials::kNone) Py_RETURN_NONE;
    return owned(Py_BuildValue("nn", static_cast<Py_ssize_t>(match.index),
                               static_cast<Py_ssize_t>(match.begin - text.data)))
        .release();
  });
}

size_t decodable_id(PyObject* object, const TokenTable& tokens) {
  const Ref index = owned(PyNumber_Index(object));
  int overflow;
  const long long value = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  check(value != -1 || !PyErr_Occurred());
  if (overflow || value < 0 || !tokens.has(static_cast<size_t>(value))) {
    PyErr_SetObject(PyExc_KeyError, index.get());
    throw PythonError();
  }
  return static_cast<size_t>(value);
}

PyObject* encoder_decode(PyObject* self, PyObject* ids) {
  return guarded([&]() -> PyObject* {
    const TokenTable& tokens = encoder_of(self).vocabulary().tokens;
    const Items items(ids, "ids");
    std::vector<size_t> found(items.size());
    size_t bytes = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      found[i] = decodable_id(items[i], tokens);
      bytes += tokens.size(found[i]);
    }
    Ref result = owned(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(bytes)));
    char* out = PyBytes_AsString(result.get());
    for (const size_t id : found) {
      std::memcpy(out, tokens.data(id), tokens.size(id));
      out += tokens.size(id);
    }
    return result.release();
  });
}

// ---------------------------------------------------------------------------------------------
// PretokenCounter and Learner

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

struct CounterObject {
  PyObject ob_base;
  Exclusive<PretokenCounter>* counter;
};

struct LearnerObject {
  PyObject ob_base;
  Exclusive<Learner>* learner;
};

using CounterUse = Exclusive<PretokenCounter>::Use;
using LearnerUse = Exclusive<Learner>::Use;

PyTypeObject* learner_type = nullptr;
PyTypeObject* counter_type = nullptr;

Exclusive<PretokenCounter>& counter_of(PyObject* self) {
  return *reinterpret_cast<CounterObject*>(self)->counter;
}

PyObject* counter_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    if (kwargs && PyDict_Size(kwargs)) raise(PyExc_TypeError, "no keyword arguments are taken");
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
    auto counter = std::make_unique<Exclusive<PretokenCounter>>(pattern_of(pattern), specials);
    auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    Ref self = owned(allocate(type, 0));
    reinterpret_cast<CounterObject*>(self.get())->counter = counter.release();
    return self.release();
  });
}

void counter_dealloc(PyObject* self) {
  free_object(self, reinterpret_cast<CounterObject*>(self)->counter);
}

PyObject* counter_add(PyObject* self, PyObject* object) {
  return guarded([&]() -> PyObject* {
    const Text text = text_of(object);
    CounterUse counter(counter_of(self));
    maybe_without_gil(text.size, [&] { counter->add(text.data, text.size); });
    Py_RETURN_NONE;
  });
}

PyObject* counter_add_pieces(PyObject* self, PyObject* pieces) {
  return guarded([&]() -> PyObject* {
    const Items items(pieces, "pieces");
    CounterUse counter(counter_of(self));
    for (size_t i = 0; i < items.size(); ++i) {
      const Ref bytes = bytes_of_piece(items[i]);
      const Text piece = text_of(bytes.get());
      if (piece.size) counter->add_pretoken(piece.data, piece.size, 1);
    }
    Py_RETURN_NONE;
  });
}

PyObject* counter_merge(PyObject* self, PyObject* other) {
  return guarded([&]() -> PyObject* {
    if (Py_TYPE(other) != counter_type) raise(PyExc_TypeError, "other must be a PretokenCounter");
    if (self == other) raise(PyExc_ValueError, "a counter cannot be merged with itself");
    CounterUse into(counter_of(self)), from(counter_of(other));
    from->for_each([&into](const uint8_t* bytes, size_t size, uint64_t count) {
      into->add_pretoken(bytes, size, count);
    });
    from->clear();
    Py_RETURN_NONE;
  });
}

PyObject* counter_counts(PyObject* self, PyObject*) {
  return guarded([&]() -> PyObject* {
    Ref counts = owned(PyDict_New());
    CounterUse counter(counter_of(self));
    counter->for_each([&counts](const uint8_t* bytes, size_t size, uint64_t count) {
      const Ref key = owned(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes),
                                                      static_cast<Py_ssize_t>(size)));
      const Ref value = owned(PyLong_FromUnsignedLongLong(count));
      check(PyDict_SetItem(counts.get(), key.get(), value.get()) == 0);
    });
    return counts.release();
  });
}

PyObject* counter_learner(PyObject* self, PyObject* minimum) {
  return guarded([&]() -> PyObject* {
    const unsigned long long min_frequency = PyLong_AsUnsignedLongLong(minimum);
    check(min_frequency != static_cast<unsigned long long>(-1) || !PyErr_Occurred());
    CounterUse counter(counter_of(self));
    std::vector<uint8_t> bytes;
    std::vector<uint32_t> lengths;
    std::vector<uint64_t> counts;
    std::unique_ptr<Exclusive<Learner>> learner;
    {
      const WithoutGil release;
      lengths.reserve(counter->distinct());
      counts.reserve(counter->distinct());
      counter->for_each([&](const uint8_t* data, size_t size, uint64_t count) {
        if (size > bpe_tok::kMaxLong) throw std::length_error("a pretoken of 4 GiB or more");
        bytes.insert(bytes.end(), data, data + size);
        lengths.push_back(static_cast<uint32_t>(size));
        counts.push_back(count);
      });
      counter->clear();
      learner = std::make_unique<Exclusive<Learner>>(
          std::move(bytes), std::move(lengths), std::move(counts),
                                          min_frequency);
    }
    auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(learner_type, Py_tp_alloc));
    Ref result = owned(allocate(learner_type, 0));
    reinterpret_cast<LearnerObject*>(result.get())->learner = learner.release();
    return result.release();
  });
}

void learner_dealloc(PyObject* self) {
  free_object(self, reinterpret_cast<LearnerObject*>(self)->learner);
}

PyObject* learner_learn(PyObject* self, PyObject* number) {
  return guarded([&]() -> PyObject* {
    const size_t wanted = PyLong_AsSize_t(number);
    check(wanted != static_cast<size_t>(-1) || !PyErr_Occurred());
    LearnerUse learner(*reinterpret_cast<LearnerObject*>(self)->learner);
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

// ---------------------------------------------------------------------------------------------
// The module

PyCFunction as_method(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef encoder_methods[] = {
    {"encode", as_method(encoder_encode), METH_FASTCALL, nullptr},
    {"encode_packed", as_method(encoder_encode_packed), METH_FASTCALL, nullptr},
    {"encode_batch", as_method(encoder_encode_batch), METH_FASTCALL, nullptr},
    {"encode_pieces", encoder_encode_pieces, METH_O, nullptr},
    {"count", as_method(encoder_count), METH_FASTCALL, nullptr},
    {"find_special", as_method(encoder_find_special), METH_FASTCALL, nullptr},
    {"decode", encoder_decode, METH_O, nullptr},
    {}};

PyMethodDef counter_methods[] = {{"add", counter_add, METH_O, nullptr},
                                 {"add_pieces", counter_add_pieces, METH_O, nullptr},
                                 {"merge", counter_merge, METH_O, nullptr},
                                 {"counts", counter_counts, METH_NOARGS, nullptr},
                                 {"learner", counter_learner, METH_O, nullptr},
                                 {}};

PyMethodDef learner_methods[] = {{"learn", learner_learn, METH_O, nullptr}, {}};

template <class Function>
void* slot(Function* function) {
  return reinterpret_cast<void*>(function);
}

PyTypeObject* add_type(PyObject* module, const char* name, int size, PyMethodDef* methods,
                       destructor dealloc, newfunc make) {
  PyType_Slot slots[] = {{Py_tp_methods, methods},
                         {Py_tp_dealloc, slot(dealloc)},
                         {make ? Py_tp_new : 0, make ? slot(make) : nullptr},
                         {0, nullptr}};
  unsigned flags = Py_TPFLAGS_DEFAULT;
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
  if (!make) flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
#endif
  PyType_Spec spec = {name, size, 0, flags, slots};
  Ref type = owned(PyType_FromSpec(&spec));
  check(PyModule_AddObjectRef(module, std::strrchr(name, '.') + 1, type.get()) == 0);
  return reinterpret_cast<PyTypeObject*>(type.release());
}

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "bpe_tok._core", nullptr, -1, nullptr,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core(void) {
  return guarded([]() -> PyObject* {
    Ref module = owned(PyModule_Create(&definition));
    add_type(module.get(), "bpe_tok._core.Encoder", sizeof(EncoderObject), encoder_methods,
             encoder_dealloc, encoder_new);
    counter_type = add_type(module.get(), "bpe_tok._core.PretokenCounter", sizeof(CounterObject),
                            counter_methods, counter_dealloc, counter_new);
    learner_type = add_type(module.get(), "bpe_tok._core.Learner", sizeof(LearnerObject),
                            learner_methods, learner_dealloc, nullptr);
    return module.release();
  });
}
