// What all of the extension module needs of Python: references, errors, the GIL, arguments, objects.
#pragma once

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030A0000
#endif
#include <Python.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <utility>

namespace bpe_tok {

// A Python exception is set.
struct PythonError {};

[[noreturn]] inline void raise(PyObject* type, const char* message) {
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

inline Ref owned(PyObject* object) {
  if (!object) throw PythonError();
  return Ref(object);
}

inline void check(bool ok) {
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

inline Text text_of(PyObject* object) {
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
inline Ref bytes_of_piece(PyObject* piece) {
  if (!PyUnicode_Check(piece)) raise(PyExc_TypeError, "pieces must be strings");
  return owned(PyUnicode_AsEncodedString(piece, "utf-8", "surrogateescape"));
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

// A Python object that owns contents in C++.
template <class Contents>
struct Object {
  PyObject ob_base;
  Contents* contents;
};

template <class Contents>
Contents& contents_of(PyObject* self) {
  return *reinterpret_cast<Object<Contents>*>(self)->contents;
}

template <class Contents>
Ref new_object(PyTypeObject* type, std::unique_ptr<Contents> contents) {
  auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
  Ref self = owned(allocate(type, 0));
  reinterpret_cast<Object<Contents>*>(self.get())->contents = contents.release();
  return self;
}

template <class Contents>
void free_object(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete &contents_of<Contents>(self);
  auto* release = reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free));
  release(self);
  Py_DECREF(type);
}

inline void check_no_keywords(PyObject* kwargs) {
  if (kwargs && PyDict_Size(kwargs)) raise(PyExc_TypeError, "no keyword arguments are taken");
}

using FastMethod = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

inline PyCFunction as_method(FastMethod function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace bpe_tok
