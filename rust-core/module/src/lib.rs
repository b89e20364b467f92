//! The builtin module `_interrupts`.
//!
//! What Python code sees of the interrupt core: the scopes `nointerrupts` and
//! `interrupts`, questions about the current thread, what the standard library needs
//! to hand scopes on, and switches for tests. `threading` exports what is public.
//!
//! Nothing is decided here, nor is anything about threads and frames known: the
//! functions of `Python/interrupts.c` are called (`interpreter.rs`), which ask the
//! core. This crate is what is linked into the interpreter; it brings the core along.
//!
//! The module has no state of its own beyond its dictionary, which also holds its two
//! types, so any number of interpreters can have it, and each import after
//! `del sys.modules['_interrupts']` makes a new one.

// The core's functions are called by C alone, but have to be in this library.
use interrupt_core as _;

mod functions;
mod interpreter;
mod scope;

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3_ffi::*;

const DOC: &std::ffi::CStr = c"Interrupts: when they may be raised in a thread, and sending them.

What is public is in the threading module.";

/// A static that C may write to, as it does with a module definition.
#[repr(transparent)]
struct Static<T>(UnsafeCell<T>);

// SAFETY: the interpreter alone uses what is in there, and synchronises it.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    const fn new(value: T) -> Self {
        Static(UnsafeCell::new(value))
    }

    /// For C. Of an array, its first element.
    const fn pointer<E>(&self) -> *mut E {
        self.0.get().cast()
    }
}

static SLOTS: Static<[PyModuleDef_Slot; 4]> = Static::new([
    PyModuleDef_Slot {
        slot: Py_mod_exec,
        value: fill_module as *mut c_void,
    },
    PyModuleDef_Slot {
        slot: Py_mod_multiple_interpreters,
        value: Py_MOD_PER_INTERPRETER_GIL_SUPPORTED,
    },
    PyModuleDef_Slot {
        slot: Py_mod_gil,
        value: Py_MOD_GIL_NOT_USED,
    },
    PyModuleDef_Slot {
        slot: 0,
        value: ptr::null_mut(),
    },
]);

static DEFINITION: Static<PyModuleDef> = Static::new(PyModuleDef {
    m_base: PyModuleDef_HEAD_INIT,
    m_name: c"_interrupts".as_ptr(),
    m_doc: DOC.as_ptr(),
    m_size: 0,
    m_methods: functions::METHODS.pointer(),
    m_slots: SLOTS.pointer(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
});

/// What `Modules/config.c` lists for `import _interrupts`.
///
/// # Safety
///
/// Called by the interpreter's import machinery.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit__interrupts() -> *mut PyObject {
    // SAFETY: the definition is static; the interpreter synchronises its use.
    unsafe { PyModuleDef_Init(DEFINITION.pointer()) }
}

unsafe extern "C" fn fill_module(module: *mut PyObject) -> c_int {
    // SAFETY: called with the module being imported, and an attached thread.
    if unsafe { scope::add_to(module) } < 0 {
        return -1;
    }
    // SAFETY: the same.
    let capsule = unsafe { interpreter::_PyInterrupts_NewCAPI() };
    // SAFETY: the same; it steals the capsule, and passes an error on.
    unsafe { PyModule_Add(module, c"C_API".as_ptr(), capsule) }
}
