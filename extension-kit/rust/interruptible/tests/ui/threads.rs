use interruptible::{Mask, Region};
use pyo3::prelude::*;

// The owner of a region stays its owner.
fn region(py: Python<'_>) -> PyResult<()> {
    let region = Region::begin(py)?;
    std::thread::spawn(move || drop(region));
    Ok(())
}

// A mask is ended in its thread, and attached.
fn mask(py: Python<'_>) -> PyResult<()> {
    let mask = Mask::hard(py)?;
    py.detach(move || drop(mask));
    Ok(())
}

fn main() {}
