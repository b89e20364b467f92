//! What `Python/interrupts.c` offers this module; its header, `pycore_interrupts.h`,
//! says what each function does.

use std::ffi::{c_char, c_int, c_long, c_ulong};

use pyo3_ffi::*;

/// `_PyInterruptCore_MASK_SOFT` and its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Kind {
    MaskSoft = 0,
    MaskHard = 1,
    Open = 2,
}

/// `_PyInterruptCore_REGION_WAITS`.
pub(crate) const REGION_WAITS: c_int = 2;
/// `_PyInterruptCore_REGION_OPENS`.
pub(crate) const REGION_OPENS: c_int = 3;

unsafe extern "C" {
    pub(crate) fn _PyInterrupts_EnterScope(scope: usize, kind: c_int) -> c_int;
    pub(crate) fn _PyInterrupts_LeaveScope(scope: usize, shared: c_int) -> c_int;
    pub(crate) fn _PyInterrupts_EnterTimeout(exception: *mut PyObject, microseconds: u64) -> c_int;
    pub(crate) fn _PyInterrupts_LeaveTimeout(exception: *mut PyObject) -> c_int;
    pub(crate) fn _PyInterrupts_SetDispatch(function: *mut PyObject);
    pub(crate) fn _PyInterrupts_HandOver(generator: *mut PyObject) -> c_int;
    pub(crate) fn _PyInterrupts_NextForCaller(generator: *mut PyObject) -> *mut PyObject;
    pub(crate) fn _PyInterrupts_EnterAndRegister(
        enter: *mut PyObject,
        manager: *mut PyObject,
        add_exit: *mut PyObject,
        exit: *mut PyObject,
    ) -> *mut PyObject;
    pub(crate) fn _PyInterrupts_CallInRegion(
        kind: c_int,
        function: *mut PyObject,
        args: *const *mut PyObject,
        nargs: Py_ssize_t,
        kwnames: *mut PyObject,
    ) -> *mut PyObject;
    pub(crate) fn _PyInterrupts_DropScopes();
    pub(crate) fn _PyInterrupts_StartAfresh();
    pub(crate) fn _PyInterrupts_NewCAPI() -> *mut PyObject;
    pub(crate) fn _PyInterrupts_Masked() -> c_int;
    pub(crate) fn _PyInterrupts_Pending() -> c_int;
    pub(crate) fn _PyInterrupts_Send(
        thread: c_ulong,
        exception: *mut PyObject,
        force: c_int,
    ) -> c_int;
    pub(crate) fn _PyInterrupts_SendToState(
        id: u64,
        exception: *mut PyObject,
        force: c_int,
    ) -> c_int;
    pub(crate) fn _PyInterrupts_CurrentState() -> u64;
    pub(crate) fn _PyInterruptCore_Kicks() -> usize;
    pub(crate) fn _PyInterruptCore_KickRecords() -> usize;
    pub(crate) fn _PyInterruptCore_SetLimits(text: *const c_char) -> c_int;
    pub(crate) fn _PyInterruptCore_GetLimits(values: *mut u32);
    pub(crate) fn _PyInterruptCore_KickSignal() -> c_int;
    pub(crate) fn _PyInterrupts_SweepStart(n: Py_ssize_t, place: c_int, exception: *mut PyObject);
    pub(crate) fn _PyInterrupts_SweepStop(delivered: *mut c_int) -> Py_ssize_t;
    pub(crate) fn _PyInterruptCore_SuppressRelease(reason: c_int);

    // Missing in pyo3-ffi.
    pub(crate) fn PyErr_Format(
        exception: *mut PyObject,
        format: *const c_char,
        ...
    ) -> *mut PyObject;
    pub(crate) fn PyLong_AsUnsignedLong(object: *mut PyObject) -> c_ulong;
    pub(crate) fn PyBool_FromLong(value: c_long) -> *mut PyObject;
}

/// Whether this is the main interpreter, which what belongs to the process is left to.
pub(crate) fn is_main() -> bool {
    // SAFETY: only called in an attached thread.
    let this = unsafe { PyInterpreterState_Get() };
    // SAFETY: as above.
    this == unsafe { PyInterpreterState_Main() }
}

/// A new reference to None.
pub(crate) fn none() -> *mut PyObject {
    // SAFETY: the interpreter's own object, which lives for ever.
    let none = unsafe { Py_None() };
    // SAFETY: as above.
    unsafe { Py_NewRef(none) }
}

/// TypeError, borrowed.
pub(crate) fn type_error() -> *mut PyObject {
    // SAFETY: set while the interpreter starts, before any module is used.
    unsafe { PyExc_TypeError }
}

/// ValueError, borrowed.
pub(crate) fn value_error() -> *mut PyObject {
    // SAFETY: as above.
    unsafe { PyExc_ValueError }
}

/// RuntimeError, borrowed.
pub(crate) fn runtime_error() -> *mut PyObject {
    // SAFETY: as above.
    unsafe { PyExc_RuntimeError }
}

/// The name of an object's type, for messages.
///
/// # Safety
///
/// The object is alive, and the name is used while it is.
pub(crate) unsafe fn type_name(object: *mut PyObject) -> *const c_char {
    // SAFETY: by the contract.
    let class = unsafe { Py_TYPE(object) };
    // SAFETY: the type of a live object.
    unsafe { (*class).tp_name }
}
