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
//! | [`pending`]     | what waits: order, and which equal interrupts are one       |
//! | [`ffi`]         | nothing: the functions C calls, and the only raw pointers   |
//!
//! The contract with C is `include/interrupt_core.h`.  No module knows CPython:
//! frames and exceptions are opaque addresses, so all of this builds and is
//! tested without an interpreter.

pub mod ffi;
pub mod level;
pub mod mask;
pub mod pending;
