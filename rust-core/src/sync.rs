//! The atomics of the lock-free parts: std's, or loom's when its models run.
//!
//! Nothing else in this crate names either, so what loom checks is what is linked
//! into the interpreter.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
