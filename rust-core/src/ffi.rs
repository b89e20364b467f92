//! The functions C calls.
//!
//! Everything here is translation: raw pointers to the types the other modules
//! decide on, and their answers back.  What each function promises is documented
//! once, in `include/interrupt_core.h`; that is the safety contract of them all.

#![allow(clippy::missing_safety_doc, reason = "the contract is the C header")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::level::Level;
use crate::mask::{self, FrameId, Handler, Masker, Place, Verdict};
use crate::pending::{Pushed, Queue};

/// `_PyInterruptState` of the header, field by field.
#[repr(C)]
#[derive(Debug)]
pub struct InterruptState {
    /// Eval-breaker bits that wait.
    pub waiting: usize,
    /// The frame whose leaving asks again, this state itself for a handler.
    pub masker: *const c_void,
    /// The frame that the innermost running handler interrupted.
    pub handler_base: *const c_void,
    /// Non-zero while a signal handler runs.
    pub handler_runs: usize,
    /// A [`Queue`], made by the first push, freed by clear.
    pub queue: *mut c_void,
}

impl Default for InterruptState {
    fn default() -> Self {
        InterruptState {
            waiting: 0,
            masker: ptr::null(),
            handler_base: ptr::null(),
            handler_runs: 0,
            queue: ptr::null_mut(),
        }
    }
}

/// `_PyInterruptHandlerScope` of the header.
#[repr(C)]
#[derive(Debug)]
pub struct HandlerScope {
    /// The outer handler's `handler_base`.
    pub base: *const c_void,
    /// The outer `handler_runs`.
    pub runs: usize,
}

impl Default for HandlerScope {
    fn default() -> Self {
        HandlerScope {
            base: ptr::null(),
            runs: 0,
        }
    }
}

/// `_PyInterruptCore_CallerFunc` of the header.
pub type CallerFunc = unsafe extern "C" fn(frame: *const c_void, level: *mut u8) -> *const c_void;

/// The process-wide off switch.  Relaxed: it is written while the runtime
/// initialises, before there is a second thread or an interrupt to decide on.
static MASKS_ENABLED: AtomicBool = AtomicBool::new(true);

/// `_PyInterruptCore_BLOCKED` of the header; everything else is "running".
const BLOCKED: c_int = 1;

impl InterruptState {
    /// The value of `masker` that stands for "the running handler".
    fn handler_mark(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }

    fn handler(&self) -> Handler {
        match (self.handler_runs, self.handler_base as FrameId) {
            (0, _) => Handler::None,
            (_, 0) => Handler::AboveNothing,
            (_, base) => Handler::Above(base),
        }
    }

    /// What waited, if `masker` is who held it back.
    fn release(&mut self, masker: *const c_void) -> usize {
        if self.masker != masker {
            return 0;
        }
        self.masker = ptr::null();
        std::mem::take(&mut self.waiting)
    }
}

/// Frames, innermost first, as `caller` shows them.
struct Frames {
    next: *const c_void,
    caller: CallerFunc,
}

impl Iterator for Frames {
    type Item = (FrameId, Level);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            return None;
        }
        let frame = self.next;
        let mut level = 0;
        // SAFETY: `frame` came from C, which keeps the frames alive and unchanged
        // for the duration of the call that gave us `caller`.
        self.next = unsafe { (self.caller)(frame, &raw mut level) };
        Some((frame as FrameId, Level::from_frame(level)))
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_SetMasks(enabled: c_int) {
    MASKS_ENABLED.store(enabled != 0, Relaxed);
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_MustWait(
    state: *mut InterruptState,
    bits: usize,
    place: c_int,
    frame: *const c_void,
    caller: CallerFunc,
) -> c_int {
    if !MASKS_ENABLED.load(Relaxed) {
        return 0;
    }
    // SAFETY: the header gives the state to its owning thread alone.
    let state = unsafe { &mut *state };
    let place = match place {
        BLOCKED => Place::Blocked,
        _ => Place::Running,
    };
    let frames = Frames {
        next: frame,
        caller,
    };
    match mask::decide(frames, state.handler(), place) {
        Verdict::Raise => 0,
        Verdict::Wait(masker) => {
            state.waiting |= bits;
            state.masker = match masker {
                Masker::Frame(frame) => frame as *const c_void,
                Masker::Handler => state.handler_mark(),
            };
            1
        }
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Leave(
    state: *mut InterruptState,
    frame: *const c_void,
) -> usize {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    state.release(frame)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterHandler(
    state: *mut InterruptState,
    frame: *const c_void,
    saved: *mut HandlerScope,
) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    let outer = HandlerScope {
        base: state.handler_base,
        runs: state.handler_runs,
    };
    // SAFETY: `saved` is the caller's local variable, not yet initialised.
    unsafe { saved.write(outer) };
    state.handler_base = frame;
    state.handler_runs = 1;
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LeaveHandler(
    state: *mut InterruptState,
    saved: *const HandlerScope,
) -> usize {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: `saved` was written by EnterHandler.
    let saved = unsafe { &*saved };
    state.handler_base = saved.base;
    state.handler_runs = saved.runs;
    state.release(state.handler_mark())
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Push(
    state: *mut InterruptState,
    exception: *mut c_void,
    plain_type: *const c_void,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state.queue.is_null() {
        state.queue = Box::into_raw(Box::<Queue>::default()).cast();
    }
    // SAFETY: the queue is ours alone, made above and freed only by Clear.
    let queue = unsafe { &mut *state.queue.cast::<Queue>() };
    let plain_type = (!plain_type.is_null()).then_some(plain_type as usize);
    match queue.push(exception as usize, plain_type) {
        Pushed::Queued => 1,
        Pushed::Merged => 0,
        Pushed::NoMemory => -1,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Pop(state: *mut InterruptState) -> *mut c_void {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in Push; null when nothing was ever pushed.
    match unsafe { state.queue.cast::<Queue>().as_mut() }.and_then(Queue::pop) {
        Some(exception) => exception as *mut c_void,
        None => ptr::null_mut(),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Count(state: *const InterruptState) -> usize {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    // SAFETY: as in Pop.
    unsafe { state.queue.cast::<Queue>().as_ref() }.map_or(0, Queue::len)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Clear(
    state: *mut InterruptState,
    drop: unsafe extern "C" fn(*mut c_void),
) {
    // SAFETY: as in MustWait.  The reference ends here: `drop` may run code that
    // comes back to this state.
    let old = std::mem::take(unsafe { &mut *state });
    if old.queue.is_null() {
        return;
    }
    // SAFETY: made by Box::into_raw in Push, and no longer reachable from the state.
    let mut queue = unsafe { Box::from_raw(old.queue.cast::<Queue>()) };
    while let Some(exception) = queue.pop() {
        // SAFETY: a reference the queue owned, handed back exactly once.
        unsafe { drop(exception as *mut c_void) };
    }
}
