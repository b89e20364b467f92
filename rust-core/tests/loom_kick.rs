//! How a blocked thread is woken: the order in which those who interrupt it, its signal
//! handlers and the thread itself touch the eval breaker and the thread's state.
//!
//! `Kick` is the interpreter's own; around it is a model.
//!
//! - The kernel. Signals are handled between two steps of the thread, wherever that makes
//!   a difference, and break a call that sleeps. One that comes before the call does
//!   nothing for it. When the timer comes, if it is set, is up to another thread, the
//!   clock. When everything else is over it comes if the thread would sleep for ever.
//! - The interpreter (cpython-patch/new-files/Python/interrupts.c). The thread makes calls
//!   that return at once and calls that sleep, and comes to check points in between. Two
//!   senders need not take turns, as they do in C. What is sent is a bit: loom_sent.rs has
//!   the list, and loom_announce.rs the rest of the eval breaker.
//!
//! A model fails if a thread sleeps for ever with something to raise, if something is
//! raised never or twice, and if in the end a thread that runs is still kicked: the timer
//! may come once more then, and must not be set again. Not modelled: masks, threads that
//! come and go, and that the kernel drops a kick while another signal of the same number
//! is pending.
//!
//! With a GIL, its mutex makes the order. Without one, the thread and a sender each write
//! one word and read the other, and one of them must see what the other wrote. In C all
//! four accesses are `seq_cst`. Loom treats that as `AcqRel`, which is not enough here.
//! But it does model a `SeqCst` fence between the two accesses of each side, so there is
//! one; like the single order of the four, it forbids that neither sees anything.
#![cfg(loom)]

mod explore;

use std::mem;

use interrupt_core::kick::{Kick, Target};
use loom::cell::Cell;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;

use Other::{Clock, Sender, SignalElsewhere, SignalHere, Stopper};
use Step::{Check, Pass, Sleep};

/// How often a thread may be stopped where it could have gone on. All outcomes are seen
/// with two (see `explore`), and with two every mutant fails but one, which takes three. So
/// does a handler in `Kick` that asks before it takes the phase back. One more makes it
/// fifteen times as slow.
const PREEMPTIONS: Option<usize> = Some(3);

/// `_PY_SIGNALS_PENDING_BIT`: a signal has arrived.
const SIGNALS: usize = 1;
/// `_PY_ASYNC_EXCEPTION_BIT`: other threads have sent something.
const SENT: usize = 4;

/// `_Py_THREAD_DETACHED` and so on.
const DETACHED: usize = 0;
const ATTACHED: usize = 1;
const SUSPENDED: usize = 2;

/// In which order things are done. All but the first lose something, or never stop the
/// timer.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,

    // The thread.
    LookThenDetach,
    ReleaseThenDetach,
    NeverLook,
    TimerAfterKickNotSet,
    TimerAfterTimerNotSet,
    NeverAsked,

    // Those who interrupt it.
    AskThenSet,
    TakeSuspendedForRunning,
    HandlerAsksElsewhere,

    // Both.
    Unordered,
}

/// What happens besides the thread, each in a thread of its own.
#[derive(Clone, Copy)]
enum Other {
    /// Sends the interrupt with this number.
    Sender(usize),
    /// A signal that has a handler in Python arrives; its handler in C runs in the thread.
    SignalHere,
    /// It runs in this one.
    SignalElsewhere,
    /// Time passes.
    Clock,
    /// Stops the world and starts it again.
    Stopper,
}

/// One of the things that the thread does.
#[derive(Clone, Copy)]
enum Step {
    /// A system call that returns at once.
    Pass,
    /// One that sleeps. If it is broken, the thread looks for something to raise and makes
    /// it again.
    Sleep,
    /// A check point.
    Check,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Signal {
    Kick,
    Timer,
    Other,
}

/// How it came that something was raised.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum How {
    CheckPoint,
    LastCheckPoint,
    /// In a call, which these have broken.
    Woken(Vec<Signal>),
}

/// What is raised, a bit for each interrupt. A call that is broken for nothing, by a late
/// kick, does not count.
type Outcome = Vec<(usize, How)>;

/// What the kernel has for the thread.
#[derive(Default)]
struct Kernel {
    kicked: bool,
    signalled: bool,
    /// The timer comes if it is set.
    time_passed: bool,
    /// All others are through.
    over: bool,
}

/// What a thread shares with the others and with its own signal handlers.
struct Shared {
    order: Order,
    gil: Option<Mutex<()>>,
    breaker: AtomicUsize,
    state: AtomicUsize,
    /// What waits to be taken, a bit for each interrupt.
    left: AtomicUsize,
    kick: Kick,
    kernel: Mutex<Kernel>,
    changed: Condvar,
    /// Whether the timer is set. The thread's alone, as the next one.
    timer: Cell<bool>,
    /// In the handler of a kick: whether it came from the timer.
    handling: Cell<Option<bool>>,
    /// The time, and whether it stands still.
    clock: Cell<u64>,
    under_fire: bool,
}

// SAFETY: loom checks every access to a cell and fails at the first race.
unsafe impl Sync for Shared {}

impl Target for Shared {
    fn kick(&self) {
        self.happens(|kernel| kernel.kicked = true);
    }

    fn come_again(&self, _microseconds: u32) {
        match (self.order, self.handling.get()) {
            (Order::TimerAfterKickNotSet, Some(false))
            | (Order::TimerAfterTimerNotSet, Some(true)) => {}
            _ => self.timer.set(true),
        }
    }

    fn stop(&self) {
        self.deliver_signals();
        self.timer.set(false);
    }

    fn now(&self) -> u64 {
        // Long after the time before, or soon.
        let passes = if self.under_fire { 0 } else { 1 << 32 };
        let now = self.clock.get() + passes;
        self.clock.set(now);
        now
    }
}

/// What others do.
impl Shared {
    fn happens(&self, what: impl FnOnce(&mut Kernel)) {
        what(&mut self.kernel.lock().unwrap());
        self.changed.notify_one();
    }

    fn take_gil(&self) -> Option<MutexGuard<'_, ()>> {
        self.gil.as_ref().map(|gil| gil.lock().unwrap())
    }

    /// Between two accesses that are in a single order with those of the other side.
    fn single_order(&self) {
        if self.gil.is_none() && self.order != Order::Unordered {
            // SeqCst: that in `send` is paired with that in `detach`.
            fence(Ordering::SeqCst);
        }
    }

    /// `_Py_set_eval_breaker_bit()`.
    fn set(&self, bit: usize) {
        // Release: what the bit announces was done before; paired with the acquires in
        // `look` and in `unset`.
        self.breaker.fetch_or(bit, Ordering::Release);
    }

    fn leave(&self, interrupt: usize, bit: usize) {
        self.left.fetch_or(1 << interrupt, Ordering::Relaxed);
        self.set(bit);
    }

    /// `is_detached()`.
    fn is_blocked(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state == DETACHED || (state == SUSPENDED && self.order != Order::TakeSuspendedForRunning)
    }

    /// `send_to()`.
    fn send(&self, interrupt: usize) {
        let _gil = self.take_gil();
        let is_blocked = if self.order == Order::AskThenSet {
            let is_blocked = self.is_blocked();
            self.single_order();
            self.leave(interrupt, SENT);
            is_blocked
        } else {
            self.leave(interrupt, SENT);
            self.single_order();
            self.is_blocked()
        };
        if is_blocked {
            self.kick.wake(self);
        }
    }

    /// `_PyInterrupts_SignalReceived()`, in another thread. Whether the thread is blocked
    /// is asked there: nothing orders the two words here.
    fn signal_elsewhere(&self) {
        self.leave(0, SIGNALS);
        if self.order == Order::HandlerAsksElsewhere {
            if self.is_blocked() {
                self.kick.wake(self);
            }
        } else {
            self.kick();
        }
    }

    /// `park_detached_threads()`, `start_the_world()`.
    fn stop_the_world(&self) {
        if self.change_state(DETACHED, SUSPENDED) {
            assert!(self.change_state(SUSPENDED, DETACHED));
        }
    }

    fn change_state(&self, from: usize, to: usize) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// What happens in the thread without its doing.
impl Shared {
    /// Handle the signals that have come, and return them.
    fn deliver_signals(&self) -> Vec<Signal> {
        let kernel = self.kernel.lock().unwrap();
        self.handle_signals(kernel)
    }

    fn handle_signals(&self, mut kernel: MutexGuard<'_, Kernel>) -> Vec<Signal> {
        let kicked = mem::take(&mut kernel.kicked);
        let time_passed = mem::take(&mut kernel.time_passed);
        let signalled = mem::take(&mut kernel.signalled);
        drop(kernel);
        let mut came = Vec::new();
        if kicked {
            came.push(Signal::Kick);
            self.handle_kick(false);
        }
        if time_passed && self.timer.replace(false) {
            came.push(Signal::Timer);
            self.handle_kick(true);
        }
        if signalled {
            came.push(Signal::Other);
            self.handle_signal();
        }
        came
    }

    /// `Record::arrived()`.
    fn handle_kick(&self, again: bool) {
        self.handling.set(Some(again));
        // Acquire: paired with the release in `set`.
        let asked = || {
            self.order == Order::NeverAsked
                || self.is_blocked() && self.breaker.load(Ordering::Acquire) != 0
        };
        self.kick.arrived(again, asked, self);
        self.handling.set(None);
    }

    /// `_PyInterrupts_SignalReceived()`, in the thread.
    fn handle_signal(&self) {
        self.leave(0, SIGNALS);
        if self.is_blocked() {
            self.kick.signalled(self);
        }
    }

    /// In the kernel. Returns the signals that broke the call; none if it has what it
    /// waited for, which comes last of all.
    fn sleep(&self) -> Vec<Signal> {
        loop {
            let mut kernel = self.kernel.lock().unwrap();
            while !(kernel.kicked || kernel.time_passed || kernel.signalled || kernel.over) {
                kernel = self.changed.wait(kernel).unwrap();
            }
            let over = kernel.over;
            let came = self.handle_signals(kernel);
            if !came.is_empty() {
                return came;
            }
            // Relaxed: the lock orders it. Nobody else changes it when all is over.
            if over && self.left.load(Ordering::Relaxed) == 0 {
                return came;
            }
            if over {
                assert!(self.timer.replace(false), "it sleeps for ever");
                self.handle_kick(true);
                return vec![Signal::Timer];
            }
        }
    }
}

/// The thread.
struct Owner<'a> {
    shared: &'a Shared,
    gil: Option<MutexGuard<'a, ()>>,
    outcome: Outcome,
}

impl<'a> Owner<'a> {
    /// It is attached.
    fn new(shared: &'a Shared) -> Self {
        Owner {
            shared,
            gil: shared.take_gil(),
            outcome: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Pass => {
                self.detach();
                self.attach();
            }
            Sleep => loop {
                self.detach();
                // They come too early for the call.
                self.shared.deliver_signals();
                let broke = self.shared.sleep();
                self.attach();
                if broke.is_empty() {
                    break;
                }
                self.check(How::Woken(broke));
            },
            Check => self.check(How::CheckPoint),
        }
    }

    /// `detach_thread()`.
    fn detach(&mut self) {
        let shared = self.shared;
        if shared.order == Order::ReleaseThenDetach {
            self.gil = None;
        }
        if shared.order == Order::LookThenDetach {
            self.look();
            shared.single_order();
            shared.deliver_signals();
            shared.state.store(DETACHED, Ordering::Relaxed);
        } else {
            shared.state.store(DETACHED, Ordering::Relaxed);
            shared.deliver_signals();
            shared.single_order();
            self.look();
        }
        self.gil = None;
    }

    /// `_PyInterrupts_LookBeforeBlocking()`.
    fn look(&self) {
        let shared = self.shared;
        if shared.order == Order::NeverLook {
            return;
        }
        // Acquire: paired with the release in `set`.
        if shared.breaker.load(Ordering::Acquire) != 0 && shared.left.load(Ordering::Relaxed) != 0 {
            shared.kick.blocks(shared);
        }
    }

    /// `_PyThreadState_Attach()`.
    fn attach(&mut self) {
        let shared = self.shared;
        self.gil = shared.take_gil();
        while !shared.change_state(DETACHED, ATTACHED) {
            // The world is stopped.
            thread::yield_now();
        }
        shared.deliver_signals();
        if shared.kick.is_waiting() {
            shared.kick.runs(shared);
        }
    }

    /// `_Py_HandlePending()`, and the same in a call that was broken.
    fn check(&mut self, how: How) {
        let shared = self.shared;
        // Relaxed: this one only says where to look, `unset` acquires.
        let bits = shared.breaker.load(Ordering::Relaxed);
        if bits & SIGNALS != 0 {
            self.unset(SIGNALS);
        }
        if bits & SENT != 0 {
            // `_PyInterrupts_DeliverSent()`.
            shared.kick.runs(shared);
            self.unset(SENT);
        }
        if bits != 0 {
            let taken = shared.left.swap(0, Ordering::Relaxed);
            if taken != 0 {
                self.outcome.push((taken, how));
            }
        }
    }

    /// `_Py_unset_eval_breaker_bit()`.
    fn unset(&self, bit: usize) {
        // Acquire: paired with the release in `set`.
        self.shared.breaker.fetch_and(!bit, Ordering::Acquire);
    }
}

#[derive(Clone, Copy)]
struct Model {
    gil: bool,
    thread: &'static [Step],
    others: &'static [Other],
    under_fire: bool,
}

impl Model {
    /// The thread sets the timer so often that it is not stopped.
    const fn under_fire(self) -> Self {
        Model {
            under_fire: true,
            ..self
        }
    }

    fn check(self, outcomes: usize) {
        self.check_order(Order::Right, outcomes);
    }

    fn check_order(self, order: Order, outcomes: usize) {
        explore::check(PREEMPTIONS, outcomes, move || self.run(order));
    }

    /// It must fail before its outcomes are counted.
    fn mutant(self, order: Order) {
        self.check_order(order, 0);
    }

    fn run(self, order: Order) -> Outcome {
        let shared = Arc::new(Shared {
            order,
            gil: self.gil.then(Mutex::default),
            breaker: AtomicUsize::new(0),
            state: AtomicUsize::new(ATTACHED),
            left: AtomicUsize::new(0),
            kick: Kick::default(),
            kernel: Mutex::default(),
            changed: Condvar::new(),
            timer: Cell::new(false),
            handling: Cell::new(None),
            clock: Cell::new(0),
            under_fire: self.under_fire,
        });
        let (first, others) = self.others.split_first().unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|other| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || other.acts(&shared))
            })
            .collect();
        let owner = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut owner = Owner::new(&shared);
                self.thread.iter().for_each(|&step| owner.step(step));
                mem::take(&mut owner.outcome)
            })
        };
        // One of the others is this thread: one less to start and to wait for.
        first.acts(&shared);
        for other in others {
            other.join().unwrap();
        }
        shared.happens(|kernel| kernel.over = true);
        let mut outcome = owner.join().unwrap();
        shared.deliver_signals();
        let mut last = Owner::new(&shared);
        last.check(How::LastCheckPoint);
        outcome.append(&mut last.outcome);

        let mut raised = 0;
        for (taken, _) in &outcome {
            assert_eq!(raised & taken, 0, "each is raised, once");
            raised |= taken;
        }
        let sent = self.others.iter().map(|other| other.leaves());
        assert_eq!(raised, sent.sum(), "each is raised, once");
        // It may still come once, where nobody is blocked.
        if shared.timer.replace(false) {
            shared.handle_kick(true);
        }
        assert!(!shared.kick.is_waiting(), "kicks stand still");
        assert!(!shared.timer.get(), "kicks stand still");
        outcome
    }
}

impl Other {
    /// The bit of what it leaves to be raised.
    fn leaves(self) -> usize {
        match self {
            Sender(interrupt) => 1 << interrupt,
            SignalHere | SignalElsewhere => 1,
            Clock | Stopper => 0,
        }
    }

    fn acts(self, shared: &Shared) {
        match self {
            Sender(interrupt) => shared.send(interrupt),
            SignalHere => shared.happens(|kernel| kernel.signalled = true),
            SignalElsewhere => shared.signal_elsewhere(),
            Clock => shared.happens(|kernel| kernel.time_passed = true),
            Stopper => shared.stop_the_world(),
        }
    }
}

// A call is broken by the kick, or by the timer, or by both if there is a clock. Without
// one, the timer comes after all others: those who have interrupted the thread by then are
// raised together.

/// A call that blocks after one that did not, with nothing in between.
const TWO_CALLS: &[Step] = &[Pass, Sleep];
/// The same with a check point in between.
const CHECK_BETWEEN: &[Step] = &[Pass, Check, Sleep];
/// It blocks no more.
const RUNS_ON: &[Step] = &[Pass, Check];

const ONE_SENDER: &[Other] = &[Sender(0), Clock];
const TWO_SENDERS: &[Other] = &[Sender(0), Sender(1)];
const STOPPED: &[Other] = &[Sender(0), Stopper];
const SIGNAL: &[Other] = &[SignalHere, Clock];
const SIGNAL_STOPPED: &[Other] = &[SignalHere, Stopper];
const SIGNAL_ELSEWHERE: &[Other] = &[SignalElsewhere, Clock];

const fn model(gil: bool, thread: &'static [Step], others: &'static [Other]) -> Model {
    Model {
        gil,
        thread,
        others,
        under_fire: false,
    }
}

const fn with_gil(thread: &'static [Step], others: &'static [Other]) -> Model {
    model(true, thread, others)
}

const fn without_gil(thread: &'static [Step], others: &'static [Other]) -> Model {
    model(false, thread, others)
}

#[test]
fn with_a_gil_one_sender_wakes_it() {
    with_gil(TWO_CALLS, ONE_SENDER).check(3);
}

#[test]
fn with_a_gil_two_senders_wake_it() {
    // Both together. Or one, by a kick, and then the other.
    with_gil(TWO_CALLS, TWO_SENDERS).check(2 + 2 * 2);
}

#[test]
fn with_a_gil_two_senders_wake_it_or_are_seen_at_the_check_point() {
    // As above. Or both there, or one, and then the other. What is left then is kicked for.
    with_gil(CHECK_BETWEEN, TWO_SENDERS).check(2 + 2 * 2 + 1 + 2 * 2);
}

#[test]
fn with_a_gil_a_sender_does_without_the_order() {
    with_gil(TWO_CALLS, ONE_SENDER).check_order(Order::AskThenSet, 3);
}

#[test]
fn one_sender_wakes_it() {
    without_gil(TWO_CALLS, ONE_SENDER).check(3);
}

#[test]
fn two_senders_wake_it() {
    // Both together. Or one, by a kick, and then the other.
    without_gil(TWO_CALLS, TWO_SENDERS).check(2 + 2 * 2);
}

#[test]
fn one_sender_wakes_it_or_is_seen_at_the_check_point() {
    without_gil(CHECK_BETWEEN, ONE_SENDER).check(3 + 1);
}

#[test]
fn two_senders_wake_it_or_are_seen_at_the_check_point() {
    // As without a check point. Or both there, or one, and then the other.
    without_gil(CHECK_BETWEEN, TWO_SENDERS).check(2 + 2 * 2 + 1 + 2 * 2);
}

#[test]
fn a_thread_that_runs_is_not_kicked_for_ever() {
    // Each at the check point or at the last one.
    without_gil(RUNS_ON, TWO_SENDERS).check(2 * 2);
}

#[test]
fn a_thread_that_is_suspended_is_woken() {
    without_gil(TWO_CALLS, STOPPED).check(2);
}

#[test]
fn a_signal_that_the_thread_takes_wakes_it() {
    // By itself, or it was too early and has set the timer.
    with_gil(TWO_CALLS, SIGNAL).check(2);
    without_gil(TWO_CALLS, SIGNAL_STOPPED).check(2);
}

#[test]
fn a_thread_under_fire_is_woken() {
    with_gil(TWO_CALLS, SIGNAL).under_fire().check(2);
    with_gil(TWO_CALLS, ONE_SENDER).under_fire().check(3);
    without_gil(TWO_CALLS, TWO_SENDERS)
        .under_fire()
        .check(2 + 2 * 2);
    without_gil(RUNS_ON, TWO_SENDERS).under_fire().check(2 * 2);
}

#[test]
fn a_signal_that_another_thread_takes_wakes_it() {
    with_gil(TWO_CALLS, SIGNAL_ELSEWHERE).check(3);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn looking_before_it_is_detached_is_noticed() {
    without_gil(TWO_CALLS, ONE_SENDER).mutant(Order::LookThenDetach);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn looking_before_it_is_detached_is_noticed_with_a_gil_by_signal_handlers() {
    with_gil(TWO_CALLS, SIGNAL).mutant(Order::LookThenDetach);
    with_gil(TWO_CALLS, ONE_SENDER).mutant(Order::LookThenDetach);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn detaching_after_the_gil_is_released_is_noticed() {
    with_gil(TWO_CALLS, ONE_SENDER).mutant(Order::ReleaseThenDetach);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn never_looking_is_noticed() {
    with_gil(TWO_CALLS, ONE_SENDER).mutant(Order::NeverLook);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn a_kick_that_does_not_set_the_timer_is_noticed() {
    with_gil(TWO_CALLS, ONE_SENDER).mutant(Order::TimerAfterKickNotSet);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn a_timer_that_is_not_set_again_is_noticed() {
    with_gil(TWO_CALLS, ONE_SENDER).mutant(Order::TimerAfterTimerNotSet);
}

#[test]
#[should_panic(expected = "kicks stand still")]
fn a_handler_that_does_not_ask_is_noticed() {
    without_gil(RUNS_ON, ONE_SENDER).mutant(Order::NeverAsked);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn asking_before_the_bit_is_set_is_noticed() {
    without_gil(TWO_CALLS, ONE_SENDER).mutant(Order::AskThenSet);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn a_sender_that_takes_suspended_for_running_is_noticed() {
    without_gil(TWO_CALLS, STOPPED).mutant(Order::TakeSuspendedForRunning);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn a_signal_handler_that_takes_suspended_for_running_is_noticed() {
    without_gil(TWO_CALLS, SIGNAL_STOPPED).mutant(Order::TakeSuspendedForRunning);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn a_signal_handler_that_asks_in_another_thread_is_noticed() {
    with_gil(TWO_CALLS, SIGNAL_ELSEWHERE).mutant(Order::HandlerAsksElsewhere);
}

#[test]
#[should_panic(expected = "it sleeps for ever")]
fn words_that_are_in_no_single_order_are_noticed() {
    without_gil(TWO_CALLS, ONE_SENDER).mutant(Order::Unordered);
}
