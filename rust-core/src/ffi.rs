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
use crate::mask::{self, FrameId, HandlerBase, Masker, Place, Verdict};
use crate::pending::{Pushed, Queue};

/// `_PyInterruptState` of the header, field by field.
#[repr(C)]
#[derive(Debug)]
pub struct InterruptState {
    /// Eval-breaker bits that wait.
    pub waiting: usize,
    /// The frame whose leaving asks again, this state itself for "several", or
    /// null if whatever comes next asks again.
    pub masker: *const c_void,
    /// A [`Thread`], made when there is something to keep, freed by clear.
    pub thread: *mut c_void,
}

impl Default for InterruptState {
    fn default() -> Self {
        InterruptState {
            waiting: 0,
            masker: ptr::null(),
            thread: ptr::null_mut(),
        }
    }
}

/// What the core keeps for a thread beside the words that C looks at.
#[derive(Debug, Default)]
struct Thread {
    queue: Queue,
    /// The frames that the running signal handlers interrupted. Slots keep their
    /// places, since handlers may end in any order.
    handlers: Vec<Option<HandlerBase>>,
}

/// `_PyInterruptCore_CallerFunc` of the header.
pub type CallerFunc = unsafe extern "C" fn(frame: *const c_void, level: *mut u8) -> *const c_void;

/// The process-wide off switch.  Relaxed: it is written while the runtime
/// initialises, before there is a second thread or an interrupt to decide on.
static MASKS_ENABLED: AtomicBool = AtomicBool::new(true);

/// `_PyInterruptCore_BLOCKED` of the header; everything else is "running".
const BLOCKED: c_int = 1;

impl InterruptState {
    /// The value of `masker` that stands for "several".
    fn several(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }

    fn masker(&self) -> Option<Masker> {
        if self.waiting == 0 || self.masker.is_null() {
            None
        } else if self.masker == self.several() {
            Some(Masker::Several)
        } else {
            Some(Masker::Frame(self.masker as FrameId))
        }
    }

    /// All that waits. It is asked about again by whatever comes first, a check
    /// point (by the bits returned here) or a TIT (by those kept).
    fn release(&mut self) -> usize {
        self.masker = ptr::null();
        self.waiting
    }

    fn thread(&self) -> Option<&Thread> {
        // SAFETY: null, or made by `thread_mut` and freed only by Clear, and
        // borrowed no longer than the state, which is its owner's alone.
        unsafe { self.thread.cast::<Thread>().as_ref() }
    }

    fn thread_mut(&mut self) -> &mut Thread {
        if self.thread.is_null() {
            self.thread = Box::into_raw(Box::<Thread>::default()).cast();
        }
        // SAFETY: as in `thread`.
        unsafe { &mut *self.thread.cast::<Thread>() }
    }

    fn handlers(&self) -> Vec<HandlerBase> {
        self.thread()
            .map(|thread| thread.handlers.iter().flatten().copied().collect())
            .unwrap_or_default()
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
    match mask::decide(frames, &state.handlers(), place, state.masker()) {
        Verdict::Raise => 0,
        Verdict::Wait(masker) => {
            state.waiting |= bits;
            state.masker = match masker {
                Masker::Frame(frame) => frame as *const c_void,
                Masker::Several => state.several(),
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
    match state.masker() {
        Some(Masker::Frame(masker)) if masker != frame as FrameId => 0,
        _ => {
            state.masker = ptr::null();
            std::mem::take(&mut state.waiting)
        }
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Release(state: *mut InterruptState) -> usize {
    // SAFETY: as in MustWait.
    unsafe { &mut *state }.release()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterHandler(
    state: *mut InterruptState,
    frame: *const c_void,
) -> usize {
    // SAFETY: as in MustWait.
    let handlers = &mut unsafe { &mut *state }.thread_mut().handlers;
    let base = (!frame.is_null()).then_some(frame as FrameId);
    handlers.push(Some(base));
    handlers.len() - 1
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LeaveHandler(
    state: *mut InterruptState,
    handler: usize,
) -> usize {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    let handlers = &mut state.thread_mut().handlers;
    // Gone if the state was cleared meanwhile: the interpreter ended in there.
    if let Some(slot) = handlers.get_mut(handler) {
        *slot = None;
    }
    while handlers.last() == Some(&None) {
        handlers.pop();
    }
    state.release()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Push(
    state: *mut InterruptState,
    exception: *mut c_void,
    class: *const c_void,
    plain: c_int,
) -> c_int {
    // SAFETY: as in MustWait.
    let queue = &mut unsafe { &mut *state }.thread_mut().queue;
    match queue.push(exception as usize, class as usize, plain != 0) {
        Pushed::Queued => 1,
        Pushed::Merged => 0,
        Pushed::NoMemory => -1,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Pop(
    state: *mut InterruptState,
    joining: *const c_void,
) -> *mut c_void {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state.thread.is_null() {
        return ptr::null_mut();
    }
    let joining = (!joining.is_null()).then_some(joining as usize);
    match state.thread_mut().queue.pop(joining) {
        Some(exception) => exception as *mut c_void,
        None => ptr::null_mut(),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Count(state: *const InterruptState) -> usize {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    state.thread().map_or(0, |thread| thread.queue.len())
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
    if old.thread.is_null() {
        return;
    }
    // SAFETY: made by `thread_mut`, and no longer reachable from the state.
    let mut thread = unsafe { Box::from_raw(old.thread.cast::<Thread>()) };
    while let Some(exception) = thread.queue.pop(None) {
        // SAFETY: a reference the queue owned, handed back exactly once.
        unsafe { drop(exception as *mut c_void) };
    }
}
