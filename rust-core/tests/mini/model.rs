//! What is raised where, by a model that is too simple to be wrong.
//!
//! It knows no levels, no eval breaker and no masker, and lowers nothing. What runs
//! is one list of marks, outermost first: frames, the regions that are open in them,
//! running signal handlers, scopes. What a generator's frame and everything after it
//! make up comes and goes as one piece. Whether something may be raised is worked out
//! from the whole list, each time anew.

use Strength::{Hard, Soft};

/// How strongly something masks: in soft regions a blocked call may be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    Soft,
    Hard,
}

/// Frames are numbered, and no number is used twice.
pub type FrameId = u32;

/// The frame of marks that are nobody's.
pub const NOBODY: FrameId = 0;

/// What a mark stands for. Together with a frame it says whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A frame that is not a generator's.
    Frame,
    /// A generator's frame.
    Generator,
    /// A region of the compiler, of the frame; or of nobody: a signal handler.
    Region(Strength),
    /// A scope that masks, entered with this object.
    Masks(Strength, u8),
    /// A scope that opens, entered with this object. The frame is its owner.
    Opens(u8),
}

impl What {
    /// The object that a scope was entered with.
    pub fn object(self) -> u8 {
        match self {
            What::Masks(_, object) | What::Opens(object) => object,
            _ => unreachable!("only scopes are entered with an object"),
        }
    }

    /// Whether the object is one that all use: `nointerrupts` itself, say.
    pub fn is_shared(self) -> bool {
        !matches!(self, What::Masks(_, 3..) | What::Opens(3..))
    }

    /// Whether it is a scope.
    pub fn is_scope(self) -> bool {
        matches!(self, What::Masks(..) | What::Opens(_))
    }
}

/// What, whose, and of scopes: whether a `with` of its own has entered it.
pub type Mark = (What, FrameId, bool);

fn is_frame(mark: &&Mark) -> bool {
    matches!(mark.0, What::Frame | What::Generator)
}

/// What belongs to the innermost generator, or all if none runs.
fn innermost(running: &[Mark]) -> &[Mark] {
    let generator = |mark: &Mark| mark.0 == What::Generator;
    &running[running.iter().rposition(generator).unwrap_or(0)..]
}

/// An interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which one.
    pub id: usize,
    /// Its type.
    pub class: u8,
    /// Two of one type without data are one interrupt.
    pub plain: bool,
    /// A mask has held it back.
    pub held: bool,
}

// The model begins.
#[derive(Debug, Default)]
pub struct Model {
    pub running: Vec<Mark>,
    pub raised: Vec<Exception>,
    pub sent: Vec<Exception>,
}
impl Model {
    pub fn mask(&self) -> Option<Strength> {
        let (mut mask, mut opened) = (None, vec![]);
        for &(what, frame, _) in self.running.iter().rev() {
            match what {
                What::Opens(_) => opened.push(frame),
                What::Masks(s, _) if opened.is_empty() => mask = mask.max(Some(s)),
                What::Region(Hard) if opened.contains(&frame) => {}
                What::Region(s) => mask = mask.max(Some(s)),
                _ => {}
            }
        }
        mask
    }
    pub fn check(&mut self, blocked: bool) -> Vec<Exception> {
        if self.mask() > blocked.then_some(Soft) {
            self.sent.iter_mut().for_each(|e| e.held |= !blocked);
            return vec![];
        }
        let like_first = |e: &&Exception| e.class == self.raised[0].class;
        let count = self.raised.iter().take_while(like_first).count();
        if count > 0 || blocked {
            return self.raised.drain(..count).collect();
        }
        let held = self.sent.first().is_some_and(|e| e.held);
        let count = self.sent.len().min(if held { usize::MAX } else { 1 });
        self.sent.drain(..count).collect()
    }
    pub fn frame(&self, outwards: usize, rather_entering: bool) -> FrameId {
        let frames = innermost(&self.running).iter().rev().filter(is_frame);
        let mut frames = frames.map(|mark| mark.1).skip(outwards);
        let soft = |&f: &FrameId| self.running.contains(&(What::Region(Soft), f, false));
        let entering = frames.clone().find(|f| rather_entering && soft(f));
        entering.or(frames.next()).unwrap_or(NOBODY)
    }
    pub fn enter(&mut self, scope: What) {
        let region = (What::Region(Soft), self.frame(0, false), false);
        let mark = (scope, self.frame(0, true), self.running.contains(&region));
        self.running.push(mark);
    }
    pub fn leave(&mut self, what: What) -> bool {
        let own = (what, self.frame(0, false), true);
        let may = |m: &Mark| m.0 == what && (*m == own || !m.2 || !what.is_shared());
        let same = (0..self.running.len()).filter(|&i| may(&self.running[i]));
        let found = same.max_by_key(|&i| (self.running[i] == own, !self.running[i].2, i));
        found.map(|i| self.running.remove(i)).is_some()
    }
    pub fn hand_over(&mut self, from: FrameId, outwards: usize) -> usize {
        let owner = self.frame(outwards, true);
        let marks = self.running.iter_mut();
        let given = marks.filter(|m| m.0.is_scope() && m.1 == from);
        given.map(|m| *m = (m.0, owner, false)).count()
    }
}
// The model ends.
