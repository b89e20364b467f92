//! Programs, step by step, run by the miniature interpreter and the model together.
//!
//! After each step both must agree on what was raised, on whether the code that runs
//! is masked, and on what waits.

use std::ffi::c_int;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::c::{self, EXCEPTIONS, FRAMES, GENERATORS, LeftOut, Masker, Miniature, Place};
use super::model::Strength::{self, Hard, Soft};
use super::model::{Exception, FrameId, Mark, Model, NOBODY, What};

const RUNNING: c_int = 0;
const BLOCKED: c_int = 1;

/// The objects that scopes are entered with.
pub const SCOPES: [What; 5] = [
    What::Masks(Soft, 0),
    What::Masks(Hard, 1),
    What::Opens(2),
    What::Masks(Hard, 3),
    What::Opens(4),
];

/// A program calls no deeper; what signals start comes on top.
const MOST_FRAMES: usize = 6;

/// The type of what takes the place of what was sent so before.
const REPLACING: u8 = 3;
/// The first exceptions are the classes that are sent.
pub const CLASSES: u8 = 2;

/// A step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Call a function.
    Call,
    /// Return from a function, a generator or a signal handler.
    Return,
    /// Enter a region of the compiler: NIT.
    Enter(Strength),
    /// Leave it: TIT.
    Exit,
    /// Raise an exception of this type, plain or with data.
    Raise(u8, bool),
    /// What is raised arrives at a handler in this frame. Perhaps a tool is told.
    Catch { depth: usize, traced: bool },
    /// What is raised leaves this frame. Perhaps it is swallowed by C code there.
    Unwind { swallowed: bool },
    /// Resume a generator, or start one.
    Resume(usize),
    /// The running generator yields. Perhaps a tool is told.
    Yield { traced: bool },
    /// It yields, and so does the one that has resumed it: by `yield from`, `await`.
    YieldThrough,
    /// Throw into a generator; into what it waits for, if it does.
    Throw(usize),
    /// Close a generator; before that what it waits for, if it does.
    Close(usize),
    /// A suspended generator is gone.
    Forget(usize),
    /// Enter a scope: by a `with` if the frame is entering something, else by hand.
    EnterScope(What),
    /// Leave it, if it can be left.
    LeaveScope(What),
    /// Give the scopes that this function has entered to its caller.
    HandOver,
    /// Give those that a suspended generator carries to the caller.
    HandOverFrom(usize),
    /// Call a C function that enters something for the caller, as ExitStack does.
    StartToEnter,
    /// It has entered it, or what it has called has raised an exception.
    HasEntered,
    /// A signal arrives.
    Signal,
    /// Another thread sends an exception.
    Send(How),
    /// A check point.
    Check,
    /// A call that blocks, and is broken.
    Block,
}

/// How another thread sends an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With data.
    Instance,
    /// A class.
    Class(u8),
    /// In place of the last one sent so.
    Replacing,
    /// Only withdraws the last one sent so.
    Withdrawal,
}

/// What the program knows of a frame.
#[derive(Debug)]
struct Frame {
    id: FrameId,
    place: Place,
    /// The regions that are open in it, each with the level around it.
    regions: Vec<(u8, Strength)>,
    /// If it is a signal handler's: its number, and where it was started.
    handler: Option<(usize, c_int)>,
    /// If it has called a C function that enters something: what C must remember.
    enters: Option<(usize, usize)>,
    /// What it has passed on to the next one, for which it waits, without running.
    passes_on: PassesOn,
}

/// What a generator that waits for another one passes on to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PassesOn {
    Nothing,
    Throw,
    /// And then it is closed itself.
    Close,
}

/// A suspended generator.
#[derive(Debug)]
struct Sleeping {
    frame: Frame,
    marks: Vec<Mark>,
    /// What it waits for.
    waits_for: Option<usize>,
}

/// A program that runs.
#[derive(Debug)]
pub struct Program {
    mini: Miniature,
    model: Model,
    /// Outermost first.
    frames: Vec<Frame>,
    sleeping: [Option<Sleeping>; GENERATORS],
    /// The type of the exception that is in flight, and whether that is all of it.
    in_flight: Option<(u8, bool)>,
    signal_arrived: bool,
    /// A check point has seen that something waits, and it was masked ever since.
    seen: bool,
    /// Where each frame ever made is or was.
    places: Vec<Place>,
    /// How many exceptions have been made.
    exceptions: usize,
    arrived: Vec<usize>,
    raised: Vec<usize>,
    /// Compare after each step.
    pub compares: bool,
}

type Step = Result<(), String>;

impl Program {
    pub fn new(left_out: LeftOut) -> Self {
        let mut program = Program {
            mini: Miniature::new(left_out),
            model: Model::default(),
            frames: Vec::new(),
            sleeping: Default::default(),
            in_flight: None,
            signal_arrived: false,
            seen: false,
            places: vec![Place::Stack(FRAMES)],
            exceptions: CLASSES.into(),
            arrived: Vec::new(),
            raised: Vec::new(),
            compares: true,
        };
        for class in 0..CLASSES {
            program.mini.make(class.into(), class);
        }
        program.call();
        program
    }

    // --- What a program can do ---

    /// The rules: what the compiler emits and what the interpreter does at all, and
    /// bounds of this miniature.
    pub fn allows(&self, op: Op) -> bool {
        let top = self.top();
        let below = self.frames.len().checked_sub(2).map(|i| &self.frames[i]);
        let is_generator = matches!(top.place, Place::Generator(_));
        if top.enters.is_some() {
            // A C function runs: it calls others, and returns.
            let calls = matches!(op, Op::Call | Op::Resume(_) | Op::EnterScope(_));
            let interrupts = matches!(op, Op::Check | Op::Block | Op::Signal | Op::Send(_));
            let goes_on = self.in_flight.is_none() && (calls || interrupts);
            if !goes_on {
                return op == Op::HasEntered;
            }
        }
        // An exception in flight is caught, or it unwinds: nothing else runs.
        match op {
            Op::Catch { depth, traced } => {
                // A soft region is a leaf in its frame: no handler stands in it.
                return self.in_flight.is_some()
                    && (self.innermost_with()..=top.hard_regions()).contains(&depth)
                    && !(traced && self.signal_arrived);
            }
            Op::Unwind { swallowed } => {
                // What a handler raises goes to the check point that started it; what a
                // generator raises goes to the one that waits for it.
                return self.in_flight.is_some()
                    && !self.is_in_scope()
                    && below.is_some_and(|frame| {
                        let to_c = top.handler.is_none() && frame.passes_on == PassesOn::Nothing;
                        to_c || !swallowed
                    });
            }
            _ if self.in_flight.is_some() => return false,
            _ => {}
        }
        match op {
            Op::Catch { .. } | Op::Unwind { .. } => false,
            Op::Call => self.has_room(),
            // A return happens at level 0 only. So a handler has ended before the frame
            // it interrupted goes on, as everything here that was called.
            Op::Return => below.is_some() && top.regions.is_empty() && !self.is_in_scope(),
            // A soft region holds nothing but a call or an await.
            Op::Enter(_) => top.regions.len() == top.hard_regions() && top.regions.len() < 3,
            Op::Exit => {
                let around = self.innermost_with() == top.hard_regions();
                !top.regions.is_empty() && (top.is_entering() || !around)
            }
            Op::Raise(..) => true,
            Op::Resume(g) => self.has_room() && !self.is_running(g) && !self.is_taken(g),
            Op::Yield { traced } => is_generator && !(traced && self.signal_arrived),
            Op::YieldThrough => {
                is_generator
                    && below.is_some_and(|frame| {
                        let generator = matches!(frame.place, Place::Generator(_));
                        generator && frame.passes_on == PassesOn::Nothing
                    })
            }
            Op::Throw(g) | Op::Close(g) => {
                self.has_room() && self.sleeping[g].is_some() && !self.is_taken(g)
            }
            Op::Forget(g) => {
                let sleeping = self.sleeping[g].as_ref();
                sleeping.is_some_and(|s| s.waits_for.is_none()) && !self.is_taken(g)
            }
            Op::EnterScope(_) => self.scopes() < 4,
            Op::LeaveScope(_) => true,
            // contextlib's functions do that, each for the function that calls it.
            Op::HandOver => {
                below.is_some()
                    && !is_generator
                    && top.handler.is_none()
                    && !self.all_marks().any(|mark| self.is_mistaken_for_top(mark))
            }
            // Within such a C function, what is given must have been entered in there.
            Op::HandOverFrom(g) => {
                let enters = self.frames.iter().any(|frame| frame.enters.is_some());
                self.allows(Op::HandOver) && self.sleeping[g].is_some() && !enters
            }
            Op::StartToEnter => self.allows(Op::HandOver) && !top.is_entering(),
            Op::HasEntered => false,
            Op::Signal => !self.signal_arrived && self.handlers() < 2,
            Op::Send(_) => self.exceptions < EXCEPTIONS,
            Op::Check | Op::Block => true,
        }
    }

    fn has_room(&self) -> bool {
        self.frames.len() < MOST_FRAMES
    }

    fn is_running(&self, generator: usize) -> bool {
        let place = Place::Generator(generator);
        self.frames.iter().any(|frame| frame.place == place)
    }

    /// Whether a suspended generator waits for this one.
    fn is_taken(&self, generator: usize) -> bool {
        let mut sleeping = self.sleeping.iter().flatten();
        sleeping.any(|s| s.waits_for == Some(generator))
    }

    fn all_frames(&self) -> impl Iterator<Item = &Frame> {
        let sleeping = self.sleeping.iter().flatten();
        self.frames.iter().chain(sleeping.map(|s| &s.frame))
    }

    /// The core knows a frame by its address only. So it takes a scope for the running
    /// function's own that another function has left behind, called there before. Then
    /// the running function does not hand over what it has entered.
    fn is_mistaken_for_top(&self, mark: &Mark) -> bool {
        let top = self.top();
        let same_place = mark.1 != NOBODY && self.places[mark.1 as usize] == top.place;
        mark.0.is_scope() && same_place && mark.1 != top.id
    }

    /// Whether a `with` of the running frame has entered a scope: it leaves that
    /// before the frame ends.
    fn is_in_scope(&self) -> bool {
        let top = self.top().id;
        let mut marks = self.model.running.iter();
        marks.any(|mark| mark.1 == top && mark.2)
    }

    /// In how many regions of the running frame such a `with` stands. It ends before
    /// they do.
    fn innermost_with(&self) -> usize {
        let top = self.top().id;
        let marks = &self.model.running;
        let last = marks.iter().rposition(|mark| mark.1 == top && mark.2);
        let around = marks[..last.unwrap_or(0)].iter();
        let region = (What::Region(Hard), top, false);
        around.filter(|&&mark| mark == region).count()
    }

    fn all_marks(&self) -> impl Iterator<Item = &Mark> {
        let sleeping = self.sleeping.iter().flatten();
        let running = self.model.running.iter();
        running.chain(sleeping.flat_map(|s| &s.marks))
    }

    /// How many scopes there are.
    pub fn scopes(&self) -> usize {
        self.all_marks().filter(|mark| mark.0.is_scope()).count()
    }

    fn handlers(&self) -> usize {
        let handlers = self.frames.iter().filter(|f| f.handler.is_some());
        handlers.count()
    }

    /// How many interrupts wait.
    pub fn waits(&self) -> usize {
        self.model.raised.len() + self.model.sent.len()
    }

    /// Where an exception is in flight: what leads to its being caught right here.
    pub fn catch_here(&self) -> Vec<Op> {
        let depth = self.top().hard_regions();
        let traced = false;
        match self.top().enters {
            _ if self.in_flight.is_none() => vec![],
            None => vec![Op::Catch { depth, traced }],
            Some(_) => vec![Op::HasEntered, Op::Catch { depth, traced }],
        }
    }

    /// How many frames run.
    pub fn running(&self) -> usize {
        self.frames.len()
    }

    pub fn depth(&self) -> usize {
        self.top().regions.len()
    }

    fn top(&self) -> &Frame {
        self.frames.last().expect("something runs")
    }

    fn top_mut(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("something runs")
    }

    // --- Steps ---

    /// Do this, if a program can.
    ///
    /// # Errors
    ///
    /// If the interpreter and the model do not agree. It says why.
    pub fn step(&mut self, op: Op) -> Result<bool, String> {
        if !self.allows(op) {
            return Ok(false);
        }
        self.run(op)?;
        if self.model.mask().is_none() || self.waits() == 0 {
            self.seen = false;
        }
        if self.compares {
            self.compare()?;
        }
        Ok(true)
    }

    fn run(&mut self, op: Op) -> Step {
        match op {
            Op::Call => self.call(),
            Op::Return => {
                self.mini.returns();
                return self.left(None);
            }
            Op::Enter(strength) => {
                let outer = self.top().level();
                self.mini.nit(c::level_inside(outer, strength).into());
                self.top_mut().regions.push((outer, strength));
                let region = (What::Region(strength), self.top().id, false);
                self.model.running.push(region);
            }
            Op::Exit => return self.exit(),
            Op::Raise(class, plain) => self.in_flight = Some((class, plain)),
            Op::Catch { depth, traced } => return self.catch(depth, traced),
            Op::Unwind { swallowed } => {
                let raised = self.in_flight.take();
                self.close_regions(0);
                self.mini.unwind();
                return self.left(raised.filter(|_| !swallowed));
            }
            Op::Resume(g) => match &self.sleeping[g] {
                Some(_) => self.wake_all(g, PassesOn::Nothing),
                None => self.start(Place::Generator(g), None),
            },
            Op::Yield { traced } => return self.suspend(traced),
            Op::YieldThrough => {
                let Place::Generator(inner) = self.top().place else {
                    unreachable!("only generators yield");
                };
                self.suspend(false)?;
                let Place::Generator(outer) = self.top().place else {
                    unreachable!("only generators wait for others");
                };
                self.suspend(false)?;
                if let Some(sleeping) = &mut self.sleeping[outer] {
                    sleeping.waits_for = Some(inner);
                }
            }
            Op::Throw(g) | Op::Close(g) => {
                let throws = matches!(op, Op::Throw(_));
                let passes_on = if throws {
                    PassesOn::Throw
                } else {
                    PassesOn::Close
                };
                self.wake_all(g, passes_on);
                self.in_flight = Some((0, false));
            }
            Op::Forget(g) => {
                self.sleeping[g] = None;
                self.mini.generator_goes(Place::Generator(g));
            }
            Op::EnterScope(what) => return self.enter_scope(what),
            Op::LeaveScope(what) => {
                let left = self.mini.leave_scope(what.object(), what.is_shared()) == 0;
                same("whether a scope was left", left, self.model.leave(what))?;
            }
            Op::HandOver => {
                let given = self.mini.hand_over(None);
                let giver = self.top().id;
                return self.handed_over(given, giver);
            }
            Op::HandOverFrom(g) => {
                let given = self.mini.hand_over(Some(g));
                if let Some(sleeping) = &mut self.sleeping[g] {
                    let scope = |mark: &&Mark| mark.0.is_scope();
                    let scopes = sleeping.marks.iter().filter(scope);
                    let scopes = scopes.map(|mark| (mark.0, GENERATOR, false));
                    self.model.running.extend(scopes);
                    sleeping.marks.retain(|mark| !mark.0.is_scope());
                }
                return self.handed_over(given, GENERATOR);
            }
            Op::StartToEnter => {
                let enters = self.mini.start_to_enter();
                self.top_mut().enters = Some(enters);
                self.model.running.push((What::Region(Soft), NOBODY, false));
            }
            Op::HasEntered => return self.has_entered(),
            Op::Signal => {
                self.mini.signal();
                self.signal_arrived = true;
            }
            Op::Send(how) => self.send(how),
            Op::Check => return self.check(RUNNING),
            Op::Block => return self.check(BLOCKED),
        }
        Ok(())
    }

    fn start(&mut self, place: Place, handler: Option<(usize, c_int)>) {
        self.mini.call(place);
        let id = FrameId::try_from(self.places.len()).expect("few frames");
        self.places.push(place);
        let what = match place {
            Place::Stack(_) => What::Frame,
            Place::Generator(_) => What::Generator,
        };
        self.model.running.push((what, id, false));
        self.frames.push(Frame {
            id,
            place,
            regions: Vec::new(),
            handler,
            enters: None,
            passes_on: PassesOn::Nothing,
        });
    }

    fn next_on_stack(&self) -> Place {
        let on_stack = |frame: &&Frame| matches!(frame.place, Place::Stack(_));
        Place::Stack(self.frames.iter().filter(on_stack).count())
    }

    fn call(&mut self) {
        self.start(self.next_on_stack(), None);
    }

    /// Forget the regions of the running frame that are deeper.
    fn close_regions(&mut self, depth: usize) {
        while self.top().regions.len() > depth {
            if let Some((_, strength)) = self.top_mut().regions.pop() {
                self.model.leave(What::Region(strength));
            }
        }
    }

    fn exit(&mut self) -> Step {
        let outer = self.top().regions.last().map_or(0, |region| region.0);
        self.close_regions(self.depth() - 1);
        let result = self.mini.tit(outer.into());
        if result & c::ASKED == 0 {
            let late = self.seen && self.model.mask().is_none();
            return same("whether TIT raises what has waited", false, late);
        }
        self.checked(result & !c::ASKED, RUNNING)
    }

    fn catch(&mut self, depth: usize, traced: bool) -> Step {
        let deeper = self.top().regions.get(depth).map(|region| region.0);
        let level = deeper.unwrap_or(self.top().level());
        let result = self.mini.catch(level.into(), traced.into());
        if traced {
            self.told(result)?;
        }
        self.close_regions(depth);
        self.in_flight = None;
        Ok(())
    }

    /// The running frame has gone.
    fn left(&mut self, raised: Option<(u8, bool)>) -> Step {
        let frame = self.frames.pop().expect("something runs");
        match frame.place {
            Place::Stack(_) => self.model.leave(What::Frame),
            Place::Generator(_) => {
                let waits = matches!(self.top().place, Place::Generator(_));
                let awaited = waits && raised.is_none();
                self.mini.generator_ends(frame.place, awaited);
                self.generator_ends(frame.id, awaited);
                true
            }
        };
        if let Some((handler, place)) = frame.handler {
            return self.handler_ends(handler, raised, place);
        }
        self.in_flight = raised;
        self.goes_on();
        Ok(())
    }

    /// What a generator has not left is the one's that waits for it, or nobody's.
    fn generator_ends(&mut self, id: FrameId, awaited: bool) {
        let marks = self.split_off(id);
        if awaited {
            let scopes = marks.iter().filter(|mark| mark.0.is_scope());
            let scopes = scopes.map(|mark| (mark.0, GENERATOR, false));
            let count = scopes.clone().count();
            self.model.running.extend(scopes);
            self.model.hand_over(GENERATOR, 0);
            let owner = self.model.frame(0, true);
            let entering = (What::Region(Soft), owner, false);
            if !self.model.running.contains(&entering) {
                // A function that has ended opens nothing for its caller.
                let marks = self.model.running.iter_mut().rev();
                marks.take(count).for_each(|mark| mark.1 = NOBODY);
            }
        }
    }

    /// Take a generator's frame and all that belongs to it from what runs.
    fn split_off(&mut self, id: FrameId) -> Vec<Mark> {
        let running = &mut self.model.running;
        let generator = (What::Generator, id, false);
        let start = running.iter().rposition(|mark| *mark == generator);
        running.split_off(start.expect("it runs"))
    }

    /// What the running frame has passed on was done with: it goes on itself.
    fn goes_on(&mut self) {
        let frame = self.top_mut();
        let place = frame.place;
        match std::mem::replace(&mut frame.passes_on, PassesOn::Nothing) {
            PassesOn::Nothing => return,
            PassesOn::Throw => {}
            PassesOn::Close => self.in_flight = Some((0, false)),
        }
        self.mini.passed_on();
        self.mini.resume(place);
    }

    // --- Generators ---

    fn suspend(&mut self, traced: bool) -> Step {
        let result = self.mini.suspend(traced.into());
        if traced {
            self.told(result)?;
        }
        let mut yielded = self.fall_asleep(None);
        // throw() returns what was yielded, through all that wait.
        while self.top().passes_on == PassesOn::Throw {
            self.mini.passed_on();
            yielded = self.fall_asleep(Some(yielded));
        }
        // close() of what yields is an error, raised in what waits for it.
        self.goes_on();
        Ok(())
    }

    /// The running generator is suspended. Returns which it is.
    fn fall_asleep(&mut self, waits_for: Option<usize>) -> usize {
        let mut frame = self.frames.pop().expect("something runs");
        let Place::Generator(g) = frame.place else {
            unreachable!("only generators yield");
        };
        let marks = self.split_off(frame.id);
        frame.passes_on = PassesOn::Nothing;
        self.sleeping[g] = Some(Sleeping {
            frame,
            marks,
            waits_for,
        });
        // Whoever runs next may be open. It is asked at the next check point, which can
        // come after a TIT.
        self.seen = false;
        g
    }

    /// A suspended generator runs again. Returns what it waits for.
    fn wake(&mut self, g: usize) -> Option<usize> {
        let sleeping = self.sleeping[g].take().expect("it is suspended");
        self.mini.resume(Place::Generator(g));
        self.frames.push(sleeping.frame);
        // The scopes it brings along can open what has masked so far.
        if sleeping.marks.iter().any(|mark| mark.0.is_scope()) {
            self.seen = false;
        }
        self.model.running.extend(sleeping.marks);
        sleeping.waits_for
    }

    /// And what it waits for.
    fn wake_all(&mut self, mut g: usize, passes_on: PassesOn) {
        while let Some(inner) = self.wake(g) {
            self.top_mut().passes_on = passes_on;
            g = inner;
        }
    }

    // --- Scopes ---

    fn enter_scope(&mut self, what: What) -> Step {
        let kind = match what {
            What::Masks(Soft, _) => 0,
            What::Masks(Hard, _) => 1,
            _ => 2,
        };
        same("EnterScope", self.mini.enter_scope(what.object(), kind), 0)?;
        self.model.enter(what);
        Ok(())
    }

    fn handed_over(&mut self, given: c_int, from: FrameId) -> Step {
        let expected = self.model.hand_over(from, 1);
        same("scopes handed over", usize::try_from(given), Ok(expected))
    }

    fn has_entered(&mut self) -> Step {
        let raised = self.in_flight.is_some();
        let enters = self.top_mut().enters.take().expect("it runs");
        let given = self.mini.has_entered(enters, raised);
        let start = self.end_mask();
        if raised {
            return same("scopes handed over", given, 0);
        }
        for mark in &mut self.model.running[start..] {
            if mark.0.is_scope() {
                mark.1 = GENERATOR;
            }
        }
        self.handed_over(given, GENERATOR)
    }

    /// Take away the mask of a signal handler or C function. Returns where it was.
    fn end_mask(&mut self) -> usize {
        let marks = &mut self.model.running;
        let mask = (What::Region(Soft), NOBODY, false);
        let start = marks.iter().rposition(|mark| *mark == mask);
        let start = start.expect("it runs");
        marks.remove(start);
        start
    }

    // --- Interrupts ---

    fn send(&mut self, how: How) {
        let exception = match how {
            How::Instance => Some(self.make(2, false)),
            How::Class(class) => Some(Exception {
                id: class.into(),
                class,
                plain: true,
                held: false,
            }),
            How::Replacing => Some(self.make(REPLACING, false)),
            How::Withdrawal => None,
        };
        let code = match how {
            How::Instance => 0,
            How::Class(_) => 1,
            How::Replacing | How::Withdrawal => 2,
        };
        self.mini.send(exception.map(|e| e.id), code);
        if code == 2 {
            self.model.sent.retain(|e| e.class != REPLACING);
        }
        if let Some(exception) = exception {
            self.arrived.push(exception.id);
            append(&mut self.model.sent, exception);
        }
    }

    fn make(&mut self, class: u8, plain: bool) -> Exception {
        let id = self.exceptions;
        self.exceptions += 1;
        self.mini.make(id, class);
        Exception {
            id,
            class,
            plain,
            held: false,
        }
    }

    fn check(&mut self, place: c_int) -> Step {
        let result = self.mini.check(place);
        self.checked(result, place)?;
        let waits = result == 0 && place == RUNNING && self.model.mask().is_some();
        if waits && self.mini.carried_scopes() == 0 {
            // No check point is slow until the mask is left. Only generators change what
            // masks without anybody being told.
            let up = self.mini.eval_breaker() & (c::PENDING_BIT | c::ASYNC_BIT);
            same("the eval breaker in masked code", up, 0)?;
        }
        Ok(())
    }

    /// Compare what a check point has come to.
    fn checked(&mut self, result: c_int, place: c_int) -> Step {
        if self.signal_arrived {
            same("whether a handler starts", result, c::HANDLER_STARTS)?;
            self.signal_arrived = false;
            let handler = self.mini.enter_handler();
            // It belongs to no frame.
            self.model.running.push((What::Region(Soft), NOBODY, false));
            self.start(self.next_on_stack(), Some((handler, place)));
            return Ok(());
        }
        let expected = self.model.check(place == BLOCKED);
        if self.waits() > 0 && place == RUNNING && self.model.mask().is_some() {
            self.seen = true;
        }
        let expected: Vec<_> = expected.iter().map(|e| e.id).collect();
        let raised = match result {
            c::RAISED => self.mini.raised(),
            _ => Vec::new(),
        };
        same("raised", &raised, &expected)?;
        if !raised.is_empty() {
            self.raised.extend(raised);
            self.in_flight = Some((0, false));
        }
        Ok(())
    }

    /// A tool has been told of something, masked softly, and was asked.
    fn told(&mut self, result: c_int) -> Step {
        self.model.running.push((What::Region(Soft), NOBODY, false));
        self.checked(result, RUNNING)?;
        self.end_mask();
        Ok(())
    }

    fn handler_ends(&mut self, handler: usize, raised: Option<(u8, bool)>, place: c_int) -> Step {
        self.end_mask();
        let raised = raised.map(|(class, plain)| self.make(class, plain));
        if let Some(exception) = raised {
            self.arrived.push(exception.id);
            append(&mut self.model.raised, exception);
        }
        let raised = raised.map(|e| (e.id, e.plain));
        let result = self.mini.leave_handler(handler, raised, place);
        let arrived = std::mem::take(&mut self.signal_arrived);
        self.in_flight = None;
        self.checked(result, place)?;
        self.signal_arrived = arrived;
        Ok(())
    }

    fn compare(&self) -> Step {
        let masked = self.model.mask().is_some();
        same("masked", self.mini.is_masked(), masked)?;
        let (raised, sent) = self.mini.counts();
        same(
            "exceptions of handlers that wait",
            raised,
            self.model.raised.len(),
        )?;
        match sent {
            Some(sent) => same("sent exceptions that wait", sent, self.model.sent.len()),
            None => Ok(()),
        }
    }

    // --- The end ---

    /// Leave everything: then all that arrived has been raised, once.
    ///
    /// # Errors
    ///
    /// As for `step`.
    pub fn finish(&mut self) -> Step {
        // What is left out can bring it back to where it was for ever.
        const ENOUGH: usize = 1_000;
        for steps in 0.. {
            let Some(op) = self.next_to_finish() else {
                break;
            };
            if steps == ENOUGH || !self.step(op)? {
                return Err(format!("{op:?} is of no use at the end"));
            }
        }
        // What was withdrawn is given back when it is collected.
        self.step(Op::Check)?;
        same("masked at the end", self.mini.is_masked(), false)?;
        let mut arrived = self.arrived.clone();
        let mut gone = [self.raised.clone(), self.mini.dropped()].concat();
        arrived.sort_unstable();
        gone.sort_unstable();
        same("raised, merged or replaced", gone, arrived)
    }

    /// After that: nothing of it makes the interpreter slower.
    ///
    /// # Errors
    ///
    /// As for `step`.
    pub fn is_fast_again(&mut self) -> Step {
        // A TIT may ask once in vain.
        self.step(Op::Enter(Hard))?;
        self.step(Op::Exit)?;
        same("what TIT looks at", self.mini.waiting(), 0)?;
        same("the eval breaker", self.mini.eval_breaker(), 0)?;
        same("scopes carried", self.mini.carried_scopes(), 0)
    }

    fn next_to_finish(&self) -> Option<Op> {
        let inner = self.frames.len() > 1;
        let scope = self.model.running.iter().find(|mark| mark.0.is_scope());
        let waits = self.waits() > 0;
        let sleeping = (0..GENERATORS).filter(|&g| self.sleeping[g].is_some());
        let is_free = |&g: &usize| self.allows(Op::Forget(g));
        let own = |mark: &&Mark| mark.2 && mark.1 == self.top().id;
        let own = self.model.running.iter().find(own);
        if self.top().enters.is_some() {
            Some(Op::HasEntered)
        } else if self.in_flight.is_some() && inner && own.is_none() {
            Some(Op::Unwind { swallowed: false })
        } else if let Some(&catch) = self.catch_here().first() {
            Some(catch)
        } else if let Some(own) = own {
            Some(Op::LeaveScope(own.0))
        } else if self.depth() > 0 {
            Some(Op::Exit)
        } else if inner {
            Some(Op::Return)
        } else if let Some(scope) = scope {
            Some(Op::LeaveScope(scope.0))
        } else if let Some(g) = sleeping.clone().find(is_free) {
            Some(Op::Forget(g))
        } else if let Some(g) = sleeping.clone().find(|&g| !self.is_taken(g)) {
            Some(Op::Throw(g))
        } else if self.signal_arrived || waits {
            Some(Op::Check)
        } else {
            None
        }
    }

    // --- Equal states ---

    /// A number for this state: whatever two programs with the same number do next has
    /// the same result.
    ///
    /// What the core keeps to itself follows from what is counted in here. Frames that
    /// have gone are known by where they were, others by their order.
    pub fn state(&self) -> u128 {
        let half = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            self.hash_state(&mut hasher);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    fn hash_state(&self, hasher: &mut DefaultHasher) {
        let alive: Vec<_> = self.all_frames().map(|frame| frame.id).collect();
        let name = |id: FrameId| {
            let gone = (id != NOBODY).then(|| self.places[id as usize]);
            alive.iter().position(|&other| other == id).ok_or(gone)
        };
        let named = |marks: &[Mark]| -> Vec<_> {
            marks
                .iter()
                .map(|mark| (mark.0, name(mark.1), mark.2))
                .collect()
        };
        for frame in self.all_frames() {
            let strengths = frame.regions.iter().map(|region| region.1);
            (frame.place, frame.handler, strengths.collect::<Vec<_>>()).hash(hasher);
            (frame.passes_on, frame.enters.is_some()).hash(hasher);
        }
        named(&self.model.running).hash(hasher);
        for sleeping in &self.sleeping {
            let sleeping = sleeping.as_ref();
            let sleeping = sleeping.map(|s| (named(&s.marks), s.waits_for));
            sleeping.hash(hasher);
        }
        let kinds = |list: &[Exception]| -> Vec<_> {
            list.iter().map(|e| (e.class, e.plain, e.held)).collect()
        };
        (kinds(&self.model.raised), kinds(&self.model.sent)).hash(hasher);
        (self.in_flight, self.signal_arrived, self.seen).hash(hasher);
        (self.mini.waiting(), self.mini.eval_breaker()).hash(hasher);
        let masker: Masker = self.mini.masker();
        masker.hash(hasher);
    }
}

/// Whose the scopes of a suspended generator are while they are handed over.
const GENERATOR: FrameId = FrameId::MAX;

impl Frame {
    fn level(&self) -> u8 {
        let inside = |&(outer, strength): &(u8, _)| c::level_inside(outer, strength);
        self.regions.last().map_or(0, inside)
    }

    fn hard_regions(&self) -> usize {
        let hard = self.regions.iter().filter(|region| region.1 == Hard);
        hard.count()
    }

    fn is_entering(&self) -> bool {
        self.hard_regions() < self.regions.len()
    }
}

/// Two interrupts that cannot be told apart are one.
fn append(waiting: &mut Vec<Exception>, exception: Exception) {
    let same = |e: &Exception| e.plain && exception.plain && e.class == exception.class;
    if !waiting.iter().any(same) {
        waiting.push(exception);
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Step {
    if is == expected {
        Ok(())
    } else {
        Err(format!("{what}: {is:?}, the model says {expected:?}"))
    }
}
