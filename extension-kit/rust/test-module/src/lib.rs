//! What tests/test_interruptible.py drives: each way to be interrupted as a function that
//! works for some seconds, unless it is interrupted.

use std::future::{Future, poll_fn};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use interruptible::{
    Failure, InterruptibleIterator, Mask, Outcome, Region, Require, Stopped, Worker, block_on,
    interruptible, rayon_workers, rayon_workers_in, sleep, workers, yield_now,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

mod fake;

/// How many checks have passed in the function that was called last.
static PASSED: AtomicU64 = AtomicU64::new(0);
/// How many of the things that clean up have been made and not been dropped.
static ALIVE: AtomicU32 = AtomicU32::new(0);

/// Cleans up when it is dropped.
struct Alive;

impl Alive {
    fn new() -> Alive {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end of a test that has failed.
struct Deadline(Instant);

impl Deadline {
    fn new(seconds: f64) -> Deadline {
        PASSED.store(0, Ordering::Relaxed);
        Deadline(Instant::now() + Duration::from_secs_f64(seconds))
    }

    /// A check has passed. Is the time over?
    fn passed(&self) -> bool {
        PASSED.fetch_add(1, Ordering::Relaxed);
        Instant::now() >= self.0
    }
}

fn now() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a time to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn send(signal: i32, fake: bool) {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: to this process, with a signal that it handles.
    unsafe { libc::kill(process, signal) };
    if fake {
        fake::FLAG.store(1, Ordering::Release);
    }
}

static SENT: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// Sends signals, after and every `seconds`. Needs no GIL.
#[pyfunction]
fn send_signals(seconds: f64, signal: i32, number: u32, fake: bool) {
    SENT.lock().unwrap().clear();
    thread::spawn(move || {
        for _ in 0..number {
            thread::sleep(Duration::from_secs_f64(seconds));
            let time = now();
            send(signal, fake);
            SENT.lock().unwrap().push(time);
        }
    });
}

/// When they were sent, by time.monotonic().
#[pyfunction]
fn sent() -> Vec<f64> {
    SENT.lock().unwrap().clone()
}

#[pyfunction]
fn passed() -> u64 {
    PASSED.load(Ordering::Relaxed)
}

#[pyfunction]
fn alive() -> u32 {
    ALIVE.load(Ordering::Relaxed)
}

#[pyfunction]
fn import_(py: Python<'_>, native: bool) -> PyResult<()> {
    let require = if native {
        Require::Native
    } else {
        Require::Any
    };
    interruptible::import(py, require)
}

#[pyfunction]
fn backend() -> (&'static str, String) {
    (interruptible::backend(), interruptible::backend_reason())
}

#[pyfunction]
fn set_interval(seconds: f64) -> f64 {
    let before = interruptible::interval().as_secs_f64();
    interruptible::set_interval(Duration::from_secs_f64(seconds));
    before
}

// One check after the other.

#[pyfunction]
fn spin_check(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let _alive = Alive::new();
    let deadline = Deadline::new(seconds);
    while !deadline.passed() {
        interruptible::check(py)?;
    }
    Ok(())
}

#[pyfunction]
fn spin_attached(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let _alive = Alive::new();
    let deadline = Deadline::new(seconds);
    let region = Region::begin(py)?;
    while !deadline.passed() {
        region.check(py)?;
    }
    region.finish(py)
}

#[pyfunction]
fn spin_detached(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let _alive = Alive::new();
    let deadline = Deadline::new(seconds);
    Region::run(py, |region| {
        while !deadline.passed() {
            region.check_detached()?;
        }
        Ok::<_, Stopped>(())
    })
}

/// Each step takes longer than the fall-back's interval.
#[pyfunction]
fn spin_slowly(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    Region::run(py, |region| {
        while !deadline.passed() {
            thread::sleep(Duration::from_millis(20));
            region.check_detached()?;
        }
        Ok::<_, Stopped>(())
    })
}

/// Stopped at some depth, and checks at all others on its way back.
#[pyfunction]
fn spin_recursively(py: Python<'_>, seconds: f64) -> PyResult<(u32, u32)> {
    fn descend(region: &Region, deadline: &Deadline, depth: u32, counts: &mut (u32, u32)) {
        if depth < 100 && !region.is_stopped() {
            descend(region, deadline, depth + 1, counts);
        }
        while !region.is_stopped() && !deadline.passed() {
            let _ = region.check_detached();
        }
        counts.0 += 1;
        counts.1 += u32::from(region.check_detached().is_err());
    }
    let deadline = Deadline::new(seconds);
    let region = Region::begin(py)?;
    let mut counts = (0, 0);
    py.detach(|| descend(&region, &deadline, 0, &mut counts));
    match region.finish(py) {
        Ok(()) => Ok((0, 0)),
        Err(error) => {
            error.value(py).setattr("counts", counts)?;
            Err(error)
        }
    }
}

/// The iterator's items: taken, and worked on.
#[pyfunction]
fn spin_iterator(py: Python<'_>, seconds: f64) -> PyResult<(u64, u64)> {
    let deadline = Deadline::new(seconds);
    let (mut taken, mut done) = (0, 0);
    let mut source = std::iter::from_fn(|| {
        taken += 1;
        Some(taken)
    });
    let region = Region::begin(py)?;
    let result = py.detach(|| {
        for item in source.by_ref().interruptible(&region) {
            done = item?;
            if deadline.passed() {
                break;
            }
        }
        Ok::<_, Stopped>(())
    });
    match region.finish_with(py, result) {
        Ok(()) => Ok((taken, done)),
        Err(error) => {
            error.value(py).setattr("items", (taken, done))?;
            Err(error)
        }
    }
}

#[pyfunction]
fn spin_iterator_attached(py: Python<'_>, seconds: f64) -> PyResult<u64> {
    let deadline = Deadline::new(seconds);
    let region = Region::begin(py)?;
    let count = (0u64..)
        .interruptible(region.attached(py))
        .map(|number| number.map(|_| u64::from(deadline.passed())))
        .find(|over| !matches!(over, Ok(0)));
    region.finish(py)?;
    count.unwrap_or(Ok(0))
}

#[pyfunction]
#[interruptible]
fn spin_macro(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    while !deadline.passed() {
        continue;
    }
    Ok(())
}

#[interruptible]
fn macro_detached(region: &Region, deadline: &Deadline) -> Result<(), Failure> {
    'outer: for number in 0u64.. {
        loop {
            if deadline.passed() {
                break 'outer;
            }
            if number % 3 != 0 {
                continue 'outer;
            }
            break;
        }
    }
    Ok(())
}

#[pyfunction]
fn spin_macro_detached(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    Region::run(py, |region| macro_detached(region, &deadline))
}

// Ends of regions.

/// The work fails by itself after it has been stopped.
#[pyfunction]
fn fail_after_stop(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    Region::run(py, |region| {
        while region.check_detached().is_ok() {
            if deadline.passed() {
                return Ok(());
            }
        }
        Err(PyValueError::new_err("the cleanup has failed"))
    })
}

/// Nobody finishes the region.
#[pyfunction]
fn forget_region(py: Python<'_>, seconds: f64) -> PyResult<bool> {
    let deadline = Deadline::new(seconds);
    let region = Region::begin(py)?;
    Ok(py.detach(|| {
        while region.check_detached().is_ok() {
            if deadline.passed() {
                return false;
            }
        }
        true
    }))
}

/// Returns what a check of another region has said.
#[pyfunction]
fn mix_up_regions(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    let outer = Region::begin(py)?;
    let inner = Region::begin(py)?;
    let result = py.detach(|| {
        while !deadline.passed() {
            inner.check_detached()?;
        }
        Ok::<_, Stopped>(())
    });
    let stopped = inner.finish(py).is_err();
    outer.finish_with(py, result)?;
    assert!(!stopped);
    Ok(())
}

/// Another thread uses the region as if it were its own.
#[pyfunction]
fn wrong_thread(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    let region = Region::begin(py)?;
    let result = py.detach(|| {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    Python::attach(|py| {
                        while !deadline.passed() {
                            region.check(py)?;
                        }
                        Ok(())
                    })
                })
                .join()
                .unwrap()
        })
    });
    region.finish_with::<_, PyErr>(py, result)
}

#[pyfunction]
fn panic_in_region(py: Python<'_>) -> PyResult<()> {
    Region::run(py, |_| -> Result<(), Stopped> { panic!("on purpose") })
}

// Workers.

fn step() {
    std::hint::black_box((0..100).fold(0u32, |sum, number| sum ^ std::hint::black_box(number)));
}

/// Each worker makes so many steps, in all cases where nobody stops it. Returns what all
/// have made.
#[pyfunction]
fn work(py: Python<'_>, threads: usize, steps: u64) -> PyResult<u64> {
    workers(py, |scope| {
        let tasks: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move |worker| {
                    let _alive = Alive::new();
                    for _ in 0..steps {
                        worker.check()?;
                        step();
                    }
                    Ok(steps)
                })
            })
            .collect();
        tasks
            .into_iter()
            .map(|task| task.join())
            .sum::<Result<u64, Stopped>>()
    })
}

/// How a stop looks from inside: checks that have passed after a worker saw that
/// something was pending, and seconds from the first to the last that stopped.
#[derive(Default)]
struct Report {
    seen: AtomicU32,
    passed_after: AtomicU32,
    stops: Mutex<Vec<Instant>>,
}

impl Report {
    fn work(&self, worker: Worker<'_>, deadline: &Deadline) -> Result<(), Stopped> {
        let _alive = Alive::new();
        loop {
            let before = self.seen.load(Ordering::Acquire);
            if worker.is_pending() {
                self.seen.store(1, Ordering::Release);
            }
            if let Err(stop) = worker.check() {
                self.stops.lock().unwrap().push(Instant::now());
                return Err(stop);
            }
            self.passed_after.fetch_add(before, Ordering::Relaxed);
            step();
            if deadline.passed() {
                return Ok(());
            }
        }
    }

    fn add_to(&self, py: Python<'_>, error: &PyErr) -> PyResult<()> {
        let stops = self.stops.lock().unwrap();
        let first = stops.iter().min().unwrap();
        let spread = stops.iter().max().unwrap().duration_since(*first);
        let report = (
            self.passed_after.load(Ordering::Relaxed),
            spread.as_secs_f64(),
            stops.len(),
        );
        error.value(py).setattr("report", report)
    }

    fn end<T>(&self, py: Python<'_>, result: PyResult<T>) -> PyResult<T> {
        if let Err(error) = &result {
            self.add_to(py, error)?;
        }
        result
    }
}

#[pyfunction]
fn spin_workers(py: Python<'_>, seconds: f64, threads: usize) -> PyResult<()> {
    let (deadline, report) = (Deadline::new(seconds), Report::default());
    let result = workers(py, |scope| {
        for _ in 0..threads {
            // Nobody joins them: the end of the scope does.
            let _ = scope.spawn(|worker| report.work(worker, &deadline));
        }
        Ok::<_, Stopped>(())
    });
    report.end(py, result)
}

/// The owner works, too.
#[pyfunction]
fn spin_workers_and_owner(py: Python<'_>, seconds: f64, threads: usize) -> PyResult<()> {
    let (deadline, report) = (Deadline::new(seconds), Report::default());
    let result = workers(py, |scope| {
        for _ in 0..threads {
            let _ = scope.spawn(|worker| report.work(worker, &deadline));
        }
        while !deadline.passed() {
            scope.check()?;
            step();
        }
        Ok::<_, Stopped>(())
    });
    report.end(py, result)
}

/// One starts the others.
#[pyfunction]
fn spin_workers_nested(py: Python<'_>, seconds: f64, threads: usize) -> PyResult<()> {
    let (deadline, report) = (Deadline::new(seconds), Report::default());
    let (shared, work) = (&deadline, &report);
    let result = workers(py, |scope| {
        let more = scope.clone();
        let first = scope.spawn(move |worker| {
            for _ in 1..threads {
                let _ = more.spawn(|worker| work.work(worker, shared));
            }
            work.work(worker, shared)
        });
        first.join()
    });
    report.end(py, result)
}

/// One panics after a moment, the others have nothing to do any more.
#[pyfunction]
fn panic_in_worker(py: Python<'_>, seconds: f64, join: bool) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    workers(py, |scope| {
        for _ in 0..2 {
            let _ = scope.spawn(|worker| Report::default().work(worker, &deadline));
        }
        let task = scope.spawn(|_| -> () {
            thread::sleep(Duration::from_millis(20));
            panic!("on purpose")
        });
        if join {
            task.join();
        }
        Ok::<_, Stopped>(())
    })
}

#[pyfunction]
fn panic_in_owner(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    workers(py, |scope| -> Result<(), Stopped> {
        let _ = scope.spawn(|worker| Report::default().work(worker, &deadline));
        panic!("on purpose")
    })
}

#[pyfunction]
fn fail_in_worker(py: Python<'_>) -> PyResult<()> {
    workers(py, |scope| {
        let task = scope.spawn(|worker| {
            worker.check()?;
            Err::<(), Failure>(PyValueError::new_err("by itself").into())
        });
        task.join()
    })
}

fn in_rayon(worker: Worker<'_>, report: &Report, deadline: &Deadline) -> Result<(), Stopped> {
    use rayon::prelude::*;

    (0..rayon::current_num_threads())
        .into_par_iter()
        .try_for_each(|_| report.work(worker, deadline))
}

#[pyfunction]
fn spin_rayon(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let (deadline, report) = (Deadline::new(seconds), Report::default());
    let result = rayon_workers(py, |worker| in_rayon(worker, &report, &deadline));
    report.end(py, result)
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
}

#[pyfunction]
fn spin_rayon_pool(py: Python<'_>, seconds: f64, threads: usize) -> PyResult<()> {
    let (deadline, report, pool) = (Deadline::new(seconds), Report::default(), pool(threads));
    let result = rayon_workers_in(py, &pool, |worker| in_rayon(worker, &report, &deadline));
    report.end(py, result)
}

/// The owner is the pool's only thread.
#[pyfunction]
fn rayon_inside(py: Python<'_>, steps: u64) -> PyResult<u64> {
    let pool = pool(1);
    py.detach(|| {
        pool.install(|| {
            Python::attach(|py| {
                rayon_workers_in(py, &pool, |worker| {
                    for _ in 0..steps {
                        worker.check()?;
                    }
                    Ok::<_, Stopped>(steps)
                })
            })
        })
    })
}

#[pyfunction]
fn panic_in_rayon(py: Python<'_>) -> PyResult<()> {
    rayon_workers(py, |_| -> Result<(), Stopped> { panic!("on purpose") })
}

// Futures.

/// Appends to a list when it is dropped.
struct Log(Py<PyList>, &'static str);

impl Drop for Log {
    fn drop(&mut self) {
        Python::attach(|py| self.0.bind(py).append(self.1)).unwrap();
    }
}

#[pyfunction]
fn block_pending(py: Python<'_>, log: Py<PyList>) -> PyResult<()> {
    let (outer, inner) = (Log(log.clone_ref(py), "outer"), Log(log, "inner"));
    block_on(py, async move {
        let _outer = outer;
        let _alive = Alive::new();
        let _inner = inner;
        // Ends a test that has failed.
        sleep(Duration::from_secs(5)).await;
    })
}

#[pyfunction]
fn block_sleep(py: Python<'_>, seconds: f64, times: u32) -> PyResult<u32> {
    let duration = Duration::from_secs_f64(seconds);
    block_on(py, async move {
        for _ in 0..times {
            sleep(duration).await;
        }
        times
    })
}

#[pyfunction]
fn block_yield(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::new(seconds);
    block_on(py, async move {
        let _alive = Alive::new();
        while !deadline.passed() {
            yield_now().await;
        }
    })
}

/// Several timers at once; some are given up.
#[pyfunction]
fn block_timers(py: Python<'_>) -> PyResult<Vec<u32>> {
    block_on(py, async {
        let mut timers: Vec<_> = [30, 10, 20]
            .into_iter()
            .map(|ms| (ms, Box::pin(sleep(Duration::from_millis(ms.into())))))
            .collect();
        let mut order = Vec::new();
        let mut given_up = Box::pin(sleep(Duration::from_secs(1000)));
        poll_fn(|context| {
            assert!(given_up.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(given_up);
        poll_fn(|context| {
            timers.retain_mut(|(ms, timer)| {
                let ready = timer.as_mut().poll(context).is_ready();
                if ready {
                    order.push(*ms);
                }
                !ready
            });
            if timers.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        order
    })
}

/// Another thread wakes it. Returns how many seconds that has taken.
#[pyfunction]
fn block_woken(py: Python<'_>, seconds: f64) -> PyResult<f64> {
    let woken = Mutex::new(None);
    block_on(py, async {
        let woken = std::sync::Arc::new(woken);
        let mut started = false;
        poll_fn(|context| {
            if let Some(time) = *woken.lock().unwrap() {
                return Poll::Ready(now() - time);
            }
            if !std::mem::replace(&mut started, true) {
                let (woken, waker) = (woken.clone(), context.waker().clone());
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs_f64(seconds));
                    *woken.lock().unwrap() = Some(now());
                    waker.wake();
                });
            }
            Poll::Pending
        })
        .await
    })
}

/// Becomes ready with the signal.
#[pyfunction]
fn block_ready_with_signal(py: Python<'_>, signal: i32, fake: bool) -> PyResult<&'static str> {
    let mut first = true;
    block_on(
        py,
        poll_fn(move |context| {
            if std::mem::replace(&mut first, false) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            send(signal, fake);
            Poll::Ready("ready")
        }),
    )
}

#[pyfunction]
fn block_panic(py: Python<'_>) -> PyResult<()> {
    block_on(py, async {
        let _alive = Alive::new();
        yield_now().await;
        panic!("on purpose")
    })
}

/// An executor in a future of another one, which has timers, too.
#[pyfunction]
fn block_nested(py: Python<'_>, seconds: f64) -> PyResult<u32> {
    let duration = Duration::from_secs_f64(seconds);
    block_on(py, async move {
        let mut outer = Box::pin(sleep(duration * 3));
        poll_fn(|context| {
            assert!(outer.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        let inner = Python::attach(|py| block_on(py, sleep(duration)));
        outer.await;
        inner.map(|()| 2)
    })?
}

// Masks.

/// Spins in a mask, and then without.
#[pyfunction]
fn spin_masked(py: Python<'_>, kind: &str, masked: f64, unmasked: f64) -> PyResult<u64> {
    let mask = match kind {
        "soft" => Mask::soft(py)?,
        _ => Mask::hard(py)?,
    };
    let inner = Mask::soft(py)?;
    spin_attached(py, masked / 3.0)?;
    drop(inner);
    spin_check(py, masked / 3.0)?;
    spin_detached(py, masked / 3.0)?;
    let passed = PASSED.load(Ordering::Relaxed);
    mask.unmask()?;
    match spin_detached(py, unmasked) {
        Ok(()) => Ok(passed),
        Err(error) => {
            error.value(py).setattr("passed", passed)?;
            Err(error)
        }
    }
}

/// Waits in a soft or hard mask.
#[pyfunction]
fn block_masked(py: Python<'_>, kind: &str, seconds: f64) -> PyResult<()> {
    let _mask = match kind {
        "soft" => Mask::soft(py)?,
        _ => Mask::hard(py)?,
    };
    block_on(py, sleep(Duration::from_secs_f64(seconds)))
}

/// Workers of a masked owner are told to go on.
#[pyfunction]
fn work_masked(py: Python<'_>, threads: usize, steps: u64) -> PyResult<u64> {
    let _mask = Mask::hard(py)?;
    work(py, threads, steps)
}

#[pyfunction]
fn unmask_wrongly(py: Python<'_>) -> PyResult<()> {
    let mask = Mask::hard(py)?;
    fake_masks(py, 1)?;
    let result = mask.unmask();
    fake_masks(py, -2)?;
    result
}

fn fake_masks(py: Python<'_>, number: i32) -> PyResult<()> {
    py.import("interruptible_test")?
        .call_method1("fake_extra_masks", (number,))?;
    Ok(())
}

/// Sums `values`, `laps` times, with a check in each turn: (seconds, sum).
/// Ways: none, check, attached, detached, worker.
#[pyfunction]
fn time_sum(py: Python<'_>, way: &str, values: Vec<f64>, laps: usize) -> PyResult<(f64, f64)> {
    // Where something is to be dropped in the same function, LLVM may keep the sum in memory
    // instead of a register, because the slow path of a check is a call: 2 ns a turn.
    #[inline(never)]
    fn time<E>(
        values: &[f64],
        laps: usize,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<(f64, f64), E> {
        let start = Instant::now();
        let mut sum = 0.0;
        for _ in 0..laps {
            for value in values {
                check()?;
                sum += value;
            }
        }
        Ok((start.elapsed().as_secs_f64(), sum))
    }
    let region = Region::begin(py)?;
    let worker = region.worker();
    let result = match way {
        "none" => py.detach(|| time(&values, laps, || Ok(()))),
        "check" => return time(&values, laps, || interruptible::check(py)),
        "attached" => return time(&values, laps, || region.check(py)),
        "detached" => py.detach(|| time(&values, laps, || region.check_detached())),
        "worker" => py.detach(|| time(&values, laps, || worker.check())),
        _ => return Err(PyValueError::new_err(format!("there is no way {way:?}"))),
    };
    region.finish_with(py, result)
}

/// Errors of one's own.
#[derive(Debug)]
struct Mine;

impl From<Stopped> for Mine {
    fn from(_: Stopped) -> Mine {
        Mine
    }
}

impl Outcome for Mine {
    fn into_exception(self, _: Python<'_>) -> Option<PyErr> {
        None
    }
}

#[pyfunction]
fn spin_own_error(py: Python<'_>, seconds: f64) -> PyResult<()> {
    #[interruptible]
    fn spin(worker: Worker<'_>, deadline: &Deadline) -> Result<(), Mine> {
        while !deadline.passed() {}
        Ok(())
    }
    let deadline = Deadline::new(seconds);
    workers(py, |scope| {
        scope.spawn(|worker| spin(worker, &deadline)).join()
    })
}

// Not imported here: the tests say which table there is.
#[pymodule]
fn interruptible_test(module: &Bound<'_, PyModule>) -> PyResult<()> {
    fake::add(module)?;
    macro_rules! add {
        ($($name:ident)*) => {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
        };
    }
    add! {
        send_signals sent passed alive import_ backend set_interval time_sum
        spin_check spin_attached spin_detached spin_slowly spin_recursively
        spin_iterator spin_iterator_attached spin_macro spin_macro_detached spin_own_error
        fail_after_stop forget_region mix_up_regions wrong_thread panic_in_region
        work spin_workers spin_workers_and_owner spin_workers_nested
        panic_in_worker panic_in_owner fail_in_worker
        spin_rayon spin_rayon_pool rayon_inside panic_in_rayon
        block_pending block_sleep block_yield block_timers block_woken
        block_ready_with_signal block_panic block_nested
        spin_masked block_masked work_masked unmask_wrongly
    }
    Ok(())
}
