//! Scopes: what a program masks or opens itself.
//!
//! Where a region of the compiler is a level in a frame, a scope is an entry here,
//! since the function that enters one may return before it is left: a class that
//! enters a scope in its `__enter__`, `contextlib`. Entries are found by what
//! *carries* them: the innermost generator that was running, or else the stack. A
//! scope counts whenever its carrier is among what runs now. So a generator takes
//! its scopes along when it suspends, and brings them back when it is resumed, in
//! whatever thread, and neither costs anything.
//!
//! Among the scopes that count, the one entered last decides: a mask masks, one
//! that opens lets the masks around it be. It also opens the regions of one frame,
//! its *owner*, up to the depth it was entered at (its *floor*). Regions of callers
//! stay: no callee can cut the cleanup of its caller.
//!
//! The owner is the function that executes the `with`. A function that is entering
//! something says so by its level, so if a scope is entered by a call, deep in the
//! `__enter__` of a class perhaps, the owner is the innermost function around it that
//! is entering; until that has finished, its own region masks anyway. If there is
//! none, the owner is the function that calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::level::{Level, Strength};

/// The identity of a frame: its address, never dereferenced here.
pub type FrameId = usize;
/// The identity of a generator, of a stack or of the object that a scope was
/// entered with: an address, never dereferenced here; or the number of a thread.
pub type Identity = usize;

/// What stands on the way outwards from the running frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The frame; `None` for a generator of another compiler.
    pub frame: Option<FrameId>,
    /// The generator whose frame it is.
    pub carrier: Option<Identity>,
    /// Its level.
    pub level: Level,
    /// It leaves a `with`, and has called `__exit__`.
    pub exiting: bool,
}

/// What a scope does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It masks.
    Mask(Strength),
    /// It opens.
    Open,
    /// It opens for one interrupt alone: that of the timeout it belongs to.
    Timeout,
}

/// Whose a scope is, and how many of its regions it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    frame: FrameId,
    /// The depth of the owner around the scope.
    floor: u8,
    /// A `with` of the owner itself has entered it and will leave it. Otherwise a
    /// call has, and the owner may leave regions below the floor before that.
    lexical: bool,
    /// Another `with` of the owner has, by what it calls, and will leave it: as long as
    /// the scope is entered, the owner is still there.
    entering: bool,
}

impl Owner {
    const NOBODY: Owner = Owner {
        frame: 0,
        floor: 0,
        lexical: false,
        entering: false,
    };

    fn is(step: &Step, lexical: bool) -> Self {
        Owner {
            frame: step.frame.unwrap_or_default(),
            floor: step.level.depth() - u8::from(step.level.is_entering()),
            lexical,
            entering: false,
        }
    }

    /// Of a scope that the first of these frames enters.
    fn of(steps: impl Iterator<Item = Step>) -> Self {
        let mut frames = steps.filter(|step| step.frame.is_some());
        match frames.next() {
            None => Owner::NOBODY,
            Some(this) if this.level.is_entering() => Owner::is(&this, true),
            Some(this) => Owner::of_call(this, frames),
        }
    }

    /// Of a scope that `this` enters by a call, or is given by what it called.
    fn of_call(this: Step, callers: impl Iterator<Item = Step>) -> Self {
        Owner::entering(this, callers).unwrap_or(Owner::is(&this, false))
    }

    /// The innermost of these frames that is entering something. Who has called a
    /// generator is not asked: it may be somebody else the next time.
    fn entering(this: Step, mut callers: impl Iterator<Item = Step>) -> Option<Self> {
        let mut step = this;
        while !step.level.is_entering() {
            step = callers.next().filter(|_| step.carrier.is_none())?;
        }
        Some(Owner {
            entering: true,
            ..Owner::is(&step, false)
        })
    }

    /// Whether the floor has to follow the level of the frame.
    fn lowers(&self) -> bool {
        !self.lexical && self.floor > 0
    }
}

/// A scope that has been entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    scope: Identity,
    kind: Kind,
    owner: Owner,
    /// The thread that entered it. Another one does not see where the owner has
    /// left regions since.
    thread: Identity,
    /// Greater than that of any entry before.
    number: usize,
}

/// Counts entries, in the whole process. Relaxed: that they differ and grow in each
/// thread is all that is asked of them.
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A number below those of all scopes that this thread enters from now on.
pub fn mark() -> usize {
    NEXT_NUMBER.load(Relaxed)
}

impl Entry {
    /// Not if its `with` was never left: a debugger jumped out of it.
    fn counts(&self, runs: impl Fn(FrameId) -> bool) -> bool {
        !self.owner.lexical || runs(self.owner.frame)
    }

    fn floor_in(&self, thread: Identity) -> u8 {
        if self.owner.lowers() && self.thread != thread {
            0
        } else {
            self.owner.floor
        }
    }
}

/// The scopes of one carrier, in the order in which they were entered.
type Bag = Vec<Entry>;

/// There was no memory; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// The object has not been entered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEntered;

/// The scopes that stacks carry: those of one thread.
#[derive(Debug, Default)]
pub struct Stacks {
    bags: Vec<(Identity, Bag)>,
}

impl Stacks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bags.iter().all(|(_, bag)| bag.is_empty())
    }

    fn get(&self, stack: Identity) -> &[Entry] {
        let bag = self.bags.iter().find(|(id, _)| *id == stack);
        bag.map_or(&[], |(_, bag)| bag)
    }

    fn get_mut(&mut self, stack: Identity) -> Result<&mut Bag, NoMemory> {
        let found = self.bags.iter().position(|(id, _)| *id == stack);
        let index = match found {
            Some(index) => index,
            None => {
                self.bags.try_reserve(1).map_err(|_| NoMemory)?;
                self.bags.push((stack, Bag::new()));
                self.bags.len() - 1
            }
        };
        Ok(&mut self.bags[index].1)
    }

    /// Forget the scopes of one stack.
    pub fn drop_stack(&mut self, stack: Identity) {
        self.bags.retain(|(id, _)| *id != stack);
    }
}

/// The scopes that generators carry: those of one interpreter.
#[derive(Debug, Default)]
pub struct Carriers {
    bags: HashMap<Identity, Bag>,
}

impl Carriers {
    /// How many generators carry scopes.
    pub fn count(&self) -> usize {
        self.bags.len()
    }

    fn is_empty(&self) -> bool {
        self.bags.is_empty()
    }

    fn get(&self, carrier: Identity) -> &[Entry] {
        self.bags.get(&carrier).map_or(&[], |bag| bag)
    }

    fn get_mut(&mut self, carrier: Identity) -> Result<&mut Bag, NoMemory> {
        self.bags.try_reserve(1).map_err(|_| NoMemory)?;
        Ok(self.bags.entry(carrier).or_default())
    }

    fn take(&mut self, carrier: Identity) -> Bag {
        self.bags.remove(&carrier).unwrap_or_default()
    }
}

/// All scopes that a thread can have to do with.
#[derive(Debug)]
pub struct Scopes<'a> {
    /// Who asks.
    pub thread: Identity,
    /// The stack it runs on.
    pub stack: Identity,
    /// What stacks carry.
    pub stacks: &'a mut Stacks,
    /// What generators carry.
    pub carriers: &'a mut Carriers,
    /// Whether this thread has got one that no `with` of its own has entered.
    pub gained_call: bool,
}

/// What the scopes that count come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// How scopes mask, if they do.
    pub mask: Option<Strength>,
    /// Whether the answer can change by suspending or resuming a generator.
    pub generators_matter: bool,
    /// The regions that are opened: up to which depth of which frame.
    pub(crate) floors: Vec<(FrameId, u8)>,
    /// What is outside of this frame does not count.
    pub(crate) outermost: Option<FrameId>,
}

impl InForce {
    /// How many regions of this frame scopes have opened.
    pub fn floor(&self, frame: Option<FrameId>) -> u8 {
        let opened = self.floors.iter().filter(|(of, _)| Some(*of) == frame);
        opened.map(|(_, floor)| *floor).max().unwrap_or(0)
    }

    fn add(
        &mut self,
        bag: &[Entry],
        thread: Identity,
        opened: &mut bool,
        runs: impl Fn(FrameId) -> bool,
    ) {
        for entry in bag.iter().rev() {
            if !entry.counts(&runs) {
                continue;
            }
            match entry.kind {
                Kind::Mask(strength) if !*opened => {
                    self.mask = self.mask.max(Some(strength));
                }
                Kind::Mask(_) => {}
                Kind::Open => {
                    *opened = true;
                    let floor = entry.floor_in(thread);
                    if floor > 0 {
                        self.floors.push((entry.owner.frame, floor));
                    }
                }
                Kind::Timeout => {}
            }
        }
    }
}

/// What the scopes come to for code that runs inside of `steps`.
pub fn in_force(
    steps: impl Iterator<Item = Step> + Clone,
    stacks: &Stacks,
    carriers: &Carriers,
    thread: Identity,
    stack: Identity,
) -> InForce {
    let mut result = InForce {
        generators_matter: !carriers.is_empty(),
        ..InForce::default()
    };
    let runs = |frame| steps.clone().any(|step| step.frame == Some(frame));
    let mut opened = false;
    if !carriers.is_empty() {
        for carrier in steps.clone().filter_map(|step| step.carrier) {
            result.add(carriers.get(carrier), thread, &mut opened, runs);
        }
    }
    result.add(stacks.get(stack), thread, &mut opened, runs);
    result
}

/// Whether a timeout is in force in what runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// It is, and this is what counts for its interrupt: what was entered inside of it.
    Here(InForce),
    /// Its block is that of a generator, or of a stack, that does not run.
    Elsewhere,
    /// Its block has ended, and nobody has left it: a debugger jumped out of it.
    Gone,
}

/// What the scopes that were entered inside of a timeout come to for its interrupt.
pub fn in_force_inside(
    timeout: Identity,
    steps: impl Iterator<Item = Step> + Clone,
    stacks: &Stacks,
    carriers: &Carriers,
    thread: Identity,
    stack: Identity,
) -> Inside {
    let mut result = InForce {
        generators_matter: !carriers.is_empty(),
        ..InForce::default()
    };
    let runs = |frame| steps.clone().any(|step| step.frame == Some(frame));
    let mut opened = false;
    let running = steps.clone().filter_map(|step| step.carrier);
    let any = if carriers.is_empty() { 0 } else { usize::MAX };
    let bags = running.take(any).map(|carrier| carriers.get(carrier));
    for bag in bags.chain([stacks.get(stack)]) {
        let found = bag.iter().position(|entry| entry.scope == timeout);
        let inside = found.map_or(0, |index| index + 1);
        result.add(&bag[inside..], thread, &mut opened, runs);
        let Some(entry) = found.map(|index| &bag[index]) else {
            continue;
        };
        let owner = entry.owner;
        if (owner.lexical || owner.entering) && !runs(owner.frame) {
            return Inside::Gone;
        }
        result.floors.push((owner.frame, entry.floor_in(thread)));
        // Of any other owner nobody knows if it is still the same frame, or one that
        // has got its place. So all that is there counts.
        if owner.lexical || owner.entering {
            result.outermost = Some(owner.frame);
        }
        return Inside::Here(result);
    }
    Inside::Elsewhere
}

/// Whether anybody carries a scope of this object.
pub fn is_entered(scope: Identity, stacks: &Stacks, carriers: &Carriers) -> bool {
    let stacks = stacks.bags.iter().map(|(_, bag)| bag);
    let mut all = stacks.chain(carriers.bags.values()).flatten();
    all.any(|entry| entry.scope == scope)
}

impl Scopes<'_> {
    fn bag(&mut self, carrier: Option<Identity>) -> Result<&mut Bag, NoMemory> {
        match carrier {
            Some(carrier) => self.carriers.get_mut(carrier),
            None => self.stacks.get_mut(self.stack),
        }
    }

    fn forget_if_empty(&mut self, carrier: Option<Identity>) {
        match carrier {
            Some(carrier) => {
                if self.carriers.get(carrier).is_empty() {
                    self.carriers.take(carrier);
                }
            }
            None => {
                // One stack stays, so that what is entered again and again does
                // not allocate each time.
                let stack = self.stack;
                if self.stacks.bags.len() > 1 && self.stacks.get(stack).is_empty() {
                    self.stacks.drop_stack(stack);
                }
            }
        }
    }

    /// Enter a scope: `scope` is whose it is, `carrier` the innermost generator
    /// that runs, `steps` starts at the frame that enters.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn enter(
        &mut self,
        scope: Identity,
        kind: Kind,
        carrier: Option<Identity>,
        steps: impl Iterator<Item = Step>,
    ) -> Result<(), NoMemory> {
        let thread = self.thread;
        let owner = Owner::of(steps);
        let bag = self.bag(carrier)?;
        bag.try_reserve(1).map_err(|_| NoMemory)?;
        bag.push(Entry {
            scope,
            kind,
            owner,
            thread,
            number: NEXT_NUMBER.fetch_add(1, Relaxed),
        });
        self.gained_call |= !owner.lexical;
        Ok(())
    }

    /// Leave a scope of this object. A `with` leaves the one that its function has
    /// entered; a call the last one that was entered by a call. What a `with` of
    /// another function will leave, a call leaves only if the object is not `shared`:
    /// then it means that one. `carrier` is the innermost generator that runs.
    ///
    /// # Errors
    ///
    /// If there is none; nothing has changed then.
    pub fn leave(
        &mut self,
        scope: Identity,
        shared: bool,
        carrier: Option<Identity>,
        steps: impl Iterator<Item = Step> + Clone,
    ) -> Result<(), NotEntered> {
        let frame = steps.clone().find_map(|step| step.frame);
        let mut found = None;
        let mut others = None;
        let carriers = steps.filter_map(|step| step.carrier).map(Some);
        // Without the test a deep stack would be walked for nothing.
        let any = carrier.is_some() && !self.carriers.is_empty();
        let carriers = carriers.take(if any { usize::MAX } else { 0 });
        for carrier in carriers.chain([None]) {
            let bag = match carrier {
                Some(carrier) => self.carriers.get(carrier),
                None => self.stacks.get(self.stack),
            };
            let same = bag
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.scope == scope);
            for (index, entry) in same.rev() {
                if !entry.owner.lexical {
                    found = found.or(Some((carrier, index)));
                } else if Some(entry.owner.frame) == frame {
                    self.remove(carrier, index);
                    return Ok(());
                } else if !shared {
                    others = others.or(Some((carrier, index)));
                }
            }
        }
        let (carrier, index) = found.or(others).ok_or(NotEntered)?;
        self.remove(carrier, index);
        Ok(())
    }

    fn remove(&mut self, carrier: Option<Identity>, index: usize) {
        if let Ok(bag) = self.bag(carrier) {
            bag.remove(index);
        }
        self.forget_if_empty(carrier);
    }

    /// `steps` starts at a function that gives scopes to its caller: those that
    /// `from`, a suspended generator, carries; or those entered since `mark`, by
    /// whatever it has called; or else those it owns itself. `carrier` is the
    /// innermost generator that runs. Returns how many.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn hand_over(
        &mut self,
        from: Option<Identity>,
        mark: Option<usize>,
        carrier: Option<Identity>,
        steps: impl Iterator<Item = Step> + Clone,
    ) -> Result<usize, NoMemory> {
        let mut frames = steps.clone().filter(|step| step.frame.is_some());
        let (Some(this), Some(caller)) = (frames.next(), frames.next()) else {
            return Ok(0);
        };
        let owner = Owner::of_call(caller, frames);
        // A coroutine gives them to whoever awaits it at once: it may end by an
        // exception, and what it gave does not end with it.
        let to = match this.carrier {
            Some(_) => {
                let mut around = steps.filter_map(|step| step.carrier);
                around.find(|around| Some(*around) != this.carrier)
            }
            None => carrier,
        };
        let source = from.or(carrier);
        let is_handed = |entry: &Entry| match (from, mark) {
            (Some(_), _) => true,
            (None, Some(mark)) => entry.number >= mark,
            (None, None) => Some(entry.owner.frame) == this.frame,
        };
        let thread = self.thread;
        let give = |entry: Entry| Entry {
            owner,
            thread,
            ..entry
        };
        let mut count = 0;
        if source == to {
            // They keep their places.
            for entry in self.bag(to)?.iter_mut().filter(|entry| is_handed(entry)) {
                *entry = give(*entry);
                count += 1;
            }
        } else {
            let (handed, kept): (Bag, Bag) = self.bag(source)?.iter().copied().partition(is_handed);
            let bag = self.bag(to)?;
            bag.try_reserve(handed.len()).map_err(|_| NoMemory)?;
            count = handed.len();
            bag.extend(handed.into_iter().map(give));
            *self.bag(source)? = kept;
        }
        self.forget_if_empty(source);
        self.forget_if_empty(to);
        self.gained_call |= count > 0;
        Ok(count)
    }

    /// A generator has ended. What it has not left goes to `to`, the generator that
    /// waits for it, at whose frame `steps` starts; or is dropped: nobody else has
    /// entered it.
    pub fn carrier_ends(
        &mut self,
        carrier: Identity,
        to: Option<Identity>,
        steps: impl Iterator<Item = Step>,
    ) {
        let left = self.carriers.take(carrier);
        if left.is_empty() || to.is_none() {
            return;
        }
        let mut frames = steps.filter(|step| step.frame.is_some());
        let entering = frames.next().and_then(|this| Owner::entering(this, frames));
        // Who has entered it otherwise has ended, and opens nothing for its caller.
        let owner = entering.unwrap_or(Owner::NOBODY);
        let thread = self.thread;
        self.gained_call = true;
        if let Ok(bag) = self.bag(to)
            && bag.try_reserve(left.len()).is_ok()
        {
            bag.extend(left.into_iter().map(|entry| Entry {
                owner,
                thread,
                ..entry
            }));
        }
    }

    /// `frame` is at this depth now: what it opens deeper than that is not opened
    /// by the scopes that are in force.
    pub fn set_floor(&mut self, frame: FrameId, depth: u8) {
        let stacks = self.stacks.bags.iter_mut().map(|(_, bag)| bag);
        for entry in stacks.chain(self.carriers.bags.values_mut()).flatten() {
            let owner = &mut entry.owner;
            if owner.frame == frame && owner.lowers() {
                owner.floor = owner.floor.min(depth);
            }
        }
    }

    /// Whether the floor of any scope of this thread has to follow its frame.
    pub fn any_lowers(&self) -> bool {
        let stacks = self.stacks.bags.iter().map(|(_, bag)| bag);
        let mut all = stacks.chain(self.carriers.bags.values()).flatten();
        all.any(|entry| {
            let opens = matches!(entry.kind, Kind::Open | Kind::Timeout);
            opens && entry.owner.lowers() && entry.thread == self.thread
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{ENTERING, HARD};

    const THREAD: Identity = 1;
    const OTHER_THREAD: Identity = 2;
    const STACK: Identity = 10;
    const OTHER_STACK: Identity = 20;
    /// Frames: the first is the outermost one where several run.
    const F: FrameId = 100;
    const G: FrameId = 101;
    const H: FrameId = 102;
    /// Generators.
    const A: Identity = 200;
    const B: Identity = 201;
    /// Objects.
    const S: Identity = 300;
    const T: Identity = 301;

    const MASK: Kind = Kind::Mask(Strength::Hard);

    /// A frame in a `finally`.
    const FINALLY: u8 = 1 | HARD;
    /// A frame that enters something, outside of all regions and in a `finally`.
    const ENTERS: u8 = 1;
    const ENTERS_IN_FINALLY: u8 = 2 | HARD | ENTERING;

    fn innermost(running: &[Step]) -> Option<Identity> {
        running.iter().find_map(|step| step.carrier)
    }

    fn frame(frame: FrameId, level: u8) -> Step {
        Step {
            frame: Some(frame),
            carrier: None,
            level: Level::from_frame(level),
            exiting: false,
        }
    }

    fn generator(carrier: Identity, id: FrameId, level: u8) -> Step {
        Step {
            carrier: Some(carrier),
            ..frame(id, level)
        }
    }

    /// A generator of another compiler.
    fn foreign(carrier: Identity) -> Step {
        Step {
            frame: None,
            carrier: Some(carrier),
            level: Level::default(),
            exiting: false,
        }
    }

    /// All there is; the functions take what runs, innermost first.
    #[derive(Default)]
    struct World {
        stacks: Stacks,
        carriers: Carriers,
    }

    impl World {
        fn in_thread(&mut self, thread: Identity, stack: Identity) -> Scopes<'_> {
            Scopes {
                thread,
                stack,
                stacks: &mut self.stacks,
                carriers: &mut self.carriers,
                gained_call: false,
            }
        }

        fn scopes(&mut self) -> Scopes<'_> {
            self.in_thread(THREAD, STACK)
        }

        fn enter(&mut self, scope: Identity, kind: Kind, running: &[Step]) {
            let carrier = running.iter().find_map(|step| step.carrier);
            let running = running.iter().copied();
            self.scopes().enter(scope, kind, carrier, running).unwrap();
        }

        fn leave(&mut self, scope: Identity, running: &[Step]) -> Result<(), NotEntered> {
            self.scopes()
                .leave(scope, false, innermost(running), running.iter().copied())
        }

        fn hand_over(&mut self, from: Option<Identity>, running: &[Step]) -> usize {
            let carrier = running.iter().find_map(|step| step.carrier);
            let running = running.iter().copied();
            let mut scopes = self.scopes();
            scopes.hand_over(from, None, carrier, running).unwrap()
        }

        fn in_force(&self, running: &[Step]) -> InForce {
            self.in_force_in(THREAD, STACK, running)
        }

        fn in_force_in(&self, thread: Identity, stack: Identity, running: &[Step]) -> InForce {
            let running = running.iter().copied();
            in_force(running, &self.stacks, &self.carriers, thread, stack)
        }

        fn mask(&self, running: &[Step]) -> Option<Strength> {
            self.in_force(running).mask
        }

        fn floor(&self, of: FrameId, running: &[Step]) -> u8 {
            self.in_force(running).floor(Some(of))
        }

        /// All objects that have been entered and can be left, last first.
        fn unwind(&mut self, running: &[Step]) -> Vec<Identity> {
            let mut left = Vec::new();
            while let Some(&scope) = [S, T].iter().find(|&&s| self.leave(s, running).is_ok()) {
                left.push(scope);
            }
            left
        }
    }

    // --- What counts

    #[test]
    fn the_scope_entered_last_decides() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        assert_eq!(world.mask(&running), None);
        world.enter(S, MASK, &running);
        assert_eq!(world.mask(&running), Some(Strength::Hard));
        world.enter(T, Kind::Open, &running);
        assert_eq!(world.mask(&running), None);
        world.enter(S, Kind::Mask(Strength::Soft), &running);
        assert_eq!(world.mask(&running), Some(Strength::Soft));
        assert_eq!(world.leave(S, &running), Ok(()));
        assert_eq!(world.leave(T, &running), Ok(()));
        assert_eq!(world.mask(&running), Some(Strength::Hard));
        assert_eq!(world.leave(S, &running), Ok(()));
        assert_eq!(world.mask(&running), None);
        assert_eq!(world.leave(S, &running), Err(NotEntered));
    }

    #[test]
    fn soft_inside_hard_stays_hard() {
        let running = [frame(F, 0)];
        for kinds in [
            [MASK, Kind::Mask(Strength::Soft)],
            [Kind::Mask(Strength::Soft), MASK],
        ] {
            let mut world = World::default();
            for kind in kinds {
                world.enter(S, kind, &running);
            }
            assert_eq!(world.mask(&running), Some(Strength::Hard));
        }
    }

    #[test]
    fn a_scope_is_of_its_stack_and_of_its_generator() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        let elsewhere = world.in_force_in(THREAD, OTHER_STACK, &running);
        assert_eq!(elsewhere.mask, None);
        let in_generator = [generator(A, G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &in_generator);
        // What it calls is masked, too; who runs while it is suspended is not.
        let in_call = [frame(H, 0), generator(A, G, 0), frame(F, 0)];
        assert_eq!(world.mask(&in_call), Some(Strength::Hard));
        assert_eq!(world.mask(&running), None);
        assert_eq!(world.mask(&[generator(B, H, 0), frame(F, 0)]), None);
        // A scope that does not count cannot be left.
        assert_eq!(world.leave(S, &running), Err(NotEntered));
        // It is the generator's on whatever stack, in whatever thread.
        let there = world.in_force_in(OTHER_THREAD, OTHER_STACK, &in_generator);
        assert_eq!(there.mask, Some(Strength::Hard));
    }

    #[test]
    fn what_a_generator_carries_is_inside_of_what_its_caller_has_entered() {
        let in_generator = [generator(A, G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &in_generator);
        world.enter(T, Kind::Open, &[frame(F, 0)]);
        assert_eq!(world.mask(&in_generator), Some(Strength::Hard));
        assert_eq!(world.mask(&[frame(F, 0)]), None);
    }

    #[test]
    fn a_generator_of_another_compiler_carries_scopes() {
        let running = [foreign(A), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        assert_eq!(world.mask(&running), Some(Strength::Hard));
        assert_eq!(world.mask(&[frame(F, 0)]), None);
        assert_eq!(world.leave(S, &running), Ok(()));
        assert_eq!(world.carriers.count(), 0);
    }

    #[test]
    fn it_is_known_whether_generators_matter() {
        let in_generator = [generator(A, G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &[frame(F, 0)]);
        assert!(!world.in_force(&in_generator).generators_matter);
        world.enter(T, MASK, &in_generator);
        assert_eq!(world.carriers.count(), 1);
        assert!(world.in_force(&[frame(F, 0)]).generators_matter);
        assert_eq!(world.leave(T, &in_generator), Ok(()));
        assert!(!world.in_force(&in_generator).generators_matter);
    }

    // --- Whose regions are opened

    #[test]
    fn a_with_opens_the_regions_around_it() {
        let mut world = World::default();
        world.enter(S, Kind::Open, &[frame(F, ENTERS_IN_FINALLY)]);
        // The one that is being entered stays closed until it has been left.
        assert_eq!(world.floor(F, &[frame(F, ENTERS_IN_FINALLY)]), 1);
        assert_eq!(world.floor(F, &[frame(F, FINALLY)]), 1);
        assert_eq!(world.floor(G, &[frame(F, FINALLY)]), 0);
        let mut world = World::default();
        world.enter(S, Kind::Open, &[frame(F, ENTERS)]);
        assert_eq!(world.floor(F, &[frame(F, 0)]), 0);
    }

    #[test]
    fn what_an_enter_calls_opens_for_the_function_that_enters() {
        for calls in [
            &[frame(G, 0)][..],
            &[frame(H, 0), frame(G, 0)],
            &[frame(H, FINALLY), frame(G, 0)],
        ] {
            let running = [calls, &[frame(F, ENTERS_IN_FINALLY)]].concat();
            let mut world = World::default();
            world.enter(S, Kind::Open, &running);
            assert_eq!(world.floor(F, &running), 1, "{calls:?}");
            assert_eq!(world.floor(H, &running), 0, "{calls:?}");
        }
    }

    #[test]
    fn a_call_opens_for_its_own_function_and_for_no_caller() {
        let running = [frame(G, FINALLY), frame(F, FINALLY)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &running);
        assert_eq!(world.floor(G, &running), 1);
        assert_eq!(world.floor(F, &running), 0);
    }

    #[test]
    fn who_runs_a_generator_owns_nothing_that_it_enters() {
        for running in [
            [generator(A, G, 0), frame(F, ENTERS_IN_FINALLY)],
            [frame(H, 0), generator(A, G, 0)],
        ] {
            let mut world = World::default();
            world.enter(S, Kind::Open, &running);
            assert_eq!(world.floor(F, &running), 0);
        }
        // But it does itself, whoever it calls.
        let running = [frame(H, 0), generator(A, G, ENTERS_IN_FINALLY), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &running);
        assert_eq!(world.floor(G, &running), 1);
    }

    #[test]
    fn the_outer_scope_still_opens_its_own_regions() {
        let outer = [frame(F, ENTERS_IN_FINALLY)];
        let inner = [frame(G, ENTERS), frame(F, FINALLY)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &outer);
        world.enter(T, MASK, &inner);
        world.enter(T, Kind::Open, &inner);
        assert_eq!(world.mask(&inner), None);
        assert_eq!(world.floor(F, &inner), 1);
    }

    // --- The floor follows the frame

    #[test]
    fn what_a_call_has_opened_closes_with_its_region() {
        let mut world = World::default();
        world.enter(S, Kind::Open, &[frame(F, 2 | HARD)]);
        assert!(world.scopes().any_lowers());
        world.scopes().set_floor(G, 0);
        assert_eq!(world.floor(F, &[frame(F, 2 | HARD)]), 2);
        world.scopes().set_floor(F, 1);
        assert_eq!(world.floor(F, &[frame(F, 2 | HARD)]), 1);
        // It does not rise again: a region entered later is another one.
        world.scopes().set_floor(F, 2);
        assert_eq!(world.floor(F, &[frame(F, 2 | HARD)]), 1);
        world.scopes().set_floor(F, 0);
        assert_eq!(world.floor(F, &[frame(F, 1 | HARD)]), 0);
        assert!(!world.scopes().any_lowers());
    }

    #[test]
    fn a_with_is_left_before_its_regions_are() {
        let mut world = World::default();
        world.enter(S, Kind::Open, &[frame(F, ENTERS_IN_FINALLY)]);
        assert!(!world.scopes().any_lowers());
    }

    #[test]
    fn nothing_has_to_follow_a_frame_for_a_mask_or_in_open_code() {
        let mut world = World::default();
        world.enter(S, MASK, &[frame(F, FINALLY)]);
        world.enter(S, Kind::Open, &[frame(F, 0)]);
        assert!(!world.scopes().any_lowers());
    }

    #[test]
    fn the_floor_of_a_suspended_generator_follows_its_frame() {
        let running = [generator(A, G, FINALLY), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &running);
        assert_eq!(world.floor(G, &running), 1);
        world.scopes().set_floor(G, 0);
        assert_eq!(world.floor(G, &running), 0);
    }

    #[test]
    fn another_thread_does_not_trust_a_floor_that_follows() {
        let by_call = [generator(A, G, FINALLY), frame(F, 0)];
        let by_with = [generator(A, G, ENTERS_IN_FINALLY), frame(F, 0)];
        for (running, there) in [(by_call, 0), (by_with, 1)] {
            let mut world = World::default();
            world.enter(S, Kind::Open, &running);
            assert_eq!(world.floor(G, &running), 1);
            let in_force = world.in_force_in(OTHER_THREAD, OTHER_STACK, &running);
            assert_eq!(in_force.floor(Some(G)), there);
            // Nor does its TIT have to come in for that.
            let scopes = world.in_thread(OTHER_THREAD, OTHER_STACK);
            assert!(!scopes.any_lowers());
        }
    }

    // --- Leaving

    #[test]
    fn each_entry_is_left_once_wherever_it_stands() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        world.enter(T, Kind::Open, &running);
        assert_eq!(world.leave(S, &running), Ok(()));
        assert_eq!(world.leave(S, &running), Err(NotEntered));
        assert_eq!(world.unwind(&running), [T]);
    }

    #[test]
    fn a_with_leaves_its_own() {
        let outer = [frame(F, ENTERS)];
        let inner = [frame(G, ENTERS), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &outer);
        world.enter(T, Kind::Open, &outer);
        world.enter(S, MASK, &inner);
        // Not the last one: the order shows which it was.
        assert_eq!(world.leave(S, &[frame(F, FINALLY)]), Ok(()));
        assert_eq!(world.mask(&inner), Some(Strength::Hard));
        assert_eq!(world.leave(S, &inner), Ok(()));
        assert_eq!(world.unwind(&outer), [T]);
    }

    #[test]
    fn a_call_leaves_what_a_call_has_entered() {
        let with = [frame(F, ENTERS)];
        let call = [frame(G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &call);
        world.enter(T, Kind::Open, &call);
        world.enter(S, MASK, &with);
        assert_eq!(world.leave(S, &[frame(H, 0), frame(F, 0)]), Ok(()));
        // The one of the `with` is the last one still.
        assert_eq!(world.mask(&with), Some(Strength::Hard));
        assert_eq!(world.leave(T, &call), Ok(()));
        assert_eq!(world.leave(S, &with), Ok(()));
        assert_eq!(world.mask(&with), None);
    }

    #[test]
    fn a_call_leaves_the_with_of_another_function_only_if_it_can_mean_no_other() {
        let with = [frame(F, ENTERS)];
        let call = [frame(G, 0), frame(F, 0)];
        for (shared, left) in [(true, Err(NotEntered)), (false, Ok(()))] {
            let mut world = World::default();
            world.enter(S, MASK, &with);
            let running = call.iter().copied();
            assert_eq!(world.scopes().leave(S, shared, None, running), left);
        }
    }

    #[test]
    fn what_the_caller_of_a_generator_has_entered_can_be_left_in_it() {
        let mut world = World::default();
        world.enter(S, MASK, &[frame(F, 0)]);
        world.enter(T, MASK, &[generator(A, G, 0), frame(F, 0)]);
        let running = [frame(H, 0), generator(A, G, 0), frame(F, 0)];
        assert_eq!(world.unwind(&running), [S, T]);
    }

    #[test]
    fn another_stack_cannot_leave_it() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        let mut scopes = world.in_thread(THREAD, OTHER_STACK);
        let left = scopes.leave(S, false, innermost(&running), running.iter().copied());
        assert_eq!(left, Err(NotEntered));
        assert_eq!(world.mask(&running), Some(Strength::Hard));
    }

    // --- Handing over

    #[test]
    fn a_function_gives_what_it_has_entered_to_its_caller() {
        let running = [frame(G, 0), frame(F, FINALLY)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &running);
        assert_eq!(world.floor(F, &running), 0);
        assert_eq!(world.hand_over(None, &running), 1);
        assert_eq!(world.floor(F, &running), 1);
        // It was entered by a call, so the floor follows.
        assert!(world.scopes().any_lowers());
        // It is no longer its own.
        assert_eq!(world.hand_over(None, &running), 0);
    }

    #[test]
    fn what_is_given_keeps_its_place() {
        let running = [frame(G, 0), frame(F, 0)];
        let deeper = [frame(H, 0), frame(G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &running);
        world.enter(T, MASK, &deeper);
        assert_eq!(world.hand_over(None, &running), 1);
        assert_eq!(world.mask(&running), Some(Strength::Hard));
    }

    #[test]
    fn a_function_gives_what_others_have_entered_for_it_since() {
        let running = [frame(G, 0), frame(F, FINALLY)];
        let deeper = [frame(H, 0), frame(G, 0), frame(F, FINALLY)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &deeper);
        let before = mark();
        world.enter(T, Kind::Open, &deeper);
        let mut scopes = world.scopes();
        let given = scopes.hand_over(None, Some(before), None, running.iter().copied());
        assert_eq!(given, Ok(1));
        assert_eq!(world.leave(S, &running), Ok(()));
        assert_eq!(world.floor(F, &running), 1);
    }

    #[test]
    fn what_a_suspended_generator_carries_is_given_to_the_caller() {
        // The caller enters: a `with` of contextmanager().
        let running = [frame(G, 0), frame(F, ENTERS_IN_FINALLY)];
        let mut world = World::default();
        world.enter(S, Kind::Open, &[generator(A, H, 0), frame(G, 0)]);
        world.enter(T, MASK, &[generator(A, H, 0), frame(G, 0)]);
        assert_eq!(world.mask(&running), None);
        assert_eq!(world.hand_over(Some(A), &running), 2);
        assert_eq!(world.carriers.count(), 0);
        assert_eq!(world.mask(&running), Some(Strength::Hard));
        assert_eq!(world.floor(F, &running), 1);
        assert_eq!(world.hand_over(Some(A), &running), 0);
    }

    #[test]
    fn a_coroutine_gives_to_what_awaits_it() {
        let awaits = [generator(A, F, ENTERS)];
        let running = [generator(B, G, 0), generator(A, F, ENTERS)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        assert_eq!(world.mask(&awaits), None);
        assert_eq!(world.hand_over(None, &running), 1);
        assert_eq!(world.mask(&awaits), Some(Strength::Hard));
        assert_eq!(world.leave(S, &awaits), Ok(()));
        assert_eq!(world.carriers.count(), 0);
    }

    #[test]
    fn where_nobody_calls_there_is_nobody_to_give_to() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        assert_eq!(world.hand_over(None, &running), 0);
        assert_eq!(world.unwind(&running), [S]);
    }

    // --- The end

    #[test]
    fn what_awaits_a_generator_gets_what_it_has_not_left() {
        let inner = [generator(B, G, 0), generator(A, F, 0)];
        let outer = [generator(A, F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &inner);
        let running = outer.iter().copied();
        world.scopes().carrier_ends(B, Some(A), running);
        assert_eq!(world.mask(&outer), Some(Strength::Hard));
        assert_eq!(world.mask(&inner), Some(Strength::Hard));
        assert_eq!(world.unwind(&outer), [S]);
        assert_eq!(world.carriers.count(), 0);
    }

    #[test]
    fn nobody_else_gets_it() {
        let inner = [generator(A, G, 0), frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &inner);
        let running = inner[1..].iter().copied();
        world.scopes().carrier_ends(A, None, running);
        assert_eq!(world.carriers.count(), 0);
        // Another generator may have the same address.
        assert_eq!(world.mask(&inner), None);
    }

    #[test]
    fn one_stack_can_be_dropped() {
        let running = [frame(F, 0)];
        let mut world = World::default();
        world.enter(S, MASK, &running);
        let mut scopes = world.in_thread(THREAD, OTHER_STACK);
        scopes
            .enter(T, MASK, None, running.iter().copied())
            .unwrap();
        world.stacks.drop_stack(STACK);
        assert_eq!(world.mask(&running), None);
        let elsewhere = world.in_force_in(THREAD, OTHER_STACK, &running);
        assert_eq!(elsewhere.mask, Some(Strength::Hard));
        assert!(!world.stacks.is_empty());
        world.stacks.drop_stack(OTHER_STACK);
        assert!(world.stacks.is_empty());
    }

    fn inside(world: &World, timeout: Identity, running: &[Step]) -> Inside {
        let steps = running.iter().copied();
        in_force_inside(
            timeout,
            steps,
            &world.stacks,
            &world.carriers,
            THREAD,
            STACK,
        )
    }

    fn here(world: &World, timeout: Identity, running: &[Step]) -> InForce {
        match inside(world, timeout, running) {
            Inside::Here(found) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_timeout_masks_nothing_and_opens_for_itself() {
        let mut world = World::default();
        let caller = frame(F, FINALLY);
        world.enter(S, MASK, &[frame(G, 0), caller]);
        world.enter(T, Kind::Timeout, &[frame(G, ENTERS_IN_FINALLY), caller]);
        let running = [frame(H, 0), frame(G, FINALLY), caller];
        let found = here(&world, T, &running);
        assert_eq!(found.mask, None);
        assert_eq!(found.floor(Some(G)), 1);
        assert_eq!(found.outermost, Some(G));
        // For others, only the mask counts.
        let others = in_force(
            running.iter().copied(),
            &world.stacks,
            &world.carriers,
            THREAD,
            STACK,
        );
        assert_eq!(others.mask, Some(Strength::Hard));
        assert_eq!(others.outermost, None);
        assert_eq!(others.floor(Some(G)), 0);
    }

    #[test]
    fn what_is_entered_inside_of_a_timeout_counts() {
        let mut world = World::default();
        world.enter(T, Kind::Timeout, &[frame(F, ENTERS)]);
        world.enter(S, MASK, &[frame(G, 0), frame(F, 0)]);
        let running = [frame(G, 0), frame(F, 0)];
        let found = here(&world, T, &running);
        assert_eq!(found.mask, Some(Strength::Hard));
        world.leave(S, &running).unwrap();
        assert_eq!(here(&world, T, &running).mask, None);
    }

    #[test]
    fn an_owner_that_may_be_another_frame_by_now_is_not_the_outermost() {
        let mut world = World::default();
        // Entered by a call, not by a `with`.
        world.enter(T, Kind::Timeout, &[frame(G, 0), frame(F, FINALLY)]);
        let found = here(&world, T, &[frame(G, 0), frame(F, FINALLY)]);
        assert_eq!(found.outermost, None);
        // By the `with` of a caller.
        world.leave(T, &[frame(G, 0), frame(F, FINALLY)]).unwrap();
        world.enter(
            T,
            Kind::Timeout,
            &[frame(H, 0), frame(G, ENTERS), frame(F, 0)],
        );
        let found = here(&world, T, &[frame(G, 0), frame(F, FINALLY)]);
        assert_eq!(found.outermost, Some(G));
        assert_eq!(inside(&world, T, &[frame(F, 0)]), Inside::Gone);
    }

    #[test]
    fn a_timeout_goes_with_its_generator() {
        let mut world = World::default();
        world.enter(T, Kind::Timeout, &[generator(A, G, ENTERS), frame(F, 0)]);
        here(&world, T, &[generator(A, G, 0), frame(H, 0)]);
        assert_eq!(inside(&world, T, &[frame(F, 0)]), Inside::Elsewhere);
        assert!(is_entered(T, &world.stacks, &world.carriers));
        world.scopes().carrier_ends(A, None, [].into_iter());
        assert!(!is_entered(T, &world.stacks, &world.carriers));
    }
}
