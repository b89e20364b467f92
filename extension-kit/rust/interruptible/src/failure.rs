//! What a check returns when the work is over, and what becomes of it.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;

use pyo3::prelude::*;

/// "Stop": the answer of a check without the GIL.
///
/// Return it, with `?`, to where the region was begun. The exception is there already, and
/// [`Region::finish`](crate::Region::finish) or [`workers`](crate::workers) raises it.
///
/// It does not turn into a `PyErr` by `?`, on purpose: that could only be another
/// exception than the one the user is to see.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "the work is to end: return this to where the region was begun"]
pub struct Stopped {
    // Only checks make them.
    pub(crate) _private: (),
}

pub(crate) const STOPPED: Stopped = Stopped { _private: () };

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopped")
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work has been stopped by an interrupt, which its region raises")
    }
}

impl Error for Stopped {}

/// The error of work that can be stopped and can also fail by itself: both, by `?`.
#[derive(Debug)]
pub enum Failure {
    /// It has been stopped.
    Stopped(Stopped),
    /// It has failed.
    Error(PyErr),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        Failure::Stopped(stopped)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Error(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Stopped(stopped) => stopped.fmt(f),
            Failure::Error(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {}

/// Errors that work in a region may end with: [`Stopped`], [`Failure`], `PyErr`, and
/// `Infallible` for work that only ends well. Implement it for your own.
#[diagnostic::on_unimplemented(
    message = "work in a region cannot end with the error `{Self}`",
    note = "use `Stopped`, `Failure` or `PyErr`, or implement `interruptible::Outcome` for it"
)]
pub trait Outcome {
    /// The exception to be raised, or `None` if it only says that the region was stopped:
    /// then the region knows the exception.
    fn into_exception(self, py: Python<'_>) -> Option<PyErr>;
}

impl Outcome for Stopped {
    fn into_exception(self, _: Python<'_>) -> Option<PyErr> {
        None
    }
}

impl Outcome for PyErr {
    fn into_exception(self, _: Python<'_>) -> Option<PyErr> {
        Some(self)
    }
}

impl Outcome for Failure {
    fn into_exception(self, _: Python<'_>) -> Option<PyErr> {
        match self {
            Failure::Stopped(_) => None,
            Failure::Error(error) => Some(error),
        }
    }
}

impl Outcome for Infallible {
    fn into_exception(self, _: Python<'_>) -> Option<PyErr> {
        match self {}
    }
}
