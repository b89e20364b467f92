//! Random programs, run by the C fast path and the Rust decisions together
//! (tests/mini_eval.c), against a model that is too simple to be wrong: an
//! interrupt is raised at the first check point at which no frame is masked.

#![allow(missing_docs)]
#![allow(
    clippy::vec_box,
    reason = "C holds the addresses of what is in the boxes"
)]

use std::ffi::c_int;
use std::mem::{offset_of, size_of};
use std::ptr;

use interrupt_core::ffi::{self, InterruptState};
use proptest::prelude::*;

const SUSPENDING: u8 = 0x40;
const DEPTH: u8 = 0x1f;
const RUNNING: c_int = 0;
const BLOCKED: c_int = 1;

#[repr(C)]
struct MiniFrame {
    previous: *mut MiniFrame,
    level: u8,
}

#[repr(C)]
struct MiniThread {
    interrupts: InterruptState,
    eval_breaker: usize,
    pending: usize,
    current: *mut MiniFrame,
}

unsafe extern "C" {
    fn mini_arrive(t: *mut MiniThread, bits: usize);
    fn mini_check(t: *mut MiniThread, place: c_int) -> usize;
    fn mini_nit(t: *mut MiniThread, level: c_int);
    fn mini_tit(t: *mut MiniThread, level: c_int) -> usize;
    fn mini_catch(t: *mut MiniThread, level: c_int);
    fn mini_unwind(t: *mut MiniThread);
    fn mini_enter_handler(t: *mut MiniThread) -> usize;
    fn mini_leave_handler(t: *mut MiniThread, handler: usize);
    fn mini_level_inside(level: c_int, hard: c_int) -> c_int;
    static mini_layout: [usize; 4];
}

/// The C object file calls these; naming them makes the linker take them.
const CALLED_FROM_C: [*const (); 6] = [
    ffi::_PyInterruptCore_MustWait as *const (),
    ffi::_PyInterruptCore_Leave as *const (),
    ffi::_PyInterruptCore_Release as *const (),
    ffi::_PyInterruptCore_EnterHandler as *const (),
    ffi::_PyInterruptCore_LeaveHandler as *const (),
    ffi::_PyInterruptCore_SetMasks as *const (),
];

#[derive(Debug, Clone, Copy)]
enum Op {
    Call,
    /// Return if the frame is open (the compiler sees to that), else unwind.
    Leave,
    Unwind,
    Enter {
        hard: bool,
    },
    Exit,
    /// An exception caught at this depth, or the frame's if that is less.
    Catch {
        depth: u8,
    },
    Suspend,
    Arrive {
        bit: u8,
    },
    Check,
    Block,
    HandlerStarts,
    HandlerEnds,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Call),
        2 => Just(Op::Leave),
        1 => Just(Op::Unwind),
        3 => any::<bool>().prop_map(|hard| Op::Enter { hard }),
        3 => Just(Op::Exit),
        1 => (0..3_u8).prop_map(|depth| Op::Catch { depth }),
        1 => Just(Op::Suspend),
        4 => (0..3_u8).prop_map(|bit| Op::Arrive { bit }),
        4 => Just(Op::Check),
        2 => Just(Op::Block),
        1 => Just(Op::HandlerStarts),
        1 => Just(Op::HandlerEnds),
    ]
}

/// The model: what is pending, and the levels of all frames. A level of a frame
/// is the list of its open regions, true for a hard one.
#[derive(Default)]
struct Model {
    pending: usize,
    frames: Vec<Vec<bool>>,
    /// How many frames there were when each running handler started.
    handlers: Vec<usize>,
}

impl Model {
    fn check(&mut self, place: c_int) -> usize {
        let hard = self.frames.iter().flatten().any(|&hard| hard);
        let soft = self.frames.iter().any(|f| !f.is_empty()) || !self.handlers.is_empty();
        if hard || (soft && place == RUNNING) {
            return 0;
        }
        std::mem::take(&mut self.pending)
    }
}

struct Machine {
    thread: Box<MiniThread>,
    /// Kept at fixed addresses; the last one runs.
    frames: Vec<Box<MiniFrame>>,
    /// Levels around the regions that are open, per frame.
    outer: Vec<Vec<u8>>,
    handlers: Vec<usize>,
    model: Model,
}

impl Machine {
    fn new() -> Self {
        assert!(CALLED_FROM_C.iter().all(|f| !f.is_null()));
        let mut machine = Machine {
            thread: Box::new(MiniThread {
                interrupts: InterruptState::default(),
                eval_breaker: 0,
                pending: 0,
                current: ptr::null_mut(),
            }),
            frames: Vec::new(),
            outer: Vec::new(),
            handlers: Vec::new(),
            model: Model::default(),
        };
        machine.call();
        machine
    }

    fn call(&mut self) {
        let frame = Box::new(MiniFrame {
            previous: self.thread.current,
            level: 0,
        });
        self.frames.push(frame);
        self.thread.current = &raw mut **self.frames.last_mut().unwrap();
        self.outer.push(Vec::new());
        self.model.frames.push(Vec::new());
    }

    fn pop(&mut self) {
        self.frames.pop();
        self.outer.pop();
        self.model.frames.pop();
        // A handler ends before the frame it interrupted goes on.
        assert!(self.handlers.is_empty() || self.base() <= self.frames.len());
    }

    fn base(&self) -> usize {
        self.model.handlers.last().copied().unwrap_or(1)
    }

    fn level(&self) -> u8 {
        self.frames.last().unwrap().level & !SUSPENDING
    }

    fn may_leave_frame(&self) -> bool {
        self.frames.len() > self.base() && self.frames.len() > 1
    }

    fn run(&mut self, op: Op) -> (usize, usize) {
        let t: *mut MiniThread = &raw mut *self.thread;
        match op {
            Op::Call => self.call(),
            Op::Leave | Op::Unwind => {
                if self.may_leave_frame() {
                    if matches!(op, Op::Unwind) || self.level() != 0 {
                        // SAFETY: `t` and its frames are alive and ours alone.
                        unsafe { mini_unwind(t) };
                    } else {
                        self.thread.current = self.frames.last().unwrap().previous;
                    }
                    self.pop();
                }
            }
            Op::Enter { hard } => {
                let level = self.level();
                if level & DEPTH < DEPTH {
                    // SAFETY: a pure function.
                    let inside = unsafe { mini_level_inside(level.into(), hard.into()) };
                    // SAFETY: as above.
                    unsafe { mini_nit(t, inside) };
                    self.outer.last_mut().unwrap().push(level);
                    self.model.frames.last_mut().unwrap().push(hard);
                }
            }
            Op::Exit => {
                if let Some(level) = self.outer.last_mut().unwrap().pop() {
                    self.model.frames.last_mut().unwrap().pop();
                    // SAFETY: as above.
                    let raised = unsafe { mini_tit(t, level.into()) };
                    // TIT is a check point only where something waited.
                    let expected = if raised == 0 {
                        0
                    } else {
                        self.model.check(RUNNING)
                    };
                    return (raised, expected);
                }
            }
            Op::Catch { depth } => {
                let outer = self.outer.last_mut().unwrap();
                let depth = outer.len().min(depth.into());
                let level = outer
                    .get(depth)
                    .copied()
                    .unwrap_or(self.frames.last().unwrap().level & !SUSPENDING);
                outer.truncate(depth);
                self.model.frames.last_mut().unwrap().truncate(depth);
                // SAFETY: as above.
                unsafe { mini_catch(t, level.into()) };
            }
            Op::Suspend => {
                let level = self.level();
                if level != 0 {
                    // SAFETY: as above.
                    let raised = unsafe { mini_tit(t, (level | SUSPENDING).into()) };
                    return (raised, 0);
                }
            }
            Op::Arrive { bit } => {
                // SAFETY: as above.
                unsafe { mini_arrive(t, 1 << bit) };
                self.model.pending |= 1 << bit;
            }
            Op::Check | Op::Block => {
                let place = if matches!(op, Op::Check) {
                    RUNNING
                } else {
                    BLOCKED
                };
                // SAFETY: as above.
                return (unsafe { mini_check(t, place) }, self.model.check(place));
            }
            Op::HandlerStarts => {
                // SAFETY: as above.
                self.handlers.push(unsafe { mini_enter_handler(t) });
                self.model.handlers.push(self.frames.len());
                self.call();
            }
            Op::HandlerEnds => {
                if let Some(base) = self.model.handlers.last().copied() {
                    while self.frames.len() > base {
                        // SAFETY: as above.
                        unsafe { mini_unwind(t) };
                        self.pop();
                    }
                    let handler = self.handlers.pop().unwrap();
                    self.model.handlers.pop();
                    // SAFETY: as above.
                    unsafe { mini_leave_handler(t, handler) };
                }
            }
        }
        (0, 0)
    }

    /// Leave everything; then one check must raise all that is left.
    fn finish(&mut self) -> (usize, usize) {
        let mut raised = 0;
        while !self.handlers.is_empty() {
            raised |= self.run(Op::HandlerEnds).0;
        }
        while self.may_leave_frame() {
            raised |= self.run(Op::Unwind).0;
        }
        while !self.outer[0].is_empty() {
            let (got, _) = self.run(Op::Exit);
            raised |= got;
        }
        raised |= self.run(Op::Check).0;
        (raised, 0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn raised_where_the_model_raises(ops in prop::collection::vec(op(), 1..60)) {
        let mut machine = Machine::new();
        for (step, &op) in ops.iter().enumerate() {
            let (raised, expected) = machine.run(op);
            prop_assert_eq!(raised, expected, "step {} of {:?}", step, ops);
        }
        let left = machine.model.pending;
        let (raised, _) = machine.finish();
        prop_assert_eq!(raised, left, "at the end of {:?}", ops);
        // What was raised is not raised once more, and TIT is fast again.
        machine.run(Op::Enter { hard: true });
        prop_assert_eq!(machine.run(Op::Exit).0, 0);
        prop_assert_eq!(machine.thread.interrupts.waiting, 0);
    }
}

/// What the model leaves open: TIT is where an interrupt that waited is raised,
/// not merely some later check point.
#[test]
fn tit_of_the_masker_raises_and_no_other() {
    let mut machine = Machine::new();
    machine.run(Op::Enter { hard: true });
    machine.run(Op::Call);
    machine.run(Op::Enter { hard: false });
    machine.run(Op::Arrive { bit: 0 });
    assert_eq!(machine.run(Op::Check), (0, 0));
    assert_eq!(machine.run(Op::Exit), (0, 0));
    machine.run(Op::Leave);
    assert_eq!(machine.run(Op::Exit), (1, 1));
}

#[test]
fn tit_raises_what_a_catch_has_released() {
    let mut machine = Machine::new();
    machine.run(Op::Enter { hard: true });
    machine.run(Op::Arrive { bit: 0 });
    assert_eq!(machine.run(Op::Check), (0, 0));
    machine.run(Op::Catch { depth: 1 });
    assert_eq!(machine.run(Op::Exit), (1, 1));
}

#[test]
fn what_a_suspended_frame_held_back_is_released() {
    let mut machine = Machine::new();
    machine.run(Op::Call);
    machine.run(Op::Enter { hard: true });
    machine.run(Op::Arrive { bit: 0 });
    assert_eq!(machine.run(Op::Check), (0, 0));
    assert_eq!(machine.run(Op::Suspend), (0, 0));
    // The caller goes on without that frame.
    machine.thread.current = machine.frames.last().unwrap().previous;
    machine.pop();
    assert_eq!(machine.run(Op::Check), (1, 1));
}

/// Stacks that are switched inside handlers let them end in any order.
#[test]
fn handlers_may_end_in_any_order() {
    let mut machine = Machine::new();
    let t: *mut MiniThread = &raw mut *machine.thread;
    // SAFETY: the thread and its frames are alive and ours alone.
    let first = unsafe { mini_enter_handler(t) };
    machine.call();
    // SAFETY: as above.
    let second = unsafe { mini_enter_handler(t) };
    // SAFETY: as above.
    unsafe { mini_leave_handler(t, first) };
    // SAFETY: as above.
    unsafe { mini_arrive(t, 1) };
    // The second still runs.
    assert_eq!(machine.run(Op::Check).0, 0);
    // SAFETY: as above.
    unsafe { mini_leave_handler(t, second) };
    assert_eq!(machine.run(Op::Check).0, 1);
}

#[test]
fn layouts_agree() {
    let rust = [
        size_of::<InterruptState>(),
        offset_of!(InterruptState, waiting),
        offset_of!(InterruptState, masker),
        offset_of!(InterruptState, thread),
    ];
    // SAFETY: a constant array of that length in mini_eval.c.
    let c = unsafe { mini_layout };
    assert_eq!(rust, c);
}
