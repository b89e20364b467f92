//! How the threads of a region agree on whether to go on. No Python in here.
//!
//! Only the owner can ask the interpreter, and only what the interpreter answers tells
//! whether an interrupt stops the work: the handler of a signal may return, and the owner
//! may be masked. So a worker that sees that something is pending must neither go on nor
//! give up by itself. It asks, and is parked until the owner has decided.
//!
//! The trap is the owner's flag. The interpreter clears it before it runs the handler, and
//! a worker that looks then would see nothing, although the decision may be to stop. The
//! owner therefore says in `state` that it is deciding, before it asks.
//!
//! | `state`    | a check                                      |
//! |------------|----------------------------------------------|
//! | 0          | passes if the flag is 0, else asks and parks |
//! | `DECIDING` | parks                                        |
//! | `STOP`     | says stop, for good                          |

use std::time::{Duration, Instant};

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, fence, lock, wait};

/// The region has been stopped.
pub(crate) const STOP: u32 = 1;
/// The owner is asking the interpreter.
pub(crate) const DECIDING: u32 = 2;

/// What a worker that asked is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The owner has decided that the work goes on.
    GoOn,
    /// The work is over.
    Stop,
    /// The owner did not answer in time.
    Nothing,
}

/// Why the owner's wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// What it waited for is there.
    Done,
    /// A worker asks.
    Asked,
    /// Neither.
    Timeout,
}

/// What the threads of one region share.
pub(crate) struct Decisions {
    state: AtomicU32,
    talk: Mutex<Talk>,
    owner: Condvar,
    workers: Condvar,
}

struct Talk {
    /// How often a worker has asked.
    asked: u64,
    /// How many of these the owner has answered.
    answered: u64,
    /// Workers that have not ended.
    running: usize,
}

impl Decisions {
    pub(crate) fn new() -> Decisions {
        Decisions {
            state: AtomicU32::new(0),
            talk: Mutex::new(Talk {
                asked: 0,
                answered: 0,
                running: 0,
            }),
            owner: Condvar::new(),
            workers: Condvar::new(),
        }
    }

    /// Whether a check may not simply pass. This is the fast path of every check.
    #[inline]
    pub(crate) fn pending(&self, flag: &AtomicU32) -> bool {
        // Acquire pairs with the fence in `decide`: who sees the flag cleared by the owner
        // sees that the owner is deciding.
        let flag = flag.load(Ordering::Acquire);
        flag | self.state.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.state.load(Ordering::Relaxed) & STOP != 0
    }

    /// A worker's check that cannot simply pass: waits for the owner's decision.
    pub(crate) fn ask(&self, flag: &AtomicU32, limit: Duration) -> Answer {
        let end = Instant::now() + limit;
        let mut talk = lock(&self.talk);
        loop {
            if self.stopped() {
                return Answer::Stop;
            }
            // Looked at after every wake-up: the flag may have been set again, by
            // something that this decision was not about.
            if !self.pending(flag) {
                return Answer::GoOn;
            }
            // A decision that is being made is waited for, not asked for once more: two
            // workers could keep the owner deciding for ever.
            if self.state.load(Ordering::Relaxed) & DECIDING == 0 {
                talk.asked += 1;
                self.owner.notify_one();
            }
            let left = end.saturating_duration_since(Instant::now());
            let (woken, timeout) = wait(&self.workers, talk, left);
            talk = woken;
            if timeout {
                return if self.stopped() {
                    Answer::Stop
                } else {
                    Answer::Nothing
                };
            }
        }
    }

    /// The owner asks the interpreter by `check`, whose error stops the region.
    ///
    /// Without `announce` workers go on meanwhile. That is for interpreters that are asked
    /// now and then, without knowing of anything: nearly all these questions are idle.
    pub(crate) fn decide<E>(
        &self,
        announce: bool,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let answering = lock(&self.talk).asked;
        let mut verdict = Verdict {
            decisions: self,
            answering,
            // Stays if `check` panics: no worker may wait for a decision that never comes.
            stop: true,
        };
        if announce {
            self.state.fetch_or(DECIDING, Ordering::Relaxed);
            // Pairs with the load of the flag in `pending`, whatever ordering the
            // interpreter clears it with.
            fence(Ordering::Release);
        }
        let result = check();
        verdict.stop = result.is_err();
        result
    }

    /// Stops the region without asking.
    pub(crate) fn stop(&self) {
        let talk = lock(&self.talk);
        self.state.fetch_or(STOP, Ordering::Relaxed);
        drop(talk);
        self.workers.notify_all();
        self.owner.notify_one();
    }

    /// One more worker.
    pub(crate) fn enter(&self) {
        lock(&self.talk).running += 1;
    }

    /// One worker less. `note` is seen by the owner when it is woken by this.
    pub(crate) fn leave(&self, note: impl FnOnce()) {
        let mut talk = lock(&self.talk);
        talk.running -= 1;
        note();
        drop(talk);
        self.owner.notify_one();
    }

    /// The owner waits for `done`, which is told how many workers are running, or for a
    /// question, or for `slice` to pass.
    pub(crate) fn wait(&self, slice: Duration, done: impl Fn(usize) -> bool) -> Woken {
        let mut talk = lock(&self.talk);
        let mut over = false;
        loop {
            if done(talk.running) {
                return Woken::Done;
            }
            if talk.asked != talk.answered && !self.stopped() {
                return Woken::Asked;
            }
            if over {
                return Woken::Timeout;
            }
            // A spurious wake-up starts the slice again, which harms nobody.
            let (woken, timeout) = wait(&self.owner, talk, slice);
            talk = woken;
            over = timeout;
        }
    }
}

/// A decision that is being made. Dropped, it is made.
struct Verdict<'a> {
    decisions: &'a Decisions,
    answering: u64,
    stop: bool,
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        let Decisions {
            state,
            talk,
            workers,
            ..
        } = self.decisions;
        let mut talk = lock(talk);
        talk.answered = self.answering;
        if self.stop {
            state.fetch_or(STOP, Ordering::Relaxed);
        }
        state.fetch_and(!DECIDING, Ordering::Relaxed);
        drop(talk);
        workers.notify_all();
    }
}
