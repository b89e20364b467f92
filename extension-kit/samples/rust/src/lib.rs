//! Three functions that work for as long as they are told, hold memory and a file while
//! they do, and give both back when they are interrupted: by `Drop`, on the way of the `?`
//! behind each check. And a class with a method that does the like.
//!
//! The class and the exception are the process's: pyo3 makes them once, and a module that
//! is imported again has the same ones.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use interruptible::{Failure, Region, Require, Stopped, Worker, workers};
use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

mod resources;

use resources::{Memory, TempFile};

/// What is in a buffer of float64. A copy: others may write to it while nobody here has
/// the GIL.
fn copy(values: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let buffer = PyUntypedBuffer::get(values)?;
    // If it is empty, it can be anywhere, also where no f64 may be.
    if buffer.item_count() == 0 && buffer.format() == c"d" {
        return Ok(Vec::new());
    }
    let buffer: PyBuffer<f64> = buffer.into_typed()?;
    buffer.to_vec(values.py())
}

/// Sums the values, so many times over, with the GIL released.
#[pyfunction]
fn sum_array(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    repeat: usize,
    directory: &str,
) -> PyResult<f64> {
    let values = Memory::new(copy(values)?);
    let mut file = TempFile::create(Path::new(directory))?;
    Region::run(py, |region| {
        let mut sum = 0.0;
        for _ in 0..repeat {
            for value in values.iter() {
                region.check_detached()?;
                sum += value;
            }
        }
        file.write(sum)?;
        Ok::<_, Failure>(sum)
    })
}

/// In how many ways `n` queens can be put on a board of `n` times `n` so that none attacks
/// another. Holds the GIL.
#[pyfunction]
fn queens(py: Python<'_>, n: usize, directory: &str) -> PyResult<u64> {
    if !(1..=32).contains(&n) {
        return Err(PyValueError::new_err(format!(
            "n must be from 1 to 32, not {n}"
        )));
    }
    let mut board = Memory::new(vec![0; n]);
    let mut file = TempFile::create(Path::new(directory))?;
    let region = Region::begin(py)?;
    let count = place(py, &region, &mut board, 0, Attacks::default())?;
    file.write(count as f64)?;
    region.finish(py)?;
    Ok(count)
}

/// What the queens so far attack in the next row, one bit per column.
#[derive(Clone, Copy, Default)]
struct Attacks {
    columns: u32,
    left: u32,
    right: u32,
}

/// Fills the rows from `row` on. The error of a check comes back through all levels.
fn place(
    py: Python<'_>,
    region: &Region,
    board: &mut [usize],
    row: usize,
    attacks: Attacks,
) -> PyResult<u64> {
    region.check(py)?;
    if row == board.len() {
        return Ok(1);
    }
    let mut count = 0;
    for column in 0..board.len() {
        let bit = 1 << column;
        if (attacks.columns | attacks.left | attacks.right) & bit != 0 {
            continue;
        }
        board[row] = column;
        let next = Attacks {
            columns: attacks.columns | bit,
            left: (attacks.left | bit) << 1,
            right: (attacks.right | bit) >> 1,
        };
        count += place(py, region, board, row + 1, next)?;
    }
    Ok(count)
}

/// The same as `sum_array` in threads of their own, each with a part of the values.
#[pyfunction]
fn parallel_sum(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    repeat: usize,
    threads: usize,
    directory: &str,
) -> PyResult<f64> {
    if threads == 0 {
        return Err(PyValueError::new_err("threads must be at least 1, not 0"));
    }
    let values = Memory::new(copy(values)?);
    let mut file = TempFile::create(Path::new(directory))?;
    let stop = Stop::default();
    let result = workers(py, |scope| {
        let part = values.len().div_ceil(threads).max(1);
        let mut tasks = Vec::new();
        for values in values.chunks(part) {
            let stop = &stop;
            tasks.push(scope.spawn(move |worker| {
                // Each has memory of its own, and drops it where it stops.
                let sums = sum_part(worker, stop, values, repeat)?;
                Ok::<f64, Stopped>(sums.iter().sum())
            }));
        }
        let sum = tasks
            .into_iter()
            .map(|task| task.join())
            .sum::<Result<f64, Stopped>>()?;
        file.write(sum)?;
        Ok::<_, Failure>(sum)
    });
    if stop.first_to_last().is_some() {
        *LAST_STOP.lock().unwrap() = Some(stop);
    }
    result
}

/// How many values are summed between two checks.
const BLOCK: usize = 32;

fn sum_part(
    worker: Worker<'_>,
    stop: &Stop,
    values: &[f64],
    repeat: usize,
) -> Result<Memory<f64>, Stopped> {
    let mut sums = Memory::new(vec![0.0; BLOCK]);
    for _ in 0..repeat {
        for block in values.chunks(BLOCK) {
            stop.check(worker)?;
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += value;
            }
        }
    }
    Ok(sums)
}

static LAST_STOP: Mutex<Option<Stop>> = Mutex::new(None);

/// How the workers stopped. A real module has no need of this.
#[derive(Default)]
struct Stop {
    /// 1 from when a worker has seen that something is pending.
    seen: AtomicU64,
    passed_after: AtomicU64,
    times: Mutex<Vec<Instant>>,
}

impl Stop {
    /// The check of a worker, watched.
    fn check(&self, worker: Worker<'_>) -> Result<(), Stopped> {
        let seen = self.seen.load(Ordering::Acquire);
        let pending = worker.is_pending();
        if pending {
            self.seen.store(1, Ordering::Release);
        }
        let result = worker.check();
        match result {
            Err(_) => self.times.lock().unwrap().push(Instant::now()),
            Ok(()) if pending => {
                // It was no reason to stop: what follows is no check that passed after one.
                self.passed_after.store(0, Ordering::Relaxed);
                self.seen.store(0, Ordering::Release);
            }
            Ok(()) if seen != 0 => {
                self.passed_after.fetch_add(1, Ordering::Relaxed);
            }
            Ok(()) => {}
        }
        result
    }

    /// Seconds, if any has stopped.
    fn first_to_last(&self) -> Option<f64> {
        let times = self.times.lock().unwrap();
        let (first, last) = (times.iter().min()?, times.iter().max()?);
        Some(last.duration_since(*first).as_secs_f64())
    }
}

/// How the workers of the last `parallel_sum` that was interrupted have stopped: how many
/// checks passed after one of them had seen the interrupt, and how many seconds there were
/// between the first and the last. Empty if there was none.
#[pyfunction]
fn last_stop(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let report = PyDict::new(py);
    if let Some(stop) = &*LAST_STOP.lock().unwrap() {
        report.set_item("passed_after", stop.passed_after.load(Ordering::Relaxed))?;
        report.set_item("spread", stop.first_to_last())?;
    }
    Ok(report)
}

create_exception!(
    sample_rust,
    Error,
    PyValueError,
    "Values that cannot be worked with."
);

/// A copy of the float64 buffer values. Error if one of them is not finite.
// Never changes, so it needs no lock where there is no GIL.
#[pyclass(frozen, subclass, module = "sample_rust")]
struct Values(Vec<f64>);

#[pymethods]
impl Values {
    #[new]
    #[pyo3(signature = (values, /))]
    fn new(py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<Self> {
        let values = copy(values)?;
        let bad = Region::run(py, |region| {
            for (index, value) in values.iter().enumerate() {
                region.check_detached()?;
                if !value.is_finite() {
                    return Ok(Some(index));
                }
            }
            Ok::<_, Failure>(None)
        })?;
        match bad {
            Some(index) => Err(Error::new_err(format!("value {index} is not finite"))),
            None => Ok(Values(values)),
        }
    }

    /// Their sum, taken repeat times. Error if it is too large for a float.
    #[pyo3(signature = (repeat = 1, /))]
    fn sum(&self, py: Python<'_>, repeat: usize) -> PyResult<f64> {
        let sum = Region::run(py, |region| {
            let mut sum = 0.0;
            for _ in 0..repeat {
                for value in &self.0 {
                    region.check_detached()?;
                    sum += value;
                }
            }
            Ok::<f64, Failure>(sum)
        })?;
        if !sum.is_finite() {
            return Err(Error::new_err("the sum is too large for a float"));
        }
        Ok(sum)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __concat__(&self, other: &Values) -> Values {
        Values([&self.0[..], &other.0[..]].concat())
    }
}

/// How many bytes and how many files are held now.
#[pyfunction]
fn live() -> (usize, usize) {
    resources::live()
}

/// "native" or "fallback".
#[pyfunction]
fn backend() -> &'static str {
    interruptible::backend()
}

/// A module in Rust that can be interrupted in each of its loops.
#[pymodule(gil_used = false)]
fn sample_rust(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interruptible::import(module.py(), Require::Any)?;
    module.add("Error", module.py().get_type::<Error>())?;
    module.add_class::<Values>()?;
    module.add_function(wrap_pyfunction!(sum_array, module)?)?;
    module.add_function(wrap_pyfunction!(queens, module)?)?;
    module.add_function(wrap_pyfunction!(parallel_sum, module)?)?;
    module.add_function(wrap_pyfunction!(last_stop, module)?)?;
    module.add_function(wrap_pyfunction!(live, module)?)?;
    module.add_function(wrap_pyfunction!(backend, module)?)
}
