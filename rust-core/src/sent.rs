//! What other threads have sent, until the thread it is for collects it.
//!
//! Any number of threads push, one takes everything. A lock would do for them, but
//! not for a thread that is stopped while it holds it (fork, a debugger, stop the
//! world), and the owner asks at check points, where it must not wait. So this is
//! Treiber's stack with a single consumer: push is a compare-and-swap loop, the
//! owner takes the whole list by one swap and reverses it. Nothing is ever removed
//! from the middle, so no node is freed that a sender could still look at and there
//! is no ABA problem: a sender compares the head, it never follows it.
//!
//! The owner's eval breaker says that there is something to collect. The order is:
//! a sender pushes and then sets the bit, the owner clears the bit and then takes.
//! Both are read-modify-writes of one word. If the owner's clearing comes after the
//! sender's setting, it synchronises with it, and the push is seen by the swap. If it
//! comes before, the bit is up again and the owner will ask once more. Either way
//! nothing is left behind.
//!
//! The list is unbounded; it is as long as what was sent since the owner's last
//! check point. Equal interrupts become one when they are collected
//! (`pending.rs`). An owner that is blocked and masked has no check point for long:
//! where the GIL keeps it from running, whoever sends a class collects for it.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// An exception or a class: an address, never dereferenced here.
pub type Address = usize;

/// How an exception was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum How {
    /// An instance, with its data.
    Instance,
    /// A class: it carries no data, so two of them are one.
    Class,
    /// Takes the place of the last one sent so; address 0 only withdraws it.
    Replacing,
    /// Raised whatever masks.
    Forced,
}

/// One exception on its way.
#[derive(Debug)]
#[repr(C)]
pub struct Node {
    /// What was sent.
    pub exception: Address,
    /// How it was sent.
    pub how: How,
    next: *mut Node,
}

/// Why an exception could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// The thread has ended.
    Closed,
    /// There was no memory.
    NoMemory,
}

/// The list, newest first. All zero bytes are an empty one.
#[derive(Debug)]
#[repr(transparent)]
pub struct Sent {
    head: AtomicPtr<Node>,
}

/// The head of a list that takes no more. Never dereferenced, and no address of a
/// node, since those are aligned.
fn closed() -> *mut Node {
    ptr::without_provenance_mut(1)
}

/// A node on the heap, or nothing if there is no memory: `Box::new` would abort.
fn allocate(node: Node) -> Option<*mut Node> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(node);
    Some(Box::into_raw(room.into_boxed_slice()).cast())
}

/// The counterpart of [`allocate`].
///
/// # Safety
///
/// `node` comes from `allocate` and nobody else has it any more.
unsafe fn take_back(node: *mut Node) -> Node {
    // SAFETY: a boxed slice of one node, by the contract above.
    let [node] = *unsafe { Box::from_raw(node.cast::<[Node; 1]>()) };
    node
}

impl Default for Sent {
    fn default() -> Self {
        Sent {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

impl Sent {
    /// Any thread: append an exception.
    ///
    /// # Errors
    ///
    /// If the list is closed or there is no memory; then nothing has changed.
    pub fn push(&self, exception: Address, how: How) -> Result<(), NotSent> {
        let mut head = self.head.load(Ordering::Relaxed);
        let node = allocate(Node {
            exception,
            how,
            next: ptr::null_mut(),
        })
        .ok_or(NotSent::NoMemory)?;
        loop {
            if head == closed() {
                // SAFETY: made above, and never published.
                let _ = unsafe { take_back(node) };
                return Err(NotSent::Closed);
            }
            // SAFETY: still ours alone until the exchange below succeeds.
            unsafe { (*node).next = head };
            // Release: publishes the node; paired with the swap in `take`. Pushes
            // in between are read-modify-writes and carry it on.
            match self
                .head
                .compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// The owner: take all that was sent, oldest first.
    pub fn collect(&self) -> Vec<Node> {
        // Relaxed: only the owner closes, and what a sender pushes just now is
        // announced by the eval breaker again.
        let head = self.head.load(Ordering::Relaxed);
        if head.is_null() || head == closed() {
            return Vec::new();
        }
        self.take(ptr::null_mut())
    }

    /// The owner: take all, and take no more from now on.
    pub fn close(&self) -> Vec<Node> {
        if self.head.load(Ordering::Relaxed) == closed() {
            return Vec::new();
        }
        self.take(closed())
    }

    fn take(&self, leave: *mut Node) -> Vec<Node> {
        // Acquire: paired with the exchange in `push`; all nodes are complete.
        let mut next = self.head.swap(leave, Ordering::Acquire);
        let mut nodes = Vec::new();
        while !next.is_null() {
            // SAFETY: in the list, so made by `allocate`; the swap made it ours.
            let node = unsafe { take_back(next) };
            next = node.next;
            nodes.push(node);
        }
        nodes.reverse();
        nodes
    }

    /// The owner: is one of those that were not collected forced?
    pub fn any_forced(&self) -> bool {
        self.any(|node| node.how == How::Forced)
    }

    /// The owner: is nothing but classes waiting to be collected?
    pub fn are_classes(&self) -> bool {
        !self.any(|node| node.how != How::Class)
    }

    fn any(&self, found: impl Fn(&Node) -> bool) -> bool {
        // Acquire: paired with the exchange in `push`. Nodes are freed by the owner only.
        let mut next = self.head.load(Ordering::Acquire);
        while !next.is_null() && next != closed() {
            // SAFETY: in the list, so made by `allocate` and complete.
            let node = unsafe { &*next };
            if found(node) {
                return true;
            }
            next = node.next;
        }
        false
    }

    /// The owner: has anything been sent that was not collected?
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == closed()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn exceptions(nodes: &[Node]) -> Vec<Address> {
        nodes.iter().map(|node| node.exception).collect()
    }

    #[test]
    fn classes_are_told_from_the_rest() {
        let sent = Sent::default();
        assert!(sent.are_classes());
        sent.push(1, How::Class).unwrap();
        assert!(sent.are_classes());
        sent.push(2, How::Replacing).unwrap();
        sent.push(1, How::Class).unwrap();
        assert!(!sent.are_classes());
        sent.collect();
    }

    #[test]
    fn oldest_first() {
        let sent = Sent::default();
        assert!(sent.is_empty());
        for exception in [3, 1, 2] {
            assert_eq!(sent.push(exception, How::Instance), Ok(()));
        }
        assert!(!sent.is_empty());
        assert_eq!(exceptions(&sent.collect()), [3, 1, 2]);
        assert!(sent.collect().is_empty());
        assert!(sent.is_empty());
    }

    #[test]
    fn forced_ones_are_seen() {
        let sent = Sent::default();
        sent.push(1, How::Forced).unwrap();
        sent.push(2, How::Instance).unwrap();
        assert!(sent.any_forced());
        sent.collect();
        sent.push(2, How::Instance).unwrap();
        assert!(!sent.any_forced());
        sent.close();
        assert!(!sent.any_forced());
    }

    #[test]
    fn closed_takes_no_more() {
        let sent = Sent::default();
        sent.push(1, How::Class).unwrap();
        assert_eq!(exceptions(&sent.close()), [1]);
        assert_eq!(sent.push(2, How::Class), Err(NotSent::Closed));
        assert!(sent.collect().is_empty());
        assert!(sent.close().is_empty());
        assert!(sent.is_empty());
    }

    #[test]
    fn many_senders_keep_their_order() {
        let sent = Sent::default();
        let mut got = Vec::new();
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|sender| {
                    let sent = &sent;
                    scope.spawn(move || {
                        for i in 0..1_000 {
                            sent.push(sender * 1_000 + i, How::Instance).unwrap();
                        }
                    })
                })
                .collect();
            while !senders.iter().all(|sender| sender.is_finished()) {
                got.extend(exceptions(&sent.collect()));
            }
        });
        got.extend(exceptions(&sent.collect()));
        for sender in 0..4 {
            let own: Vec<_> = got.iter().filter(|&&e| e / 1_000 == sender).collect();
            assert!(own.is_sorted());
        }
        got.sort_unstable();
        assert_eq!(got, (0..4_000).collect::<Vec<_>>());
    }
}
