//! What waits.
//!
//! Exceptions that signal handlers raised in masked code stand in one queue, those
//! that other threads have sent in another, oldest first, until the code that masks
//! them is left. Only the owning thread touches its queues, so there is nothing to
//! synchronise; what is on its way to them is in `sent.rs`.
//!
//! Two interrupts that cannot be told apart are one: an exception of a handler
//! without data whose type already waits is merged, and so is a class that was sent
//! and already waits. That also bounds the queues under a burst; exceptions with
//! data are all kept, in order.
//!
//! Of handlers: those of one type that follow each other are raised together, the
//! newest with the others as its context: whoever catches one of them catches all,
//! as if the handlers had raised one after the other in open code. Those of
//! different types are raised one by one, since what catches the one need not catch
//! the other.
//!
//! Of other threads: those that a mask held back are raised together, as a group.
//! Where nothing masked, each is raised as itself, at a check point of its own.

use std::collections::VecDeque;

use crate::sent::{Address, How, Node};

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

/// The exceptions of signal handlers that wait in one thread.
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

/// Whether two are one interrupt: the same class.
fn is_equal(one: &Node, other: &Node) -> bool {
    one.exception == other.exception && one.how != How::Instance && other.how != How::Instance
}

/// What was collected of that which other threads have sent.
#[derive(Debug, Default)]
pub struct SentQueue {
    entries: VecDeque<Node>,
    /// How many of the oldest a mask has held back.
    held: usize,
    /// Whether the last one taken was among them.
    together: bool,
    /// Those that no mask holds back; they are raised before the others, each alone.
    forced: VecDeque<Address>,
}

impl SentQueue {
    /// Append what was collected. Returns those that are not kept, since they were
    /// merged, replaced or withdrawn.
    pub fn append(&mut self, nodes: Vec<Node>) -> Vec<Address> {
        let mut dropped = Vec::new();
        for node in nodes {
            match node.how {
                How::Class if self.waits(&node) => {
                    dropped.push(node.exception);
                    continue;
                }
                How::Replacing => dropped.extend(self.withdraw()),
                How::Forced => {
                    self.forced.push_back(node.exception);
                    continue;
                }
                How::Class | How::Instance => {}
            }
            // Nothing takes the place of what was withdrawn.
            if node.exception != 0 {
                self.entries.push_back(node);
            }
        }
        dropped
    }

    fn waits(&self, node: &Node) -> bool {
        // Not the one that can be withdrawn: the other must stay then.
        let same = |e: &Node| e.how == How::Class && e.exception == node.exception;
        self.entries.iter().any(same)
    }

    fn withdraw(&mut self) -> Option<Address> {
        let replaced = |e: &Node| e.how == How::Replacing;
        let index = self.entries.iter().position(replaced)?;
        self.held -= usize::from(index < self.held);
        self.entries.remove(index).map(|e| e.exception)
    }

    /// A mask holds back all that there is now.
    pub fn hold_back(&mut self) {
        self.held = self.entries.len();
    }

    /// Take the oldest; if `joining`, only if it is raised together with the one
    /// taken before, since both have been held back. Also tells how many equal ones
    /// are taken with it.
    pub fn pop(&mut self, joining: bool) -> Option<(Address, usize)> {
        if joining && !self.together {
            return None;
        }
        if !joining {
            if let Some(exception) = self.forced.pop_front() {
                self.together = false;
                return Some((exception, 0));
            }
        }
        let oldest = self.entries.pop_front()?;
        if !joining {
            self.together = self.held > 0;
        }
        self.held = self.held.saturating_sub(1);
        // Until here they were two, since one of them could be withdrawn.
        let mut equal = 0;
        while let Some(index) = self.entries.iter().position(|e| is_equal(e, &oldest)) {
            self.held -= usize::from(index < self.held);
            self.entries.remove(index);
            equal += 1;
        }
        Some((oldest.exception, equal))
    }

    /// Whether there is one that no mask holds back.
    pub fn any_forced(&self) -> bool {
        !self.forced.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.forced.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    fn collect(queue: &mut SentQueue, sent: &[(Address, How)]) -> Vec<Address> {
        let list = crate::sent::Sent::default();
        for &(exception, how) in sent {
            list.push(exception, how).unwrap();
        }
        queue.append(list.collect())
    }

    fn batch(queue: &mut SentQueue) -> Vec<Address> {
        let first = queue.pop(false);
        first
            .into_iter()
            .chain(std::iter::from_fn(|| queue.pop(true)))
            .map(|(exception, _)| exception)
            .collect()
    }

    #[test]
    fn held_back_ones_are_raised_together() {
        let mut queue = SentQueue::default();
        collect(&mut queue, &[(1, How::Instance), (2, How::Class)]);
        queue.hold_back();
        // Arrives before the mask is left, and is not asked about before.
        collect(&mut queue, &[(3, How::Instance)]);
        assert_eq!(batch(&mut queue), [1, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn in_open_code_each_is_raised_alone() {
        let mut queue = SentQueue::default();
        collect(&mut queue, &[(1, How::Instance), (2, How::Instance)]);
        assert_eq!(batch(&mut queue), [1]);
        assert_eq!(batch(&mut queue), [2]);
        assert!(batch(&mut queue).is_empty());
        assert_eq!(queue.pop(true), None);
    }

    #[test]
    fn forced_ones_come_first_and_alone() {
        let mut queue = SentQueue::default();
        collect(&mut queue, &[(1, How::Instance), (2, How::Instance)]);
        queue.hold_back();
        collect(
            &mut queue,
            &[(3, How::Forced), (4, How::Instance), (5, How::Forced)],
        );
        assert!(queue.any_forced());
        assert_eq!(batch(&mut queue), [3]);
        assert_eq!(batch(&mut queue), [5]);
        assert!(!queue.any_forced());
        assert_eq!(queue.len(), 3);
        assert_eq!(batch(&mut queue), [1, 2, 4]);
    }

    #[test]
    fn equal_classes_are_one() {
        let mut queue = SentQueue::default();
        let sent = [(A, How::Class), (B, How::Class), (A, How::Class)];
        assert_eq!(collect(&mut queue, &sent), [A]);
        assert_eq!(queue.len(), 2);
        // An instance of the same address is not a class.
        assert!(collect(&mut queue, &[(A, How::Instance)]).is_empty());
    }

    #[test]
    fn the_newest_replaces_and_null_withdraws() {
        let mut queue = SentQueue::default();
        let sent = [(A, How::Replacing), (1, How::Instance), (B, How::Replacing)];
        assert_eq!(collect(&mut queue, &sent), [A]);
        queue.hold_back();
        assert_eq!(collect(&mut queue, &[(0, How::Replacing)]), [B]);
        assert_eq!(batch(&mut queue), [1]);
        assert!(collect(&mut queue, &[(0, How::Replacing)]).is_empty());
        assert!(queue.is_empty());
    }

    #[test]
    fn a_class_that_can_be_withdrawn_is_equal_until_it_is() {
        let mut queue = SentQueue::default();
        let sent = [(A, How::Class), (1, How::Instance), (A, How::Replacing)];
        collect(&mut queue, &sent);
        assert_eq!(queue.len(), 3);
        queue.hold_back();
        assert_eq!(queue.pop(false), Some((A, 1)));
        assert_eq!(queue.pop(true), Some((1, 0)));
        assert!(queue.is_empty());
        collect(&mut queue, &[(A, How::Replacing), (A, How::Class)]);
        assert_eq!(collect(&mut queue, &[(0, How::Replacing)]), [A]);
        assert_eq!(queue.pop(false), Some((A, 0)));
    }
}
