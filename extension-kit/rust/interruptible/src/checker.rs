//! What can be checked with.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Instant;

use pyo3::prelude::*;

use crate::failure::Stopped;
use crate::mask;
use crate::pace::Pace;
use crate::region::Region;
use crate::table;
use crate::workers::Worker;

/// What an iterator or a function with `#[interruptible]` can check with:
///
/// | type                 | where                              | error     |
/// |----------------------|------------------------------------|-----------|
/// | `Python<'_>`         | with the GIL, without a region     | `PyErr`   |
/// | [`Attached`]         | with the GIL, the region's owner   | `PyErr`   |
/// | [`Region`]           | without the GIL, the owner         | [`Stopped`] |
/// | [`Worker`]           | without the GIL, any thread        | [`Stopped`] |
pub trait Checker {
    /// What a check that says stop returns.
    type Error;

    /// Checks.
    ///
    /// # Errors
    ///
    /// The work is to end.
    fn checkpoint(&self) -> Result<(), Self::Error>;
}

impl<C: Checker + ?Sized> Checker for &C {
    type Error = C::Error;

    #[inline]
    fn checkpoint(&self) -> Result<(), C::Error> {
        (**self).checkpoint()
    }
}

impl Checker for Python<'_> {
    type Error = PyErr;

    #[inline]
    fn checkpoint(&self) -> PyResult<()> {
        check(*self)
    }
}

impl Checker for Region {
    type Error = Stopped;

    #[inline]
    fn checkpoint(&self) -> Result<(), Stopped> {
        self.check_detached()
    }
}

impl Checker for Worker<'_> {
    type Error = Stopped;

    #[inline]
    fn checkpoint(&self) -> Result<(), Stopped> {
        self.check()
    }
}

/// A region whose owner has the GIL. See [`Region::attached`].
#[derive(Clone, Copy)]
pub struct Attached<'r, 'py> {
    pub(crate) region: &'r Region,
    pub(crate) py: Python<'py>,
}

impl Checker for Attached<'_, '_> {
    type Error = PyErr;

    #[inline]
    fn checkpoint(&self) -> PyResult<()> {
        self.region.check(self.py)
    }
}

thread_local! {
    /// How many checks of the fall-back pass before the next one that reads the clock.
    static COUNTDOWN: Cell<u32> = const { Cell::new(0) };
    static PACE: RefCell<Option<Pace>> = const { RefCell::new(None) };
}

/// Raises what has been sent to this thread; in any thread, unlike
/// `Python::check_signals`, where the interpreter can do that.
///
/// It is one call into the interpreter, a few nanoseconds. In a loop that does less than
/// that per step, a [`Region`] is faster.
///
/// # Errors
///
/// What an interrupt raises. Those of [`import`](crate::import), if nobody has called
/// that.
#[inline]
pub fn check(py: Python<'_>) -> PyResult<()> {
    match table::native() {
        // Not kept: a thread that Python has not started can get another flag each time
        // it attaches.
        Some(table) => {
            if table.flag(py)?.load(Ordering::Relaxed) == 0 {
                return Ok(());
            }
            table.check(py)
        }
        None => {
            let countdown = COUNTDOWN.get();
            if countdown > 0 {
                COUNTDOWN.set(countdown - 1);
                return Ok(());
            }
            check_by_clock(py)
        }
    }
}

#[cold]
#[inline(never)]
fn check_by_clock(py: Python<'_>) -> PyResult<()> {
    if let Some(table) = table::get(py)? {
        return table.check(py);
    }
    let now = Instant::now();
    let due = PACE.with_borrow_mut(|pace| {
        // The first check of a thread asks: nobody knows how long it has worked.
        let Some(pace) = pace else {
            *pace = Some(Pace::new(table::interval(), now));
            return true;
        };
        let due = pace.due(now);
        COUNTDOWN.set(pace.countdown());
        due
    });
    if !due {
        return Ok(());
    }
    // Not borrowed here: a signal handler may get to another check.
    let result = mask::check_unmasked(py);
    PACE.with_borrow_mut(|pace| {
        if let Some(pace) = pace {
            pace.asked(table::interval(), Instant::now());
        }
    });
    result
}
