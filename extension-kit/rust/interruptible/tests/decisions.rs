//! What the owner and its workers tell each other, with threads and without Python.

#[path = "../src/decisions.rs"]
#[allow(dead_code)]
mod decisions;
#[path = "../src/sync.rs"]
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use decisions::{Answer, Decisions, Woken};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(1);

/// The check of an interpreter: clears the flag, and says what it is told to.
fn check(flag: &AtomicU32, result: Result<(), ()>) -> Result<(), ()> {
    flag.store(0, Ordering::Relaxed);
    result
}

#[test]
fn nothing_pending() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(0));
    assert!(!decisions.pending(&flag));
    assert!(!decisions.stopped());
    assert_eq!(decisions.ask(&flag, LONG), Answer::GoOn);
    assert_eq!(decisions.wait(SHORT, |_| false), Woken::Timeout);
}

#[test]
fn a_decision_to_go_on_leaves_nothing_behind() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(1));
    assert!(decisions.pending(&flag));
    let seen = decisions.decide(true, || {
        let result = check(&flag, Ok(()));
        // The flag is clear, the decision is still open.
        assert!(decisions.pending(&flag));
        result
    });
    assert_eq!(seen, Ok(()));
    assert!(!decisions.pending(&flag));
}

#[test]
fn a_decision_to_stop_is_for_good() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(1));
    assert_eq!(decisions.decide(true, || check(&flag, Err(()))), Err(()));
    for _ in 0..3 {
        assert!(decisions.pending(&flag) && decisions.stopped());
        assert_eq!(decisions.ask(&flag, LONG), Answer::Stop);
    }
    let _ = decisions.decide(true, || check(&flag, Ok(())));
    assert!(decisions.stopped());
}

#[test]
fn an_idle_question_stops_nobody() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(0));
    let seen = decisions.decide(false, || {
        assert!(!decisions.pending(&flag));
        Ok::<_, ()>(())
    });
    assert_eq!(seen, Ok(()));
}

#[test]
fn an_owner_that_does_not_answer() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(1));
    let start = Instant::now();
    let limit = Duration::from_millis(30);
    assert_eq!(decisions.ask(&flag, limit), Answer::Nothing);
    assert!(start.elapsed() >= limit);
    // It hears of it later.
    assert_eq!(decisions.wait(LONG, |_| false), Woken::Asked);
    let _ = decisions.decide(true, || check(&flag, Ok(())));
    assert_eq!(decisions.wait(SHORT, |_| false), Woken::Timeout);
}

#[test]
fn a_check_that_panics_stops() {
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(0));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        decisions.decide(true, || -> Result<(), ()> { panic!("on purpose") })
    }));
    assert!(panic.is_err());
    assert_eq!(decisions.ask(&flag, LONG), Answer::Stop);
}

#[test]
fn the_owner_waits_for_the_last_one() {
    let decisions = Decisions::new();
    decisions.enter();
    decisions.enter();
    let left = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                decisions.leave(|| {
                    left.fetch_add(1, Ordering::Relaxed);
                })
            });
        }
        assert_eq!(decisions.wait(LONG, |running| running == 0), Woken::Done);
        assert_eq!(left.load(Ordering::Relaxed), 2);
    });
}

/// Four workers work while 200 signals come, whose handlers return. Each is decided on,
/// and nobody stops.
#[test]
fn handlers_that_return_stop_nobody() {
    const SIGNALS: u32 = 200;
    let (decisions, flag) = (Decisions::new(), AtomicU32::new(0));
    let (over, decided) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            decisions.enter();
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if decisions.pending(&flag) {
                        assert_eq!(decisions.ask(&flag, LONG), Answer::GoOn);
                    }
                }
                decisions.leave(|| ());
            });
        }
        scope.spawn(|| {
            for _ in 0..SIGNALS {
                flag.store(1, Ordering::Relaxed);
                while flag.load(Ordering::Relaxed) != 0 {
                    thread::yield_now();
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        loop {
            match decisions.wait(LONG, |running| running == 0) {
                Woken::Done => break,
                Woken::Timeout => panic!("nobody asks and nobody ends"),
                Woken::Asked => {
                    let _ = decisions.decide(true, || check(&flag, Ok(())));
                    decided.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    assert!(decided.load(Ordering::Relaxed) >= SIGNALS);
}
