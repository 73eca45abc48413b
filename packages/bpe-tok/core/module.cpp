// bpe_tok._core: the engine in C++ behind the interface that bpe_tok._pure specifies.

#include "python.hpp"

#include <cstring>

#include "encoder_type.hpp"
#include "trainer_types.hpp"

namespace {

using namespace bpe_tok;

// Adds a type whose objects own contents; without `make` none can be made from Python.
template <class Contents>
PyTypeObject* add_type(PyObject* module, const char* name, PyMethodDef* methods, newfunc make) {
  PyType_Slot slots[] = {
      {Py_tp_methods, methods},
      {Py_tp_dealloc, reinterpret_cast<void*>(&free_object<Contents>)},
      {make ? Py_tp_new : 0, make ? reinterpret_cast<void*>(make) : nullptr},
      {0, nullptr}};
  unsigned flags = Py_TPFLAGS_DEFAULT;
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
  if (!make) flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
#endif
  PyType_Spec spec = {name, sizeof(Object<Contents>), 0, flags, slots};
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
    add_type<AnyEncoder>(module.get(), "bpe_tok._core.Encoder", encoder_methods, encoder_new);
    counter_type = add_type<ExclusiveCounter>(module.get(), "bpe_tok._core.PretokenCounter",
                                              counter_methods, counter_new);
    learner_type = add_type<ExclusiveLearner>(module.get(), "bpe_tok._core.Learner",
                                              learner_methods, nullptr);
    return module.release();
  });
}
