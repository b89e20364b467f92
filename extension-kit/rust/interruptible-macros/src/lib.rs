//! The attribute `#[interruptible]` of the crate `interruptible`, which has the
//! documentation.

use proc_macro::TokenStream;

mod expand;

/// Puts a check into each loop of a function.
///
/// It is made each time before the loop goes on, on the way back as well as when it is
/// entered; of a `for`, before the next item is taken, so that none is taken in vain.
/// `for`, `while`, `while let` and `loop`, nested and labelled ones; `continue` gets to
/// the check like the end of the body does.
///
/// What is checked with is the function's parameter of the type `Python<'_>`, `&Region`,
/// `Worker<'_>` or `Attached<'_, '_>`, or anything else that can be checked with:
///
/// ```no_run
/// use interruptible::{Region, Stopped, interruptible};
/// use pyo3::prelude::*;
///
/// #[interruptible]
/// fn primes(region: &Region, limit: u64) -> Result<u64, Stopped> {
///     let mut count = 0;
///     'numbers: for number in 2..limit {
///         let mut divisor = 2;
///         while divisor * divisor <= number {
///             if number % divisor == 0 {
///                 continue 'numbers;
///             }
///             divisor += 1;
///         }
///         count += 1;
///     }
///     Ok(count)
/// }
///
/// #[pyfunction]
/// #[interruptible(with = py)]
/// fn spin(py: Python<'_>) -> PyResult<()> {
///     loop {}
/// }
/// ```
///
/// The function returns a `Result` whose error can be made from what the check returns:
/// with the GIL (`Python`, `Attached`) that is a `PyErr`, without it `Stopped`.
///
/// Left alone are closures, `async` blocks, functions inside of the function, and loops
/// that only come out of another macro: a `?` there would return from them, not from the
/// function, with an error type that this attribute cannot know.
#[proc_macro_attribute]
pub fn interruptible(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), item.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
