//! The flag that C code polls: whoever takes it finds the bit it was raised for, and one
//! that is raised later is not taken by mistake.
#![cfg(loom)]

mod explore;

use interrupt_core::flag::Flag;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// In which order things are done. All but the first lose something.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    RaiseBeforeBit,
    ReadBeforeTake,
}

struct Target {
    breaker: AtomicUsize,
    flag: Flag,
}

impl Target {
    /// Who interrupts, a signal handler say.
    fn interrupt(&self, order: Order) {
        if order == Order::RaiseBeforeBit {
            self.flag.raise();
        }
        // Relaxed: the flag publishes it.
        self.breaker.fetch_or(1, Ordering::Relaxed);
        if order != Order::RaiseBeforeBit {
            self.flag.raise();
        }
    }

    /// The thread polls once. Whether it has found the bit, and taken it down.
    fn poll(&self, order: Order) -> bool {
        let early = self.breaker.load(Ordering::Relaxed);
        if !self.flag.take() {
            return false;
        }
        if order == Order::ReadBeforeTake && early == 0 {
            return false;
        }
        self.breaker.fetch_and(!1, Ordering::Relaxed) != 0
    }
}

/// One interrupt, a poll beside it, and one after it. Which of them has found it.
fn interrupt(order: Order) -> bool {
    let target = Arc::new(Target {
        breaker: AtomicUsize::new(0),
        flag: Flag::default(),
    });
    let sender = {
        let target = Arc::clone(&target);
        thread::spawn(move || target.interrupt(order))
    };
    let owner = thread::spawn(move || {
        let beside = target.poll(order);
        (beside, target)
    });
    sender.join().unwrap();
    let (beside, target) = owner.join().unwrap();
    let afterwards = target.poll(order);
    assert!(beside != afterwards, "{beside}, {afterwards}");
    beside
}

#[test]
fn an_interrupt_is_found_once() {
    explore::check(None, 2, || interrupt(Order::Right));
}

#[test]
#[should_panic(expected = "false, false")]
fn a_flag_raised_too_early_loses_it() {
    explore::check(None, 2, || interrupt(Order::RaiseBeforeBit));
}

#[test]
#[should_panic(expected = "false, false")]
fn bits_read_too_early_lose_it() {
    explore::check(None, 2, || interrupt(Order::ReadBeforeTake));
}
