//! How often an interpreter is asked that gives no flag to look at. No Python in here.
//!
//! It is asked once per interval, and the only way to know that an interval is over is the
//! clock, which costs twenty times what a check may cost. So the clock is not read by each
//! check, only when a countdown ends. The countdown starts at one and is doubled as long as
//! it takes only a small part of the interval. Its limit keeps a loop whose steps suddenly
//! become long from being out of reach: at most that many steps pass unseen, once.

use std::time::{Duration, Instant};

/// The longest countdown. Reading the clock then costs a check less than a nanosecond.
pub(crate) const LONGEST: u32 = 64;

/// A countdown may take this part of the interval.
const PART: u32 = 8;

/// When to look next.
pub(crate) struct Pace {
    interval: Duration,
    /// The last time the interpreter was asked.
    asked: Instant,
    /// The last time the clock was read.
    read: Instant,
    /// How many checks there have been since then.
    countdown: u32,
}

impl Pace {
    pub(crate) fn new(interval: Duration, now: Instant) -> Pace {
        Pace {
            interval,
            asked: now,
            read: now,
            countdown: 1,
        }
    }

    /// The countdown has ended: is it time to ask? Afterwards `countdown` is the next one.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.read);
        let allowed = self.interval / PART;
        self.countdown = if took * 2 <= allowed {
            (self.countdown * 2).min(LONGEST)
        } else if took <= allowed {
            self.countdown
        } else {
            // In proportion, so that one look is enough to adapt.
            let fitting = allowed.as_nanos() * u128::from(self.countdown) / took.as_nanos();
            u32::try_from(fitting).unwrap_or(1).clamp(1, LONGEST)
        };
        self.read = now;
        now.saturating_duration_since(self.asked) >= self.interval
    }

    /// The interpreter has been asked. What that took (others may have had the GIL) does
    /// not count: the work would get no time otherwise. `interval` is the one from now on.
    pub(crate) fn asked(&mut self, interval: Duration, now: Instant) {
        self.interval = interval;
        self.asked = now;
        self.read = now;
    }

    /// How many checks may pass before the next one that reads the clock.
    pub(crate) fn countdown(&self) -> u32 {
        self.countdown - 1
    }
}
