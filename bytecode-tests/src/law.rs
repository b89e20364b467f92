//! The law of masked regions, checked from the bytecode alone.
//!
//! Every instruction has exactly one level, whatever path leads to it. The
//! compiler keeps a level too while it emits, but it knows where regions begin
//! and end; this checker knows only what the eval loop knows: instructions,
//! jump targets and the exception table. So it cannot repeat the compiler's
//! mistake. It follows every path from the start, carrying the level along,
//! until no instruction learns anything new (a data-flow analysis), and then
//! looks at each instruction with the level it has.
//!
//! A handler that starts with NIT sets its level itself: paths from different
//! levels may meet there. All others must agree, as at any other meeting.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// A code object as the dump driver prints it.
#[derive(Debug, Clone, Deserialize)]
pub struct CodeObject<'a> {
    /// Its source file.
    #[serde(borrow)]
    pub file: Cow<'a, str>,
    /// The line it starts on.
    pub line: u32,
    /// Its qualified name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// In the order of their offsets, each at the offset where its prefixes
    /// begin; caches and prefixes are left out.
    #[serde(borrow)]
    pub instructions: Vec<Instruction<'a>>,
    /// The exception table.
    pub protected: Vec<Protected>,
}

/// One instruction; in JSON an array of the fields in this order.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Instruction<'a> {
    offset: u32,
    /// Its name, as `dis` gives it.
    pub opname: &'a str,
    oparg: Option<u32>,
    target: Option<u32>,
}

/// One exception table entry; in JSON an array of the fields in this order.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Protected {
    start: u32,
    end: u32,
    handler: u32,
}

impl<'a> Instruction<'a> {
    /// An instruction that does not jump.
    pub fn new(offset: u32, opname: &'a str, oparg: u32) -> Self {
        Self {
            offset,
            opname,
            oparg: Some(oparg),
            target: None,
        }
    }

    fn oparg(&self) -> u32 {
        self.oparg.unwrap_or_default()
    }

    fn sets_level(&self) -> bool {
        matches!(self.opname, "NIT" | "TIT")
    }

    fn falls_through(&self) -> bool {
        !matches!(
            self.opname,
            "RETURN_VALUE"
                | "RETURN_CONST"
                | "RERAISE"
                | "RAISE_VARARGS"
                | "JUMP_FORWARD"
                | "JUMP_BACKWARD"
                | "JUMP_BACKWARD_NO_INTERRUPT"
        )
    }

    /// NIT is one store. Of all others it is assumed that they can raise,
    /// which errs on the strict side.
    fn can_raise(&self) -> bool {
        self.opname != "NIT"
    }
}

/// What the oparg of NIT and TIT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Oparg {
    depth: u8,
    hard: bool,
    suspending: bool,
    entering: bool,
}

impl Oparg {
    const DEPTH: u32 = 0x1f;
    const HARD: u32 = 0x20;
    const SUSPENDING: u32 = 0x40;
    const ENTERING: u32 = 0x80;

    fn decode(instruction: &Instruction) -> Result<Self, Rule> {
        let oparg = instruction.oparg();
        let known = Self::DEPTH | Self::HARD | Self::SUSPENDING | Self::ENTERING;
        let decoded = Self {
            depth: u8::try_from(oparg & Self::DEPTH).expect("five bits fit"),
            hard: oparg & Self::HARD != 0,
            suspending: oparg & Self::SUSPENDING != 0,
            entering: oparg & Self::ENTERING != 0,
        };
        let nonsense = oparg & !known != 0
            || (decoded.depth == 0 && (decoded.hard || decoded.suspending))
            || (decoded.suspending && instruction.opname == "NIT")
            || (decoded.entering && (!decoded.hard || decoded.depth < 2));
        if nonsense {
            Err(Rule::Encoding)
        } else {
            Ok(decoded)
        }
    }
}

/// The regions in force at a point: how many, and which of them made it hard.
/// The interpreter needs only depth and strength; knowing where hard began
/// lets us tell what TIT has to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    depth: u8,
    /// 1 for the outermost region; `None` while all are soft.
    hard_from: Option<u8>,
    /// The innermost region is soft, inside a hard one.
    entering: bool,
}

impl Level {
    const OPEN: Self = Self {
        depth: 0,
        hard_from: None,
        entering: false,
    };

    /// Whether the innermost region is soft.
    fn is_innermost_soft(self) -> bool {
        self.depth > 0 && (self.entering || !self.is_hard())
    }

    fn is_hard(self) -> bool {
        self.hard_from.is_some()
    }

    /// The level of the region at this depth that encloses us.
    fn enclosing(self, depth: u8) -> Self {
        Self {
            depth: depth.min(self.depth),
            hard_from: self.hard_from.filter(|&from| from <= depth),
            // What has an innermost region of its own encloses nothing.
            entering: self.entering && depth >= self.depth,
        }
    }

    /// The level in a region opened here.
    fn inside(self, own: Oparg) -> Self {
        let depth = self.depth + 1;
        Self {
            depth,
            hard_from: self.hard_from.or(own.hard.then_some(depth)),
            entering: own.entering,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::OPEN {
            return f.write_str("open");
        }
        let strength = match (self.entering, self.is_hard()) {
            (true, _) => "soft inside hard",
            (false, true) => "hard",
            (false, false) => "soft",
        };
        write!(f, "depth {}, {strength}", self.depth)
    }
}

/// What the law says, one rule a variant.
#[expect(missing_docs, reason = "Display says each rule in words")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    OneLevel,
    HandlerSetsLevel,
    HandlerDropsLevel,
    ReturnMasked,
    NitOpensOne,
    HardStays,
    TitLeaves,
    TitRestores,
    YieldRearms,
    ReraiseOutside,
    Encoding,
    EnterMasked,
    ExitMasked,
    JumpBackProtected,
    WellFormed,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneLevel => "an instruction has one level, whatever path leads to it",
            Self::HandlerSetsLevel => {
                "a handler reached from different levels starts with the NIT of its own"
            }
            Self::HandlerDropsLevel => "a handler is not below the whole range it protects",
            Self::ReturnMasked => "a return happens at level 0",
            Self::NitOpensOne => "NIT opens one region",
            Self::HardStays => "a region inside a hard one is hard",
            Self::TitLeaves => "TIT lowers the level",
            Self::TitRestores => "TIT restores the strength of the enclosing region",
            Self::YieldRearms => {
                "a masked YIELD_VALUE, and nothing else, comes directly after \
                 the suspending TIT of its level, on every path"
            }
            Self::ReraiseOutside => "`with` and `finally` leave their region before they re-raise",
            Self::Encoding => "the oparg of NIT and TIT is a level",
            Self::EnterMasked => {
                "entering a context manager is masked until a TIT that its exit protects"
            }
            Self::ExitMasked => "exiting a context manager is hard-masked",
            Self::JumpBackProtected => {
                "a jump back, a check point, is protected if the start of its loop is"
            }
            Self::WellFormed => "jumps, handlers and fall-through lead to instructions",
        })
    }
}

/// A broken rule and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Offset of the instruction.
    pub offset: u32,
    /// Which rule.
    pub rule: Rule,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}: {}", self.offset, self.rule)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// What checking one code object came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Every broken rule; empty if the code object keeps the law.
    pub violations: Vec<Violation>,
    /// Instructions no path leads to, which have no level: what the compiler
    /// leaves behind when a `try` protects nothing.
    pub unreached: usize,
}

/// Checks one code object.
pub fn check(code: &CodeObject) -> Verdict {
    let mut analysis = Analysis::new(code);
    analysis.follow_all_paths();
    analysis.look_at_each_instruction();
    Verdict {
        violations: analysis.violations,
        unreached: analysis.before.iter().filter(|l| l.is_none()).count(),
    }
}

struct Analysis<'a> {
    code: &'a [Instruction<'a>],
    /// Instruction number by offset, for jump targets.
    index: BTreeMap<u32, usize>,
    /// For each instruction the handler that protects it.
    handler: Vec<Option<usize>>,
    is_handler: Vec<bool>,
    /// The level each instruction is reached with, as far as known. For the
    /// NIT at the start of a handler: the level around the region it is in.
    before: Vec<Option<Level>>,
    todo: Vec<usize>,
    violations: Vec<Violation>,
}

impl<'a> Analysis<'a> {
    fn new(code: &'a CodeObject) -> Self {
        let instructions = code.instructions.as_slice();
        let count = instructions.len();
        let mut analysis = Self {
            code: instructions,
            index: instructions.iter().map(|i| i.offset).zip(0..).collect(),
            handler: vec![None; count],
            is_handler: vec![false; count],
            before: vec![None; count],
            todo: Vec::new(),
            violations: Vec::new(),
        };
        for range in &code.protected {
            let Some(&handler) = analysis.index.get(&range.handler) else {
                analysis.report_at(range.handler, Rule::WellFormed, "handler".into());
                continue;
            };
            analysis.is_handler[handler] = true;
            for (_, &i) in analysis.index.range(range.start..range.end) {
                analysis.handler[i] = Some(handler);
            }
        }
        analysis
    }

    fn report(&mut self, i: usize, rule: Rule, detail: impl Into<String>) {
        self.report_at(self.code[i].offset, rule, detail.into());
    }

    fn report_at(&mut self, offset: u32, rule: Rule, detail: String) {
        // One report for each place and rule: many paths can lead to one handler.
        let known = |v: &Violation| v.offset == offset && v.rule == rule;
        if !self.violations.iter().any(known) {
            self.violations.push(Violation {
                offset,
                rule,
                detail,
            });
        }
    }

    fn follow_all_paths(&mut self) {
        if !self.code.is_empty() {
            self.reach(0, Level::OPEN, Rule::OneLevel);
        }
        while let Some(i) = self.todo.pop() {
            let before = self.before[i].expect("only what was reached is on the list");
            let after = self.step(i, before);
            self.follow(i, after);
        }
    }

    /// Carries the level in force after an instruction to all that can be next.
    fn follow(&mut self, i: usize, after: Level) {
        let instruction = &self.code[i];
        if instruction.falls_through() {
            if i + 1 < self.code.len() {
                self.reach(i + 1, after, Rule::OneLevel);
            } else {
                self.report(i, Rule::WellFormed, "runs off the end");
            }
        }
        if let Some(target) = instruction.target {
            match self.index.get(&target) {
                Some(&target) => self.reach(target, after, Rule::OneLevel),
                None => self.report(i, Rule::WellFormed, format!("jump to {target}")),
            }
        }
        // TIT stores first and checks then: what it raises, it raises at its
        // new level. No other instruction that can raise changes the level.
        if let Some(handler) = self.handler[i].filter(|_| instruction.can_raise()) {
            self.raise_to(handler, after);
        }
    }

    /// Records that an instruction is reached at this level.
    fn reach(&mut self, i: usize, level: Level, rule: Rule) {
        match self.before[i] {
            None => {
                self.before[i] = Some(level);
                self.todo.push(i);
            }
            Some(known) if known != level => {
                self.report(i, rule, format!("{known}; {level}"));
            }
            Some(_) => {}
        }
    }

    /// An exception leaves the level behind that was in force; the handler
    /// starts with it unless its NIT says otherwise.
    fn raise_to(&mut self, handler: usize, level: Level) {
        let first = &self.code[handler];
        let own = Oparg::decode(first).ok().filter(|_| first.opname == "NIT");
        let Some(own) = own else {
            self.reach(handler, level, Rule::HandlerSetsLevel);
            return;
        };
        // The handler's own level, or that of a region it opens at once. Either
        // way the regions around that one must be the same wherever the
        // exception came from.
        let around = own.depth.saturating_sub(1);
        if level.depth < around {
            let detail = format!("NIT to depth {} from {level}", own.depth);
            self.report(handler, Rule::HandlerSetsLevel, detail);
        }
        let dropped = level.depth >= own.depth && level.enclosing(own.depth).is_hard();
        if dropped && !own.hard {
            self.report(handler, Rule::HardStays, format!("raised at {level}"));
        }
        self.reach(handler, level.enclosing(around), Rule::HandlerSetsLevel);
    }

    /// The level in force after an instruction that is reached with `before`.
    fn step(&mut self, i: usize, before: Level) -> Level {
        let instruction = &self.code[i];
        if !instruction.sets_level() {
            return before;
        }
        let own = match Oparg::decode(instruction) {
            Ok(own) => own,
            Err(rule) => {
                self.report(i, rule, format!("oparg {}", instruction.oparg()));
                return before;
            }
        };
        let (after, broken) = if own.suspending {
            let same = own.depth == before.depth
                && own.hard == before.is_hard()
                && own.entering == before.entering;
            (before, (!same).then_some(Rule::YieldRearms))
        } else if instruction.opname == "TIT" {
            let after = before.enclosing(own.depth);
            if own.depth >= before.depth {
                (after, Some(Rule::TitLeaves))
            } else {
                (
                    after,
                    (own.hard != after.is_hard() || own.entering).then_some(Rule::TitRestores),
                )
            }
        } else if own.depth <= before.depth {
            // Only a handler of the open level starts with the level it has.
            let allowed = own.depth == 0 && self.is_handler[i];
            (
                before.enclosing(own.depth),
                (!allowed).then_some(Rule::NitOpensOne),
            )
        } else if own.depth > before.depth + 1 {
            (before.inside(own), Some(Rule::NitOpensOne))
        } else {
            let dropped = before.is_hard() && !own.hard;
            // Nothing is opened inside of an enter, and E is not for the first
            // hard region.
            let misplaced = before.entering || (own.entering && !before.is_hard());
            (
                before.inside(own),
                (dropped || misplaced).then_some(Rule::HardStays),
            )
        };
        if let Some(rule) = broken {
            let detail = format!("{} {} at {before}", instruction.opname, instruction.oparg());
            self.report(i, rule, detail);
        }
        after
    }

    /// The rules that need the finished picture.
    fn look_at_each_instruction(&mut self) {
        for (i, range) in self.shallowest_in_range().into_iter().enumerate() {
            let Some(level) = self.before[i] else {
                continue;
            };
            let rule = match self.code[i].opname {
                "RETURN_VALUE" | "RETURN_CONST" | "RETURN_GENERATOR" if level != Level::OPEN => {
                    Rule::ReturnMasked
                }
                "BEFORE_WITH" | "BEFORE_ASYNC_WITH"
                    if !level.is_innermost_soft() || !self.enter_ends_protected(i) =>
                {
                    Rule::EnterMasked
                }
                "WITH_EXCEPT_START" if !level.is_hard() || level.entering => Rule::ExitMasked,
                "YIELD_VALUE" if !self.yield_rearms(i, level) => Rule::YieldRearms,
                "RERAISE" if !self.reraises_outside(i, level) => Rule::ReraiseOutside,
                "JUMP_BACKWARD" if !self.jump_back_is_protected(i) => Rule::JumpBackProtected,
                "NIT" => {
                    self.look_at_nit(i, range);
                    continue;
                }
                "TIT" if !self.rearms_a_yield(i) => Rule::YieldRearms,
                _ => continue,
            };
            self.report(i, rule, level.to_string());
        }
    }

    /// For each handler the least depth in the range it protects. The level
    /// *before* each instruction counts, that of NIT too: where a range begins
    /// with a region, the regions around it are those of the handler.
    fn shallowest_in_range(&self) -> Vec<Option<u8>> {
        let mut shallowest: Vec<Option<u8>> = vec![None; self.code.len()];
        for (handler, level) in self.handler.iter().zip(&self.before) {
            if let (&Some(handler), Some(level)) = (handler, level) {
                let least = shallowest[handler].map_or(level.depth, |d| d.min(level.depth));
                shallowest[handler] = Some(least);
            }
        }
        shallowest
    }

    /// The re-arming TIT counts only if nothing jumps past it.
    fn yield_rearms(&self, i: usize, level: Level) -> bool {
        let rearmed = i > 0 && self.is_suspending(i - 1);
        let offset = Some(self.code[i].offset);
        let jumped_to =
            || self.is_handler[i] || self.code.iter().any(|other| other.target == offset);
        rearmed == (level != Level::OPEN) && !(rearmed && jumped_to())
    }

    /// The end of an exception copy is protected by the handler that restores
    /// the exception handled before, which has the level of the statement.
    fn reraises_outside(&self, i: usize, level: Level) -> bool {
        const RESTORING: u32 = 1; // the oparg at the end of such a handler
        let Some(handler) = self.handler[i] else {
            return true;
        };
        let opnames = self.code[handler..].iter().map(|i| i.opname);
        let rest = opnames.skip_while(|&opname| opname == "NIT").take(3);
        let restores = rest.eq(["COPY", "POP_EXCEPT", "RERAISE"]);
        // A comprehension puts back the name it borrowed and re-raises; that is
        // no statement and stays in the region around it.
        let comprehension = i > 0 && self.code[i - 1].opname.starts_with("STORE_");
        if !restores || comprehension || self.code[i].oparg() == RESTORING {
            return true;
        }
        // Without a NIT the handler has the one level that leads to it: ours.
        let first = &self.code[handler];
        first.opname != "NIT" || Oparg::decode(first).is_ok_and(|own| own.depth == level.depth)
    }

    /// Where a loop starts inside of a `try`, all of it is. What is raised at its
    /// jump back may not pass the handler.
    fn jump_back_is_protected(&self, i: usize) -> bool {
        let target = self.code[i].target;
        let start = target.and_then(|target| self.index.get(&target));
        self.handler[i].is_some() || start.is_none_or(|&start| self.handler[start].is_none())
    }

    fn look_at_nit(&mut self, i: usize, range: Option<u8>) {
        let own = Oparg::decode(&self.code[i]).map_or(0, |own| own.depth);
        if let Some(range) = range.filter(|&range| own < range) {
            let detail = format!("NIT to depth {own}, range at {range}");
            self.report(i, Rule::HandlerDropsLevel, detail);
        }
    }

    /// A suspending TIT stands directly before the instruction it is for.
    fn rearms_a_yield(&self, i: usize) -> bool {
        let next = self.code.get(i + 1).map(|next| next.opname);
        !self.is_suspending(i) || next == Some("YIELD_VALUE")
    }

    fn is_suspending(&self, i: usize) -> bool {
        let instruction = &self.code[i];
        instruction.opname == "TIT"
            && Oparg::decode(instruction).is_ok_and(|oparg| oparg.suspending)
    }

    /// Whether the next TIT lies where the exit is the handler: an interrupt
    /// that waited for the end of `__enter__` has to run `__exit__`.
    fn enter_ends_protected(&self, enter: usize) -> bool {
        let leaves = |&i: &usize| self.code[i].opname == "TIT" && !self.is_suspending(i);
        let end = (enter..self.code.len()).find(leaves);
        let Some(handler) = end.and_then(|end| self.handler[end]) else {
            return false;
        };
        let opnames = self.code[handler..].iter().map(|i| i.opname);
        let mut rest = opnames.skip_while(|&opname| opname == "NIT");
        rest.next() == Some("PUSH_EXC_INFO") && rest.next() == Some("WITH_EXCEPT_START")
    }
}

#[cfg(test)]
mod tests;
