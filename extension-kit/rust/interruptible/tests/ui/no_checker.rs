use interruptible::{Region, Stopped, interruptible};
use pyo3::prelude::*;

#[interruptible]
fn none(n: u32) -> Result<(), Stopped> {
    for _ in 0..n {}
    Ok(())
}

#[interruptible]
fn two(py: Python<'_>, region: &Region) -> PyResult<()> {
    loop {}
}

#[interruptible(with = n)]
fn other(n: u32) -> Result<(), Stopped> {
    loop {}
}

#[interruptible(region)]
fn arguments(region: &Region) -> Result<(), Stopped> {
    loop {}
}

fn main() {}
