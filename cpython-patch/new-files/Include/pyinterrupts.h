#ifndef Py_PYINTERRUPTS_H
#define Py_PYINTERRUPTS_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_LIMITED_API
#  define Py_CPYTHON_PYINTERRUPTS_H
#  include "cpython/pyinterrupts.h"
#  undef Py_CPYTHON_PYINTERRUPTS_H
#endif

#ifdef __cplusplus
}
#endif
#endif /* !Py_PYINTERRUPTS_H */
