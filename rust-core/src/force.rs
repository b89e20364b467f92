//! What a signal raises and a mask holds back for too long.
//!
//! Somebody who presses Ctrl-C wants the program to stop. A cleanup that does not end
//! must not take that away, nor may a nervous finger cut a cleanup that takes its time.
//! So after a while the user is told what holds the interrupt back (the *notice*), and
//! pressing again after that forces it: it is raised although the code is masked. Before
//! the notice it takes several presses. What counts as one press is a signal that no
//! other of the same number has come shortly before: neither a burst nor a key that is
//! held down means it more than once. After something has been forced there is a dead
//! time, in which nothing is, so that a burst does not cut the handling of it.
//!
//! A program can set a *limit*, after which whatever waits is forced.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where the notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Notice {
    /// Nowhere.
    Never,
    /// To stderr if that is a terminal.
    Terminal,
    /// To stderr.
    Always,
}

/// What can be set. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where the notice goes.
    pub notice: Notice,
    /// How long an interrupt waits before the notice.
    pub notice_after: u32,
    /// Which press forces it before the notice; 0: none.
    pub presses: u32,
    /// How long no signal has come before one that counts as a press.
    pub press_gap: u32,
    /// How long nothing is forced after something was.
    pub dead_time: u32,
    /// Whether pressing again forces anything.
    pub force: bool,
    /// How long anything waits; 0: as long as it has to.
    pub limit: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            notice: Notice::Terminal,
            notice_after: 1_000,
            presses: 3,
            press_gap: 100,
            dead_time: 1_000,
            force: true,
            limit: 0,
        }
    }
}

/// What is wrong with a text that should set limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLimits;

fn milliseconds(value: &str) -> Result<u32, BadLimits> {
    let seconds: f64 = value.parse().map_err(|_| BadLimits)?;
    if (0.0..=1e6).contains(&seconds) {
        // What is shorter than the grain is not "none".
        let rounded = (seconds * 1e3).round() as u32;
        Ok(if seconds > 0.0 { rounded.max(1) } else { 0 })
    } else {
        Err(BadLimits)
    }
}

impl Limits {
    /// These, with changes such as `presses=5,limit=30`: names as above, times in
    /// seconds.
    ///
    /// # Errors
    ///
    /// If there is no such name, or its value is out of range.
    pub fn changed(mut self, text: &str) -> Result<Self, BadLimits> {
        for change in text.split(',').filter(|change| !change.is_empty()) {
            let (name, value) = change.split_once('=').ok_or(BadLimits)?;
            match name {
                "notice" => {
                    self.notice = match value {
                        "never" => Notice::Never,
                        "terminal" => Notice::Terminal,
                        "always" => Notice::Always,
                        _ => return Err(BadLimits),
                    }
                }
                "notice_after" => self.notice_after = milliseconds(value)?,
                "presses" => self.presses = value.parse().map_err(|_| BadLimits)?,
                "press_gap" => self.press_gap = milliseconds(value)?,
                "dead_time" => self.dead_time = milliseconds(value)?,
                "force" => {
                    self.force = match value {
                        "0" => false,
                        "1" => true,
                        _ => return Err(BadLimits),
                    }
                }
                "limit" => self.limit = milliseconds(value)?,
                _ => return Err(BadLimits),
            }
        }
        Ok(self)
    }
}

/// The limits in force, one word each, since a signal handler reads them. Relaxed: each
/// stands for itself.
static NOTICE: AtomicU32 = AtomicU32::new(Notice::Terminal as u32);
static NOTICE_AFTER: AtomicU32 = AtomicU32::new(1_000);
static PRESSES: AtomicU32 = AtomicU32::new(3);
static PRESS_GAP: AtomicU32 = AtomicU32::new(100);
static DEAD_TIME: AtomicU32 = AtomicU32::new(1_000);
static FORCE: AtomicU32 = AtomicU32::new(1);
static LIMIT: AtomicU32 = AtomicU32::new(0);

/// Those in force, in the whole process.
pub fn limits() -> Limits {
    Limits {
        notice: match NOTICE.load(Relaxed) {
            0 => Notice::Never,
            1 => Notice::Terminal,
            _ => Notice::Always,
        },
        notice_after: NOTICE_AFTER.load(Relaxed),
        presses: PRESSES.load(Relaxed),
        press_gap: PRESS_GAP.load(Relaxed),
        dead_time: DEAD_TIME.load(Relaxed),
        force: FORCE.load(Relaxed) != 0,
        limit: LIMIT.load(Relaxed),
    }
}

/// Put these in force.
pub fn set_limits(limits: &Limits) {
    NOTICE.store(limits.notice as u32, Relaxed);
    NOTICE_AFTER.store(limits.notice_after, Relaxed);
    PRESSES.store(limits.presses, Relaxed);
    PRESS_GAP.store(limits.press_gap, Relaxed);
    DEAD_TIME.store(limits.dead_time, Relaxed);
    FORCE.store(limits.force.into(), Relaxed);
    LIMIT.store(limits.limit, Relaxed);
}

/// A signal whose handler has raised something that waits.
#[derive(Clone, Copy, Debug)]
struct Held {
    signal: i32,
    /// How often it was pressed.
    presses: u32,
    /// When it came last, pressed or not.
    last: u64,
}

/// How patient a thread still has to be. Points in time are in milliseconds, of any clock
/// that does not go back.
#[derive(Debug, Default)]
pub struct Patience {
    held: Vec<Held>,
    /// Nothing is forced before.
    dead_until: u64,
}

impl Patience {
    /// The handler of a signal has raised something that has to wait. `noticed`: the
    /// user has been told that something does. Whether to raise it all the same.
    pub fn is_over(&mut self, signal: i32, now: u64, noticed: bool, limits: &Limits) -> bool {
        let index = match self.held.iter().position(|held| held.signal == signal) {
            Some(index) => index,
            None => {
                let first = Held {
                    signal,
                    presses: 0,
                    last: 0,
                };
                if self.held.try_reserve(1).is_err() {
                    return false;
                }
                self.held.push(first);
                self.held.len() - 1
            }
        };
        let held = &mut self.held[index];
        let pressed = held.presses == 0 || now - held.last >= limits.press_gap.into();
        held.last = now;
        held.presses += u32::from(pressed);
        let enough = limits.presses > 0 && held.presses >= limits.presses;
        let again = held.presses > 1 && noticed;
        pressed && limits.force && (enough || again) && now >= self.dead_until
    }

    /// Something was forced.
    pub fn has_forced(&mut self, now: u64, limits: &Limits) {
        self.held.clear();
        self.dead_until = now + u64::from(limits.dead_time);
    }

    /// Nothing of what signal handlers have raised waits any more.
    pub fn nothing_waits(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: i32 = 2;
    const TERM: i32 = 15;

    #[test]
    fn third_press_before_the_notice() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        let over: Vec<_> = [0, 200, 400]
            .map(|now| patience.is_over(INT, now, false, &limits))
            .into();
        assert_eq!(over, [false, false, true]);
    }

    #[test]
    fn second_press_after_the_notice() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        assert!(!patience.is_over(INT, 0, false, &limits));
        // Of another signal it is the first.
        assert!(!patience.is_over(TERM, 1_500, true, &limits));
        assert!(patience.is_over(INT, 1_600, true, &limits));
    }

    #[test]
    fn a_burst_is_one_press() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        for now in 0..1_000 {
            assert!(!patience.is_over(INT, now, now > 500, &limits));
        }
        // Pressed again.
        assert!(patience.is_over(INT, 1_200, true, &limits));
    }

    #[test]
    fn there_is_a_dead_time() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        patience.is_over(INT, 0, true, &limits);
        assert!(patience.is_over(INT, 200, true, &limits));
        patience.has_forced(200, &limits);
        for now in [400, 600, 800, 1_000] {
            assert!(!patience.is_over(INT, now, false, &limits));
        }
        assert!(patience.is_over(INT, 1_300, false, &limits));
    }

    #[test]
    fn what_was_raised_is_forgotten() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        patience.is_over(INT, 0, false, &limits);
        patience.is_over(INT, 200, false, &limits);
        patience.nothing_waits();
        assert!(!patience.is_over(INT, 400, false, &limits));
    }

    #[test]
    fn force_can_be_switched_off() {
        let limits = Limits::default().changed("force=0").unwrap();
        let mut patience = Patience::default();
        for now in [0, 200, 400, 600, 800] {
            assert!(!patience.is_over(INT, now, true, &limits));
        }
        let limits = Limits::default().changed("presses=0").unwrap();
        let mut patience = Patience::default();
        for now in [0, 200, 400, 600, 800] {
            assert!(!patience.is_over(INT, now, false, &limits));
        }
        assert!(patience.is_over(INT, 1_000, true, &limits));
    }

    #[test]
    fn limits_as_text() {
        let all = "notice=always,notice_after=2.5,presses=5,press_gap=0,dead_time=0.0001,\
                   force=0,limit=30";
        let limits = Limits::default().changed(all).unwrap();
        let expected = Limits {
            notice: Notice::Always,
            notice_after: 2_500,
            presses: 5,
            press_gap: 0,
            dead_time: 1,
            force: false,
            limit: 30_000,
        };
        assert_eq!(limits, expected);
        assert_eq!(Limits::default().changed(""), Ok(Limits::default()));
        for bad in [
            "x",
            "x=1",
            "limit",
            "limit=",
            "limit=x",
            "limit=-1",
            "limit=nan",
            "limit=inf",
            "limit=1e9",
            "presses=-1",
            "presses=1.5",
            "force=2",
            "notice=sometimes",
            "limit = 1",
        ] {
            assert_eq!(Limits::default().changed(bad), Err(BadLimits), "{bad}");
        }
    }
}
