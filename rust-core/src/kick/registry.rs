//! The records by which threads are woken.
//!
//! A kick that was sent to a thread, or its timer, names the record, and can arrive when
//! the thread state it belonged to is gone. So records are made in blocks that are
//! never freed, and a record is used again; the handler takes no name for granted.
//!
//! A handler that looks at a record looks at the thread state, too, which is deleted when
//! its record has been dropped: by another thread, if the interpreter ends. So whoever
//! drops it waits for handlers that look ([`Handlers`]).
//!
//! Whoever adds or drops a record holds the interpreter's lock on its list of threads,
//! and a fork is made while it is held. Handlers only follow pointers that were published.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::platform::{self, Thread};
use super::{Handlers, Kick, Target};
use crate::flag::Flag;
use crate::force::{Limits, Notice};

/// How a thread is woken. C sees the first word of it.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    kick: Kick,
    thread: Thread,
    alarm: Alarm,
    handlers: Handlers,
    /// The next one that is free; as long as it is not in use.
    next: AtomicPtr<Record>,
}

/// What happens when something has waited for long, or a timeout is over: points in
/// time, in microseconds; 0 for never. Relaxed: only the thread itself uses it, its signal
/// handlers included.
#[derive(Debug, Default)]
#[repr(C)]
struct Alarm {
    notice_at: AtomicU64,
    limit_at: AtomicU64,
    deadline: AtomicU64,
    /// What the notice is about.
    signal: AtomicI32,
    noticed: AtomicBool,
    overdue: AtomicBool,
    /// It has rung while the thread ran another interpreter.
    unheard: AtomicBool,
}

/// What points in time are compared with. Async-signal-safe.
pub fn milliseconds() -> u64 {
    platform::microseconds() / 1_000
}

impl Alarm {
    fn stop_notice(&self) {
        self.notice_at.store(0, Ordering::Relaxed);
        self.noticed.store(false, Ordering::Relaxed);
    }

    fn stop_limit(&self) {
        self.limit_at.store(0, Ordering::Relaxed);
        self.overdue.store(false, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.stop_notice();
        self.stop_limit();
        self.deadline.store(0, Ordering::Relaxed);
        self.unheard.store(false, Ordering::Relaxed);
    }

    /// When it rings next.
    fn next(&self) -> Option<u64> {
        let times = [&self.notice_at, &self.limit_at, &self.deadline];
        let times = times.map(|time| time.load(Ordering::Relaxed));
        times.into_iter().filter(|&time| time != 0).min()
    }

    /// Take back a point in time that has come.
    fn has_come(time: &AtomicU64, now: u64) -> bool {
        let at = time.load(Ordering::Relaxed);
        let come = at != 0 && at <= now;
        if come {
            time.store(0, Ordering::Relaxed);
        }
        come
    }
}

/// What a handler does when the alarm rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Look what may be raised: something must wait no more, or a timeout is over.
    pub look: bool,
    /// Tell the user that what this signal has raised waits.
    pub notice: Option<i32>,
}

const BLOCK: usize = 64;

#[derive(Debug)]
struct Block {
    records: [Record; BLOCK],
    next: *const Block,
}

/// All blocks, newest first. Handlers read it, so it is published with Release and read
/// with Acquire.
static BLOCKS: AtomicPtr<Block> = AtomicPtr::new(ptr::null_mut());
/// The records that nobody uses. Relaxed: under the lock.
static FREE: AtomicPtr<Record> = AtomicPtr::new(ptr::null_mut());
/// How many kicks have arrived, in the whole process. Relaxed: it is only read to see
/// whether it stands still.
static KICKS: AtomicUsize = AtomicUsize::new(0);

/// How many kicks have arrived since the process started.
pub fn kicks() -> usize {
    KICKS.load(Ordering::Relaxed)
}

/// One has. Async-signal-safe.
pub fn count_kick() {
    KICKS.fetch_add(1, Ordering::Relaxed);
}

/// How many records are in use. Relaxed: changed under the lock.
static USED: AtomicUsize = AtomicUsize::new(0);

/// How many threads have a record, in all interpreters.
pub fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

fn make_block() -> Option<()> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(Block {
        records: std::array::from_fn(|_| Record {
            kick: Kick::default(),
            alarm: Alarm::default(),
            thread: Thread::nobody(),
            handlers: Handlers::default(),
            next: AtomicPtr::new(ptr::null_mut()),
        }),
        // Relaxed: under the lock.
        next: BLOCKS.load(Ordering::Relaxed),
    });
    let block = Vec::leak(room).first_mut()?;
    for record in &mut block.records {
        *record.next.get_mut() = FREE.load(Ordering::Relaxed);
        FREE.store(record, Ordering::Relaxed);
    }
    // Release: paired with the load in `named`.
    BLOCKS.store(block, Ordering::Release);
    Some(())
}

/// A record for the thread with this number, or nothing if there is no memory. Under
/// the lock.
pub fn add(thread_id: i32) -> Option<&'static Record> {
    if FREE.load(Ordering::Relaxed).is_null() {
        make_block()?;
    }
    // SAFETY: not null, and in a block, which is never freed.
    let record = unsafe { &*FREE.load(Ordering::Relaxed) };
    FREE.store(record.next.load(Ordering::Relaxed), Ordering::Relaxed);
    record.kick.reset();
    record.alarm.reset();
    if !record.thread.is_of_this_process() {
        record.handlers.reset();
    }
    record.thread.is(thread_id);
    USED.fetch_add(1, Ordering::Relaxed);
    Some(record)
}

/// What is added to the address of a record to name its alarm.
pub const ALARM: usize = 1;

/// The record that a signal names. Async-signal-safe.
pub fn named(address: usize) -> Option<&'static Record> {
    // Acquire: paired with the store in `make_block`; its block is complete.
    let mut block = BLOCKS.load(Ordering::Acquire).cast_const();
    while !block.is_null() {
        // SAFETY: published, and never freed.
        let this = unsafe { &*block };
        let offset = address.wrapping_sub(this.records.as_ptr().addr());
        let (index, rest) = (offset / size_of::<Record>(), offset % size_of::<Record>());
        if index < BLOCK && rest == 0 {
            return this.records.get(index);
        }
        block = this.next;
    }
    None
}

impl Record {
    /// Its thread has ended, or is none of this interpreter's any more. Under the lock.
    pub fn drop_record(&'static self) {
        USED.fetch_sub(1, Ordering::Relaxed);
        self.kick.reset();
        self.thread.forget();
        self.wait_for_handlers();
        self.next
            .store(FREE.load(Ordering::Relaxed), Ordering::Relaxed);
        FREE.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
    }

    /// No handler looks at the state of the thread any more. They do so for microseconds,
    /// and wait for nothing.
    fn wait_for_handlers(&self) {
        if !self.thread.is_of_this_process() {
            self.handlers.reset();
        }
        // Not spinning, which could keep the other thread from running.
        self.handlers
            .wait(|| std::thread::sleep(Duration::from_micros(10)));
    }

    /// What a handler does, if this record is that of its thread; a late one, for a
    /// thread that had it before, does nothing. Async-signal-safe.
    pub fn in_its_thread(&self, act: impl FnOnce()) {
        self.handlers.look(|| self.thread.runs_here(), act);
    }

    /// The only thread of a forked child: it has another number and no timer.
    pub fn after_fork(&self, thread_id: i32) {
        self.kick.reset();
        self.alarm.reset();
        self.handlers.reset();
        self.thread.is(thread_id);
    }

    /// Another thread runs with the state from now on: timers are that one's. Under the
    /// lock.
    pub fn moves(&self, thread_id: i32) {
        self.thread.forget();
        self.thread.is(thread_id);
        self.ring_at(platform::microseconds());
    }

    /// What C code of the thread reads.
    pub fn flag(&self) -> &Flag {
        &self.kick.flag
    }

    /// See [`Kick::wake`].
    pub fn wake(&self) {
        self.kick.wake(self);
    }

    /// See [`Kick::blocks`].
    pub fn blocks(&self) {
        self.kick.blocks(self);
    }

    /// See [`Kick::signalled`]. Async-signal-safe.
    pub fn signalled(&self) {
        self.kick.signalled(self);
    }

    /// See [`Kick::runs`]. Whether the thread has to look, since it did not hear its
    /// alarm.
    pub fn runs(&self) -> bool {
        self.kick.runs(self);
        let unheard = &self.alarm.unheard;
        if !unheard.load(Ordering::Relaxed) {
            return false;
        }
        unheard.store(false, Ordering::Relaxed);
        if self.alarm.next().is_some() {
            // A notice, for which it rings at once.
            self.ring_at(platform::microseconds());
        }
        true
    }

    /// See [`Kick::has_raised`].
    pub fn has_raised(&self) {
        self.kick.has_raised(self);
    }

    /// Whether the thread has to call `runs`.
    pub fn is_waiting(&self) -> bool {
        self.kick.is_waiting()
    }

    /// See [`Kick::arrived`]. Called [`in_its_thread`](Self::in_its_thread).
    /// Async-signal-safe.
    pub fn arrived(&self, again: bool, is_blocked: impl FnOnce(*const c_void) -> bool) {
        let asked = || is_blocked(ptr::from_ref(self).cast());
        self.kick.arrived(again, asked, self);
        if self.alarm.unheard.load(Ordering::Relaxed) {
            self.kick.must_run();
        }
    }

    /// The thread itself: something has begun to wait; if a signal has raised it, the user
    /// is to be told after a while.
    pub fn start_alarm(&self, signal: Option<i32>, limits: &Limits) {
        let (alarm, now) = (&self.alarm, platform::microseconds());
        let before = alarm.next();
        if let Some(signal) = signal {
            let idle = alarm.notice_at.load(Ordering::Relaxed) == 0 && !self.is_noticed();
            if limits.notice != Notice::Never && idle {
                alarm.signal.store(signal, Ordering::Relaxed);
                let at = now + u64::from(limits.notice_after.max(1)) * 1_000;
                alarm.notice_at.store(at, Ordering::Relaxed);
            }
        }
        let idle = alarm.limit_at.load(Ordering::Relaxed) == 0 && !self.is_overdue();
        if limits.limit > 0 && idle {
            let at = now + u64::from(limits.limit) * 1_000;
            alarm.limit_at.store(at, Ordering::Relaxed);
        }
        if alarm.next() != before {
            self.ring_at(now);
        }
    }

    /// Set the timer to what comes next, or stop it. Whether that was possible.
    fn ring_at(&self, now: u64) -> bool {
        match self.alarm.next() {
            Some(at) => {
                let name = ptr::from_ref(self).addr() + ALARM;
                self.thread.start_alarm(name, at.saturating_sub(now).max(1))
            }
            None => {
                self.thread.stop_alarm();
                true
            }
        }
    }

    /// The thread itself: its next timeout is over at this point in time, if there is
    /// one. Whether a timer could be set for it.
    pub fn set_deadline(&self, at: Option<u64>) -> bool {
        let before = self.alarm.next();
        self.alarm
            .deadline
            .store(at.unwrap_or(0), Ordering::Relaxed);
        if at.is_none() && self.alarm.next() == before {
            return true;
        }
        self.ring_at(platform::microseconds())
    }

    /// The alarm has rung, but the thread runs another interpreter: it looks when it is
    /// back, which [`runs`](Self::runs) says, and a notice is written then. Called by the
    /// handler, which calls [`arrived`](Self::arrived) next. Async-signal-safe.
    pub fn was_not_heard(&self, notice: bool) {
        let alarm = &self.alarm;
        alarm.unheard.store(true, Ordering::Relaxed);
        if notice {
            let now = platform::microseconds();
            alarm.notice_at.store(now, Ordering::Relaxed);
        }
    }

    /// The handler of the alarm, called [`in_its_thread`](Self::in_its_thread).
    /// Async-signal-safe.
    pub fn rings(&self) -> Rings {
        let (alarm, now) = (&self.alarm, platform::microseconds());
        let overdue = Alarm::has_come(&alarm.limit_at, now);
        let notice = Alarm::has_come(&alarm.notice_at, now);
        let deadline = Alarm::has_come(&alarm.deadline, now);
        if alarm.next().is_some() {
            self.ring_at(now);
        }
        if overdue {
            alarm.overdue.store(true, Ordering::Relaxed);
        }
        let signal = || alarm.signal.load(Ordering::Relaxed);
        Rings {
            look: overdue || deadline,
            notice: (notice && !overdue).then(signal),
        }
    }

    /// The notice has been written.
    pub fn has_noticed(&self) {
        self.alarm.noticed.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub fn is_noticed(&self) -> bool {
        self.alarm.noticed.load(Ordering::Relaxed)
    }

    /// Whether what waits must wait no more.
    pub fn is_overdue(&self) -> bool {
        self.alarm.overdue.load(Ordering::Relaxed)
    }

    /// The thread itself: nothing of what signals have raised waits any more; `at_all`:
    /// nor does anything else.
    pub fn stop_alarm(&self, at_all: bool) {
        let before = self.alarm.next();
        // In this order: one that rings in between does nothing.
        self.alarm.stop_notice();
        if at_all {
            self.alarm.stop_limit();
        }
        if self.alarm.next() != before {
            self.ring_at(platform::microseconds());
        }
    }

    /// A signal handler that does not run in the thread: whether that is blocked, it
    /// has to find out for itself. Async-signal-safe.
    pub fn ask(&self) {
        self.kick();
    }
}

impl Target for Record {
    fn kick(&self) {
        self.thread.signal(ptr::from_ref(self).addr());
    }

    fn come_again(&self, microseconds: u32) {
        self.thread
            .start_timer(ptr::from_ref(self).addr(), microseconds);
    }

    fn stop(&self) {
        self.thread.stop_timer();
    }

    fn now(&self) -> u64 {
        platform::microseconds()
    }
}
