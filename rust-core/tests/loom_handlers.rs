//! A thread state is deleted by another thread, as the interpreter ends, while a signal
//! handler of its own may look at it.
#![cfg(loom)]

mod explore;

use interrupt_core::kick::Handlers;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

/// In which order things are done. With all but the first, the state is looked at after it
/// was deleted, which loom finds as two accesses that nothing has put in order.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    AskBeforeLooking,
    WaitBeforeTaking,
    NeverWait,
}

struct Record {
    handlers: Handlers,
    /// 0 if it is nobody's any more.
    thread: AtomicU32,
    /// Of the thread that the state belongs to.
    state: UnsafeCell<u32>,
    found: AtomicBool,
}

const ITS: u32 = 1;

impl Record {
    /// A handler in the thread.
    fn signal(&self, order: Order) {
        let early = self.thread.load(Ordering::Relaxed) == ITS;
        let is_its = || match order {
            Order::AskBeforeLooking => early,
            _ => self.thread.load(Ordering::Relaxed) == ITS,
        };
        self.handlers.look(is_its, || {
            // SAFETY: nobody writes to it as long as somebody looks: it is what the model
            // tries, and loom's cell panics if it is not so.
            let found = self.state.with(|state| unsafe { *state });
            assert_eq!(found, 7);
            self.found.store(true, Ordering::Relaxed);
        });
    }

    /// The thread that deletes the state.
    fn delete(&self, order: Order) {
        if order == Order::WaitBeforeTaking {
            self.handlers.wait(thread::yield_now);
        }
        self.thread.store(0, Ordering::Relaxed);
        if !matches!(order, Order::WaitBeforeTaking | Order::NeverWait) {
            self.handlers.wait(thread::yield_now);
        }
        // SAFETY: as above.
        self.state.with_mut(|state| unsafe { *state = 0 });
    }
}

/// A handler beside the deletion; one that looks at another record does no harm. Whether
/// it has found the state.
fn end(order: Order) -> bool {
    let record = Arc::new(Record {
        handlers: Handlers::default(),
        thread: AtomicU32::new(ITS),
        state: UnsafeCell::new(7),
        found: AtomicBool::new(false),
    });
    let handler = {
        let record = Arc::clone(&record);
        thread::spawn(move || record.signal(order))
    };
    let deleter = {
        let record = Arc::clone(&record);
        thread::spawn(move || record.delete(order))
    };
    handler.join().unwrap();
    deleter.join().unwrap();
    record.found.load(Ordering::Relaxed)
}

#[test]
fn a_state_is_there_as_long_as_somebody_looks() {
    explore::check(None, 2, || end(Order::Right));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_handler_that_asks_too_early_finds_nothing() {
    explore::check(None, 2, || end(Order::AskBeforeLooking));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn who_waits_too_early_waits_for_nobody() {
    explore::check(None, 2, || end(Order::WaitBeforeTaking));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn who_does_not_wait_deletes_too_early() {
    explore::check(None, 2, || end(Order::NeverWait));
}
