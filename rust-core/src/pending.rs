//! What waits.
//!
//! Exceptions that signal handlers raised in masked code stand here, oldest
//! first, until the code that masks them is left.  Only the owning thread touches
//! its queue, so there is nothing to synchronise.
//!
//! Two interrupts that cannot be told apart are one: an exception without data
//! whose type already waits is merged.  That also bounds the queue under a burst
//! of Ctrl-C; exceptions with data are all kept, in order.

use std::collections::VecDeque;

/// An exception, or a type: an address, never dereferenced here.
pub type Address = usize;

#[derive(Debug, Clone, Copy)]
struct Entry {
    exception: Address,
    /// The type, if the exception carries nothing but its type.
    plain_type: Option<Address>,
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
    /// Append an exception, or merge it with an equal one.
    pub fn push(&mut self, exception: Address, plain_type: Option<Address>) -> Pushed {
        if plain_type.is_some() && self.entries.iter().any(|e| e.plain_type == plain_type) {
            return Pushed::Merged;
        }
        if self.entries.try_reserve(1).is_err() {
            return Pushed::NoMemory;
        }
        self.entries.push_back(Entry {
            exception,
            plain_type,
        });
        Pushed::Queued
    }

    /// Take the oldest exception.
    pub fn pop(&mut self) -> Option<Address> {
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

    #[test]
    fn order_is_kept() {
        let mut queue = Queue::default();
        for exception in [3, 1, 2] {
            assert_eq!(queue.push(exception, None), Pushed::Queued);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some(3), Some(1), Some(2)]
        );
        assert_eq!(queue.pop(), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn equal_plain_types_are_one() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(1, Some(100)), Pushed::Queued);
        assert_eq!(queue.push(2, Some(200)), Pushed::Queued);
        assert_eq!(queue.push(3, Some(100)), Pushed::Merged);
        assert_eq!(queue.len(), 2);
        // Once the first has been raised, the next one is a new interrupt.
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(4, Some(100)), Pushed::Queued);
    }

    #[test]
    fn exceptions_with_data_are_never_merged() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(1, None), Pushed::Queued);
        assert_eq!(queue.push(2, None), Pushed::Queued);
        assert_eq!(queue.len(), 2);
    }
}
