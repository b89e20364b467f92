//! The functions C calls.
//!
//! Everything here is translation: raw pointers to the types the other modules
//! decide on, and their answers back.  What each function promises is documented
//! once, in `include/interrupt_core.h`; that is the safety contract of them all.

#![allow(clippy::missing_safety_doc, reason = "the contract is the C header")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering, Ordering::Relaxed,
};

use crate::flag;
use crate::force::{self, Patience};
use crate::kick::platform::{self, IsBlocked, OnAlarm};
use crate::kick::registry::{self, Record};
use crate::level::{Level, Strength};
use crate::mask::{self, Masker, Place, RegionKind, RuntimeRegion, Verdict};
use crate::pending::{Pushed, Queue, SentQueue};
use crate::scopes::{
    self, Carriers, FrameId, Identity, InForce, Inside, Kind, Scopes, Stacks, Step,
};
use crate::sent::{Address, How, NotSent, Sent};
use crate::sweep::{Sweep, Where};
use crate::timeouts::Timeouts;

/// `_PyInterruptState` of the header, field by field.
#[repr(C)]
#[derive(Debug)]
pub struct InterruptState {
    /// Eval-breaker bits that wait, and [`LOWERS`].
    pub waiting: usize,
    /// The frame whose leaving asks again, the address of this field for a scope,
    /// this state itself for "several", or null if whatever comes next asks again.
    pub masker: *const c_void,
    /// A [`Thread`], made when there is something to keep, freed by clear.
    pub thread: *mut c_void,
    /// What other threads have sent.
    pub sent: Sent,
    /// How the thread is woken, or null. Set by any thread, under the lock that keeps
    /// thread states alive.
    pub kick: AtomicPtr<Record>,
}

impl Default for InterruptState {
    fn default() -> Self {
        InterruptState {
            waiting: 0,
            masker: ptr::null(),
            thread: ptr::null_mut(),
            sent: Sent::default(),
            kick: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// `_PyInterruptCarried` of the header.
#[repr(C)]
#[derive(Debug)]
pub struct Carried {
    /// How many generators there are in `carriers`. Relaxed: written under the lock; C
    /// reads it without, and those who have to see it are told by other means.
    pub count: AtomicUsize,
    /// A [`Carriers`], made when there is something to keep.
    pub carriers: *mut c_void,
}

impl Default for Carried {
    fn default() -> Self {
        Carried {
            count: AtomicUsize::new(0),
            carriers: ptr::null_mut(),
        }
    }
}

/// `_PyInterruptStep` of the header.
#[repr(C)]
#[derive(Debug)]
pub struct RawStep {
    /// Null for a generator that has none.
    pub frame: *const c_void,
    /// Not null for a generator.
    pub carrier: *const c_void,
    /// As the frame holds it.
    pub level: u8,
    /// Not 0 if the frame has called the `__exit__` of a `with`, and the walk asks for it.
    pub exiting: u8,
}

/// `_PyInterruptWalk` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// The next frame.
    pub frame: *const c_void,
    /// The next generator.
    pub generator: *const c_void,
    /// What all this stands on.
    pub stack: *const c_void,
    /// Not 0 if a step has to say whether the frame is exiting.
    pub asks_exiting: u8,
}

/// `_PyInterruptCore_StepFunc` of the header.
pub type StepFunc = unsafe extern "C" fn(walk: *mut Walk, step: *mut RawStep) -> c_int;

/// A `drop` argument of the header.
pub type DropFunc = unsafe extern "C" fn(exception: *mut c_void);

/// `_PyInterruptState_LOWERS` of the header.
const LOWERS: usize = 1 << 16;

/// `_PyInterruptCore_BLOCKED` of the header; everything else is "running".
const BLOCKED: c_int = 1;

/// The kind of a scope that belongs to a timeout, which C does not enter by itself.
const TIMEOUT: c_int = 3;

/// `_PyInterruptCore_IN_FLIGHT` of the header.
const IN_FLIGHT: c_int = 2;

/// Reasons of Release() that this side gives itself.
const LEAVE: c_int = 0;
const REGION_ENDS: c_int = 3;

/// The process-wide off switch.  Relaxed: it is written while the runtime
/// initialises, before there is a second thread or an interrupt to decide on.
static MASKS_ENABLED: AtomicBool = AtomicBool::new(true);

/// For tests: the reason that Release() ignores.  Relaxed: a test sets it before
/// it does what must not be noticed, in the same thread.
static SUPPRESSED: AtomicI32 = AtomicI32::new(-1);

/// What the core keeps for a thread beside the words that C looks at.
#[derive(Debug)]
struct Thread {
    /// Another one for each record there ever is; never 0.
    number: Identity,
    raised: Queue,
    sent: SentQueue,
    patience: Patience,
    /// Slots keep their places, since regions may end in any order.
    regions: Vec<Option<RuntimeRegion>>,
    stacks: Stacks,
    timeouts: Timeouts,
    /// Frames from here on outwards mask no more.
    base: Option<FrameId>,
    sweep: Option<Sweep>,
}

/// Counts records, in the whole process. Relaxed: they only have to differ.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(1);

impl Default for Thread {
    fn default() -> Self {
        Thread {
            number: NEXT_THREAD.fetch_add(1, Relaxed),
            raised: Queue::default(),
            sent: SentQueue::default(),
            patience: Patience::default(),
            regions: Vec::new(),
            stacks: Stacks::default(),
            timeouts: Timeouts::default(),
            base: None,
            sweep: None,
        }
    }
}

impl InterruptState {
    /// The value of `masker` that stands for "several".
    fn several(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }

    /// The value of `masker` that stands for a scope.
    fn scope(&self) -> *const c_void {
        (&raw const self.masker).cast()
    }

    fn bits(&self) -> usize {
        self.waiting & !LOWERS
    }

    fn masker(&self) -> Option<Masker> {
        if self.bits() == 0 || self.masker.is_null() {
            None
        } else if self.masker == self.several() {
            Some(Masker::Several)
        } else if self.masker == self.scope() {
            Some(Masker::Scope)
        } else {
            Some(Masker::Frame(self.masker as FrameId))
        }
    }

    /// All that waits. It is asked about again by whatever comes first, a check
    /// point (by the bits returned here) or a TIT (by those kept).
    fn release(&mut self, reason: c_int, up: usize) -> usize {
        if SUPPRESSED.load(Relaxed) == reason {
            return 0;
        }
        self.masker = ptr::null();
        self.waiting |= up;
        self.bits()
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

    /// The way outwards, as far as it can mask.
    fn steps(&self, mut walk: Walk, step: StepFunc) -> impl Iterator<Item = Step> + Clone + use<> {
        let softens = |region: &RuntimeRegion| region.kind == RegionKind::WaitsForOthers;
        let regions = self.thread().map_or(&[][..], |thread| &thread.regions);
        walk.asks_exiting = regions.iter().flatten().any(softens).into();
        let base = self.thread().and_then(|thread| thread.base);
        Steps { walk, step }.take_while(move |step| base.is_none() || step.frame != base)
    }

    /// The innermost generator that runs, as far as generators can matter.
    fn carrier(&self, carrier: *const c_void, walk: Walk, step: StepFunc) -> Option<usize> {
        let base = self.thread().and_then(|thread| thread.base);
        match base {
            None => identity(carrier),
            Some(_) => self.steps(walk, step).find_map(|step| step.carrier),
        }
    }

    /// What tells this thread from others in the entries of scopes. 0 if it has entered
    /// none.
    fn number(&self) -> Identity {
        self.thread().map_or(0, |thread| thread.number)
    }

    fn in_force(&self, carried: *const Carried, walk: Walk, step: StepFunc) -> InForce {
        // SAFETY: the caller of the exported function holds the lock.
        let carriers = unsafe { carriers(carried) };
        let stacks = self.thread().map(|thread| &thread.stacks);
        match (stacks, carriers) {
            (None, None) => InForce::default(),
            (stacks, carriers) => scopes::in_force(
                self.steps(walk, step),
                stacks.unwrap_or(&Stacks::default()),
                carriers.unwrap_or(&Carriers::default()),
                self.number(),
                walk.stack as usize,
            ),
        }
    }

    fn decide(&self, carried: *const Carried, place: Place, walk: Walk, step: StepFunc) -> Verdict {
        if !MASKS_ENABLED.load(Relaxed) {
            return Verdict::Raise;
        }
        let scopes = self.in_force(carried, walk, step);
        self.decide_by(&scopes, place, self.masker(), walk, step)
    }

    fn decide_by(
        &self,
        scopes: &InForce,
        place: Place,
        before: Option<Masker>,
        walk: Walk,
        step: StepFunc,
    ) -> Verdict {
        let regions = self.thread().map_or(&[][..], |thread| &thread.regions);
        mask::decide(self.steps(walk, step), regions, place, before, scopes)
    }

    /// What counts for the interrupt of a timeout in what runs here.
    ///
    /// # Safety
    ///
    /// `carried` is the interpreter's, and locked.
    unsafe fn inside(
        &self,
        timeout: Identity,
        carried: *const Carried,
        walk: Walk,
        step: StepFunc,
    ) -> Inside {
        // SAFETY: by the contract.
        let carriers = unsafe { carriers(carried) };
        scopes::in_force_inside(
            timeout,
            self.steps(walk, step),
            self.thread()
                .map_or(&Stacks::default(), |thread| &thread.stacks),
            carriers.unwrap_or(&Carriers::default()),
            self.number(),
            walk.stack as usize,
        )
    }

    /// The outermost timeout that is due and may be raised here; or why none may, and
    /// whether one is elsewhere.
    fn decide_timeouts(
        &self,
        carried: *const Carried,
        place: Place,
        walk: Walk,
        step: StepFunc,
    ) -> Result<Identity, (Option<Verdict>, bool)> {
        let (mut waits, mut elsewhere) = (None, false);
        let due = self
            .thread()
            .into_iter()
            .flat_map(|thread| thread.timeouts.due());
        for timeout in due {
            // SAFETY: the caller of the exported function holds the lock.
            let verdict = match unsafe { self.inside(timeout, carried, walk, step) } {
                Inside::Gone => continue,
                Inside::Elsewhere => {
                    elsewhere = true;
                    continue;
                }
                Inside::Here(_) if !MASKS_ENABLED.load(Relaxed) => Verdict::Raise,
                Inside::Here(scopes) => self.decide_by(&scopes, place, None, walk, step),
            };
            waits = Some(match (waits, verdict) {
                (_, Verdict::Raise) => return Ok(timeout),
                (None, verdict) => verdict,
                (Some(earlier), verdict) if earlier == verdict => verdict,
                (Some(Verdict::WaitAndAsk), _) | (_, Verdict::WaitAndAsk) => Verdict::WaitAndAsk,
                _ => Verdict::Wait(Masker::Several),
            });
        }
        Err((waits, elsewhere))
    }

    /// A timeout whose block has ended, though it was not left in this thread.
    ///
    /// # Safety
    ///
    /// `carried` is the interpreter's, and locked.
    unsafe fn find_gone_timeout(
        &self,
        carried: *const Carried,
        walk: Walk,
        step: StepFunc,
    ) -> Option<Identity> {
        // SAFETY: by the contract.
        let carriers = unsafe { carriers(carried) };
        let none = Carriers::default();
        let carriers = carriers.unwrap_or(&none);
        let thread = self.thread()?;
        thread.timeouts.all().find(|&timeout| {
            !scopes::is_entered(timeout, &thread.stacks, carriers)
                // SAFETY: by the contract.
                || unsafe { self.inside(timeout, carried, walk, step) } == Inside::Gone
        })
    }

    fn set_masker(&mut self, masker: Masker) {
        self.masker = match masker {
            Masker::Frame(frame) => frame as *const c_void,
            Masker::Scope => self.scope(),
            Masker::Several => self.several(),
        };
    }

    fn any_timeout_due(&self) -> bool {
        let thread = self.thread();
        thread.is_some_and(|thread| thread.timeouts.due().next().is_some())
    }

    /// Set the alarm to the next timeout. Whether that was possible.
    fn set_deadline(&self) -> bool {
        let next = self.thread().and_then(|thread| thread.timeouts.next());
        // SAFETY: the state exists.
        match unsafe { record_of(self) } {
            Some(record) => platform::keeping_errno(|| record.set_deadline(next)),
            None => next.is_none(),
        }
    }

    /// Run `change` on all scopes this thread has to do with.
    ///
    /// # Safety
    ///
    /// `carried` is the interpreter's, and locked.
    unsafe fn change_scopes<T>(
        &mut self,
        carried: *mut Carried,
        stack: *const c_void,
        change: impl FnOnce(&mut Scopes) -> T,
    ) -> T {
        let thread = self.thread_mut().number;
        let lowered = self.waiting & LOWERS != 0;
        // SAFETY: by the contract.
        let carried = unsafe { &mut *carried };
        if carried.carriers.is_null() {
            carried.carriers = Box::into_raw(Box::<Carriers>::default()).cast();
        }
        // SAFETY: made above, freed only by DropCarried; the lock is held.
        let carriers = unsafe { &mut *carried.carriers.cast::<Carriers>() };
        let mut scopes = Scopes {
            thread,
            stack: stack as usize,
            stacks: &mut self.thread_mut().stacks,
            carriers,
            gained_call: false,
        };
        let result = change(&mut scopes);
        // Many tasks can carry scopes: all are looked at only if one may matter.
        let may_lower = lowered || scopes.gained_call;
        let lowers = may_lower && scopes.any_lowers();
        carried.count.store(carriers.count(), Relaxed);
        self.waiting = self.bits() | if lowers { LOWERS } else { 0 };
        result
    }
}

/// What generators carry; nothing if that is nothing.
///
/// # Safety
///
/// `carried` is the interpreter's, and locked for as long as the result lives.
unsafe fn carriers<'a>(carried: *const Carried) -> Option<&'a Carriers> {
    // SAFETY: by the contract.
    let carried = unsafe { &*carried };
    if carried.count.load(Relaxed) == 0 {
        return None;
    }
    // SAFETY: made by `change_scopes`, freed only by DropCarried.
    unsafe { carried.carriers.cast::<Carriers>().as_ref() }
}

/// What runs, innermost first, as `step` shows it.
#[derive(Clone)]
struct Steps {
    walk: Walk,
    step: StepFunc,
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let mut raw = RawStep {
            frame: ptr::null(),
            carrier: ptr::null(),
            level: 0,
            exiting: 0,
        };
        // SAFETY: the walk came from C, which keeps what it shows alive and
        // unchanged for the duration of the call that gave us `step`.
        let found = unsafe { (self.step)(&raw mut self.walk, &raw mut raw) };
        (found != 0).then(|| Step {
            frame: (!raw.frame.is_null()).then_some(raw.frame as FrameId),
            carrier: (!raw.carrier.is_null()).then_some(raw.carrier as usize),
            level: Level::from_frame(raw.level),
            exiting: raw.exiting != 0,
        })
    }
}

fn identity(pointer: *const c_void) -> Option<usize> {
    (!pointer.is_null()).then_some(pointer as usize)
}

fn place_from(place: c_int) -> Place {
    match place {
        BLOCKED => Place::Blocked,
        _ => Place::Running,
    }
}

// --- Raise or wait ----------------------------------------------------------

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_SetMasks(enabled: c_int) {
    MASKS_ENABLED.store(enabled != 0, Relaxed);
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_GetMasks() -> c_int {
    MASKS_ENABLED.load(Relaxed).into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_MustWait(
    state: *mut InterruptState,
    carried: *const Carried,
    bits: usize,
    place: c_int,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: the header gives the state to its owning thread alone.
    let state = unsafe { &mut *state };
    // SAFETY: a position that C made for this call.
    let walk = unsafe { *walk };
    match state.decide(carried, place_from(place), walk, step) {
        Verdict::Raise => 0,
        Verdict::Wait(masker) => {
            // A timeout may be waiting for somebody farther inside.
            let several = state.bits() != 0 && state.any_timeout_due();
            state.waiting |= bits;
            state.set_masker(if several { Masker::Several } else { masker });
            1
        }
        Verdict::WaitAndAsk => 2,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsMasked(
    state: *const InterruptState,
    carried: *const Carried,
    place: c_int,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    (state.decide(carried, place_from(place), walk, step) != Verdict::Raise).into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsFinalizing(
    state: *const InterruptState,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    let regions = state.thread().map_or(&[][..], |thread| &thread.regions);
    mask::is_finalizing(state.steps(walk, step), regions).into()
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
        Some(Masker::Scope) => 0,
        _ if SUPPRESSED.load(Relaxed) == LEAVE => 0,
        _ => {
            let bits = state.bits();
            state.masker = ptr::null();
            state.waiting &= LOWERS;
            bits
        }
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Release(
    state: *mut InterruptState,
    reason: c_int,
    up: usize,
) -> usize {
    // SAFETY: as in MustWait.
    unsafe { &mut *state }.release(reason, up)
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_SuppressRelease(reason: c_int) {
    SUPPRESSED.store(reason, Relaxed);
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterRuntimeRegion(
    state: *mut InterruptState,
    frame: *const c_void,
    kind: c_int,
) -> usize {
    // SAFETY: as in MustWait.
    let regions = &mut unsafe { &mut *state }.thread_mut().regions;
    regions.push(Some(RuntimeRegion {
        base: identity(frame),
        kind: match kind {
            0 => RegionKind::Masks(Strength::Soft),
            1 => RegionKind::Masks(Strength::Hard),
            2 => RegionKind::WaitsForOthers,
            _ => RegionKind::Opens,
        },
    }));
    regions.len() - 1
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LeaveRuntimeRegion(
    state: *mut InterruptState,
    region: usize,
) -> usize {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // Gone if the state was cleared meanwhile: the interpreter ended in there.
    if state.thread.is_null() {
        return state.release(REGION_ENDS, 0);
    }
    let regions = &mut state.thread_mut().regions;
    if let Some(slot) = regions.get_mut(region) {
        *slot = None;
    }
    while regions.last() == Some(&None) {
        regions.pop();
    }
    state.release(REGION_ENDS, 0)
}

/// The number of the guard that is entered next. Relaxed: only uniqueness counts; 0 is none.
static NEXT_GUARD: AtomicUsize = AtomicUsize::new(1);

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterGuard(
    state: *mut InterruptState,
    frame: *const c_void,
    hard: c_int,
    number: *mut usize,
) -> usize {
    let strength = match hard {
        0 => Strength::Soft,
        _ => Strength::Hard,
    };
    let new = NEXT_GUARD.fetch_add(1, Relaxed);
    // SAFETY: C keeps it for this call.
    unsafe { *number = new };
    // SAFETY: as in MustWait.
    let regions = &mut unsafe { &mut *state }.thread_mut().regions;
    regions.push(Some(RuntimeRegion {
        base: identity(frame),
        kind: RegionKind::Guards {
            strength,
            number: new,
        },
    }));
    regions.len() - 1
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsGuard(
    state: *const InterruptState,
    region: usize,
    expected: usize,
) -> c_int {
    // SAFETY: as in MustWait.
    let regions = unsafe { &*state }.thread().map(|thread| &thread.regions);
    let entry = regions.and_then(|regions| regions.get(region)?.as_ref());
    let is_it = |region: &RuntimeRegion| matches!(region.kind, RegionKind::Guards { number, .. } if number == expected);
    entry.is_some_and(is_it).into()
}

// --- Scopes -----------------------------------------------------------------

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterScope(
    state: *mut InterruptState,
    carried: *mut Carried,
    scope: *const c_void,
    kind: c_int,
    carrier: *const c_void,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    let steps = state.steps(walk, step);
    let carrier = state.carrier(carrier, walk, step);
    let kind = match kind {
        0 => Kind::Mask(Strength::Soft),
        1 => Kind::Mask(Strength::Hard),
        TIMEOUT => Kind::Timeout,
        _ => Kind::Open,
    };
    // SAFETY: the header gives it to whoever holds the lock.
    let entered = unsafe {
        state.change_scopes(carried, walk.stack, |scopes| {
            scopes.enter(scope as usize, kind, carrier, steps)
        })
    };
    if entered.is_ok() { 0 } else { -1 }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LeaveScope(
    state: *mut InterruptState,
    carried: *mut Carried,
    scope: *const c_void,
    shared: c_int,
    carrier: *const c_void,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    let steps = state.steps(walk, step);
    let carrier = state.carrier(carrier, walk, step);
    // SAFETY: as in EnterScope.
    let left = unsafe {
        state.change_scopes(carried, walk.stack, |scopes| {
            scopes.leave(scope as usize, shared != 0, carrier, steps)
        })
    };
    if left.is_ok() { 0 } else { -1 }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsCarried(
    carried: *const Carried,
    scope: *const c_void,
) -> c_int {
    // SAFETY: as in EnterScope.
    let carriers = unsafe { carriers(carried) };
    let is_entered = |carriers| scopes::is_entered(scope as usize, &Stacks::default(), carriers);
    carriers.is_some_and(is_entered).into()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_Mark() -> usize {
    scopes::mark()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_HandOver(
    state: *mut InterruptState,
    carried: *mut Carried,
    from: *const c_void,
    mark: usize,
    carrier: *const c_void,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    // SAFETY: as in EnterScope.
    let carriers = unsafe { carriers(carried) };
    if carriers.is_none() && state.thread().is_none_or(|thread| thread.stacks.is_empty()) {
        return 0;
    }
    let steps = state.steps(walk, step);
    let carrier = state.carrier(carrier, walk, step);
    // SAFETY: as in EnterScope.
    let handed = unsafe {
        state.change_scopes(carried, walk.stack, |scopes| {
            let mark = (mark != usize::MAX).then_some(mark);
            scopes.hand_over(identity(from), mark, carrier, steps)
        })
    };
    handed.map_or(-1, |count| count.try_into().unwrap_or(c_int::MAX))
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_CarrierEnds(
    state: *mut InterruptState,
    carried: *mut Carried,
    carrier: *const c_void,
    to: *const c_void,
    walk: *const Walk,
    step: StepFunc,
) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    let steps = state.steps(walk, step);
    // SAFETY: as in EnterScope.
    unsafe {
        state.change_scopes(carried, walk.stack, |scopes| {
            scopes.carrier_ends(carrier as usize, identity(to), steps);
        });
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SetFloor(
    state: *mut InterruptState,
    carried: *mut Carried,
    frame: *const c_void,
    level: c_int,
) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    let byte = u8::try_from(level & 0xff).unwrap_or_default();
    let depth = Level::from_frame(byte).depth();
    // SAFETY: as in EnterScope.
    unsafe {
        state.change_scopes(carried, ptr::null(), |scopes| {
            scopes.set_floor(frame as FrameId, depth);
        });
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_DropScopes(
    state: *mut InterruptState,
    stack: *const c_void,
) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if !state.thread.is_null() {
        state.thread_mut().stacks.drop_stack(stack as usize);
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_StartAfresh(
    state: *mut InterruptState,
    frame: *const c_void,
) {
    // SAFETY: as in MustWait.
    let thread = unsafe { &mut *state }.thread_mut();
    thread.stacks = Stacks::default();
    thread.regions.clear();
    thread.base = identity(frame);
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_DropCarried(carried: *mut Carried) {
    // SAFETY: the interpreter ends, so nobody else looks at it.
    let old = std::mem::take(unsafe { &mut *carried });
    if !old.carriers.is_null() {
        // SAFETY: made by `change_scopes`, and no longer reachable.
        drop(unsafe { Box::from_raw(old.carriers.cast::<Carriers>()) });
    }
}

// --- Timeouts ---------------------------------------------------------------

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_EnterTimeout(
    state: *mut InterruptState,
    exception: *mut c_void,
    microseconds: u64,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    let deadline = platform::microseconds().saturating_add(microseconds);
    let timeouts = &mut state.thread_mut().timeouts;
    if timeouts.enter(exception as usize, deadline).is_err() {
        return -1;
    }
    if state.set_deadline() {
        return 1;
    }
    state.thread_mut().timeouts.leave(exception as usize);
    0
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LeaveTimeout(
    state: *mut InterruptState,
    exception: *mut c_void,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    let raised = state.thread_mut().timeouts.leave(exception as usize);
    state.set_deadline();
    raised.map_or(-1, Into::into)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_TakeTimeout(
    state: *mut InterruptState,
    carried: *const Carried,
    bits: usize,
    place: c_int,
    walk: *const Walk,
    step: StepFunc,
    exception: *mut *mut c_void,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    match state.decide_timeouts(carried, place_from(place), walk, step) {
        Ok(_) if place == IN_FLIGHT => 2,
        Ok(timeout) => {
            // SAFETY: as in EnterScope.
            let is_here = |other: Identity| unsafe {
                matches!(state.inside(other, carried, walk, step), Inside::Here(_))
            };
            let all = state
                .thread()
                .map(|thread| thread.timeouts.all().filter(|&t| is_here(t)));
            let here: Vec<_> = all.into_iter().flatten().collect();
            let timeouts = &mut state.thread_mut().timeouts;
            timeouts.raise(timeout, |other| here.contains(&other));
            state.set_deadline();
            // SAFETY: a place that C made for this call.
            unsafe { *exception = timeout as *mut c_void };
            1
        }
        Err((waits, elsewhere)) => {
            if elsewhere {
                let time = platform::microseconds() + LOOK_AGAIN;
                state.thread_mut().timeouts.look_again(time);
                state.set_deadline();
            }
            match waits {
                None => 0,
                Some(Verdict::Wait(masker)) => {
                    let several = state.masker().is_some_and(|before| before != masker);
                    state.waiting |= bits;
                    state.set_masker(if several { Masker::Several } else { masker });
                    0
                }
                Some(_) => 2,
            }
        }
    }
}

/// How soon, in microseconds, one looks again for a timeout that is due and not in force
/// in what runs: nobody reports that a generator is resumed.
const LOOK_AGAIN: u64 = 10_000;

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_LookAtTimeouts(
    state: *mut InterruptState,
    carried: *const Carried,
    walk: *const Walk,
    step: StepFunc,
    gone: *mut *mut c_void,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    if state
        .thread()
        .is_none_or(|thread| thread.timeouts.is_empty())
    {
        return 0;
    }
    state.thread_mut().timeouts.look(platform::microseconds());
    // SAFETY: as in EnterScope.
    let found = unsafe { state.find_gone_timeout(carried, walk, step) };
    if let Some(timeout) = found {
        state.thread_mut().timeouts.leave(timeout);
        // SAFETY: a place that C made for this call.
        unsafe { *gone = timeout as *mut c_void };
    }
    state.set_deadline();
    state.any_timeout_due().into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_ForceTimeout(
    state: *mut InterruptState,
    carried: *const Carried,
    walk: *const Walk,
    step: StepFunc,
) -> *mut c_void {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    // SAFETY: as in EnterScope.
    let is_here = |timeout: &Identity| unsafe {
        matches!(state.inside(*timeout, carried, walk, step), Inside::Here(_))
    };
    let due = state
        .thread()
        .and_then(|thread| thread.timeouts.due().find(is_here));
    let Some(timeout) = due else {
        return ptr::null_mut();
    };
    state.thread_mut().timeouts.raise(timeout, |_| false);
    timeout as *mut c_void
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_MayRaiseTimeout(
    state: *const InterruptState,
    carried: *const Carried,
    place: c_int,
    walk: *const Walk,
    step: StepFunc,
) -> c_int {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    // SAFETY: as in MustWait.
    let walk = unsafe { *walk };
    let found = state.decide_timeouts(carried, place_from(place), walk, step);
    found.is_ok().into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_AnyTimeoutDue(state: *const InterruptState) -> c_int {
    // SAFETY: as in MustWait; read only.
    unsafe { &*state }.any_timeout_due().into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsTimeoutOver(state: *mut InterruptState) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state
        .thread()
        .is_none_or(|thread| thread.timeouts.is_empty())
    {
        return 0;
    }
    state.thread_mut().timeouts.look(platform::microseconds());
    state.any_timeout_due().into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_TimeoutsAfterFork(state: *mut InterruptState) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if !state.thread.is_null() {
        state.thread_mut().timeouts.after_fork();
        state.set_deadline();
    }
}

// --- What waits -------------------------------------------------------------

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Push(
    state: *mut InterruptState,
    exception: *mut c_void,
    class: *const c_void,
    plain: c_int,
) -> c_int {
    // SAFETY: as in MustWait.
    let queue = &mut unsafe { &mut *state }.thread_mut().raised;
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
    let exception = state.thread_mut().raised.pop(identity(joining));
    exception.map_or(ptr::null_mut(), |e| e as *mut c_void)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Count(state: *const InterruptState) -> usize {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    state.thread().map_or(0, |thread| thread.raised.len())
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Send(
    state: *mut InterruptState,
    exception: *mut c_void,
    how: c_int,
) -> c_int {
    // SAFETY: this field alone is everybody's, and the caller keeps the state
    // alive; no reference to the whole of it is made.
    let sent = unsafe { &(*state).sent };
    let how = match how {
        0 => How::Instance,
        1 => How::Class,
        3 => How::Forced,
        _ => How::Replacing,
    };
    match sent.push(exception as usize, how) {
        Ok(()) => 1,
        Err(NotSent::Closed) => 0,
        Err(NotSent::NoMemory) => -1,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Collect(state: *mut InterruptState, drop: DropFunc) {
    let dropped = {
        // SAFETY: as in MustWait. The reference ends before `drop` runs, which may
        // run code that comes back to this state.
        let state = unsafe { &mut *state };
        let nodes = state.sent.collect();
        if nodes.is_empty() {
            return;
        }
        state.thread_mut().sent.append(nodes)
    };
    drop_all(dropped, drop);
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_CollectClasses(
    state: *mut InterruptState,
    drop: DropFunc,
) {
    // SAFETY: the caller keeps the thread from running, so this state is ours.
    if unsafe { &*state }.sent.are_classes() {
        // SAFETY: the same.
        unsafe { _PyInterruptCore_Collect(state, drop) };
    }
}

fn drop_all(exceptions: Vec<Address>, drop: DropFunc) {
    for exception in exceptions {
        // SAFETY: a reference the core owned, handed back exactly once.
        unsafe { drop(exception as *mut c_void) };
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_HoldBack(state: *mut InterruptState) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if !state.thread.is_null() {
        state.thread_mut().sent.hold_back();
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_PopSent(
    state: *mut InterruptState,
    joining: c_int,
    equal: *mut usize,
) -> *mut c_void {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state.thread.is_null() {
        return ptr::null_mut();
    }
    let Some((exception, count)) = state.thread_mut().sent.pop(joining != 0) else {
        return ptr::null_mut();
    };
    // SAFETY: a place that C made for this call.
    unsafe { *equal = count };
    exception as *mut c_void
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_CountSent(state: *const InterruptState) -> usize {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    let collected = state.thread().map_or(0, |thread| thread.sent.len());
    collected + usize::from(!state.sent.is_empty())
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_AnyForced(state: *const InterruptState) -> c_int {
    // SAFETY: as in MustWait; read only.
    let state = unsafe { &*state };
    let collected = state
        .thread()
        .is_some_and(|thread| thread.sent.any_forced());
    (collected || state.sent.any_forced()).into()
}

impl Thread {
    fn take_waiting(&mut self) -> Vec<Address> {
        let mut waiting = Vec::new();
        while let Some(exception) = self.raised.pop(None) {
            waiting.push(exception);
        }
        while let Some((exception, equal)) = self.sent.pop(false) {
            waiting.extend(std::iter::repeat_n(exception, 1 + equal));
        }
        waiting
    }
}

/// What is left of a list of sent ones: all but withdrawals, which are no object.
fn objects(nodes: Vec<crate::sent::Node>) -> impl Iterator<Item = Address> {
    let addresses = nodes.into_iter().map(|node| node.exception);
    addresses.filter(|&exception| exception != 0)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Clear(state: *mut InterruptState, drop: DropFunc) {
    let mut dropped = Vec::new();
    {
        // SAFETY: as in MustWait.  The reference ends with this block: `drop` may
        // run code that comes back to this state.
        let state = unsafe { &mut *state };
        let sent = state.sent.close();
        let thread = std::mem::replace(&mut state.thread, ptr::null_mut());
        state.waiting = 0;
        state.masker = ptr::null();
        if !thread.is_null() {
            // SAFETY: made by `thread_mut`, and no longer reachable.
            let mut thread = unsafe { Box::from_raw(thread.cast::<Thread>()) };
            dropped.extend(thread.take_waiting());
            dropped.extend(thread.timeouts.clear());
            if let Some((_, Some(exception))) = thread.sweep.take().map(Sweep::end) {
                dropped.push(exception);
            }
        }
        dropped.extend(objects(sent));
    }
    drop_all(dropped, drop);
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_DropWaiting(state: *mut InterruptState, drop: DropFunc) {
    let mut dropped = Vec::new();
    {
        // SAFETY: as in Clear.
        let state = unsafe { &mut *state };
        let sent = state.sent.collect();
        if !state.thread.is_null() {
            let thread = state.thread_mut();
            dropped.extend(thread.take_waiting());
            thread.patience = Patience::default();
        }
        dropped.extend(objects(sent));
    }
    drop_all(dropped, drop);
}

// --- Kicks ------------------------------------------------------------------

/// How the thread of this state is woken, if that is possible.
///
/// # Safety
///
/// The state exists.
unsafe fn record_of(state: *const InterruptState) -> Option<&'static Record> {
    // SAFETY: this field alone is everybody's; no reference to the rest is made.
    let kick = unsafe { &(*state).kick };
    // SeqCst: see AddKick.
    // SAFETY: null, or a record, and these are never freed.
    unsafe { kick.load(Ordering::SeqCst).as_ref() }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_SetDefaults() {
    // Can be chosen everywhere.
    let _ = platform::set_signal(platform::DEFAULT_SIGNAL);
    force::set_limits(&force::Limits::default());
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_SetKickSignal(signal: c_int) -> c_int {
    if platform::set_signal(signal).is_ok() {
        0
    } else {
        -1
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_KickSignal() -> c_int {
    platform::signal()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_InstallKick(
    is_blocked: IsBlocked,
    on_alarm: OnAlarm,
) -> c_int {
    if platform::install(is_blocked, on_alarm).is_ok() {
        0
    } else {
        -1
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_UninstallKick() {
    platform::uninstall();
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_AddKick(
    state: *mut InterruptState,
    thread_id: c_int,
) -> c_int {
    // SAFETY: the caller keeps the state alive.
    if unsafe { record_of(state) }.is_some() {
        return 0;
    }
    let Some(record) = registry::add(thread_id) else {
        return -1;
    };
    // SAFETY: as in `record_of`.
    let kick = unsafe { &(*state).kick };
    // SeqCst: a sender that adds a record asks afterwards whether the thread is
    // blocked; the thread says that it is, and looks for its record afterwards. One of
    // them has to see what the other did (kick.rs), if no lock of the interpreter makes
    // it so.
    kick.store(ptr::from_ref(record).cast_mut(), Ordering::SeqCst);
    0
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_DropKick(state: *mut InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        // SAFETY: as in `record_of`.
        let kick = unsafe { &(*state).kick };
        kick.store(ptr::null_mut(), Relaxed);
        platform::keeping_errno(|| record.drop_record());
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_KickAfterFork(
    state: *mut InterruptState,
    thread_id: c_int,
) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        record.after_fork(thread_id);
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_MoveKick(state: *mut InterruptState, thread_id: c_int) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.moves(thread_id));
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_RaiseFlag(state: *const InterruptState) {
    flag::count_one();
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        record.flag().raise();
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_TakeFlag(state: *const InterruptState) -> c_int {
    // SAFETY: as in AddKick.
    unsafe { record_of(state) }
        .is_some_and(|record| record.flag().take())
        .into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Flag(state: *const InterruptState) -> *const u32 {
    // SAFETY: as in AddKick.
    unsafe { record_of(state) }.map_or(ptr::null(), |record| record.flag().word())
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_FlagCount() -> *const u32 {
    flag::count_word()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Wake(state: *const InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.wake());
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_AskBlocked(state: *const InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.ask());
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Blocks(state: *const InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.blocks());
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Signalled(state: *const InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.signalled());
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Runs(state: *const InterruptState) -> c_int {
    // SAFETY: as in AddKick.
    let record = unsafe { record_of(state) };
    record
        .is_some_and(|record| platform::keeping_errno(|| record.runs()))
        .into()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_Kicks() -> usize {
    registry::kicks()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn _PyInterruptCore_KickRecords() -> usize {
    registry::used()
}

// --- What waits for too long ------------------------------------------------

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SetLimits(text: *const c_char) -> c_int {
    // SAFETY: a string that C keeps for this call.
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    match text.map(|text| force::limits().changed(text)) {
        Ok(Ok(limits)) => {
            force::set_limits(&limits);
            0
        }
        _ => -1,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_GetLimits(values: *mut u32) {
    let limits = force::limits();
    let all = [
        limits.notice as u32,
        limits.notice_after,
        limits.presses,
        limits.press_gap,
        limits.dead_time,
        limits.force.into(),
        limits.limit,
    ];
    // SAFETY: room for so many, by the header.
    unsafe { ptr::copy_nonoverlapping(all.as_ptr(), values, all.len()) };
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SignalWaits(
    state: *mut InterruptState,
    signal: c_int,
    may_force: c_int,
) -> c_int {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    // SAFETY: as in AddKick.
    let record = unsafe { record_of(state) };
    let limits = force::limits();
    let noticed = record.is_some_and(Record::is_noticed);
    let now = registry::milliseconds();
    let patience = &mut state.thread_mut().patience;
    let over = patience.is_over(signal, now, noticed, &limits) && may_force != 0;
    if over {
        patience.has_forced(now, &limits);
    } else if let Some(record) = record {
        platform::keeping_errno(|| record.start_alarm(Some(signal), &limits));
    }
    over.into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SentWaits(state: *mut InterruptState) {
    let limits = force::limits();
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.start_alarm(None, &limits));
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_HasRaised(state: *mut InterruptState) {
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.has_raised());
    }
    // SAFETY: the same.
    unsafe { _PyInterruptCore_Fewer(state) };
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Fewer(state: *mut InterruptState) {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state
        .thread()
        .is_some_and(|thread| !thread.raised.is_empty())
    {
        return;
    }
    let at_all = state.sent.is_empty()
        && state.thread().is_none_or(|t| t.sent.is_empty())
        && !state.any_timeout_due();
    if !state.thread.is_null() {
        state.thread_mut().patience.nothing_waits();
    }
    // SAFETY: as in AddKick.
    if let Some(record) = unsafe { record_of(state) } {
        platform::keeping_errno(|| record.stop_alarm(at_all));
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_IsOverdue(state: *const InterruptState) -> c_int {
    // SAFETY: as in AddKick.
    unsafe { record_of(state) }
        .is_some_and(Record::is_overdue)
        .into()
}

// --- The sweep --------------------------------------------------------------

fn place_of(place: c_int) -> Where {
    match place {
        0 => Where::EvalLoop,
        _ => Where::CheckSignals,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SweepStart(
    state: *mut InterruptState,
    n: usize,
    place: c_int,
    exception: *mut c_void,
) {
    // SAFETY: as in MustWait.
    let thread = unsafe { &mut *state }.thread_mut();
    thread.sweep = Some(Sweep::new(n, place_of(place), exception as usize));
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_Sweeping(state: *const InterruptState) -> c_int {
    // SAFETY: as in MustWait; read only.
    let thread = unsafe { &*state }.thread();
    let sweep = thread.and_then(|thread| thread.sweep.as_ref());
    sweep.is_some_and(Sweep::is_going_on).into()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SweepCheck(
    state: *mut InterruptState,
    place: c_int,
) -> *mut c_void {
    // SAFETY: as in MustWait.
    let state = unsafe { &mut *state };
    if state.thread.is_null() {
        return ptr::null_mut();
    }
    let sweep = state.thread_mut().sweep.as_mut();
    let arrives = sweep.and_then(|sweep| sweep.check(place_of(place)));
    arrives.map_or(ptr::null_mut(), |e| e as *mut c_void)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PyInterruptCore_SweepStop(
    state: *mut InterruptState,
    exception: *mut *mut c_void,
) -> usize {
    // SAFETY: as in MustWait.
    let sweep = unsafe { &mut *state }.thread_mut().sweep.take();
    let (seen, left) = sweep.map_or((0, None), Sweep::end);
    // SAFETY: a place that C made for this call.
    unsafe { *exception = left.map_or(ptr::null_mut(), |e| e as *mut c_void) };
    seen
}
