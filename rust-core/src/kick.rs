//! Waking a thread that is blocked.
//!
//! An interrupt is raised by the thread that it is for, so a thread that is blocked in
//! a system call has to be brought out of it: a signal of its own, the *kick*, whose
//! handler does nothing but make the call fail with `EINTR`. Every such call in CPython
//! then looks for something to raise and, if there is nothing, is made again.
//!
//! One signal is not enough. It is lost if it comes after the thread has looked for
//! the last time and before it is in the kernel, and that can take long: a library may
//! compute without the interpreter before it reads. So the handler lets the signal come
//! again, by a timer of the thread, soon at first and then less often, as long as the
//! thread is blocked and has something to look at. The thread itself stops that as soon
//! as it is back in the interpreter. If it blocks once more without having looked, it
//! starts the timer itself. So nobody has to watch over blocked threads.
//!
//! | phase     | what it means                       | changed by                        |
//! |-----------|-------------------------------------|-----------------------------------|
//! | `IDLE`    | not blocked, or nothing to wake for | [`wake`](Kick::wake), a sender that finds it blocked; [`blocks`](Kick::blocks), the thread that has something to look at; [`signalled`](Kick::signalled), its signal handlers; [`must_run`](Kick::must_run), where they find that it runs another interpreter |
//! | `WAITING` | blocked; the signal comes again     | [`runs`](Kick::runs), the thread when it is back; [`arrived`](Kick::arrived), the handler that finds it not blocked |
//!
//! Who may do what: `wake` is called by any thread. All else, and the timer, is the
//! thread's own, its signal handlers included; their order towards the thread itself is
//! that of the program, so `Relaxed` is enough where no sender has a part.
//!
//! Why no wake-up is lost. A sender leaves the interrupt, says so in the eval breaker, and
//! then asks whether the thread is blocked. A thread that blocks says so first and then
//! looks at its eval breaker. With a GIL both happen while it is held, so one of the two
//! sees what the other did. Without, both words are accessed in a single total order
//! (`seq_cst`, in C: `tstate->state` and `tstate->eval_breaker`), and that is the case
//! of store buffering, where one of them does. So either the sender calls `wake`
//! or the thread calls `blocks`, or both do, and from then on the signal comes again until
//! `runs`.
//!
//! Why none goes on. Without a GIL, a sender that asked just before the thread came back
//! leaves `WAITING` behind in a thread that runs, perhaps with nothing to raise any more.
//! So the handler asks each time whether the thread, which is its own, is blocked and has
//! something to look at, and first takes the phase back: a sender that comes before
//! that is seen by the question, one that comes after it sends a kick of its own.

#[cfg(not(loom))]
pub mod registry;

#[cfg(all(
    not(loom),
    not(feature = "portable-kick"),
    target_os = "linux",
    target_pointer_width = "64"
))]
#[path = "kick/linux.rs"]
pub mod platform;
#[cfg(all(
    not(loom),
    not(all(
        not(feature = "portable-kick"),
        target_os = "linux",
        target_pointer_width = "64"
    ))
))]
#[path = "kick/portable.rs"]
pub mod platform;

use crate::flag::Flag;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What waking needs from the operating system, for one thread.
pub trait Target {
    /// Any thread: send the kick to the thread.
    fn kick(&self);

    /// The thread itself: let the kick come after so many microseconds, once. Replaces
    /// what was set before. Async-signal-safe.
    fn come_again(&self, microseconds: u32);

    /// The thread itself: let it not come.
    fn stop(&self);

    /// Microseconds since some moment. Async-signal-safe.
    fn now(&self) -> u64;
}

/// Threads cannot be woken here, or not by this signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPossible;

/// Not blocked, or nothing to wake for.
pub const IDLE: u32 = 0;
/// Blocked, and the signal comes again.
pub const WAITING: u32 = 1;

/// The first pause between two kicks, in microseconds: longer than it takes from a check
/// to the system call, shorter than anybody notices.
pub const FIRST_PAUSE: u32 = 50;
/// The longest one for as long as [`PATIENT`] kicks.
pub const LONG_PAUSE: u32 = 10_000;
/// The longest one after that: what cannot be broken in a second is hardly waiting for
/// us, and some calls start from scratch each time.
pub const LONGEST_PAUSE: u32 = 500_000;
/// See [`LONG_PAUSE`]: about a second.
pub const PATIENT: u32 = 100;
/// A thread that gets another signal so soon, in microseconds, and has raised nothing, is
/// under fire: almost every signal breaks its call, and would set the timer and stop it
/// for nothing, which costs more than the rest of it. So the timer is set to
/// [`LONG_PAUSE`] and left alone.
pub const UNDER_FIRE: u64 = 1_000;

/// Whether a thread has to be woken.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Kick {
    /// `IDLE` or `WAITING`. C looks at it when the thread comes back.
    phase: AtomicU32,
    /// Not part of waking: C finds it here.
    pub flag: Flag,
    /// The pause that was set last.
    pause: AtomicU32,
    /// How often it came again.
    count: AtomicU32,
    /// When `signalled` set the timer last.
    signalled_at: AtomicU64,
    /// Until then it comes by itself, and is not stopped; 0 if it is.
    left_until: AtomicU64,
}

impl Kick {
    /// A sender: the thread is blocked, and there is something that may be raised.
    pub fn wake(&self, target: &impl Target) {
        // If it waits already, the timer brings it to look, or the kick before this one.
        // Release: what was sent is seen by the handler; paired with the swap in
        // `arrived`. Acquire: comes after what took the phase back before, there or
        // in `runs`.
        if self.phase.swap(WAITING, Ordering::AcqRel) == IDLE {
            target.kick();
        }
    }

    /// The thread is about to block, and there is something that may be raised.
    pub fn blocks(&self, target: &impl Target) {
        if self.is_waiting() {
            return;
        }
        self.phase.store(WAITING, Ordering::Relaxed);
        self.left_until.store(0, Ordering::Relaxed);
        target.come_again(self.next_pause(false));
    }

    /// A signal handler in the thread: the thread is blocked, and there is something that
    /// may be raised.
    pub fn signalled(&self, target: &impl Target) {
        if self.is_waiting() {
            return;
        }
        self.phase.store(WAITING, Ordering::Relaxed);
        let now = target.now();
        if now < self.left_until.load(Ordering::Relaxed) {
            // If it comes just here, its handler has found the thread blocked.
            return;
        }
        let before = self.signalled_at.swap(now, Ordering::Relaxed);
        let mut pause = self.next_pause(false);
        let mut left_until = 0;
        if now.saturating_sub(before) < UNDER_FIRE {
            pause = LONG_PAUSE;
            left_until = now + u64::from(pause);
        }
        self.left_until.store(left_until, Ordering::Relaxed);
        target.come_again(pause);
    }

    fn next_pause(&self, again: bool) -> u32 {
        let (pause, count) = if again {
            let count = self.count.load(Ordering::Relaxed).saturating_add(1);
            let longest = match count > PATIENT {
                true => LONGEST_PAUSE,
                false => LONG_PAUSE,
            };
            let pause = longest.min(2 * self.pause.load(Ordering::Relaxed));
            (pause, count)
        } else {
            (FIRST_PAUSE, 0)
        };
        self.pause.store(pause, Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
        pause
    }

    /// The handler of the kick, in the thread. `again`: it came from the timer.
    /// `is_blocked`: is the thread blocked, with something to look at?
    pub fn arrived(&self, again: bool, is_blocked: impl FnOnce() -> bool, target: &impl Target) {
        // Acquire and Release: both paired with the swap in `wake`.
        self.phase.swap(IDLE, Ordering::AcqRel);
        self.left_until.store(0, Ordering::Relaxed);
        if !is_blocked() {
            return;
        }
        self.phase.store(WAITING, Ordering::Relaxed);
        target.come_again(self.next_pause(again));
    }

    /// The thread is back.
    pub fn runs(&self, target: &impl Target) {
        if !self.is_waiting() {
            return;
        }
        // In this order: a kick that comes in between starts nothing.
        // Acquire and Release: both paired with the swap in `wake`.
        self.phase.swap(IDLE, Ordering::AcqRel);
        let left_until = self.left_until.load(Ordering::Relaxed);
        if left_until == 0 || left_until <= target.now() {
            target.stop();
        }
    }

    /// The thread has raised something, so it is not under fire: it will do something
    /// else. What is sent next is raised as soon as ever.
    pub fn has_raised(&self, target: &impl Target) {
        self.signalled_at.store(0, Ordering::Relaxed);
        if self.left_until.swap(0, Ordering::Relaxed) != 0 && !self.is_waiting() {
            target.stop();
        }
    }

    /// The handler of its alarm: the thread has to call `runs` when it is back. As in
    /// `arrived`, only for a thread that does not run.
    pub fn must_run(&self) {
        self.phase.store(WAITING, Ordering::Relaxed);
    }

    /// Whether the thread has to call `runs`.
    pub fn is_waiting(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == WAITING
    }

    /// In the child of a fork, and for another thread: nothing is left of it.
    pub fn reset(&self) {
        self.phase.store(IDLE, Ordering::Relaxed);
        self.flag.reset();
        self.signalled_at.store(0, Ordering::Relaxed);
        self.left_until.store(0, Ordering::Relaxed);
    }
}

/// Handlers that look at what belongs to their thread, which another thread takes away.
///
/// That one says first that it is no thread's any more, and then waits until nobody
/// looks; a handler says first that it looks, and then asks whether it is its thread's.
/// Each writes one word and reads the other, so with a fence between the two one of them
/// sees what the other wrote: either the handler keeps off, or it is waited for.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Handlers {
    /// How many look: one in the thread itself, and late ones in others.
    looking: AtomicU32,
}

impl Handlers {
    /// A handler: `look`, if it is its thread's. Async-signal-safe.
    pub fn look(&self, is_its: impl FnOnce() -> bool, look: impl FnOnce()) {
        self.looking.fetch_add(1, Ordering::Relaxed);
        // SeqCst: paired with the fence in `wait`.
        fence(Ordering::SeqCst);
        if is_its() {
            look();
        }
        // Release: it has looked; paired with the load in `wait`.
        self.looking.fetch_sub(1, Ordering::Release);
    }

    /// Whoever takes it away, and has said so: nobody looks at it any more.
    pub fn wait(&self, pause: impl Fn()) {
        // SeqCst: paired with the fence in `look`.
        fence(Ordering::SeqCst);
        // Acquire: paired with the end of `look`.
        while self.looking.load(Ordering::Acquire) != 0 {
            pause();
        }
    }

    /// The child of a fork has none of the threads that looked when it was made.
    pub fn reset(&self) {
        self.looking.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// Writes down what is done to it; 0 stands for `stop`, `u32::MAX` for a kick.
    struct Recorder(RefCell<Vec<u32>>, Cell<u64>);

    impl Default for Recorder {
        fn default() -> Self {
            Recorder(RefCell::default(), Cell::new(1_000_000))
        }
    }

    impl Target for Recorder {
        fn kick(&self) {
            self.0.borrow_mut().push(u32::MAX);
        }

        fn come_again(&self, microseconds: u32) {
            self.0.borrow_mut().push(microseconds);
        }

        fn stop(&self) {
            self.0.borrow_mut().push(0);
        }

        fn now(&self) -> u64 {
            self.1.get()
        }
    }

    impl Recorder {
        fn take(&self) -> Vec<u32> {
            self.0.take()
        }

        fn pass(&self, microseconds: u64) {
            self.1.set(self.1.get() + microseconds);
        }
    }

    #[test]
    fn many_senders_kick_once() {
        let (kick, thread) = (Kick::default(), Recorder::default());
        kick.wake(&thread);
        kick.wake(&thread);
        assert_eq!(thread.take(), [u32::MAX]);
        kick.runs(&thread);
        kick.wake(&thread);
        assert_eq!(thread.take(), [0, u32::MAX]);
    }

    #[test]
    fn pauses_grow_and_start_anew() {
        let (kick, thread) = (Kick::default(), Recorder::default());
        kick.wake(&thread);
        kick.arrived(false, || true, &thread);
        for _ in 0..PATIENT + 10 {
            kick.arrived(true, || true, &thread);
        }
        let pauses = thread.take();
        assert_eq!(pauses[1..4], [50, 100, 200]);
        assert_eq!(pauses[50], LONG_PAUSE);
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        kick.runs(&thread);
        kick.blocks(&thread);
        kick.arrived(true, || true, &thread);
        assert_eq!(thread.take(), [0, 50, 100]);
    }

    #[test]
    fn nothing_comes_to_a_thread_that_runs() {
        let (kick, thread) = (Kick::default(), Recorder::default());
        for again in [false, true] {
            kick.arrived(again, || false, &thread);
        }
        // A sender that was late.
        kick.wake(&thread);
        assert_eq!(thread.take(), [u32::MAX]);
        kick.arrived(false, || false, &thread);
        assert!(thread.take().is_empty());
        assert!(!kick.is_waiting());
    }

    #[test]
    fn one_that_is_away_has_to_run_when_it_is_back() {
        let (kick, thread) = (Kick::default(), Recorder::default());
        kick.arrived(true, || false, &thread);
        kick.must_run();
        // It will look anyway.
        kick.wake(&thread);
        assert!(thread.take().is_empty());
        assert!(kick.is_waiting());
        kick.runs(&thread);
        assert!(!kick.is_waiting());
    }

    #[test]
    fn under_fire_the_timer_is_left_alone_until_it_comes() {
        let (kick, thread) = (Kick::default(), Recorder::default());
        let broken_after = |microseconds| {
            kick.signalled(&thread);
            assert!(kick.is_waiting());
            thread.pass(microseconds);
            kick.runs(&thread);
            assert!(!kick.is_waiting());
            thread.take()
        };
        assert_eq!(broken_after(UNDER_FIRE), [FIRST_PAUSE, 0]);
        assert_eq!(broken_after(UNDER_FIRE / 2), [FIRST_PAUSE, 0]);
        assert_eq!(broken_after(10), [LONG_PAUSE]);
        assert_eq!(broken_after(10), []);
        // It comes, and has to be set again.
        kick.signalled(&thread);
        kick.arrived(true, || true, &thread);
        kick.runs(&thread);
        assert_eq!(thread.take(), [2 * FIRST_PAUSE, 0]);
        assert_eq!(broken_after(10), [LONG_PAUSE]);
        kick.arrived(true, || false, &thread);
        assert_eq!(broken_after(10), [LONG_PAUSE]);
        // It should have come long ago.
        thread.pass(u64::from(LONG_PAUSE));
        assert_eq!(broken_after(0), [FIRST_PAUSE, 0]);
        // What it was interrupted by has been raised.
        assert_eq!(broken_after(0), [LONG_PAUSE]);
        kick.has_raised(&thread);
        assert_eq!(thread.take(), [0]);
        assert_eq!(broken_after(0), [FIRST_PAUSE, 0]);
        kick.has_raised(&thread);
        assert_eq!(thread.take(), []);
        // Something else to look at than a signal.
        assert_eq!(broken_after(0), [FIRST_PAUSE, 0]);
        kick.signalled(&thread);
        kick.runs(&thread);
        kick.blocks(&thread);
        assert_eq!(thread.take(), [LONG_PAUSE, FIRST_PAUSE]);
    }

    /// A C signal handler comes in between two steps of the thread that it runs in.
    fn is_woken(detach_first: bool, before: usize) -> bool {
        let (kick, thread) = (Kick::default(), Recorder::default());
        let (mut detached, mut pending) = (false, false);
        for step in 0..=2 {
            if step == before {
                pending = true;
                if detached {
                    kick.blocks(&thread);
                }
            }
            match step {
                2 => {}
                _ if (step == 0) == detach_first => detached = true,
                _ if pending => kick.blocks(&thread),
                _ => {}
            }
        }
        kick.is_waiting()
    }

    #[test]
    fn a_signal_between_two_steps_wakes() {
        assert!((0..=2).all(|before| is_woken(true, before)));
        // Who looks first misses one that comes before it has said that it blocks.
        assert!(!is_woken(false, 1));
    }
}
