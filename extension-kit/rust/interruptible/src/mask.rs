//! Holding interrupts back while something must not be cut short.

use std::cell::Cell;

use pyo3::prelude::*;

use crate::table::{self, Table, Token};

thread_local! {
    /// How many masks this thread has on an interpreter that cannot mask.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// What is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Soft = 0,
    Hard = 1,
}

/// While this lives, interrupts of this thread wait.
///
/// What has waited is raised by the next check after that, not when the mask ends.
///
/// ```no_run
/// use interruptible::Mask;
/// use pyo3::prelude::*;
///
/// fn replace(py: Python<'_>, files: &Bound<'_, PyAny>) -> PyResult<()> {
///     let mask = Mask::hard(py)?;
///     files.call_method0("write")?; // Neither of these is cut short,
///     files.call_method0("rename")?; // and nothing comes between them.
///     mask.unmask()?;
///     interruptible::check(py)
/// }
/// ```
///
/// On an interpreter that cannot mask, only the checks of this crate are held back:
/// Python code that is called meanwhile is interrupted as ever.
///
/// It stays in its thread and attached, by its type. End masks in the reverse order, as
/// Rust does by itself; one that is forgotten (`std::mem::forget`) is never ended.
#[must_use = "nothing is masked once this is dropped"]
pub struct Mask<'py> {
    py: Python<'py>,
    held: Held,
}

/// What the mask is made of, until it has been ended.
enum Held {
    Native(&'static Table, Token),
    Counted,
    Ended,
}

impl<'py> Mask<'py> {
    /// Code is not interrupted. A call that is really blocked may be: so Ctrl-C still ends
    /// a deadlock.
    ///
    /// # Errors
    ///
    /// Those of [`import`](crate::import), if nobody has called that, and what the
    /// interpreter raises.
    pub fn soft(py: Python<'py>) -> PyResult<Mask<'py>> {
        Mask::new(py, Kind::Soft)
    }

    /// Nothing is interrupted, not even a blocked call.
    ///
    /// # Errors
    ///
    /// As of [`soft`](Mask::soft).
    pub fn hard(py: Python<'py>) -> PyResult<Mask<'py>> {
        Mask::new(py, Kind::Hard)
    }

    fn new(py: Python<'py>, kind: Kind) -> PyResult<Mask<'py>> {
        let held = match table::get(py)? {
            Some(table) => Held::Native(table, table.mask(py, kind as _)?),
            None => {
                DEPTH.set(DEPTH.get() + 1);
                Held::Counted
            }
        };
        Ok(Mask { py, held })
    }

    /// Ends it, as dropping it does, but can say that this has failed.
    ///
    /// # Errors
    ///
    /// `RuntimeError` if something else has ended it.
    pub fn unmask(mut self) -> PyResult<()> {
        self.end()
    }

    fn end(&mut self) -> PyResult<()> {
        match std::mem::replace(&mut self.held, Held::Ended) {
            Held::Native(table, mut token) => table.unmask(self.py, &mut token),
            Held::Counted => {
                DEPTH.set(DEPTH.get() - 1);
                Ok(())
            }
            Held::Ended => Ok(()),
        }
    }
}

impl Drop for Mask<'_> {
    fn drop(&mut self) {
        // An exception that is on its way is Python's state, not to be touched.
        let before = PyErr::take(self.py);
        if let Err(error) = self.end() {
            error.write_unraisable(self.py, None);
        }
        if let Some(error) = before {
            error.restore(self.py);
        }
    }
}

/// The fall-back's check: none while one of its masks lives.
pub(crate) fn check_unmasked(py: Python<'_>) -> PyResult<()> {
    if DEPTH.get() > 0 {
        return Ok(());
    }
    table::check_signals(py)
}
