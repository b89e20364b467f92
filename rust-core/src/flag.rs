//! What C code reads that must not call anything: a flag of each thread that says "call
//! `PyErr_CheckSignals()`", and a count for all.
//!
//! A flag repeats what the eval breaker says. Whoever sets a bit there raises the flag
//! after it; whoever looks takes the flag down before it reads the bits. So if the flag
//! is taken that was raised for a bit, the bit is seen; and one that is raised later
//! stays up. It can be up for nothing, if the eval loop was first: that costs one call.

use crate::sync::{AtomicU32, Ordering};

/// A thread's flag. C reads it, and loads it Relaxed: what it does then is to call.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Flag(AtomicU32);

impl Flag {
    /// After a bit has been set. Any thread, and async-signal-safe.
    pub fn raise(&self) {
        // Release: the bit; paired with the swap in `take`.
        self.0.store(1, Ordering::Release);
    }

    /// Before the bits are read. The thread itself. Whether it was up.
    pub fn take(&self) -> bool {
        // Acquire: paired with the store in `raise`.
        self.0.load(Ordering::Relaxed) != 0 && self.0.swap(0, Ordering::Acquire) != 0
    }

    /// For another thread, and in the child of a fork.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Where C reads it.
    #[cfg(not(loom))]
    pub fn word(&self) -> *const u32 {
        self.0.as_ptr()
    }
}

/// How often any flag was raised, also of threads that have none; it wraps.
#[cfg(not(loom))]
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A flag is raised. Relaxed: it is only read to see whether it stands still.
#[cfg(not(loom))]
pub fn count_one() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Where C reads the count.
#[cfg(not(loom))]
pub fn count_word() -> *const u32 {
    COUNT.as_ptr()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn is_taken_once() {
        let flag = Flag::default();
        assert!(!flag.take());
        flag.raise();
        flag.raise();
        assert!(flag.take());
        assert!(!flag.take());
    }

    #[test]
    fn c_reads_it() {
        let flag = Flag::default();
        flag.raise();
        // SAFETY: the flag is alive.
        assert_eq!(unsafe { *flag.word() }, 1);
        flag.reset();
        // SAFETY: the same.
        assert_eq!(unsafe { *flag.word() }, 0);
    }
}
