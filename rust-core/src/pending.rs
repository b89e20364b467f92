//! What waits.
//!
//! Exceptions that signal handlers raised in masked code stand here, oldest
//! first, until the code that masks them is left.  Only the owning thread touches
//! its queue, so there is nothing to synchronise.
//!
//! Two interrupts that cannot be told apart are one: an exception without data
//! whose type already waits is merged.  That also bounds the queue under a burst
//! of Ctrl-C; exceptions with data are all kept, in order.
//!
//! Those of one type that follow each other are raised together, the newest with
//! the others as its context: whoever catches one of them catches all, as if the
//! handlers had raised one after the other in open code. Those of different types
//! are raised one by one, since what catches the one need not catch the other.

use std::collections::VecDeque;

/// An exception, or a type: an address, never dereferenced here.
pub type Address = usize;

#[derive(Debug, Clone, Copy)]
struct Entry {
    exception: Address,
    class: Address,
    /// Whether the exception carries nothing but its type.
    plain: bool,
}

/// What became of an exception that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// An equal one waits already.
    Merged,
    /// There was no memory; nothing has changed.
    NoMemory,
}

/// The exceptions that wait in one thread.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
}

impl Queue {
    /// Append an exception of this type, or merge it with an equal one.
    pub fn push(&mut self, exception: Address, class: Address, plain: bool) -> Pushed {
        if plain && self.entries.iter().any(|e| e.plain && e.class == class) {
            return Pushed::Merged;
        }
        if self.entries.try_reserve(1).is_err() {
            return Pushed::NoMemory;
        }
        self.entries.push_back(Entry {
            exception,
            class,
            plain,
        });
        Pushed::Queued
    }

    /// Take the oldest exception; with `joining`, only if it is of that type.
    pub fn pop(&mut self, joining: Option<Address>) -> Option<Address> {
        let oldest = self.entries.front()?;
        if joining.is_some_and(|class| class != oldest.class) {
            return None;
        }
        self.entries.pop_front().map(|e| e.exception)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Address = 100;
    const B: Address = 200;

    #[test]
    fn order_is_kept() {
        let mut queue = Queue::default();
        for exception in [3, 1, 2] {
            assert_eq!(queue.push(exception, A, false), Pushed::Queued);
        }
        assert_eq!(queue.len(), 3);
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(None)).collect();
        assert_eq!(popped, [3, 1, 2]);
        assert!(queue.is_empty());
    }

    #[test]
    fn equal_plain_exceptions_are_one() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(1, A, true), Pushed::Queued);
        assert_eq!(queue.push(2, B, true), Pushed::Queued);
        assert_eq!(queue.push(3, A, true), Pushed::Merged);
        assert_eq!(queue.len(), 2);
        // Once the first has been raised, the next one is a new interrupt.
        assert_eq!(queue.pop(None), Some(1));
        assert_eq!(queue.push(4, A, true), Pushed::Queued);
    }

    #[test]
    fn exceptions_with_data_are_never_merged() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(1, A, false), Pushed::Queued);
        assert_eq!(queue.push(2, A, false), Pushed::Queued);
        // Nor with one that has none.
        assert_eq!(queue.push(3, A, true), Pushed::Queued);
        assert_eq!(queue.push(4, A, false), Pushed::Queued);
        assert_eq!(queue.len(), 4);
    }

    #[test]
    fn only_neighbours_of_one_type_join() {
        let mut queue = Queue::default();
        for (exception, class) in [(1, A), (2, A), (3, B), (4, A)] {
            queue.push(exception, class, false);
        }
        assert_eq!(queue.pop(None), Some(1));
        assert_eq!(queue.pop(Some(A)), Some(2));
        assert_eq!(queue.pop(Some(A)), None);
        assert_eq!(queue.pop(None), Some(3));
        assert_eq!(queue.pop(Some(B)), None);
        assert_eq!(queue.pop(None), Some(4));
        assert_eq!(queue.pop(Some(A)), None);
    }
}
