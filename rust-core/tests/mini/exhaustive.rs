//! All short programs.

use std::collections::HashMap;

use super::c::LeftOut;
use super::model::Strength::{Hard, Soft};
use super::program::{How, Op, Program, SCOPES};

/// What these programs are made of: two generators, and three objects for scopes.
/// Exceptions have one type, and data: which of them are one is a matter of the queues
/// alone.
const OPS: [Op; 35] = [
    Op::Call,
    Op::Return,
    Op::Enter(Soft),
    Op::Enter(Hard),
    Op::Exit,
    Op::Raise(0, false),
    Op::Catch {
        depth: 0,
        traced: false,
    },
    Op::Catch {
        depth: 0,
        traced: true,
    },
    Op::Catch {
        depth: 1,
        traced: false,
    },
    Op::Unwind { swallowed: false },
    Op::Unwind { swallowed: true },
    Op::Resume(0),
    Op::Resume(1),
    Op::Yield { traced: false },
    Op::Yield { traced: true },
    Op::YieldThrough,
    Op::Throw(0),
    Op::Throw(1),
    Op::Close(0),
    Op::Close(1),
    Op::Forget(0),
    Op::EnterScope(SCOPES[0]),
    Op::EnterScope(SCOPES[1]),
    Op::EnterScope(SCOPES[2]),
    Op::LeaveScope(SCOPES[0]),
    Op::LeaveScope(SCOPES[1]),
    Op::LeaveScope(SCOPES[2]),
    Op::HandOver,
    Op::HandOverFrom(0),
    Op::StartToEnter,
    Op::HasEntered,
    Op::Signal,
    Op::Send(How::Instance),
    Op::Check,
    Op::Block,
];

/// Further than this a program is not followed.
fn is_small(program: &Program) -> bool {
    program.running() <= 3 && program.depth() <= 2 && program.scopes() <= 2 && program.waits() <= 2
}

/// What a search has seen.
#[derive(Debug, Default)]
pub struct Search {
    /// For each state, how many steps from there on have been tried.
    states: HashMap<u128, usize>,
    /// How many programs were run.
    pub programs: u64,
    path: Vec<Op>,
}

impl Search {
    /// How many different states there were.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    fn replay(&self) -> Program {
        let mut program = Program::new(LeftOut::Nothing);
        program.compares = false;
        for &op in &self.path {
            program.step(op).expect("it went well before");
        }
        program.compares = true;
        program
    }

    /// Try all programs that go on from the path by up to that many steps, depth first.
    ///
    /// # Errors
    ///
    /// The first that shows a difference.
    pub fn try_all(&mut self, depth: usize) -> Result<(), String> {
        if depth == 0 {
            return Ok(());
        }
        let program = self.replay();
        for op in OPS.into_iter().filter(|&op| program.allows(op)) {
            let mut program = self.replay();
            self.path.push(op);
            self.programs += 1;
            let result = program.step(op);
            result.map_err(|why| self.describe(&why))?;
            if is_small(&program) {
                self.go_on(program, depth - 1)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// The core's state cannot be copied: what goes on from here replays the path.
    fn go_on(&mut self, mut program: Program, depth: usize) -> Result<(), String> {
        let state = program.state();
        let tried = self.states.get(&state).copied();
        if tried.is_none() {
            let result = program.finish().and_then(|()| program.is_fast_again());
            result.map_err(|why| self.describe(&format!("at the end: {why}")))?;
        }
        if tried.is_none_or(|tried| tried < depth) {
            self.states.insert(state, depth);
            self.try_all(depth)?;
        }
        Ok(())
    }

    fn describe(&self, why: &str) -> String {
        let steps = self.path.iter().map(|op| format!("    {op:?}\n"));
        format!("{why}\n{}", steps.collect::<String>())
    }
}
