//! The sweep, a tool for tests: an interrupt at the n-th check point.
//!
//! A test that interrupts a program at random finds a hole if it is lucky. This one
//! counts the checks of one kind and lets an exception arrive at the n-th; a test
//! that runs the program for n = 1, 2, ... until it completes has tried them all.

use crate::sent::Address;

/// Which checks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Check points of the eval loop.
    EvalLoop,
    /// What C code asks by itself.
    CheckSignals,
}

/// One run.
#[derive(Debug)]
pub struct Sweep {
    at: usize,
    place: Where,
    exception: Option<Address>,
    seen: usize,
}

impl Sweep {
    /// Let `exception` arrive at the check number `at`, counted from 1.
    pub fn new(at: usize, place: Where, exception: Address) -> Self {
        Sweep {
            at,
            place,
            exception: Some(exception),
            seen: 0,
        }
    }

    /// A check of this kind. Returns what arrives there.
    pub fn check(&mut self, place: Where) -> Option<Address> {
        if place != self.place {
            return None;
        }
        self.seen += 1;
        if self.seen == self.at {
            self.exception.take()
        } else {
            None
        }
    }

    /// Whether the exception is still to arrive.
    pub fn is_going_on(&self) -> bool {
        self.exception.is_some()
    }

    /// How many checks there were, and the exception if it has not arrived.
    pub fn end(self) -> (usize, Option<Address>) {
        (self.seen, self.exception)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrives_once_at_the_nth_check_of_its_kind() {
        let mut sweep = Sweep::new(2, Where::EvalLoop, 7);
        assert_eq!(sweep.check(Where::EvalLoop), None);
        assert_eq!(sweep.check(Where::CheckSignals), None);
        assert_eq!(sweep.check(Where::EvalLoop), Some(7));
        assert_eq!(sweep.check(Where::EvalLoop), None);
        assert_eq!(sweep.end(), (3, None));
    }

    #[test]
    fn tells_that_the_end_came_first() {
        let mut sweep = Sweep::new(2, Where::CheckSignals, 7);
        assert_eq!(sweep.check(Where::CheckSignals), None);
        assert_eq!(sweep.end(), (1, Some(7)));
    }
}
