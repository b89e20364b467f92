//! How a thread learns that something was sent to it or that a signal arrived: the
//! order in which senders, signal handlers and the owner touch the eval breaker.
//!
//! The orderings are those of the interpreter, with one difference: it uses `seq_cst`
//! for what is `AcqRel`, `Acquire` or `Release` here. Loom does not model the single
//! order of all `seq_cst` accesses and treats them as these anyway. So the models
//! show that the protocol does without that order. Where a comment names no pair for
//! one half of `AcqRel`, the protocol does without that, too.
//!
//! There is one signal. If two with different numbers arrive on two threads at once,
//! the owner's clearing of `is_tripped` can hide the second one; only the single order
//! helps against that, so loom cannot say anything about it.
#![cfg(loom)]

mod explore;

use interrupt_core::sent::{Address, How, Sent};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// How often a thread may be stopped where it could have gone on. Every mutant fails
/// with one, three are the lowest with which all outcomes are seen that there are
/// (see `explore`). The two more are room for what loom does not tell apart by outcome;
/// they cost two seconds. Without a bound it takes fifteen and finds nothing else.
const PREEMPTIONS: Option<usize> = Some(5);

/// `_PY_SIGNALS_PENDING_BIT`: a signal has arrived.
const SIGNALS: usize = 1;
/// `_PY_INTERRUPTS_PENDING_BIT`: what signal handlers raised waits. The owner's alone.
const RAISED: usize = 2;
/// `_PY_ASYNC_EXCEPTION_BIT`: other threads have sent something.
const SENT: usize = 4;

/// What the signal's Python handler raises.
const FROM_HANDLER: Address = 100;

/// In which order things are done. All but the first lose something.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    SetBeforePush,
    SetBeforeTrip,
    TakeBeforeUnset,
    ReadBeforeUnset,
}

/// What a thread shares with those that interrupt it.
struct Target {
    breaker: AtomicUsize,
    sent: Sent,
    is_tripped: AtomicBool,
    /// `Handlers[sig_num].tripped` of the one signal there is.
    handler_tripped: AtomicBool,
    order: Order,
}

impl Target {
    fn new(order: Order) -> Arc<Self> {
        Arc::new(Target {
            breaker: AtomicUsize::new(0),
            sent: Sent::default(),
            is_tripped: AtomicBool::new(false),
            handler_tripped: AtomicBool::new(false),
            order,
        })
    }

    /// `_Py_set_eval_breaker_bit()`.
    fn set(&self, bits: usize) {
        // Release: what the bit announces was done before, and whoever unsets the
        // bit afterwards sees it; paired with the acquire in `unset`. Other threads'
        // bits may be set in between, also by read-modify-writes, which carry it on.
        self.breaker.fetch_or(bits, Ordering::AcqRel);
    }

    /// `_Py_unset_eval_breaker_bit()`. Also tells whether one of the bits was set.
    fn unset(&self, bits: usize) -> bool {
        // Acquire: paired with the release in `set`. A `set` that comes later than
        // this in the order of the word leaves the bit up.
        self.breaker.fetch_and(!bits, Ordering::AcqRel) & bits != 0
    }

    /// Another thread, in `send_to()`.
    fn send(&self, exception: Address) {
        if self.order == Order::SetBeforePush {
            self.set(SENT);
            self.sent.push(exception, How::Instance).unwrap();
        } else {
            self.sent.push(exception, How::Instance).unwrap();
            self.set(SENT);
        }
    }

    /// The handler in C, in `trip_signal()`. It runs on any thread, between any two
    /// instructions, and cannot wait. On a thread of its own it does all that it
    /// could do on the owner's, and sees and shows less.
    fn signal(&self) {
        if self.order == Order::SetBeforeTrip {
            self.set(SIGNALS);
            self.trip();
        } else {
            self.trip();
            self.set(SIGNALS);
        }
    }

    fn trip(&self) {
        // Release, as the interpreter's. It has nothing to publish.
        self.handler_tripped.store(true, Ordering::Release);
        // Release: whoever sees this sees which signal it was; paired with the load
        // in `take_signal`.
        self.is_tripped.store(true, Ordering::Release);
    }

    /// The owner, in `_PyErr_CheckSignalsAt()`: must the handler in Python run?
    fn take_signal(&self) -> bool {
        // Acquire: paired with the store in `trip`.
        if !self.is_tripped.load(Ordering::Acquire) {
            return false;
        }
        // Release, as the interpreter's. It has nothing to publish.
        self.is_tripped.store(false, Ordering::Release);
        // Relaxed: the load above has acquired it.
        let tripped = self.handler_tripped.load(Ordering::Relaxed);
        if tripped {
            self.handler_tripped.store(false, Ordering::Relaxed);
        }
        tripped
    }

    fn collect(&self) -> Vec<Address> {
        let nodes = self.sent.collect();
        nodes.iter().map(|node| node.exception).collect()
    }
}

/// What the thread has for itself.
struct Owner {
    target: Arc<Target>,
    masked: bool,
    /// The bits that the mask has taken out of the eval breaker.
    waiting: usize,
    from_handlers: Vec<Address>,
    from_threads: Vec<Address>,
    /// Whether the mask took out a bit that had just been set again.
    unset_again: bool,
}

impl Owner {
    fn new(target: &Arc<Target>) -> Self {
        Owner {
            target: Arc::clone(target),
            masked: false,
            waiting: 0,
            from_handlers: Vec::new(),
            from_threads: Vec::new(),
            unset_again: false,
        }
    }

    /// A check point, `_Py_HandlePending()`. Returns what it raises. There, it raises
    /// only the first and leaves the bits of the others up; that is between the owner
    /// and itself.
    fn check(&mut self) -> Vec<Address> {
        // Relaxed: this one only says where to look, `unset` acquires. A bit that is
        // not seen yet is seen at a later check point.
        let bits = self.target.breaker.load(Ordering::Relaxed);
        let mut raised = Vec::new();
        if bits & SIGNALS != 0 {
            raised.extend(self.handle_signals());
        }
        if bits & RAISED != 0 {
            raised.extend(self.deliver_raised());
        }
        if bits & SENT != 0 {
            raised.extend(self.deliver_sent());
        }
        raised
    }

    /// `handle_signals()`. The signal's handler runs in masked code, too.
    fn handle_signals(&mut self) -> Vec<Address> {
        if self.target.order == Order::ReadBeforeUnset {
            let raised = self.check_signals();
            self.target.unset(SIGNALS);
            raised
        } else {
            self.target.unset(SIGNALS);
            self.check_signals()
        }
    }

    /// `_PyErr_CheckSignalsAt()`. A call that was interrupted calls it without looking
    /// at the eval breaker.
    fn check_signals(&mut self) -> Vec<Address> {
        if !self.target.take_signal() {
            return Vec::new();
        }
        self.from_handlers.push(FROM_HANDLER);
        self.deliver_raised()
    }

    /// `deliver_raised()`.
    fn deliver_raised(&mut self) -> Vec<Address> {
        self.target.unset(RAISED);
        if self.from_handlers.is_empty() || self.must_wait(RAISED) {
            return Vec::new();
        }
        std::mem::take(&mut self.from_handlers)
    }

    /// `_PyInterrupts_DeliverSent()`.
    fn deliver_sent(&mut self) -> Vec<Address> {
        if self.target.order == Order::TakeBeforeUnset {
            self.from_threads.extend(self.target.collect());
            self.target.unset(SENT);
        } else {
            self.target.unset(SENT);
            self.from_threads.extend(self.target.collect());
        }
        if self.from_threads.is_empty() || self.must_wait(SENT) {
            return Vec::new();
        }
        std::mem::take(&mut self.from_threads)
    }

    /// `_PyInterrupts_MustWait()`. It unsets the bit after what it announces has been
    /// taken: what was sent in between is found when the mask is left.
    fn must_wait(&mut self, bit: usize) -> bool {
        if self.masked {
            self.waiting |= bit;
            self.unset_again |= self.target.unset(bit);
        }
        self.masked
    }

    /// `_PyInterrupts_TryInterrupts()`.
    fn leave(&mut self) {
        self.masked = false;
        let bits = std::mem::take(&mut self.waiting);
        if bits != 0 {
            self.target.set(bits);
        }
    }
}

/// What is raised in open code, after a mask has been left, and at the last check;
/// what the mask held back, and whether it took out a bit that was set again.
type Outcome = ([Vec<Address>; 3], Vec<Address>, bool);

/// One thread sends exceptions 0 and 1, a signal arrives, and the owner checks in open
/// code, masked, and in open code again.
fn interrupt(order: Order) -> Outcome {
    let target = Target::new(order);
    let handler = {
        let target = Arc::clone(&target);
        thread::spawn(move || target.signal())
    };
    let owner = {
        let mut owner = Owner::new(&target);
        thread::spawn(move || {
            let open = owner.check();
            owner.masked = true;
            assert!(owner.check().is_empty());
            let held = [&owner.from_handlers[..], &owner.from_threads].concat();
            owner.leave();
            let left = owner.check();
            (owner, open, held, left)
        })
    };
    // The sender is this thread: one less to start and to wait for.
    for exception in 0..2 {
        target.send(exception);
    }
    handler.join().unwrap();
    let (mut owner, open, held, left) = owner.join().unwrap();
    let last = owner.check();

    let raised = [&open[..], &left, &last].concat();
    let (from_handlers, from_threads): (Vec<_>, Vec<_>) =
        raised.into_iter().partition(|&e| e == FROM_HANDLER);
    assert_eq!(from_handlers, [FROM_HANDLER], "the signal, once");
    assert_eq!(from_threads, [0, 1], "what was sent, once and in order");
    assert_nothing_left(&owner);
    ([open, left, last], held, owner.unset_again)
}

fn assert_nothing_left(owner: &Owner) {
    let target = &owner.target;
    assert_eq!(target.breaker.load(Ordering::Relaxed), 0);
    assert_eq!(owner.waiting, 0);
    assert!(target.sent.is_empty());
    assert!(!target.is_tripped.load(Ordering::Relaxed));
    assert!(!target.handler_tripped.load(Ordering::Relaxed));
}

/// There are four ways for an exception: raised in open code, held back, missed by
/// the masked check and raised after it, raised at the last check. The signal's goes
/// any of them, the two that are sent any in this order, which are ten pairs. If the
/// first is held back and the second is held back or raised next, the second may
/// have set the bit again before the mask took it out: two more.
const OUTCOMES: usize = 4 * (10 + 2);

#[test]
fn everything_is_raised_once() {
    explore::check(PREEMPTIONS, OUTCOMES, || interrupt(Order::Right));
}

#[test]
fn a_call_that_was_interrupted_finds_the_signal_without_the_bit() {
    // It finds it, or the next check point does, or the last.
    explore::check(PREEMPTIONS, 3, || {
        let target = Target::new(Order::Right);
        let handler = {
            let target = Arc::clone(&target);
            thread::spawn(move || target.signal())
        };
        let owner = {
            let mut owner = Owner::new(&target);
            thread::spawn(move || {
                let blocked = owner.check_signals();
                let running = owner.check();
                (owner, blocked, running)
            })
        };
        handler.join().unwrap();
        let (mut owner, blocked, running) = owner.join().unwrap();
        let raised = [blocked, running, owner.check()];
        assert_eq!(raised.concat(), [FROM_HANDLER], "the signal, once");
        assert_nothing_left(&owner);
        raised
    });
}

#[test]
#[should_panic(expected = "what was sent, once and in order")]
fn a_bit_set_before_the_push_is_noticed() {
    explore::check(PREEMPTIONS, OUTCOMES, || interrupt(Order::SetBeforePush));
}

#[test]
#[should_panic(expected = "the signal, once")]
fn a_bit_set_before_the_signal_is_noted_is_noticed() {
    explore::check(PREEMPTIONS, OUTCOMES, || interrupt(Order::SetBeforeTrip));
}

#[test]
#[should_panic(expected = "what was sent, once and in order")]
fn taking_before_the_bit_is_unset_is_noticed() {
    explore::check(PREEMPTIONS, OUTCOMES, || interrupt(Order::TakeBeforeUnset));
}

#[test]
#[should_panic(expected = "the signal, once")]
fn reading_before_the_bit_is_unset_is_noticed() {
    explore::check(PREEMPTIONS, OUTCOMES, || interrupt(Order::ReadBeforeUnset));
}
