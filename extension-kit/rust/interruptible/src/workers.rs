//! Threads that work for one owner, which decides for all of them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pyo3::prelude::*;

use crate::failure::{Outcome, Stopped};
use crate::region::Core;
use crate::sync::lock;

/// What the threads of a region check with. Any thread; copy it as you like.
#[derive(Clone, Copy)]
pub struct Worker<'r> {
    pub(crate) flag: &'static AtomicU32,
    pub(crate) core: &'r Core,
}

impl Worker<'_> {
    /// Passes if nothing is pending: two loads and one branch. Else the worker waits until
    /// the owner has asked the interpreter. If the work is to go on, because the signal's
    /// handler has returned or the owner is masked, this passes then.
    ///
    /// An owner that does not answer within 0.1 seconds lets it pass, too. That is one
    /// who does something else than to wait in [`workers`]; or the GIL is held by somebody
    /// all that time, for example by the caller of this. So call it detached.
    ///
    /// # Errors
    ///
    /// The region is stopped: return.
    #[inline]
    pub fn check(&self) -> Result<(), Stopped> {
        if !self.core.decisions().pending(self.flag) {
            return Ok(());
        }
        self.look()
    }

    /// Whether a check would have to ask now. Good for statistics only: what it says is
    /// over at once.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.core.decisions().pending(self.flag)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn look(&self) -> Result<(), Stopped> {
        if self.core.is_owner() {
            // It would wait for itself.
            return self.core.check_detached();
        }
        self.core.ask()
    }
}

/// What the threads and their owner have in common. Shared by counting: no lifetime that
/// the caller knows of is long enough.
struct Team {
    core: Core,
    /// What the first of them has panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Team {
    fn begin(py: Python<'_>) -> PyResult<Arc<Team>> {
        Ok(Arc::new(Team {
            core: Core::begin(py)?,
            panic: Mutex::new(None),
        }))
    }

    /// One has panicked: the others have nothing to work for any more.
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        lock(&self.panic).get_or_insert(payload);
        self.core.decisions().stop();
    }

    /// Does a part of the work. None if it panics.
    fn guarded<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        // What is broken by the panic is not looked at: it goes on in the owner.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.panicked(payload);
                None
            }
        }
    }

    /// Raises, panics, or returns what the work has. All threads have ended.
    fn end<T, E: Outcome>(&self, py: Python<'_>, result: Option<Result<T, E>>) -> PyResult<T> {
        let payload = lock(&self.panic).take();
        if let Some(payload) = payload {
            self.core.abandon();
            resume_unwind(payload);
        }
        let result = result.expect("without a panic there is a result");
        self.core.finish_with(py, result)
    }
}

/// A worker less, however it ends.
struct Leave {
    team: Arc<Team>,
    done: Arc<AtomicBool>,
}

impl Leave {
    /// One worker more.
    fn enter(team: &Arc<Team>) -> Leave {
        team.core.decisions().enter();
        Leave {
            team: team.clone(),
            done: Arc::default(),
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Under the lock that the owner waits with, so it cannot miss it.
        self.team
            .core
            .decisions()
            .leave(|| self.done.store(true, Ordering::Release));
    }
}

/// Where workers are started. See [`workers`]. A worker that is to start others gets a
/// clone.
#[derive(Clone)]
pub struct Scope<'scope, 'env: 'scope> {
    scope: &'scope thread::Scope<'scope, 'env>,
    team: Arc<Team>,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread. A panic of `work` stops the others and goes on in the owner.
    ///
    /// # Panics
    ///
    /// If the system gives no thread.
    pub fn spawn<R, F>(&self, work: F) -> Task<'scope, R>
    where
        F: FnOnce(Worker<'_>) -> R + Send + 'scope,
        R: Send + 'scope,
    {
        // Dropped here if no thread takes it.
        let leave = Leave::enter(&self.team);
        let done = leave.done.clone();
        let handle = self.scope.spawn(move || {
            let leave = leave;
            leave.team.guarded(|| work(leave.team.core.worker()))
        });
        Task {
            handle,
            done,
            team: self.team.clone(),
        }
    }

    /// The owner's own check, for work that it does itself while the others do theirs.
    /// Workers that ask wait for it, so check as often as they do, or just join them.
    ///
    /// # Errors
    ///
    /// The region is stopped.
    #[inline]
    pub fn check(&self) -> Result<(), Stopped> {
        self.team.core.check_detached()
    }
}

/// A started worker.
#[must_use = "its result is lost; the scope waits for it in any case"]
pub struct Task<'scope, R> {
    handle: thread::ScopedJoinHandle<'scope, Option<R>>,
    done: Arc<AtomicBool>,
    team: Arc<Team>,
}

impl<R> Task<'_, R> {
    /// Waits for its end and returns what it has returned. The owner answers the workers
    /// meanwhile.
    ///
    /// # Panics
    ///
    /// With what the worker has panicked with.
    pub fn join(self) -> R {
        if self.team.core.is_owner() {
            self.team.core.serve(|_| self.is_finished());
        }
        match self.handle.join() {
            Ok(Some(value)) => value,
            Ok(None) => match lock(&self.team.panic).take() {
                Some(payload) => resume_unwind(payload),
                None => panic!("several workers have panicked"),
            },
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Whether it has ended, so that [`join`](Task::join) returns at once.
    pub fn is_finished(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

/// Runs threads that can be interrupted, with the GIL released, until all have ended.
///
/// `work` gets a scope, as of `std::thread::scope`, to start them. The calling thread is
/// their owner: it waits for them in [`Task::join`] and at the end, and decides meanwhile
/// what becomes of an interrupt. All workers stop within one check, or none.
///
/// ```no_run
/// use interruptible::{Stopped, workers};
/// # use pyo3::prelude::*;
/// # fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
/// workers(py, |scope| {
///     let mut tasks = Vec::new();
///     for part in values.chunks(1 + values.len() / 4) {
///         tasks.push(scope.spawn(move |worker| {
///             let mut sum = 0.0;
///             for value in part {
///                 worker.check()?;
///                 sum += value;
///             }
///             Ok::<_, Stopped>(sum)
///         }));
///     }
///     tasks.into_iter().map(|task| task.join()).sum::<Result<f64, Stopped>>()
/// })
/// # }
/// ```
///
/// # Errors
///
/// The exception that has stopped them, or else the error of `work`. Those of
/// [`Region::begin`](crate::Region::begin).
///
/// # Panics
///
/// If `work` or a worker panics. The others are stopped, and it goes on in the caller.
pub fn workers<'env, T, E, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    F: for<'scope> FnOnce(Scope<'scope, 'env>) -> Result<T, E> + Send,
    T: Send,
    E: Outcome + Send,
{
    let team = Team::begin(py)?;
    let shared = &team;
    let result = py.detach(move || {
        thread::scope(|scope| {
            let result = shared.guarded(|| {
                work(Scope {
                    scope,
                    team: shared.clone(),
                })
            });
            shared.core.serve(|running| running == 0);
            result
        })
    });
    team.end(py, result)
}

/// Does `work` in the threads of rayon's global pool, with the GIL released. The calling
/// thread is the owner: it only waits, and decides meanwhile what becomes of an interrupt.
///
/// ```no_run
/// # use interruptible::{Stopped, rayon_workers};
/// # use pyo3::prelude::*;
/// use rayon::prelude::*;
///
/// # fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
/// rayon_workers(py, |worker| {
///     values
///         .par_iter()
///         .map(|value| {
///             worker.check()?;
///             Ok(*value)
///         })
///         .sum::<Result<f64, Stopped>>()
/// })
/// # }
/// ```
///
/// Called by a thread of the pool, that thread does the work, as rayon does: it decides
/// whenever it checks. Where it waits for the others, they wait for it in vain, 0.1
/// seconds for each check while an interrupt is pending.
///
/// # Errors
///
/// As of [`workers`].
///
/// # Panics
///
/// If `work` does.
#[cfg(feature = "rayon")]
pub fn rayon_workers<T, E, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    F: FnOnce(Worker<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Outcome + Send,
{
    in_pool(py, None, work)
}

/// The same in a pool of your own.
///
/// # Errors
///
/// As of [`workers`].
///
/// # Panics
///
/// If `work` does.
#[cfg(feature = "rayon")]
pub fn rayon_workers_in<T, E, F>(py: Python<'_>, pool: &rayon::ThreadPool, work: F) -> PyResult<T>
where
    F: FnOnce(Worker<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Outcome + Send,
{
    in_pool(py, Some(pool), work)
}

#[cfg(feature = "rayon")]
fn in_pool<T, E, F>(py: Python<'_>, pool: Option<&rayon::ThreadPool>, work: F) -> PyResult<T>
where
    F: FnOnce(Worker<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Outcome + Send,
{
    let team = Team::begin(py)?;
    let shared = &team;
    let result = py.detach(move || {
        let inside = match pool {
            Some(pool) => pool.current_thread_index(),
            None => rayon::current_thread_index(),
        };
        if inside.is_some() {
            // To wait for a thread of the pool, in one, can be to wait for oneself.
            return shared.guarded(|| work(shared.core.owner_as_worker()));
        }
        let mut result = None;
        let slot = &mut result;
        let leave = Leave::enter(shared);
        let task = move || {
            let leave = leave;
            *slot = leave.team.guarded(|| work(leave.team.core.worker()));
        };
        let serve = || shared.core.serve(|running| running == 0);
        match pool {
            Some(pool) => pool.in_place_scope(|scope| {
                scope.spawn(move |_| task());
                serve();
            }),
            None => rayon::in_place_scope(|scope| {
                scope.spawn(move |_| task());
                serve();
            }),
        }
        result
    });
    team.end(py, result)
}
