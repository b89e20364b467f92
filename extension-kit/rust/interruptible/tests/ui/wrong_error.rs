use interruptible::{Region, interruptible};
use pyo3::prelude::*;

// A PyErr cannot be made from what a check without the GIL says.
#[interruptible]
fn detached(region: &Region) -> PyResult<()> {
    loop {}
}

#[interruptible]
fn text(region: &Region) -> Result<(), String> {
    loop {}
}

fn main() {}
