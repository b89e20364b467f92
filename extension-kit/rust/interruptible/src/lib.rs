//! Makes extension modules promptly interruptible: by Ctrl-C, and in every thread by what
//! the interpreter can send there.
//!
//! A loop in Rust, with or without the GIL, does not see that the user has pressed Ctrl-C
//! until it returns to Python. With this crate it looks, often and for next to nothing,
//! and ends in order: by `Result`, so that everything is cleaned up on the way.
//!
//! ```no_run
//! use interruptible::{InterruptibleIterator, Region, Require, Stopped};
//! use pyo3::prelude::*;
//!
//! #[pyfunction]
//! fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
//!     // Without the GIL; the region raises the KeyboardInterrupt when it ends.
//!     Region::run(py, |region| {
//!         values.iter().interruptible(region).sum::<Result<f64, Stopped>>()
//!     })
//! }
//!
//! #[pymodule]
//! fn example(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
//!     interruptible::import(py, Require::Any)?;
//!     module.add_function(wrap_pyfunction!(sum, module)?)
//! }
//! ```
//!
//! | for                                    | use                                     |
//! |----------------------------------------|-----------------------------------------|
//! | a check now and then, with the GIL     | [`check`]                               |
//! | a loop or a recursion                  | [`Region`]                              |
//! | an iterator                            | [`InterruptibleIterator::interruptible`] |
//! | all loops of a function                | [`#[interruptible]`](macro@interruptible) |
//! | threads                                | [`workers`]                             |
//! | rayon (feature `rayon`)                | `rayon_workers`                         |
//! | async Rust                             | [`block_on`]                            |
//! | code that must not be cut short        | [`Mask`]                                |
//!
//! # Two backends
//!
//! Some interpreters offer flags that tell, for a load and a branch, whether something is
//! pending for a thread, and can mask. There everything works in every thread, and a check
//! that says stop does so at the first opportunity: `"native"`. On every other CPython from
//! 3.10 on the interpreter is asked every [`interval`] instead: `"fallback"`. It is the
//! same binary; [`backend`] tells which one is in use, [`backend_reason`] why, and
//! [`import`] can refuse to do without. What the fall-back cannot do:
//!
//! - Off the main thread nothing is ever raised: these interpreters handle signals in the
//!   main thread only, and what `PyThreadState_SetAsyncExc` sends is seen by Python code
//!   only.
//! - A [`Mask`] holds back the checks of this crate, not the interpreter's own.
//! - To ask it, the GIL has to be taken. If others hold it, that takes as long as they do.
//!
//! # What stop means
//!
//! That something is pending does not mean that the work has to end: a signal's handler
//! may return, and interrupts may be masked. Only the owner of a region, the thread that
//! began it, can find out; everybody else waits for that. So no check passes while it is
//! open whether to stop, and a handler that returns loses no work.
//!
//! The exception is kept in the region. What is returned by `?` is [`Stopped`], which says
//! nothing else, and [`Region::finish`] raises the exception, once.

mod block_on;
mod checker;
mod decisions;
mod failure;
mod iter;
mod mask;
mod pace;
mod region;
mod sync;
mod table;
mod workers;

pub use block_on::{Sleep, YieldNow, block_on, sleep, yield_now};
pub use checker::{Attached, Checker, check};
pub use failure::{Failure, Outcome, Stopped};
pub use iter::{Interruptible, InterruptibleIterator};
pub use mask::Mask;
pub use region::Region;
pub use table::{Require, backend, backend_reason, import, interval, set_interval};
pub use workers::{Scope, Task, Worker, workers};
#[cfg(feature = "rayon")]
pub use workers::{rayon_workers, rayon_workers_in};

pub use interruptible_macros::interruptible;
