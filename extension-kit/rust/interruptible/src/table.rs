//! Which interpreter this is: the table of functions that it offers in a capsule, or
//! nothing, and then the fall-back.
//!
//! Nothing is linked. So the same binary runs on an interpreter that has never heard of
//! all this.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::{PyAttributeError, PyImportError, PyModuleNotFoundError};
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use crate::sync::lock;

const MODULE: &str = "_interrupts";
const CAPSULE: &CStr = c"_interrupts.C_API";

/// The version of the table that is described here. Later ones only add to its end.
const VERSION: u32 = 1;

/// What masking has to remember. Belongs to the interpreter.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Token {
    thread: u64,
    region: usize,
    check: usize,
}

#[repr(C)]
struct Poller {
    name: *const c_char,
    taken: Option<unsafe extern "C" fn(c_int, *mut c_void)>,
    arg: *mut c_void,
}

type Call = unsafe extern "C" fn() -> c_int;
type Word = unsafe extern "C" fn() -> *const AtomicU32;

/// The table as the interpreter gives it. Of a shorter one only `size` can be read.
#[repr(C)]
struct Given {
    size: u32,
    version: u32,
    flag: Option<Word>,
    count: Option<Word>,
    check: Option<Call>,
    check_blocked: Option<Call>,
    is_masked: Option<Call>,
    mask: Option<unsafe extern "C" fn(*mut Token, c_int) -> c_int>,
    unmask: Option<unsafe extern "C" fn(*mut Token) -> c_int>,
    add_poller: Option<unsafe extern "C" fn(*const Poller) -> c_int>,
    remove_poller: Option<unsafe extern "C" fn(*const Poller) -> c_int>,
    claim: Option<unsafe extern "C" fn(*const Poller, c_int) -> c_int>,
}

const NEEDED: u32 = size_of::<Given>() as u32;

/// The functions of the table that are used here.
pub(crate) struct Table {
    version: u32,
    flag: Word,
    check: Call,
    check_blocked: Call,
    is_masked: Call,
    mask: unsafe extern "C" fn(*mut Token, c_int) -> c_int,
    unmask: unsafe extern "C" fn(*mut Token) -> c_int,
}

impl Table {
    /// The current thread's flag.
    pub(crate) fn flag(&self, py: Python<'_>) -> PyResult<&'static AtomicU32> {
        // SAFETY: the caller is attached.
        let flag = unsafe { (self.flag)() };
        // SAFETY: not null, it is valid as long as the process, and only ever accessed
        // atomically.
        unsafe { flag.as_ref() }.ok_or_else(|| PyErr::fetch(py))
    }

    /// Raises what waits for the current thread.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: the caller is attached.
        result(py, unsafe { (self.check)() })
    }

    /// The same in a wait: raises what soft masks hold back, too.
    pub(crate) fn check_blocked(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: the caller is attached.
        result(py, unsafe { (self.check_blocked)() })
    }

    pub(crate) fn is_masked(&self, py: Python<'_>) -> PyResult<bool> {
        // SAFETY: the caller is attached.
        let answer = unsafe { (self.is_masked)() };
        if answer < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(answer != 0)
    }

    pub(crate) fn mask(&self, py: Python<'_>, kind: c_int) -> PyResult<Token> {
        let mut token = Token::default();
        // SAFETY: the caller is attached, and the token is ours.
        result(py, unsafe { (self.mask)(&raw mut token, kind) })?;
        Ok(token)
    }

    pub(crate) fn unmask(&self, py: Python<'_>, token: &mut Token) -> PyResult<()> {
        // SAFETY: the caller is attached, and the token is one that mask() has made.
        result(py, unsafe { (self.unmask)(ptr::from_mut(token)) })
    }
}

fn result(py: Python<'_>, code: c_int) -> PyResult<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(py))
    }
}

/// What the interpreter is asked with where there is no table.
pub(crate) fn check_signals(py: Python<'_>) -> PyResult<()> {
    // SAFETY: the caller is attached.
    result(py, unsafe { ffi::PyErr_CheckSignals() })
}

/// Whether a module can do without the interpreter's own functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// Fall back on any interpreter that does not have them.
    Any,
    /// Refuse to be imported there.
    Native,
}

/// The table, if there is one. It outlives the process's last interpreter, and so does
/// this pointer: no object of Python's is kept.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

/// Why there is none; nothing before [`import`].
static FALLBACK: Mutex<Option<String>> = Mutex::new(None);

static INTERVAL: AtomicU64 = AtomicU64::new(10_000_000);

/// Finds out what the interpreter offers. To be called when your module is initialised;
/// what is used without that calls it with [`Require::Any`].
///
/// Calling it again is cheap, and is how another part of the module can be stricter.
///
/// # Errors
///
/// `ImportError` if the interpreter's table cannot be used (the text says what was found,
/// what is needed and what to do), or if it has none and `require` is
/// [`Require::Native`].
pub fn import(py: Python<'_>, require: Require) -> PyResult<()> {
    let reason = match load(py)? {
        Ok(_) => return Ok(()),
        Err(reason) => reason,
    };
    match require {
        Require::Any => Ok(()),
        Require::Native => Err(PyImportError::new_err(format!(
            "this module needs an interpreter that offers {} (version {VERSION}), \
             but {reason}; run it with such an interpreter, or build the module so that it \
             accepts the fall-back",
            CAPSULE.to_string_lossy(),
        ))),
    }
}

/// The table, or why there is none.
fn load(py: Python<'_>) -> PyResult<Result<&'static Table, String>> {
    if let Some(table) = native() {
        return Ok(Ok(table));
    }
    if let Some(reason) = &*lock(&FALLBACK) {
        return Ok(Err(reason.clone()));
    }
    // Not locked here: importing may run Python code, which may let others run. Two who do
    // this at once find the same.
    match find(py)? {
        Ok(table) => {
            let table: &'static Table = Box::leak(Box::new(table));
            TABLE.store(ptr::from_ref(table).cast_mut(), Ordering::Release);
            Ok(Ok(table))
        }
        Err(reason) => {
            *lock(&FALLBACK) = Some(reason.clone());
            Ok(Err(reason))
        }
    }
}

fn find(py: Python<'_>) -> PyResult<Result<Table, String>> {
    let module = match py.import(MODULE) {
        Ok(module) => module,
        Err(error) if error.is_instance_of::<PyModuleNotFoundError>(py) => {
            return Ok(Err(format!("it has no module {MODULE}")));
        }
        Err(error) => return Err(error),
    };
    let capsule = match module.getattr(intern!(py, "C_API")) {
        Ok(capsule) => capsule,
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => {
            return Ok(Err(format!("its module {MODULE} has no C_API")));
        }
        Err(error) => return Err(error),
    };
    // SAFETY: attached, and both arguments live during the call.
    let given = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), CAPSULE.as_ptr()) };
    if given.is_null() {
        let cause = PyErr::fetch(py);
        return Err(PyImportError::new_err(format!(
            "{} is no capsule of that name: {cause}; the interpreter and this module do not \
             fit, get a newer one of both",
            CAPSULE.to_string_lossy(),
        )));
    }
    // SAFETY: a capsule of this name points at a table, which is never freed.
    unsafe { read(given.cast()) }.map(Ok)
}

/// Reads no more of the table than it says it has.
///
/// # Safety
///
/// `given` points at a table of which at least `size` can be read, and then as much as
/// that says.
unsafe fn read(given: *const Given) -> PyResult<Table> {
    let refuse = |found: String, what: &str| {
        Err(PyImportError::new_err(format!(
            "the interpreter's {} {found}, but this module needs {what}; use a newer \
             interpreter, or build the module with an older version of the crate \
             interruptible",
            CAPSULE.to_string_lossy(),
        )))
    };
    // SAFETY: the caller guarantees that it can be read.
    let size = unsafe { (*given).size };
    if size < NEEDED {
        return refuse(
            format!("has a table of {size} bytes"),
            &format!("one of at least {NEEDED}"),
        );
    }
    // SAFETY: the table is at least as long as the type says.
    let given = unsafe { &*given };
    if given.version < VERSION {
        return refuse(
            format!("has version {}", given.version),
            &format!("version {VERSION} or later"),
        );
    }
    let missing = |name: &str| refuse(format!("has no {name}()"), "all of its functions");
    let Some(flag) = given.flag else {
        return missing("flag");
    };
    let Some(check) = given.check else {
        return missing("check");
    };
    let Some(check_blocked) = given.check_blocked else {
        return missing("check_blocked");
    };
    let Some(is_masked) = given.is_masked else {
        return missing("is_masked");
    };
    let Some(mask) = given.mask else {
        return missing("mask");
    };
    let Some(unmask) = given.unmask else {
        return missing("unmask");
    };
    // These are not used, but a table that lacks them is broken.
    for (name, there) in [
        ("count", given.count.is_some()),
        ("add_poller", given.add_poller.is_some()),
        ("remove_poller", given.remove_poller.is_some()),
        ("claim", given.claim.is_some()),
    ] {
        if !there {
            return missing(name);
        }
    }
    Ok(Table {
        version: given.version,
        flag,
        check,
        check_blocked,
        is_masked,
        mask,
        unmask,
    })
}

/// The table, if one has been imported.
#[inline]
pub(crate) fn native() -> Option<&'static Table> {
    // SAFETY: null, or a table that has been leaked.
    unsafe { TABLE.load(Ordering::Acquire).as_ref() }
}

/// The table, imported if nobody has done that yet.
pub(crate) fn get(py: Python<'_>) -> PyResult<Option<&'static Table>> {
    match native() {
        Some(table) => Ok(Some(table)),
        None => Ok(load(py)?.ok()),
    }
}

/// Which one is in use: `"native"`, the interpreter's own functions, or `"fallback"`,
/// what works on any. See [`backend_reason`] for why.
pub fn backend() -> &'static str {
    match native() {
        Some(_) => "native",
        None => "fallback",
    }
}

/// Why [`backend`] is what it is, in words.
pub fn backend_reason() -> String {
    if let Some(table) = native() {
        return format!("the interpreter offers version {}", table.version);
    }
    match &*lock(&FALLBACK) {
        Some(reason) => reason.clone(),
        None => "nothing has been imported yet".to_owned(),
    }
}

/// How often the fall-back asks the interpreter. The default is 10 milliseconds.
pub fn interval() -> Duration {
    Duration::from_nanos(INTERVAL.load(Ordering::Relaxed))
}

/// Sets the interval of the fall-back, for all regions that are begun from now on by this
/// module. Shorter is prompter and takes the GIL more often; zero asks at each check.
pub fn set_interval(interval: Duration) {
    let nanoseconds = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    INTERVAL.store(nanoseconds, Ordering::Relaxed);
}
