//! An executor for plain async Rust that an interrupt ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::failure::Stopped;
use crate::region::{Core, Region};
use crate::sync::{lock, wait};

/// Runs a future to its end, with the GIL released.
///
/// There is a check after each poll and, while the future waits, every 2 milliseconds; on
/// interpreters without interrupt flags, every [`interval`](crate::interval). An interrupt
/// drops the future, and then its exception is raised: whatever the future holds has been
/// cleaned up before anybody sees the exception. A future that is ready at that moment is
/// ready: its value is returned, and the interrupt comes after.
///
/// Why the owner looks at all, instead of being woken: a signal may be delivered to any
/// thread, and the wake-up descriptor that Python has for this is one for the whole
/// process, which an event loop of the program may need. Looking at a word every 2
/// milliseconds costs about a thousandth of a core and cannot miss anything. What the
/// future itself waits for wakes it at once.
///
/// A future that computes for long between two of its `await`s is not interrupted there:
/// put [`yield_now`] into its loops.
///
/// ```no_run
/// use std::time::Duration;
/// use interruptible::{block_on, sleep};
/// use pyo3::prelude::*;
///
/// #[pyfunction]
/// fn countdown(py: Python<'_>, from: u32) -> PyResult<()> {
///     block_on(py, async move {
///         for _ in 0..from {
///             sleep(Duration::from_secs(1)).await;
///         }
///     })
/// }
/// ```
///
/// # Errors
///
/// What an interrupt raises. Those of [`Region::begin`].
///
/// # Panics
///
/// If the future does.
pub fn block_on<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let region = Region::begin(py)?;
    let masked = region.core.is_masked(py)?;
    let shared = &region.core;
    let result = py.detach(move || run(shared, masked, future));
    region.finish_with(py, result)
}

fn run<F: Future>(region: &Core, masked: bool, future: F) -> Result<F::Output, Stopped> {
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    let _timers = Timers::begin();
    // The last one, so that it is dropped first: timers that it has are taken back.
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(value);
        }
        region.check_detached()?;
        // What a soft mask has held back until now may break a wait, and only that.
        let mut again = masked;
        loop {
            let next = Timers::fire();
            if alarm.has_rung() {
                break;
            }
            if again {
                region.glance_blocked(true)?;
                again = false;
            }
            let slice = region.slice();
            let rest = next.map(|next| next.saturating_duration_since(Instant::now()));
            if alarm.wait(rest.unwrap_or(slice).min(slice)) {
                break;
            }
            if rest.is_none_or(|rest| rest >= slice) {
                region.glance_blocked(false)?;
            }
        }
    }
}

/// What wakes the executor.
#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Alarm {
    /// Whether it has rung since it was last asked.
    fn has_rung(&self) -> bool {
        std::mem::take(&mut *lock(&self.rung))
    }

    /// The same, but waits for it.
    fn wait(&self, limit: Duration) -> bool {
        let rung = lock(&self.rung);
        // A spurious wake-up only makes the caller look around earlier.
        let mut rung = if *rung {
            rung
        } else {
            wait(&self.ring, rung, limit).0
        };
        std::mem::take(&mut *rung)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.rung) = true;
        self.ring.notify_one();
    }
}

/// When a timer is due, and a number that no other one has.
type Key = (Instant, u64);

thread_local! {
    /// The timers of the executor that runs in this thread.
    static TIMERS: RefCell<Option<BTreeMap<Key, Waker>>> = const { RefCell::new(None) };
}

/// Timers for as long as this lives. Those of an executor around this one come back.
struct Timers {
    before: Option<BTreeMap<Key, Waker>>,
}

impl Timers {
    fn begin() -> Timers {
        Timers {
            before: TIMERS.replace(Some(BTreeMap::new())),
        }
    }

    /// Wakes those that are due, and returns when the next one is.
    fn fire() -> Option<Instant> {
        loop {
            let waker = TIMERS.with_borrow_mut(|timers| {
                let first = timers.as_mut()?.first_entry()?;
                if first.key().0 > Instant::now() {
                    return Some(Err(first.key().0));
                }
                Some(Ok(first.remove()))
            });
            // Not borrowed here: who is woken may set a timer.
            match waker? {
                Ok(waker) => waker.wake(),
                Err(next) => return Some(next),
            }
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        let ours = TIMERS.replace(self.before.take());
        // Not borrowed any more: wakers are others' code.
        drop(ours);
    }
}

/// Waits for a time, in [`block_on`]. The time begins now, not with the `await`.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep {
        at: Instant::now().checked_add(duration),
        timer: None,
    }
}

/// The future of [`sleep`].
///
/// # Panics
///
/// When it is polled by something else than [`block_on`], which has the timers.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    /// None is later than the clock can tell.
    at: Option<Instant>,
    timer: Option<Key>,
}

impl Sleep {
    fn forget(&mut self) {
        if let Some(key) = self.timer.take() {
            // The thread may be ending, and its timers gone.
            let waker = TIMERS.try_with(|timers| {
                let mut timers = timers.borrow_mut();
                timers.as_mut().and_then(|timers| timers.remove(&key))
            });
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);

        // A new timer each time: the task may have another waker by now.
        self.forget();
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            return Poll::Ready(());
        }
        let key = (at, NUMBER.fetch_add(1, Ordering::Relaxed));
        let waker = context.waker().clone();
        TIMERS.with_borrow_mut(|timers| {
            timers
                .as_mut()
                .expect("interruptible::sleep() works only in interruptible::block_on()")
                .insert(key, waker);
        });
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Lets the executor check, and other futures run. For long computations.
pub fn yield_now() -> YieldNow {
    YieldNow { done: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    done: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.done = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
