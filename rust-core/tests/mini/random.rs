//! Random programs.

use std::cell::Cell;
use std::fmt;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::c::{GENERATORS, LeftOut};
use super::model::Strength::{Hard, Soft};
use super::program::{CLASSES, How, Op, Program, SCOPES};

/// Programs in which interpreter and model do not agree.
#[derive(Debug)]
pub struct Difference {
    /// What is not the same.
    pub why: String,
    steps: Vec<Op>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        self.steps
            .iter()
            .try_for_each(|op| writeln!(f, "    {op:?}"))
    }
}

/// What a program may do next, with what keeps it going more often. What it cannot do
/// is left out when it runs.
///
/// One list to choose from, since a strategy for each kind of step would take longer
/// than running them.
fn phrases() -> Vec<Vec<Op>> {
    let weighted = |weight: usize, ops: Vec<Op>| {
        // However many there are of a kind, all kinds together weigh what they should.
        const COMMON: usize = 2 * 3 * 4 * 5;
        assert_eq!(COMMON % ops.len(), 0);
        let copies = weight * COMMON / ops.len();
        let steps: Vec<_> = ops.into_iter().map(|op| vec![op]).collect();
        std::iter::repeat_n(steps, copies).flatten()
    };
    let generators = |op: fn(usize) -> Op| (0..GENERATORS).map(op).collect();
    let seldom = [true, false, false, false];
    let catch = |depth| seldom.map(|traced| Op::Catch { depth, traced }).to_vec();
    let raise = |class| [true, false].map(|plain| Op::Raise(class, plain));
    let send = (0..CLASSES).map(How::Class).chain([
        How::Instance,
        How::Instance,
        How::Instance,
        How::Instance,
        How::Replacing,
        How::Withdrawal,
    ]);
    // What seldom comes together by chance.
    let swallowed = Op::Unwind { swallowed: true };
    let hear = [Op::Send(How::Instance), Op::Check];
    let delegate = [
        Op::Resume(0),
        Op::Enter(Hard),
        Op::Resume(1),
        Op::YieldThrough,
    ];
    let together = [
        hear.to_vec(),
        vec![Op::Raise(0, false), swallowed],
        [Op::Call, Op::Enter(Hard)]
            .into_iter()
            .chain(hear)
            .collect(),
        delegate.to_vec(),
        [Op::Throw(0)].into_iter().chain(hear).collect(),
    ];
    let together = std::iter::repeat_n(together, 120).flatten();
    [
        weighted(4, vec![Op::Call]),
        weighted(4, vec![Op::Return]),
        weighted(5, vec![Op::Enter(Soft), Op::Enter(Hard)]),
        weighted(6, vec![Op::Exit]),
        weighted(1, [raise(0), raise(1)].concat()),
        weighted(1, catch(0)),
        weighted(1, catch(1)),
        weighted(1, catch(2)),
        weighted(
            3,
            [true, false]
                .map(|swallowed| Op::Unwind { swallowed })
                .to_vec(),
        ),
        weighted(5, generators(Op::Resume)),
        weighted(3, seldom.map(|traced| Op::Yield { traced }).to_vec()),
        weighted(2, vec![Op::YieldThrough]),
        weighted(2, generators(Op::Throw)),
        weighted(1, generators(Op::Close)),
        weighted(1, generators(Op::Forget)),
        weighted(5, SCOPES.map(Op::EnterScope).to_vec()),
        weighted(5, SCOPES.map(Op::LeaveScope).to_vec()),
        weighted(1, vec![Op::HandOver]),
        weighted(2, vec![Op::StartToEnter]),
        weighted(3, vec![Op::HasEntered]),
        weighted(1, generators(Op::HandOverFrom)),
        weighted(2, vec![Op::Signal]),
        weighted(4, send.map(Op::Send).collect()),
        weighted(6, vec![Op::Check]),
        weighted(2, vec![Op::Block]),
    ]
    .into_iter()
    .flatten()
    .chain(together)
    .collect()
}

/// Run a program to its end. Returns how many steps it took.
fn run(left_out: LeftOut, ops: &[Op]) -> Result<usize, Difference> {
    let mut program = Program::new(left_out);
    let mut steps = Vec::new();
    let result = run_steps(&mut program, ops, &mut steps);
    let result = result.and_then(|()| {
        let at_the_end = |why| format!("at the end: {why}");
        program.finish().map_err(at_the_end)
    });
    let result = result.and_then(|()| match left_out {
        LeftOut::Nothing => program.is_fast_again(),
        // What is late or lost is of interest, not what is slow.
        _ => Ok(()),
    });
    match result {
        Ok(()) => Ok(steps.len()),
        Err(why) => Err(Difference { why, steps }),
    }
}

fn run_steps(program: &mut Program, ops: &[Op], steps: &mut Vec<Op>) -> Result<(), String> {
    for &op in ops {
        // Few steps are possible while an exception is in flight.
        let catches = match op {
            Op::Catch { .. } | Op::Unwind { .. } | Op::HasEntered => Vec::new(),
            _ => program.catch_here(),
        };
        for op in catches.into_iter().chain([op]) {
            steps.push(op);
            if !program.step(op)? {
                steps.pop();
            }
        }
    }
    Ok(())
}

/// Leave out what does not matter: one step, or two that belong together.
fn shrink(left_out: LeftOut, mut difference: Difference) -> Difference {
    let shorter = |steps: &[Op]| {
        let singles = (0..steps.len()).map(|i| (i, i));
        // Of a long program there are too many.
        let few = if steps.len() > 40 { 0 } else { steps.len() };
        let pairs = (0..few).flat_map(|i| (0..i).map(move |j| (i, j)));
        singles.chain(pairs).find_map(|(i, j)| {
            let mut steps = steps.to_vec();
            steps.remove(i);
            if i != j {
                steps.remove(j);
            }
            // Not as long as before, with an exception caught in place of what went.
            let length = steps.len();
            let result = run(left_out, &steps).err();
            result.filter(|difference| difference.steps.len() <= length)
        })
    };
    while let Some(shorter) = shorter(&difference.steps) {
        difference = shorter;
    }
    difference
}

/// Run that many programs. Returns how many steps they took, or the first difference,
/// shrunk.
pub fn search(left_out: LeftOut, seed: u64, programs: u32) -> Result<usize, Difference> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: programs,
        failure_persistence: None,
        // `shrink` knows which steps were taken.
        max_shrink_iters: 0,
        ..Config::default()
    };
    let steps = Cell::new(0);
    let phrases = vec(select(phrases()), 1..100);
    let result = TestRunner::new_with_rng(config, random).run(&phrases, |phrases| {
        let taken = run(left_out, &phrases.concat());
        let taken = taken.map_err(|difference| TestCaseError::fail(difference.why))?;
        steps.set(steps.get() + taken);
        Ok(())
    });
    match result {
        Ok(()) => Ok(steps.get()),
        Err(TestError::Fail(_, phrases)) => {
            let difference = run(left_out, &phrases.concat());
            let difference = difference.expect_err("it failed a moment ago");
            Err(shrink(left_out, difference))
        }
        Err(error) => panic!("{error}"),
    }
}
