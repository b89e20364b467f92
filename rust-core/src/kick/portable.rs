//! Where there are no kicks: nobody is woken, and what is sent to a thread is raised
//! when it is back from what it waits for, as on CPython.

use std::ffi::{c_int, c_void};

use super::NotPossible;

/// See `linux.rs`.
pub type IsBlocked = unsafe extern "C" fn(record: *const c_void) -> c_int;
/// See `linux.rs`.
pub type OnAlarm = unsafe extern "C" fn(record: *const c_void, signal: c_int) -> c_int;

/// None.
pub const DEFAULT_SIGNAL: c_int = 0;

/// There is no signal to choose.
///
/// # Errors
///
/// For all but 0, which asks for what is so.
pub fn set_signal(signal: c_int) -> Result<(), NotPossible> {
    if signal == 0 {
        Ok(())
    } else {
        Err(NotPossible)
    }
}

/// None.
pub fn signal() -> c_int {
    0
}

/// # Errors
///
/// Always.
pub fn install(_: IsBlocked, _: OnAlarm) -> Result<(), NotPossible> {
    Err(NotPossible)
}

/// There is nothing to be late for.
pub fn microseconds() -> u64 {
    0
}

/// Nothing was installed.
pub fn uninstall() {}

/// Nothing here touches errno.
pub fn keeping_errno<T>(act: impl FnOnce() -> T) -> T {
    act()
}

/// A thread that cannot be woken.
#[derive(Debug)]
#[repr(C)]
pub struct Thread {
    nothing: u8,
}

impl Thread {
    /// None yet.
    pub const fn nobody() -> Self {
        Thread { nothing: 0 }
    }

    /// See `linux.rs`.
    pub fn is(&self, _: i32) {}

    /// See `linux.rs`.
    pub fn forget(&self) {}

    /// See `linux.rs`.
    pub fn runs_here(&self) -> bool {
        false
    }

    /// See `linux.rs`.
    pub fn is_of_this_process(&self) -> bool {
        true
    }

    /// See `linux.rs`.
    pub fn signal(&self, _: usize) {}

    /// See `linux.rs`.
    pub fn start_timer(&self, _: usize, _: u32) {}

    /// See `linux.rs`.
    pub fn stop_timer(&self) {}

    /// See `linux.rs`.
    pub fn start_alarm(&self, _: usize, _: u64) -> bool {
        false
    }

    /// See `linux.rs`.
    pub fn stop_alarm(&self) {}
}
