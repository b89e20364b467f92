//! The records by which threads are woken.
//!
//! A kick that was sent to a thread, or its timer, names the record, and can arrive when
//! the thread state it belonged to is gone. So records are made in blocks that are
//! never freed, and a record is used again; the handler takes no name for granted.
//!
//! Whoever adds or drops a record holds the interpreter's lock on its list of threads,
//! and a fork is made while it is held. Handlers only follow pointers that were published.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::platform::Thread;
use super::{Kick, Target};

/// How a thread is woken. C sees the first word of it.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    kick: Kick,
    thread: Thread,
    /// The next one that is free; as long as it is not in use.
    next: AtomicPtr<Record>,
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

fn make_block() -> Option<()> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(Block {
        records: std::array::from_fn(|_| Record {
            kick: Kick::default(),
            thread: Thread::nobody(),
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
    record.thread.is(thread_id);
    Some(record)
}

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
        self.kick.reset();
        self.thread.forget();
        self.next
            .store(FREE.load(Ordering::Relaxed), Ordering::Relaxed);
        FREE.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
    }

    /// The only thread of a forked child: it has another number and no timer.
    pub fn after_fork(&self, thread_id: i32) {
        self.kick.reset();
        self.thread.is(thread_id);
    }

    /// See [`Kick::wake`].
    pub fn wake(&self) {
        self.kick.wake(self);
    }

    /// See [`Kick::blocks`].
    pub fn blocks(&self) {
        self.kick.blocks(self);
    }

    /// See [`Kick::runs`].
    pub fn runs(&self) {
        self.kick.runs(self);
    }

    /// Whether the thread has to call `runs`.
    pub fn is_waiting(&self) -> bool {
        self.kick.is_waiting()
    }

    /// See [`Kick::arrived`]. Async-signal-safe. `is_blocked` is asked if the kick was
    /// sent by somebody who could not know.
    pub fn arrived(&self, again: bool, is_blocked: impl FnOnce(*const c_void) -> bool) {
        KICKS.fetch_add(1, Ordering::Relaxed);
        if !self.thread.runs_here() {
            // A late one, for a thread that had this record before.
            return;
        }
        if !again && !self.is_waiting() && is_blocked(ptr::from_ref(self).cast()) {
            self.blocks();
        } else {
            self.kick.arrived(again, self);
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
}
