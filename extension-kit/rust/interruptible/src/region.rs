//! A piece of interruptible work.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use crate::checker::Attached;
use crate::decisions::{Answer, Decisions, Woken};
use crate::failure::{Outcome, STOPPED, Stopped};
use crate::mask;
use crate::pace::Pace;
use crate::sync::lock;
use crate::table::{self, Table};
use crate::workers::Worker;

/// The flag of a thread that has none: always "something may be pending", so that each
/// check of the owner counts. An interpreter with flags costs its checks nothing for that.
static ALWAYS: AtomicU32 = AtomicU32::new(1);
/// The same for workers, which then only look at the region.
static NEVER: AtomicU32 = AtomicU32::new(0);

/// How long a worker waits for the owner. Only an owner that forgets its workers, or is
/// kept by a signal handler, takes that long.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long an owner that waits does not look at its flag. Nothing wakes it when that is
/// set; looking costs a few microseconds.
const GLANCE: Duration = Duration::from_millis(2);

/// A piece of interruptible work: from [`begin`](Region::begin) to
/// [`finish`](Region::finish), with checks in between.
///
/// It belongs to the thread that began it, its owner: that one's interrupts stop it. Other
/// threads may check, too, through a [`Worker`]; [`workers`](crate::workers) starts them.
///
/// Once a check has said stop, every later one says it, at any depth and in any thread.
///
/// A check on an interpreter with interrupt flags is two loads and one branch: the
/// thread's flag, and whether the region has been stopped before. On others the clock is
/// read now and then, and the interpreter asked every [`interval`](crate::interval).
///
/// ```no_run
/// use interruptible::{Region, Stopped};
/// use pyo3::prelude::*;
///
/// #[pyfunction]
/// fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
///     let region = Region::begin(py)?;
///     let result = py.detach(|| {
///         let mut sum = 0.0;
///         for value in &values {
///             region.check_detached()?;
///             sum += value;
///         }
///         Ok::<_, Stopped>(sum)
///     });
///     region.finish_with(py, result)
/// }
/// ```
///
/// A region that is dropped without `finish`, because a panic or another error came first,
/// does not swallow the exception: it is sent to the thread again.
#[must_use = "a region is to be checked, and then to be finished: that raises the exception"]
pub struct Region {
    pub(crate) core: Core,
    /// The owner is the thread that it is in, so it stays there.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

/// What a region is made of, and what its threads share.
pub(crate) struct Core {
    flag: &'static AtomicU32,
    decisions: Decisions,
    /// How many checks of the fall-back pass before the next that looks at the clock. A
    /// count that is lost when two threads check at once does not matter.
    countdown: AtomicU32,
    table: Option<&'static Table>,
    pace: Mutex<Pace>,
    interval: Duration,
    owner: usize,
    exception: Mutex<Option<PyErr>>,
    /// Whether somebody has been given the exception.
    handed: AtomicBool,
}

/// A number that no other thread has as long as this one lives.
fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| ptr::from_ref(here).addr())
}

impl Region {
    /// Begins a region that this thread owns.
    ///
    /// # Errors
    ///
    /// Those of [`import`](crate::import), if nobody has called that, and `MemoryError`.
    pub fn begin(py: Python<'_>) -> PyResult<Region> {
        Ok(Region {
            core: Core::begin(py)?,
            _not_send: PhantomData,
        })
    }

    /// Does `work` with the GIL released, and finishes: a region that nobody can forget to
    /// finish.
    ///
    /// ```no_run
    /// # use interruptible::{Region, Stopped};
    /// # use pyo3::prelude::*;
    /// # fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
    /// Region::run(py, |region| {
    ///     let mut sum = 0.0;
    ///     for value in &values {
    ///         region.check_detached()?;
    ///         sum += value;
    ///     }
    ///     Ok::<_, Stopped>(sum)
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Region::begin) and [`finish_with`](Region::finish_with).
    pub fn run<T, E, F>(py: Python<'_>, work: F) -> PyResult<T>
    where
        F: FnOnce(&Region) -> Result<T, E> + Send,
        T: Send,
        E: Outcome + Send,
    {
        let region = Region::begin(py)?;
        let shared = &region;
        let result = py.detach(move || work(shared));
        region.finish_with(py, result)
    }

    /// The check of the owner while it has the GIL.
    ///
    /// # Errors
    ///
    /// What an interrupt raises: the region is stopped. `RuntimeError` if this is not the
    /// owner's thread.
    #[inline]
    pub fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.core.passes() {
            return Ok(());
        }
        self.core.look_attached(py)
    }

    /// The check of the owner while it does not have the GIL. (It may have it; then
    /// [`check`](Region::check) is the better one.)
    ///
    /// Another thread that calls this is treated as a [`Worker`].
    ///
    /// # Errors
    ///
    /// The region is stopped: return to where it was begun.
    #[inline]
    pub fn check_detached(&self) -> Result<(), Stopped> {
        self.core.check_detached()
    }

    /// The region and the GIL together, as something that can be handed to what checks:
    /// an iterator or `#[interruptible]`.
    pub fn attached<'r, 'py>(&'r self, py: Python<'py>) -> Attached<'r, 'py> {
        Attached { region: self, py }
    }

    /// What another thread checks with. Better than to start that thread by hand is
    /// [`workers`](crate::workers), where the owner answers while it waits; one who only
    /// waits, with something else, answers nobody, and each check then takes 0.1 seconds
    /// from when an interrupt is pending.
    pub fn worker(&self) -> Worker<'_> {
        self.core.worker()
    }

    /// Whether a check has said stop.
    pub fn is_stopped(&self) -> bool {
        self.core.decisions.stopped()
    }

    /// Ends the region.
    ///
    /// # Errors
    ///
    /// The exception that has stopped it.
    pub fn finish(self, py: Python<'_>) -> PyResult<()> {
        match self.core.exception(py) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Ends the region with the result of its work.
    ///
    /// # Errors
    ///
    /// The exception that has stopped the region, whatever the result is; if that is
    /// another exception, it becomes the `__context__`. Else the error of the result.
    /// `RuntimeError` if that says stopped, but was made by a check of another region.
    pub fn finish_with<T, E: Outcome>(self, py: Python<'_>, result: Result<T, E>) -> PyResult<T> {
        self.core.finish_with(py, result)
    }
}

impl Core {
    pub(crate) fn begin(py: Python<'_>) -> PyResult<Core> {
        let table = table::get(py)?;
        let flag = match table {
            Some(table) => table.flag(py)?,
            None => &ALWAYS,
        };
        let interval = table::interval();
        Ok(Core {
            flag,
            decisions: Decisions::new(),
            countdown: AtomicU32::new(0),
            table,
            pace: Mutex::new(Pace::new(interval, Instant::now())),
            interval,
            owner: thread(),
            exception: Mutex::new(None),
            handed: AtomicBool::new(false),
        })
    }

    #[inline]
    pub(crate) fn check_detached(&self) -> Result<(), Stopped> {
        if self.passes() {
            return Ok(());
        }
        self.look_detached()
    }

    pub(crate) fn worker(&self) -> Worker<'_> {
        Worker {
            flag: self.worker_flag(),
            core: self,
        }
    }

    /// A worker for the case that the owner does a worker's part.
    #[cfg(feature = "rayon")]
    pub(crate) fn owner_as_worker(&self) -> Worker<'_> {
        Worker {
            flag: self.flag,
            core: self,
        }
    }

    fn worker_flag(&self) -> &'static AtomicU32 {
        match self.table {
            Some(_) => self.flag,
            None => &NEVER,
        }
    }

    pub(crate) fn finish_with<T, E: Outcome>(
        &self,
        py: Python<'_>,
        result: Result<T, E>,
    ) -> PyResult<T> {
        let stop = self.exception(py);
        match (result.map_err(|error| error.into_exception(py)), stop) {
            (Ok(value), None) => Ok(value),
            (Ok(_) | Err(None), Some(stop)) => Err(stop),
            (Err(Some(error)), Some(stop)) => {
                chain(py, &stop, &error);
                Err(stop)
            }
            (Err(Some(error)), None) => Err(error),
            (Err(None), None) => Err(PyRuntimeError::new_err(
                "the work says that it was stopped, but its region was not: it has \
                 returned what a check of another region said",
            )),
        }
    }

    /// The exception that has stopped the region, for somebody who raises it.
    fn exception(&self, py: Python<'_>) -> Option<PyErr> {
        if !self.decisions.stopped() {
            return None;
        }
        self.handed.store(true, Ordering::Relaxed);
        let error = lock(&self.exception).as_ref().map(|e| e.clone_ref(py));
        Some(error.unwrap_or_else(|| {
            PyRuntimeError::new_err("the region was stopped because a part of it has panicked")
        }))
    }

    /// The fast path of the owner's checks.
    #[inline]
    fn passes(&self) -> bool {
        if !self.decisions.pending(self.flag) {
            return true;
        }
        // Never more than zero on an interpreter with flags.
        let countdown = self.countdown.load(Ordering::Relaxed);
        if countdown == 0 {
            return false;
        }
        self.countdown.store(countdown - 1, Ordering::Relaxed);
        true
    }

    #[cold]
    #[inline(never)]
    fn look_attached(&self, py: Python<'_>) -> PyResult<()> {
        if thread() != self.owner {
            return Err(PyRuntimeError::new_err(
                "this region belongs to another thread: begin one in each, or hand out its \
                 worker()",
            ));
        }
        if !self.decisions.stopped() && self.due() {
            // What it says is said below.
            let _ = self.decide(py);
        }
        match self.exception(py) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_detached(&self) -> Result<(), Stopped> {
        if self.decisions.stopped() {
            return Err(STOPPED);
        }
        if thread() != self.owner {
            return self.ask();
        }
        if self.due() {
            self.attach_and(|py| self.decide(py))
        } else {
            Ok(())
        }
    }

    /// Whether the interpreter is to be asked now. Always, if it is the one who said so.
    fn due(&self) -> bool {
        if self.table.is_some() {
            return true;
        }
        let mut pace = lock(&self.pace);
        let due = pace.due(Instant::now());
        self.countdown.store(pace.countdown(), Ordering::Relaxed);
        due
    }

    /// Asks the interpreter, for all threads of the region. The owner only.
    fn decide(&self, py: Python<'_>) -> Result<(), Stopped> {
        self.decide_by(|| match self.table {
            Some(table) => table.check(py),
            None => mask::check_unmasked(py),
        })
    }

    fn decide_by(&self, check: impl FnOnce() -> PyResult<()>) -> Result<(), Stopped> {
        // Workers are stopped by this, so the exception has to be there before.
        let result = self.decisions.decide(self.table.is_some(), || {
            check().map_err(|error| {
                *lock(&self.exception) = Some(error);
                STOPPED
            })
        });
        if self.table.is_none() {
            lock(&self.pace).asked(self.interval, Instant::now());
            if result.is_err() {
                self.countdown.store(0, Ordering::Relaxed);
            }
        }
        result
    }

    /// The GIL for a moment. An interpreter that is going away does not give it any more:
    /// then the work has nobody to work for.
    fn attach_and(&self, f: impl FnOnce(Python<'_>) -> Result<(), Stopped>) -> Result<(), Stopped> {
        Python::try_attach(f).unwrap_or_else(|| {
            self.decisions.stop();
            Err(STOPPED)
        })
    }

    /// The owner is about to wait, without the GIL: the next time after `GLANCE` or so.
    pub(crate) fn slice(&self) -> Duration {
        match self.table {
            Some(_) => GLANCE,
            // Whoever wants to be asked at each check does not want a wait to be busy.
            None => self.interval.max(Duration::from_millis(1)),
        }
    }

    /// The owner is waiting, without the GIL, and a slice is over.
    pub(crate) fn glance(&self) -> Result<(), Stopped> {
        if self.decisions.stopped() {
            return Err(STOPPED);
        }
        match self.table {
            Some(_) if !self.decisions.pending(self.flag) => Ok(()),
            _ => self.attach_and(|py| self.decide(py)),
        }
    }

    /// The same for an owner that waits for something outside: it may also be interrupted
    /// where a soft mask lets only calls be interrupted that are blocked. `again` says
    /// that something may have been held back by such a mask before.
    pub(crate) fn glance_blocked(&self, again: bool) -> Result<(), Stopped> {
        match self.table {
            Some(table) => {
                if self.decisions.stopped() {
                    return Err(STOPPED);
                }
                if !again && !self.decisions.pending(self.flag) {
                    return Ok(());
                }
                self.attach_and(|py| self.decide_by(|| table.check_blocked(py)))
            }
            None => self.glance(),
        }
    }

    /// Whether interrupts are held back here, as far as the interpreter can tell.
    pub(crate) fn is_masked(&self, py: Python<'_>) -> PyResult<bool> {
        match self.table {
            Some(table) => table.is_masked(py),
            None => Ok(false),
        }
    }

    pub(crate) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// Whether this is the thread that may decide.
    pub(crate) fn is_owner(&self) -> bool {
        thread() == self.owner
    }

    /// The owner waits, without the GIL, until `done` says so, and answers its workers
    /// meanwhile.
    pub(crate) fn serve(&self, done: impl Fn(usize) -> bool) {
        loop {
            let slice = self.slice();
            // A stop is told to whoever asks; here it only means that nobody asks any more.
            let _ = match self.decisions.wait(slice, &done) {
                Woken::Done => return,
                Woken::Asked => self.attach_and(|py| self.decide(py)),
                Woken::Timeout => self.glance(),
            };
        }
    }

    /// What `Worker::look` asks.
    pub(crate) fn ask(&self) -> Result<(), Stopped> {
        match self.decisions.ask(self.worker_flag(), PATIENCE) {
            Answer::Stop => Err(STOPPED),
            Answer::GoOn | Answer::Nothing => Ok(()),
        }
    }

    /// The owner goes on without having finished. If nobody was told of the exception, it
    /// is sent to the thread again.
    pub(crate) fn abandon(&self) {
        if self.handed.load(Ordering::Relaxed) {
            return;
        }
        let exception = lock(&self.exception).take();
        if let Some(error) = exception {
            Python::try_attach(|py| send_again(py, error));
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.core.abandon();
    }
}

/// `error` came up while `stop` was on its way.
fn chain(py: Python<'_>, stop: &PyErr, error: &PyErr) {
    if !stop.value(py).is(error.value(py)) {
        // It always can be set; if not, only the context is lost.
        let _ = stop
            .value(py)
            .setattr(intern!(py, "__context__"), error.value(py));
    }
}

unsafe extern "C" {
    // Part of the stable ABI that pyo3 does not declare.
    safe fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
}

/// Nobody was told of the exception. It is raised as soon as this thread runs Python code.
fn send_again(py: Python<'_>, error: PyErr) {
    let kind = error.get_type(py);
    // The id of a thread is a long in all of the interpreter but its own function.
    let id = PyThread_get_thread_ident() as std::ffi::c_long;
    // SAFETY: attached, and the type is alive.
    let sent = unsafe { ffi::PyThreadState_SetAsyncExc(id, kind.as_ptr()) };
    if sent != 1 {
        // This clears an error that came from there, too.
        drop(PyErr::take(py));
        error.write_unraisable(py, None);
    }
}
