//! The interrupt core: decides when an interrupt may be raised in a Python thread.
//!
//! The compiler marks regions of code in which no interrupt may land (entering
//! and leaving `with`, the body of `finally`) by NIT and TIT instructions.  These
//! store a *level* into the running frame.  Nothing else happens until an
//! interrupt arrives; then the eval loop, and every system call that was broken
//! by a signal, asks this crate one question: raise it now, or let it wait?
//!
//! | module          | decides                                                     |
//! |-----------------|-------------------------------------------------------------|
//! | [`level`]       | what the level byte means                                   |
//! | [`mask`]        | raise or wait, who masks, and whose leaving asks again      |
//! | [`scopes`]      | what a program masks or opens itself: whose it is, what counts |
//! | [`pending`]     | what waits: order, which equal interrupts are one, what is raised together |
//! | [`sent`]        | what other threads have sent, on its way: the lock-free part |
//! | [`force`]       | when what waits has waited too long                          |
//! | [`timeouts`]    | which deadlines have come, and what is raised for them once |
//! | [`flag`]        | what C code reads to know that it has to look               |
//! | [`kick`]        | when a blocked thread is woken, how often, and when no more  |
//! | [`sweep`]       | for tests: an interrupt at the n-th check point             |
//! | [`ffi`]         | nothing: the functions C calls, and the only raw pointers   |
//!
//! The contract with C is `include/interrupt_core.h`.  No module knows CPython:
//! frames and exceptions are opaque addresses, so all of this builds and is
//! tested without an interpreter.

#[cfg(not(loom))]
pub mod ffi;
pub mod flag;
pub mod force;
pub mod kick;
pub mod level;
pub mod mask;
pub mod pending;
pub mod scopes;
pub mod sent;
pub mod sweep;
mod sync;
pub mod timeouts;
