//! The scopes: two types, and one object of each that is used bare.
//!
//! A scope object is a name for its entries, no more: what it masks or opens is kept
//! by the core, found by the number that each object gets when it is made. So one
//! object can be entered any number of times, in any number of threads.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3_ffi::*;

use crate::Static;
use crate::interpreter::{self, Kind, none, runtime_error, type_error, type_name};

const NOINTERRUPTS_DOC: &CStr =
    c"A context manager in which no interrupt is raised in the current thread.

An interrupt is an exception that comes from outside: what a signal handler
raises, such as KeyboardInterrupt, or what another thread has sent.  One that
arrives in the meantime waits, and is raised when the block is left.  Signal
handlers run as ever.

Use it as it is, or call it:

    with nointerrupts:
        ...
    with nointerrupts(interruptible_waits=True):
        ...

With interruptible_waits, a call that really blocks can still be interrupted,
such as acquiring a lock that another thread holds.

It can be nested and entered again, and holds for all that the block calls.
interrupts() lets interrupts in again.";

const INTERRUPTS_DOC: &CStr =
    c"A context manager in which interrupts can be raised in the current thread.

It opens all nointerrupts blocks around it.  In the function that enters it, it
also opens the finally clauses that it stands in, but never those of a caller,
nor its entering or leaving of a with statement: a function cannot cut short the
cleanup of the one that called it.  What has waited is raised on entry.

Use it as it is, or call it:

    try:
        work()
    finally:
        clean_up()
        with interrupts:
            report()

When it is left, everything is masked as before.";

/// What both kinds look like to C.
#[repr(C)]
struct Scope {
    head: PyObject,
    /// Who it is, never used again for another.
    number: usize,
    kind: Kind,
    /// Everybody uses this one.
    shared: bool,
}

/// Numbers of scope objects, in the whole process: a scope is never taken for
/// another one that is gone. Relaxed: being different is all that counts.
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(1);

fn kind_of(scope: *mut PyObject) -> Kind {
    // SAFETY: the methods of the types below get no other objects.
    unsafe { (*scope.cast::<Scope>()).kind }
}

fn number_of(scope: *mut PyObject) -> usize {
    // SAFETY: as in `kind_of`.
    unsafe { (*scope.cast::<Scope>()).number }
}

/// A new scope of this type. A new reference, or null with an exception set.
///
/// # Safety
///
/// The thread is attached; `class` is one of the two types.
unsafe fn new_scope(class: *mut PyTypeObject, kind: Kind, shared: bool) -> *mut PyObject {
    // SAFETY: by the contract; it starts with its reference to the type.
    let object = unsafe { PyType_GenericAlloc(class, 0) };
    if object.is_null() {
        return ptr::null_mut();
    }
    let scope = object.cast::<Scope>();
    // SAFETY: just made, with room for a Scope, and ours alone.
    unsafe { (*scope).number = NEXT_NUMBER.fetch_add(1, Relaxed) };
    // SAFETY: as above.
    unsafe { (*scope).kind = kind };
    // SAFETY: as above.
    unsafe { (*scope).shared = shared };
    object
}

// References are given back by Py_DecRef(): the inline function of pyo3-ffi does not
// count them as a debug build does.
unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: called once, when the last reference is gone.
    unsafe { PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: as above.
    let class = unsafe { Py_TYPE(object) };
    // SAFETY: as above.
    unsafe { PyObject_GC_Del(object.cast()) };
    // SAFETY: an object of a heap type owns a reference to it.
    unsafe { Py_DecRef(class.cast()) };
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by the collector, with a live object.
    let class = unsafe { Py_TYPE(object) };
    // SAFETY: as the collector wants it to be called.
    unsafe { visit(class.cast(), argument) }
}

unsafe extern "C" fn enter(scope: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    let kind = kind_of(scope) as c_int;
    // SAFETY: the thread is attached.
    if unsafe { interpreter::_PyInterrupts_EnterScope(number_of(scope), kind) } < 0 {
        return ptr::null_mut();
    }
    none()
}

unsafe extern "C" fn exit(
    scope: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: as in `kind_of`.
    let shared = unsafe { (*scope.cast::<Scope>()).shared };
    // SAFETY: the thread is attached.
    if unsafe { interpreter::_PyInterrupts_LeaveScope(number_of(scope), shared.into()) } == 0 {
        return none();
    }
    // SAFETY: as above; the format takes one object.
    unsafe {
        interpreter::PyErr_Format(
            runtime_error(),
            c"%R is left, but has not been entered in the code that runs now".as_ptr(),
            scope,
        )
    }
}

unsafe extern "C" fn repr(scope: *mut PyObject) -> *mut PyObject {
    let text = match kind_of(scope) {
        Kind::MaskHard => c"<threading.nointerrupts>",
        Kind::MaskSoft => c"<threading.nointerrupts(interruptible_waits=True)>",
        Kind::Open => c"<threading.interrupts>",
    };
    // SAFETY: the thread is attached.
    unsafe { PyUnicode_FromString(text.as_ptr()) }
}

/// Complain unless there are no positional arguments. True if there are none.
///
/// # Safety
///
/// The thread is attached, `args` is a tuple.
unsafe fn no_positional(name: &CStr, accepted: &CStr, args: *mut PyObject) -> bool {
    // SAFETY: by the contract.
    let given = unsafe { PyTuple_GET_SIZE(args) };
    if given == 0 {
        return true;
    }
    // SAFETY: by the contract; the format takes what follows.
    unsafe {
        interpreter::PyErr_Format(
            type_error(),
            c"%s() takes %s (%zd given)".as_ptr(),
            name.as_ptr(),
            accepted.as_ptr(),
            given,
        );
    }
    false
}

/// Complain about the first keyword argument that is not `known`. Returns the value
/// of that one, if it is given, and whether all is well.
///
/// # Safety
///
/// The thread is attached, `kwargs` is a dictionary or null.
unsafe fn keywords(
    name: &CStr,
    known: Option<&CStr>,
    kwargs: *mut PyObject,
) -> (Option<*mut PyObject>, bool) {
    let mut found = None;
    let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
    let mut position = 0;
    while !kwargs.is_null()
        // SAFETY: by the contract; key and value are borrowed from it.
        && unsafe { PyDict_Next(kwargs, &raw mut position, &raw mut key, &raw mut value) } != 0
    {
        // `**{1: 2}` gets here as it is.
        // SAFETY: a live object.
        if unsafe { PyUnicode_Check(key) } == 0 {
            let message = c"keywords must be strings";
            // SAFETY: by the contract.
            unsafe { PyErr_SetString(type_error(), message.as_ptr()) };
            return (None, false);
        }
        let is_known = known.is_some_and(|known| {
            // SAFETY: it is a string.
            unsafe { PyUnicode_CompareWithASCIIString(key, known.as_ptr()) == 0 }
        });
        if !is_known {
            // SAFETY: by the contract; the format takes what follows.
            unsafe {
                interpreter::PyErr_Format(
                    type_error(),
                    c"%s() got an unexpected keyword argument '%U'".as_ptr(),
                    name.as_ptr(),
                    key,
                );
            }
            return (None, false);
        }
        found = Some(value);
    }
    (found, true)
}

unsafe extern "C" fn call_nointerrupts(
    scope: *mut PyObject,
    args: *mut PyObject,
    kwargs: *mut PyObject,
) -> *mut PyObject {
    let name = c"nointerrupts";
    let accepted = c"no positional arguments, only interruptible_waits=BOOL";
    // SAFETY: called with a tuple, and an attached thread.
    if !unsafe { no_positional(name, accepted, args) } {
        return ptr::null_mut();
    }
    // SAFETY: called with a dictionary or null.
    let (waits, fine) = unsafe { keywords(name, Some(c"interruptible_waits"), kwargs) };
    if !fine {
        return ptr::null_mut();
    }
    let mut kind = kind_of(scope);
    if let Some(waits) = waits {
        // SAFETY: a borrowed, live object.
        if unsafe { PyBool_Check(waits) } == 0 {
            // SAFETY: as above.
            let class = unsafe { type_name(waits) };
            // SAFETY: the format takes what follows.
            return unsafe {
                interpreter::PyErr_Format(
                    type_error(),
                    c"interruptible_waits must be a bool, not %.200s".as_ptr(),
                    class,
                )
            };
        }
        // SAFETY: the interpreter's own object.
        kind = if waits == unsafe { Py_True() } {
            Kind::MaskSoft
        } else {
            Kind::MaskHard
        };
    }
    // SAFETY: the type of a live object of ours.
    let class = unsafe { Py_TYPE(scope) };
    // SAFETY: as above.
    unsafe { new_scope(class, kind, false) }
}

unsafe extern "C" fn call_interrupts(
    scope: *mut PyObject,
    args: *mut PyObject,
    kwargs: *mut PyObject,
) -> *mut PyObject {
    let name = c"interrupts";
    // SAFETY: called with a tuple, and an attached thread.
    if !unsafe { no_positional(name, c"no arguments", args) } {
        return ptr::null_mut();
    }
    // SAFETY: called with a dictionary or null.
    if !unsafe { keywords(name, None, kwargs) }.1 {
        return ptr::null_mut();
    }
    // SAFETY: the type of a live object of ours.
    let class = unsafe { Py_TYPE(scope) };
    // SAFETY: as above.
    unsafe { new_scope(class, Kind::Open, false) }
}

static METHODS: Static<[PyMethodDef; 3]> = Static::new([
    PyMethodDef {
        ml_name: c"__enter__".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: enter },
        ml_flags: METH_NOARGS,
        ml_doc: c"__enter__($self, /)\n--\n\nEnter the scope, until __exit__ is called.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"__exit__".as_ptr(),
        ml_meth: PyMethodDefPointer {
            PyCFunctionFast: exit,
        },
        ml_flags: METH_FASTCALL,
        ml_doc: c"__exit__($self, /, *exc_info)
--

Leave the scope that was entered last with this object.

Raises RuntimeError if there is none: it has been left, or was entered in another
thread, or by a generator or coroutine that does not run now."
            .as_ptr(),
    },
    PyMethodDef::zeroed(),
]);

/// Make one of the types and its object that is used bare, and add both.
///
/// # Safety
///
/// The thread is attached, `module` is the one being imported.
unsafe fn add_kind(
    module: *mut PyObject,
    type_name: &CStr,
    object_name: &CStr,
    doc: &'static CStr,
    call: ternaryfunc,
    kind: Kind,
) -> c_int {
    let mut slots = [
        (Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        (Py_tp_methods, METHODS.pointer()),
        (Py_tp_call, call as *mut c_void),
        (Py_tp_repr, repr as *mut c_void),
        (Py_tp_dealloc, dealloc as *mut c_void),
        (Py_tp_traverse, traverse as *mut c_void),
        (0, ptr::null_mut()),
    ]
    .map(|(slot, pfunc)| PyType_Slot { slot, pfunc });
    let mut spec = PyType_Spec {
        name: type_name.as_ptr(),
        basicsize: size_of::<Scope>() as c_int,
        itemsize: 0,
        flags: (Py_TPFLAGS_DEFAULT
            | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_IMMUTABLETYPE
            | Py_TPFLAGS_DISALLOW_INSTANTIATION) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: by the contract; spec and slots are copied.
    let class = unsafe { PyType_FromModuleAndSpec(module, &raw mut spec, ptr::null_mut()) };
    if class.is_null() {
        return -1;
    }
    // SAFETY: a type, just made.
    let mut result = unsafe { PyModule_AddType(module, class.cast()) };
    if result == 0 {
        // SAFETY: as above.
        let scope = unsafe { new_scope(class.cast(), kind, true) };
        // SAFETY: takes null for "failed", and no reference.
        result = unsafe { PyModule_AddObjectRef(module, object_name.as_ptr(), scope) };
        // SAFETY: our reference, or null.
        unsafe { Py_DecRef(scope) };
    }
    // SAFETY: our reference.
    unsafe { Py_DecRef(class) };
    result
}

/// Add both kinds of scopes to the module. Returns 0, or -1 with an exception set.
///
/// # Safety
///
/// The thread is attached, `module` is the one being imported.
pub(crate) unsafe fn add_to(module: *mut PyObject) -> c_int {
    // SAFETY: by the contract.
    let result = unsafe {
        add_kind(
            module,
            c"_interrupts.NoInterrupts",
            c"nointerrupts",
            NOINTERRUPTS_DOC,
            call_nointerrupts,
            Kind::MaskHard,
        )
    };
    if result < 0 {
        return result;
    }
    // SAFETY: by the contract.
    unsafe {
        add_kind(
            module,
            c"_interrupts.Interrupts",
            c"interrupts",
            INTERRUPTS_DOC,
            call_interrupts,
            Kind::Open,
        )
    }
}
