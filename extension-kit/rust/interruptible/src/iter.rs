//! Checks between the items of an iterator.

use crate::checker::Checker;

/// `.interruptible(...)` for every iterator.
pub trait InterruptibleIterator: Iterator + Sized {
    /// Checks before each item is taken; with what, see [`Checker`].
    ///
    /// The items become `Result`s. An iterator that simply ended early would be more
    /// comfortable, but then half a sum looks like a sum, and nothing but the caller's
    /// memory makes sure that the region is asked before the sum is used. So the types
    /// do: `?` on the item, or `sum::<Result<_, _>>()` and `collect::<Result<_, _>>()`,
    /// which end at the first error.
    ///
    /// The check comes before the item is taken, so that none is taken in vain, from a
    /// channel for example. After the error there is nothing more.
    ///
    /// ```no_run
    /// use interruptible::{InterruptibleIterator, Region, Stopped};
    /// # use pyo3::prelude::*;
    /// # fn sum(py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
    /// Region::run(py, |region| {
    ///     values.iter().interruptible(region).sum::<Result<f64, Stopped>>()
    /// })
    /// # }
    /// ```
    fn interruptible<C: Checker>(self, checker: C) -> Interruptible<Self, C> {
        Interruptible {
            items: Some(self),
            checker,
        }
    }
}

impl<I: Iterator> InterruptibleIterator for I {}

/// An iterator with checks. See [`InterruptibleIterator::interruptible`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless they are consumed"]
pub struct Interruptible<I, C> {
    /// None once a check has said stop.
    items: Option<I>,
    checker: C,
}

impl<I: Iterator, C: Checker> Iterator for Interruptible<I, C> {
    type Item = Result<I::Item, C::Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let items = self.items.as_mut()?;
        if let Err(stop) = self.checker.checkpoint() {
            self.items = None;
            return Some(Err(stop));
        }
        items.next().map(Ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.items {
            // One item, the error, may be all that comes, or, at the end, one too many.
            Some(items) => {
                let (lower, upper) = items.size_hint();
                (lower.min(1), upper.map(|upper| upper.max(1)))
            }
            None => (0, Some(0)),
        }
    }
}
