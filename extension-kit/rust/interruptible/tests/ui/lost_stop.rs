#![deny(unused_must_use)]

use interruptible::{InterruptibleIterator, Region, Stopped};
use pyo3::prelude::*;

// The exception cannot be replaced by another one, by accident.
fn question_mark(region: &Region) -> PyResult<()> {
    region.check_detached()?;
    Ok(())
}

// Half a sum is no sum.
fn partial(region: &Region, values: &[f64]) -> f64 {
    values.iter().copied().interruptible(region).sum::<f64>()
}

fn ignored(region: &Region) -> Result<(), Stopped> {
    region.check_detached();
    Ok(())
}

fn main() {}
