//! An interpreter's table, made by hand: so the native backend can be tested on any
//! interpreter, and what is wrong with a table can be made up.
//!
//! There is one flag, for the main thread.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

pub(crate) static FLAG: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);
static CHECKS: AtomicU32 = AtomicU32::new(0);
static MASKS: AtomicI32 = AtomicI32::new(0);
static HARD_MASKS: AtomicI32 = AtomicI32::new(0);
static HELD_BACK: AtomicBool = AtomicBool::new(false);

#[repr(C)]
struct Token {
    number: u64,
    hard: usize,
    unused: usize,
}

#[repr(C)]
struct Table {
    size: u32,
    version: u32,
    functions: [*const c_void; 10],
}

unsafe extern "C" fn flag() -> *const AtomicU32 {
    &raw const FLAG
}

unsafe extern "C" fn count() -> *const AtomicU32 {
    &raw const COUNT
}

fn raise_unless(masks: &AtomicI32) -> c_int {
    CHECKS.fetch_add(1, Ordering::Relaxed);
    FLAG.store(0, Ordering::Relaxed);
    if masks.load(Ordering::Relaxed) > 0 {
        HELD_BACK.store(true, Ordering::Relaxed);
        return 0;
    }
    HELD_BACK.store(false, Ordering::Relaxed);
    // SAFETY: who checks is attached.
    unsafe { ffi::PyErr_CheckSignals() }
}

unsafe extern "C" fn check() -> c_int {
    raise_unless(&MASKS)
}

unsafe extern "C" fn check_blocked() -> c_int {
    raise_unless(&HARD_MASKS)
}

unsafe extern "C" fn is_masked() -> c_int {
    (MASKS.load(Ordering::Relaxed) > 0).into()
}

unsafe extern "C" fn mask(token: *mut Token, kind: c_int) -> c_int {
    // SAFETY: the caller gives a token to write to.
    let token = unsafe { &mut *token };
    HARD_MASKS.fetch_add(kind, Ordering::Relaxed);
    let before = MASKS.fetch_add(1, Ordering::Relaxed);
    token.number = before as u64 + 1;
    token.hard = kind as usize;
    0
}

unsafe extern "C" fn unmask(token: *mut Token) -> c_int {
    // SAFETY: the caller gives a token that mask() has written.
    let token = unsafe { &*token };
    if token.number != MASKS.load(Ordering::Relaxed) as u64 {
        // SAFETY: attached, as for all of these functions.
        let py = unsafe { Python::assume_attached() };
        PyRuntimeError::new_err("not masked by this").restore(py);
        return -1;
    }
    MASKS.fetch_sub(1, Ordering::Relaxed);
    HARD_MASKS.fetch_sub(token.hard as i32, Ordering::Relaxed);
    if HELD_BACK.load(Ordering::Relaxed) {
        FLAG.store(1, Ordering::Relaxed);
    }
    0
}

unsafe extern "C" fn unused() -> c_int {
    0
}

/// A capsule with a table that says this of itself, and lacks one function.
#[pyfunction]
#[pyo3(signature = (name="_interrupts.C_API", size=None, version=1, missing=None))]
fn fake_capsule<'py>(
    py: Python<'py>,
    name: &str,
    size: Option<u32>,
    version: u32,
    missing: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut functions: [*const c_void; 10] = [
        flag as *const c_void,
        count as *const c_void,
        check as *const c_void,
        check_blocked as *const c_void,
        is_masked as *const c_void,
        mask as *const c_void,
        unmask as *const c_void,
        unused as *const c_void,
        unused as *const c_void,
        unused as *const c_void,
    ];
    if let Some(missing) = missing {
        functions[missing] = std::ptr::null();
    }
    // Both live as long as the process, as those of an interpreter do.
    let table = Box::leak(Box::new(Table {
        size: size.unwrap_or(size_of::<Table>() as u32),
        version,
        functions,
    }));
    let name = Box::leak(std::ffi::CString::new(name)?.into_boxed_c_str());
    let table: *mut Table = table;
    // SAFETY: attached, and both are valid for ever.
    let capsule = unsafe { ffi::PyCapsule_New(table.cast(), name.as_ptr(), None) };
    // SAFETY: a new reference, or null and an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }
}

/// How often the table's check functions have been called.
#[pyfunction]
fn fake_checks() -> u32 {
    CHECKS.load(Ordering::Relaxed)
}

/// Nothing is pending. The interpreter that handles a signal by itself does not know of
/// this flag.
#[pyfunction]
fn fake_clear() {
    FLAG.store(0, Ordering::Relaxed);
}

/// Masks by hand, so that the next mask to end is not the one on top.
#[pyfunction]
fn fake_extra_masks(number: i32) {
    MASKS.fetch_add(number, Ordering::Relaxed);
}

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(fake_capsule, module)?)?;
    module.add_function(wrap_pyfunction!(fake_checks, module)?)?;
    module.add_function(wrap_pyfunction!(fake_clear, module)?)?;
    module.add_function(wrap_pyfunction!(fake_extra_masks, module)?)
}
