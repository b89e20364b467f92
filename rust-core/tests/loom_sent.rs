//! Every interleaving of threads that send with the one that collects or ends.
#![cfg(loom)]

mod explore;

use std::array;

use interrupt_core::sent::{How, Node, NotSent, Sent};
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;

/// How often a thread may be stopped where it could have gone on. Five is the lowest
/// with which all outcomes are seen that there are (see `explore`); four miss four of
/// the 90. Each one more makes it three to four times as slow.
const PREEMPTIONS: Option<usize> = Some(5);

/// A list, and for each exception what the sender knew when it pushed: the owner
/// must know it, too. Loom fails if the one does not happen before the other; of
/// the nodes themselves it cannot tell, they are on the real heap.
struct Shared {
    sent: Sent,
    data: [Cell<usize>; 4],
}

// SAFETY: loom checks every access to a cell and fails at the first race.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Shared {
            sent: Sent::default(),
            data: array::from_fn(|_| Cell::new(0)),
        })
    }

    fn push(&self, exception: usize) -> Result<(), NotSent> {
        self.data[exception].set(exception + 1);
        self.sent.push(exception, How::Instance)
    }

    fn exceptions(&self, nodes: &[Node]) -> Vec<usize> {
        for node in nodes {
            assert_eq!(self.data[node.exception].get(), node.exception + 1);
        }
        nodes.iter().map(|node| node.exception).collect()
    }
}

type Answers = [Result<(), NotSent>; 2];

/// Two threads push two exceptions each, 0 and 1, 2 and 3, while a third one does
/// `own`. Returns what all three got.
fn race<T: Send + 'static>(
    shared: &Arc<Shared>,
    own: impl FnOnce(&Shared) -> T + Send + 'static,
) -> ([Answers; 2], T) {
    let send = |shared: &Shared, first| [first, first + 1].map(|e| shared.push(e));
    let sender = {
        let shared = Arc::clone(shared);
        thread::spawn(move || send(&shared, 2))
    };
    let owner = {
        let shared = Arc::clone(shared);
        thread::spawn(move || own(&shared))
    };
    // The other sender is this thread: with one thread less to start and to wait
    // for it is twice as fast.
    let answers = send(shared, 0);
    ([answers, sender.join().unwrap()], owner.join().unwrap())
}

#[test]
fn none_is_lost_or_doubled_and_each_sender_keeps_its_order() {
    // Six orders of four pushes that keep each sender's own, and for each of them
    // 15 ways to place the owner's two looks in them.
    explore::check(PREEMPTIONS, 6 * 15, || {
        let shared = Shared::new();
        let (answers, [first, second]) = race(&shared, |shared| {
            [(); 2].map(|()| shared.exceptions(&shared.sent.collect()))
        });
        assert_eq!(answers, [[Ok(()); 2]; 2]);
        let last = shared.exceptions(&shared.sent.collect());
        assert!(shared.sent.is_empty());
        let got = [&first[..], &second, &last].concat();
        let of = |sender| got.iter().copied().filter(move |e| e / 2 == sender);
        // Exactly these: so none is missing and none is there twice.
        assert_eq!(of(0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(of(1).collect::<Vec<_>>(), [2, 3]);
        (first, second, last)
    });
}

#[test]
fn what_is_pushed_when_the_thread_ends_is_returned_or_refused() {
    // The list is closed after none, one, ... of the pushes, which have 1, 2, 4, 6
    // and 6 orders then, and each order is cut in two by the look before.
    explore::check(PREEMPTIONS, 1 + 2 * 2 + 4 * 3 + 6 * 4 + 6 * 5, || {
        let shared = Shared::new();
        let (answers, [collected, closed]) = race(&shared, |shared| {
            let collected = shared.exceptions(&shared.sent.collect());
            [collected, shared.exceptions(&shared.sent.close())]
        });
        let accepted: Vec<_> = (0..4).filter(|e| answers[e / 2][e % 2].is_ok()).collect();
        for answer in answers {
            // Once a sender has been refused it does not get through again.
            assert!(answer.is_sorted_by_key(|answer| answer.is_err()));
            assert!(!answer.contains(&Err(NotSent::NoMemory)));
        }
        // Loom does not count nodes. But each that was accepted has come out, once,
        // and there are no others: so each has been freed.
        let mut got = [&collected[..], &closed].concat();
        got.sort_unstable();
        assert_eq!(got, accepted);
        assert!(shared.sent.is_empty());
        assert!(shared.sent.close().is_empty());
        assert!(shared.sent.collect().is_empty());
        (collected, closed)
    });
}
