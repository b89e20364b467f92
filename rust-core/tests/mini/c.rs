//! The C side: `mini_eval.c`, struct by struct and function by function.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};
use std::ptr;
use std::sync::atomic::Ordering;

use interrupt_core::ffi::{self, Carried, InterruptState, RawStep, Walk};
use interrupt_core::level::{DEPTH_MASK, ENTERING, HARD};

use super::model::Strength;

/// A bit that an oparg has, but no level.
const SUSPENDING: u8 = 0x40;

/// What a check point comes to.
pub const RAISED: c_int = 1;
pub const HANDLER_STARTS: c_int = 2;
/// Of TIT: it was a check point at all.
pub const ASKED: c_int = 4;

/// How many exceptions a run can make, and a list of C can hold.
pub const EXCEPTIONS: usize = 64;
/// How many frames can run, beside those of generators.
pub const FRAMES: usize = 10;
/// How many generators there can be at a time.
pub const GENERATORS: usize = 3;

/// What a mutant of the miniature leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum LeftOut {
    Nothing,
    RegionNit,
    HandlerNit,
    TitStore,
    TitAsks,
    TitFloor,
    SuspendingTit,
    SuspendingAsks,
    CatchFloor,
    UnwindFloor,
    FrameLevel,
    TakeDown,
    LeaveUp,
    HoldBack,
    CarrierEnds,
    ScopeUp,
    InTheCore,
}

#[repr(C)]
#[derive(Debug)]
struct Frame {
    previous: *mut Frame,
    carrier: *const c_void,
    level: u8,
}

#[repr(C)]
#[derive(Debug)]
struct List {
    count: usize,
    items: [*mut Exc; EXCEPTIONS],
}

#[repr(C)]
#[derive(Debug)]
struct Thread {
    interrupts: InterruptState,
    eval_breaker: usize,
    carried: *mut Carried,
    current: *mut Frame,
    is_tripped: c_int,
    left_out: LeftOut,
    raised: List,
    dropped: List,
}

/// An exception, as far as C looks into it: its type, an address.
#[repr(C)]
#[derive(Debug)]
struct Exc {
    class: usize,
}

unsafe extern "C" {
    fn mini_level_inside(level: c_int, hard: c_int) -> c_int;
    fn mini_check(t: *mut Thread, place: c_int) -> c_int;
    fn mini_is_masked(t: *mut Thread) -> c_int;
    fn mini_nit(t: *mut Thread, level: c_int);
    fn mini_tit(t: *mut Thread, level: c_int) -> c_int;
    fn mini_call(t: *mut Thread, frame: *mut Frame);
    fn mini_return(t: *mut Thread);
    fn mini_catch(t: *mut Thread, level: c_int, traced: c_int) -> c_int;
    fn mini_unwind(t: *mut Thread);
    fn mini_resume(t: *mut Thread, frame: *mut Frame);
    fn mini_yield(t: *mut Thread, traced: c_int) -> c_int;
    fn mini_passed_on(t: *mut Thread);
    fn mini_generator_ends(t: *mut Thread, carrier: *const Frame, awaited: c_int);
    fn mini_generator_goes(t: *mut Thread, carrier: *const Frame);
    fn mini_signal(t: *mut Thread);
    fn mini_enter_handler(t: *mut Thread) -> usize;
    fn mini_leave_handler(
        t: *mut Thread,
        handler: usize,
        exc: *mut Exc,
        plain: c_int,
        place: c_int,
    ) -> c_int;
    fn mini_send(t: *mut Thread, exc: *mut Exc, how: c_int);
    fn mini_enter_scope(t: *mut Thread, scope: *const c_void, kind: c_int) -> c_int;
    fn mini_leave_scope(t: *mut Thread, scope: *const c_void, shared: c_int) -> c_int;
    fn mini_hand_over(t: *mut Thread, from: *const Frame, mark: usize) -> c_int;
    fn mini_start_to_enter(t: *mut Thread, mark: *mut usize) -> usize;
    fn mini_has_entered(t: *mut Thread, handler: usize, mark: usize, raised: c_int) -> c_int;
    static mini_layout: [usize; 31];
}

/// The C object file calls these; naming them makes the linker take them.
const CALLED_FROM_C: [*const (); 20] = [
    ffi::_PyInterruptCore_MustWait as *const (),
    ffi::_PyInterruptCore_IsMasked as *const (),
    ffi::_PyInterruptCore_Leave as *const (),
    ffi::_PyInterruptCore_Release as *const (),
    ffi::_PyInterruptCore_EnterRuntimeRegion as *const (),
    ffi::_PyInterruptCore_LeaveRuntimeRegion as *const (),
    ffi::_PyInterruptCore_EnterScope as *const (),
    ffi::_PyInterruptCore_LeaveScope as *const (),
    ffi::_PyInterruptCore_Mark as *const (),
    ffi::_PyInterruptCore_HandOver as *const (),
    ffi::_PyInterruptCore_CarrierEnds as *const (),
    ffi::_PyInterruptCore_SetFloor as *const (),
    ffi::_PyInterruptCore_Push as *const (),
    ffi::_PyInterruptCore_Pop as *const (),
    ffi::_PyInterruptCore_Count as *const (),
    ffi::_PyInterruptCore_Send as *const (),
    ffi::_PyInterruptCore_Collect as *const (),
    ffi::_PyInterruptCore_HoldBack as *const (),
    ffi::_PyInterruptCore_PopSent as *const (),
    ffi::_PyInterruptCore_CountSent as *const (),
];

/// In `waiting`, and no event bit.
pub const LOWERS: usize = 1 << 16;
/// Event bits: what Python's signal handlers raised, what was sent.
pub const PENDING_BIT: usize = 1 << 1;
pub const ASYNC_BIT: usize = 1 << 2;

/// Where Rust puts things, and where C does.
pub fn layouts() -> (Vec<usize>, Vec<usize>) {
    let rust = vec![
        size_of::<InterruptState>(),
        offset_of!(InterruptState, waiting),
        offset_of!(InterruptState, masker),
        offset_of!(InterruptState, thread),
        offset_of!(InterruptState, sent),
        offset_of!(InterruptState, kick),
        size_of::<Carried>(),
        offset_of!(Carried, count),
        offset_of!(Carried, carriers),
        size_of::<RawStep>(),
        offset_of!(RawStep, frame),
        offset_of!(RawStep, carrier),
        offset_of!(RawStep, level),
        offset_of!(RawStep, exiting),
        size_of::<Walk>(),
        offset_of!(Walk, frame),
        offset_of!(Walk, generator),
        offset_of!(Walk, stack),
        offset_of!(Walk, asks_exiting),
        size_of::<Frame>(),
        offset_of!(Frame, carrier),
        offset_of!(Frame, level),
        size_of::<Thread>(),
        offset_of!(Thread, eval_breaker),
        offset_of!(Thread, raised),
        offset_of!(Thread, dropped),
        DEPTH_MASK.into(),
        HARD.into(),
        ENTERING.into(),
        SUSPENDING.into(),
        LOWERS,
    ];
    // SAFETY: a constant array of that length in mini_eval.c.
    (rust, unsafe { mini_layout }.to_vec())
}

/// The level inside a region, as the header computes it for the compiler.
pub fn level_inside(level: u8, strength: Strength) -> u8 {
    let hard = strength == Strength::Hard;
    // SAFETY: a pure function.
    let inside = unsafe { mini_level_inside(level.into(), hard.into()) };
    u8::try_from(inside).unwrap()
}

/// The memory of a miniature interpreter. C holds addresses in here, so it is made
/// once, and only reached by pointers.
#[derive(Debug)]
struct Memory {
    thread: Thread,
    carried: Carried,
    /// Like the interpreter's stack: frames of the same depth have the same address.
    frames: [Frame; FRAMES],
    generators: [Frame; GENERATORS],
    exceptions: [Exc; EXCEPTIONS],
}

/// A miniature interpreter with one thread.
#[derive(Debug)]
pub struct Miniature {
    memory: *mut Memory,
}

/// What the core remembers as masker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masker {
    Nobody,
    Several,
    Scope,
    Frame(Place),
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Stack(usize),
    Generator(usize),
}

/// The functions of C that need nothing but the thread.
macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $c:ident;)*) => {
        $(pub fn $name(&mut self, $($arg: $type),*) $(-> $result)? {
            // SAFETY: the thread and all it points to live as long as `self`, which
            // alone can reach them, and no reference to them exists now.
            unsafe { $c(self.thread(), $($arg),*) }
        })*
    };
}

/// The functions of C that look at a frame, or at a generator as its frame.
macro_rules! calls_with_place {
    ($($name:ident = $c:ident;)*) => {
        $(pub fn $name(&mut self, place: Place) {
            // SAFETY: as above.
            unsafe { $c(self.thread(), self.frame(place)) }
        })*
    };
}

impl Miniature {
    pub fn new(left_out: LeftOut) -> Self {
        assert!(CALLED_FROM_C.iter().all(|f| !f.is_null()));
        let list = || List {
            count: 0,
            items: [ptr::null_mut(); EXCEPTIONS],
        };
        // Memory is garbage before it is a frame: here, a level that masks.
        let frame = || Frame {
            previous: ptr::null_mut(),
            carrier: ptr::null(),
            level: 1 | HARD,
        };
        let memory = Box::new(Memory {
            thread: Thread {
                interrupts: InterruptState::default(),
                eval_breaker: 0,
                carried: ptr::null_mut(),
                current: ptr::null_mut(),
                is_tripped: 0,
                left_out,
                raised: list(),
                dropped: list(),
            },
            carried: Carried::default(),
            frames: std::array::from_fn(|_| frame()),
            generators: std::array::from_fn(|_| frame()),
            exceptions: std::array::from_fn(|_| Exc { class: 0 }),
        });
        let mut mini = Miniature {
            memory: Box::into_raw(memory),
        };
        mini.memory_mut().thread.carried = mini.carried();
        for generator in 0..GENERATORS {
            let carrier = mini.frame(Place::Generator(generator));
            mini.memory_mut().generators[generator].carrier = carrier.cast();
        }
        mini
    }

    fn memory(&self) -> &Memory {
        // SAFETY: made in `new`, freed in `drop`; C does not run now.
        unsafe { &*self.memory }
    }

    fn memory_mut(&mut self) -> &mut Memory {
        // SAFETY: as above, and nobody else has a reference.
        unsafe { &mut *self.memory }
    }

    fn thread(&self) -> *mut Thread {
        // SAFETY: within the allocation.
        unsafe { &raw mut (*self.memory).thread }
    }

    fn carried(&self) -> *mut Carried {
        // SAFETY: within the allocation.
        unsafe { &raw mut (*self.memory).carried }
    }

    fn frame(&self, place: Place) -> *mut Frame {
        match place {
            // SAFETY: within the allocation; the index is checked.
            Place::Stack(index) => unsafe { &raw mut (*self.memory).frames[index] },
            // SAFETY: as above.
            Place::Generator(index) => unsafe { &raw mut (*self.memory).generators[index] },
        }
    }

    fn exception(&self, id: usize) -> *mut Exc {
        // SAFETY: within the allocation; the index is checked.
        unsafe { &raw mut (*self.memory).exceptions[id] }
    }

    /// Where an address of the core is, if it is a frame's.
    fn place_of(&self, address: *const c_void) -> Option<Place> {
        let frames = (0..FRAMES).map(Place::Stack);
        let mut places = frames.chain((0..GENERATORS).map(Place::Generator));
        places.find(|&place| self.frame(place).cast_const().cast() == address)
    }

    calls! {
        check(place: c_int) -> c_int = mini_check;
        nit(level: c_int) = mini_nit;
        tit(level: c_int) -> c_int = mini_tit;
        returns() = mini_return;
        catch(level: c_int, traced: c_int) -> c_int = mini_catch;
        unwind() = mini_unwind;
        suspend(traced: c_int) -> c_int = mini_yield;
        passed_on() = mini_passed_on;
        signal() = mini_signal;
        enter_handler() -> usize = mini_enter_handler;
    }

    calls_with_place! {
        call = mini_call;
        resume = mini_resume;
        generator_goes = mini_generator_goes;
    }

    pub fn generator_ends(&mut self, place: Place, awaited: bool) {
        // SAFETY: as in `calls`.
        unsafe { mini_generator_ends(self.thread(), self.frame(place), awaited.into()) }
    }

    pub fn is_masked(&self) -> bool {
        // SAFETY: as in `calls`.
        unsafe { mini_is_masked(self.thread()) != 0 }
    }

    /// `raised`: the exception, and whether it carries nothing but its type.
    pub fn leave_handler(
        &mut self,
        handler: usize,
        raised: Option<(usize, bool)>,
        place: c_int,
    ) -> c_int {
        let exc = raised.map_or(ptr::null_mut(), |(id, _)| self.exception(id));
        let plain = raised.is_some_and(|(_, plain)| plain);
        // SAFETY: as in `calls`.
        unsafe { mini_leave_handler(self.thread(), handler, exc, plain.into(), place) }
    }

    /// Set the type of an exception.
    pub fn make(&mut self, id: usize, class: u8) {
        self.memory_mut().exceptions[id].class = 1 + usize::from(class);
    }

    /// What another thread does; without an exception it only withdraws.
    pub fn send(&mut self, id: Option<usize>, how: c_int) {
        let exc = id.map_or(ptr::null_mut(), |id| self.exception(id));
        // SAFETY: as in `calls`.
        unsafe { mini_send(self.thread(), exc, how) }
    }

    /// An address for each object that scopes are entered with.
    fn object(object: u8) -> *const c_void {
        ptr::without_provenance(0x100 + usize::from(object))
    }

    pub fn enter_scope(&mut self, object: u8, kind: c_int) -> c_int {
        // SAFETY: as in `calls`; an object is only an identity.
        unsafe { mini_enter_scope(self.thread(), Self::object(object), kind) }
    }

    pub fn leave_scope(&mut self, object: u8, shared: bool) -> c_int {
        // SAFETY: as above.
        unsafe { mini_leave_scope(self.thread(), Self::object(object), shared.into()) }
    }

    pub fn hand_over(&mut self, from: Option<usize>) -> c_int {
        let from = from.map_or(ptr::null_mut(), |g| self.frame(Place::Generator(g)));
        // SAFETY: as in `calls`.
        unsafe { mini_hand_over(self.thread(), from, usize::MAX) }
    }

    /// Returns the number of the mask, and a number below those of scopes.
    pub fn start_to_enter(&mut self) -> (usize, usize) {
        let mut mark = 0;
        // SAFETY: as in `calls`, and C only writes to the second.
        let handler = unsafe { mini_start_to_enter(self.thread(), &raw mut mark) };
        (handler, mark)
    }

    pub fn has_entered(&mut self, (handler, mark): (usize, usize), raised: bool) -> c_int {
        // SAFETY: as in `calls`.
        unsafe { mini_has_entered(self.thread(), handler, mark, raised.into()) }
    }

    /// The exceptions of a list of C.
    fn ids(&self, list: &List) -> Vec<usize> {
        let first = self.exception(0).addr();
        let id = |exc: &*mut Exc| (exc.addr() - first) / size_of::<Exc>();
        list.items[..list.count].iter().map(id).collect()
    }

    /// What the last check raised, together.
    pub fn raised(&self) -> Vec<usize> {
        self.ids(&self.memory().thread.raised)
    }

    /// What was dropped so far, since it was merged or replaced.
    pub fn dropped(&self) -> Vec<usize> {
        self.ids(&self.memory().thread.dropped)
    }

    pub fn eval_breaker(&self) -> usize {
        self.memory().thread.eval_breaker
    }

    /// Event bits that wait, and LOWERS.
    pub fn waiting(&self) -> usize {
        self.memory().thread.interrupts.waiting
    }

    pub fn masker(&self) -> Masker {
        let state = &self.memory().thread.interrupts;
        let masker = state.masker;
        if masker.is_null() {
            Masker::Nobody
        } else if masker == ptr::from_ref(state).cast() {
            Masker::Several
        } else if masker == ptr::from_ref(&state.masker).cast() {
            Masker::Scope
        } else {
            Masker::Frame(self.place_of(masker).expect("a frame"))
        }
    }

    /// How many exceptions of signal handlers wait, and how many that were sent: that
    /// is known when all have been collected.
    pub fn counts(&self) -> (usize, Option<usize>) {
        let state = &self.memory().thread.interrupts;
        // SAFETY: alive, and C does not run now.
        let raised = unsafe { ffi::_PyInterruptCore_Count(state) };
        // SAFETY: as above.
        let sent = unsafe { ffi::_PyInterruptCore_CountSent(state) };
        (
            raised,
            (self.eval_breaker() & ASYNC_BIT == 0).then_some(sent),
        )
    }

    /// How many scopes generators carry.
    pub fn carried_scopes(&self) -> usize {
        self.memory().carried.count.load(Ordering::Relaxed)
    }
}

impl Drop for Miniature {
    fn drop(&mut self) {
        unsafe extern "C" fn forget(_exc: *mut c_void) {}
        let state = &raw mut self.memory_mut().thread.interrupts;
        // SAFETY: the thread ends, nobody uses the state any more.
        unsafe { ffi::_PyInterruptCore_Clear(state, forget) };
        // SAFETY: as above.
        unsafe { ffi::_PyInterruptCore_DropCarried(self.carried()) };
        // SAFETY: made in `new`.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}
