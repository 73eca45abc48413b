// The type Encoder of the extension module.
#pragma once

#include "python.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "encoder.hpp"
#include "pattern_name.hpp"

namespace bpe_tok {

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

inline uint32_t id_of(PyObject* object, size_t limit, const char* what) {
  const long long value = PyLong_AsLongLong(object);
  check(value != -1 || !PyErr_Occurred());
  if (value < 0 || static_cast<unsigned long long>(value) >= limit) {
    PyErr_Format(PyExc_ValueError, "%s %lld is not in the vocab", what, value);
    throw PythonError();
  }
  return static_cast<uint32_t>(value);
}

inline std::vector<uint32_t> byte_ids_of(const TokenTable& tokens) {
  std::vector<uint32_t> ids(256, TokenTable::kAbsent);
  for (uint32_t id = 0; id < tokens.count(); ++id)
    if (tokens.has(id) && tokens.size(id) == 1) ids[*tokens.data(id)] = id;
  if (std::find(ids.begin(), ids.end(), TokenTable::kAbsent) != ids.end())
    raise(PyExc_ValueError, "a byte is not in the vocab");
  return ids;
}

inline Merges listed_merges(const TokenTable& tokens, PyObject* merges) {
  PyObject *lefts_list, *rights_list, *wholes_list;
  if (!PyTuple_Check(merges)) raise(PyExc_TypeError, "merges must be a tuple of three lists");
  check(PyArg_ParseTuple(merges, "OOO", &lefts_list, &rights_list, &wholes_list));
  const Items lefts(lefts_list, "merges"), rights(rights_list, "merges"),
      wholes(wholes_list, "merges");
  const size_t count = lefts.size();
  if (rights.size() != count || wholes.size() != count)
    raise(PyExc_ValueError, "merges must be three lists of one length");
  if (count >= kMaxMerges) raise(PyExc_ValueError, "too many merges");
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
inline Merges merges_by_id(const TokenTable& tokens) {
  // Tokens have few lengths, so most places to cut a long one need no look at its bytes.
  std::vector<bool> is_length;
  for (uint32_t id = 0; id < tokens.count(); ++id) {
    if (!tokens.has(id)) continue;
    if (tokens.size(id) >= is_length.size()) is_length.resize(tokens.size(id) + 1);
    is_length[tokens.size(id)] = true;
  }
  std::vector<Merges::Merge> splits;
  for (uint32_t id = 0; id < tokens.count(); ++id) {
    if (!tokens.has(id) || tokens.find(tokens.data(id), tokens.size(id)) != id) continue;
    for (size_t cut = 1; cut < tokens.size(id); ++cut) {
      if (!is_length[cut] || !is_length[tokens.size(id) - cut]) continue;
      const uint32_t left = tokens.find(tokens.data(id), cut);
      if (left == TokenTable::kAbsent) continue;
      const uint32_t right = tokens.find(tokens.data(id) + cut, tokens.size(id) - cut);
      if (right != TokenTable::kAbsent) splits.push_back({left, right, id, id});
    }
  }
  return Merges(byte_ids_of(tokens), splits);
}

inline std::unique_ptr<AnyEncoder> make_encoder(PyObject* args) {
  PyObject *tokens_list, *merges, *specials_list;
  int ignore_merges;
  const char* pattern;
  check(PyArg_ParseTuple(args, "OOpsO", &tokens_list, &merges, &ignore_merges, &pattern,
                         &specials_list));
  const Items token_objects(tokens_list, "tokens"), special_objects(specials_list, "specials");
  if (token_objects.size() >= kMaxTokens) raise(PyExc_ValueError, "too many tokens");

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
  return std::make_unique<AnyEncoder>(
      Vocabulary{std::move(tokens), std::move(table), ignore_merges || by_id, pattern_of(pattern),
                 Specials(specials), std::move(special_ids)});
}

inline PyObject* encoder_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    check_no_keywords(kwargs);
    return new_object(type, make_encoder(args)).release();
  });
}

inline void check_arguments(Py_ssize_t given, Py_ssize_t expected) {
  if (given == expected) return;
  PyErr_Format(PyExc_TypeError, "%zd arguments are taken, not %zd", expected, given);
  throw PythonError();
}

inline const uint8_t* flags_of(PyObject* object, const AnyEncoder& encoder) {
  if (object == Py_None) return nullptr;
  if (!PyBytes_Check(object)) raise(PyExc_TypeError, "allowed must be bytes or None");
  const Text flags = text_of(object);
  if (flags.size != encoder.vocabulary().specials.size())
    raise(PyExc_ValueError, "allowed must have one byte for each special token");
  return flags.data;
}

constexpr size_t kLastingIds = size_t{1} << 17;  // a larger buffer is not worth keeping

inline PyObject* encoder_encode(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = contents_of<AnyEncoder>(self);
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

inline PyObject* encoder_encode_packed(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 3);
    AnyEncoder& any = contents_of<AnyEncoder>(self);
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

inline PyObject* encoder_encode_batch(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = contents_of<AnyEncoder>(self);
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

inline PyObject* encoder_encode_pieces(PyObject* self, PyObject* pieces) {
  return guarded([&]() -> PyObject* {
    AnyEncoder& any = contents_of<AnyEncoder>(self);
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

inline PyObject* encoder_count(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = contents_of<AnyEncoder>(self);
    const Text text = text_of(args[0]);
    const uint8_t* allowed = flags_of(args[1], any);
    return any.visit([&](auto& encoder, auto id) {
      IdCounter<decltype(id)> ids;
      maybe_without_gil(text.size, [&] { encoder.encode(text.data, text.size, allowed, ids); });
      return owned(PyLong_FromSize_t(ids.size())).release();
    });
  });
}

inline PyObject* encoder_find_special(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    check_arguments(count, 2);
    AnyEncoder& any = contents_of<AnyEncoder>(self);
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

inline size_t decodable_id(PyObject* object, const TokenTable& tokens) {
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

inline PyObject* encoder_decode(PyObject* self, PyObject* ids) {
  return guarded([&]() -> PyObject* {
    const TokenTable& tokens = contents_of<AnyEncoder>(self).vocabulary().tokens;
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

inline PyMethodDef encoder_methods[] = {
    {"encode", as_method(encoder_encode), METH_FASTCALL, nullptr},
    {"encode_packed", as_method(encoder_encode_packed), METH_FASTCALL, nullptr},
    {"encode_batch", as_method(encoder_encode_batch), METH_FASTCALL, nullptr},
    {"encode_pieces", encoder_encode_pieces, METH_O, nullptr},
    {"count", as_method(encoder_count), METH_FASTCALL, nullptr},
    {"find_special", as_method(encoder_find_special), METH_FASTCALL, nullptr},
    {"decode", encoder_decode, METH_O, nullptr},
    {}};

}  // namespace bpe_tok
