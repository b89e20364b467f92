//! The fall-back's pace, with a clock of its own.

#[path = "../src/pace.rs"]
mod pace;

use std::time::{Duration, Instant};

use pace::{LONGEST, Pace};

const INTERVAL: Duration = Duration::from_millis(10);

/// Steps that take `step` each: when is the interpreter asked, and how often is the clock
/// read? For `time`, with a pace that is in use already.
fn run(pace: &mut Pace, now: &mut Instant, step: Duration, time: Duration) -> (Vec<Instant>, u32) {
    let end = *now + time;
    let (mut asked, mut reads) = (Vec::new(), 0);
    while *now < end {
        *now += step * (pace.countdown() + 1);
        reads += 1;
        if pace.due(*now) {
            asked.push(*now);
            pace.asked(INTERVAL, *now);
        }
    }
    (asked, reads)
}

#[test]
fn asks_once_per_interval_whatever_a_step_takes() {
    for nanoseconds in [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let mut now = Instant::now();
        let mut pace = Pace::new(INTERVAL, now);
        let mut last = now;
        let step = Duration::from_nanos(nanoseconds);
        let (asked, _) = run(&mut pace, &mut now, step, Duration::from_millis(200));
        assert!(asked.len() >= 8, "{step:?}: {}", asked.len());
        for time in asked {
            let passed = time - last;
            assert!(passed >= INTERVAL, "{step:?}: {passed:?}");
            assert!(passed <= INTERVAL * 3 / 2, "{step:?}: {passed:?}");
            last = time;
        }
    }
}

#[test]
fn reads_the_clock_seldom_in_a_fast_loop() {
    let mut now = Instant::now();
    let mut pace = Pace::new(INTERVAL, now);
    let step = Duration::from_nanos(10);
    run(&mut pace, &mut now, step, Duration::from_millis(1));
    let (_, reads) = run(&mut pace, &mut now, step, Duration::from_millis(100));
    let checks = 100_000_000 / 10;
    assert!(reads <= checks / LONGEST + 1, "{reads}");
}

#[test]
fn reads_it_each_time_in_a_slow_loop() {
    let mut now = Instant::now();
    let mut pace = Pace::new(INTERVAL, now);
    let step = Duration::from_millis(20);
    let (asked, reads) = run(&mut pace, &mut now, step, Duration::from_secs(1));
    assert_eq!((asked.len(), reads), (50, 50));
}

#[test]
fn a_loop_that_becomes_slow_is_lost_for_one_countdown_only() {
    let mut now = Instant::now();
    let mut pace = Pace::new(INTERVAL, now);
    let fast = Duration::from_nanos(10);
    run(&mut pace, &mut now, fast, Duration::from_millis(5));
    assert_eq!(pace.countdown() + 1, LONGEST);
    let slow = Duration::from_millis(1);
    now += slow * LONGEST;
    assert!(pace.due(now));
    assert_eq!(pace.countdown(), 0);
}

#[test]
fn no_interval_asks_always() {
    let mut now = Instant::now();
    let mut pace = Pace::new(Duration::ZERO, now);
    for _ in 0..10 {
        assert_eq!(pace.countdown(), 0);
        now += Duration::from_nanos(1);
        assert!(pace.due(now));
        pace.asked(Duration::ZERO, now);
    }
}

#[test]
fn a_clock_that_stands_still_is_no_harm() {
    let now = Instant::now();
    let mut pace = Pace::new(Duration::ZERO, now);
    for _ in 0..10 {
        assert!(pace.due(now));
        assert!(pace.countdown() < LONGEST);
    }
}
