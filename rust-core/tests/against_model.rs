//! Programs, run by the C fast path and the Rust decisions together
//! (`mini_eval.c`), against a model that is too simple to be wrong (`mini/model.rs`).
//!
//! Random programs, 100,000 of them, always the same ones; and all programs of up to
//! 8 steps, those that come to equal states counted as one. When one fails, the
//! shortest program found that fails as well is printed, and the seed. To run other
//! or more programs, or longer ones, set
//!
//! | variable                | what it is                     | default |
//! |-------------------------|--------------------------------|---------|
//! | `INTERRUPT_MODEL_SEED`  | which random programs          | 1       |
//! | `INTERRUPT_MODEL_RUNS`  | how many                       | 100000  |
//! | `INTERRUPT_MODEL_DEPTH` | how many steps, for all of them | 8      |
//!
//! What programs there are is said by `Program::allows`. That these tests can fail is
//! tested in `suppressed.rs`.

#![cfg(not(loom))]

mod mini;

use std::ffi::c_int;
use std::str::FromStr;
use std::time::Instant;

use mini::c::{self, LeftOut, Masker, Miniature, Place};
use mini::exhaustive::Search;
use mini::model::Strength::{Hard, Soft};
use mini::random;

fn variable<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(value) => value.parse().ok().expect("a number"),
        Err(_) => default,
    }
}

#[test]
fn random_programs() {
    let seed = variable("INTERRUPT_MODEL_SEED", 1);
    let programs = variable("INTERRUPT_MODEL_RUNS", 100_000);
    let start = Instant::now();
    match random::search(LeftOut::Nothing, seed, programs) {
        Ok(steps) => println!(
            "{programs} programs of {steps} steps in all, {:?}",
            start.elapsed()
        ),
        Err(difference) => panic!("INTERRUPT_MODEL_SEED={seed}: {difference}"),
    }
}

#[test]
fn all_short_programs() {
    let depth = variable("INTERRUPT_MODEL_DEPTH", 8);
    let start = Instant::now();
    let mut search = Search::default();
    if let Err(difference) = search.try_all(depth) {
        panic!("{difference}");
    }
    println!(
        "{} states, {} programs of up to {depth} steps run, {:?}",
        search.states(),
        search.programs,
        start.elapsed()
    );
}

#[test]
fn the_model_is_small() {
    let source = include_str!("mini/model.rs");
    let (_, model) = source.split_once("// The model begins.\n").unwrap();
    let (model, _) = model.split_once("// The model ends.").unwrap();
    let lines = model.lines().count();
    assert!(lines <= 60, "{lines} lines");
}

#[test]
fn layouts_agree() {
    let (rust, c) = c::layouts();
    assert_eq!(rust, c);
}

// --- What the model leaves open, or programs do not do

const RUNNING: c_int = 0;
const BLOCKED: c_int = 1;
const HARD: c_int = 0x21;
const INSTANCE: c_int = 0;

/// A thread in which one function runs, and has called another one.
fn two_frames() -> Miniature {
    let mut mini = Miniature::new(LeftOut::Nothing);
    mini.make(0, 0);
    mini.make(1, 0);
    mini.call(Place::Stack(0));
    mini.call(Place::Stack(1));
    mini
}

/// An inner region costs nothing: only the masker's TIT asks again.
#[test]
fn tit_of_the_masker_asks_and_no_other() {
    let mut mini = Miniature::new(LeftOut::Nothing);
    mini.call(Place::Stack(0));
    mini.nit(HARD);
    mini.call(Place::Stack(1));
    mini.nit(c::level_inside(0, Soft).into());
    mini.send(Some(0), INSTANCE);
    assert_eq!(mini.check(RUNNING), 0);
    assert_eq!(mini.masker(), Masker::Frame(Place::Stack(0)));
    assert_eq!(mini.tit(0), 0);
    mini.returns();
    assert_eq!(mini.tit(0), c::ASKED | c::RAISED);
    assert_eq!(mini.raised(), [0]);
}

/// Stacks that are switched inside handlers let them end in any order.
#[test]
fn handlers_may_end_in_any_order() {
    let mut mini = two_frames();
    let first = mini.enter_handler();
    mini.call(Place::Stack(2));
    let second = mini.enter_handler();
    mini.send(Some(0), INSTANCE);
    assert_eq!(mini.leave_handler(first, None, RUNNING), 0);
    // The second still runs.
    assert!(mini.is_masked());
    assert_eq!(mini.check(RUNNING), 0);
    assert_eq!(mini.leave_handler(second, None, RUNNING), c::RAISED);
    assert_eq!(mini.raised(), [0]);
    // Their numbers are free again.
    assert_eq!(mini.enter_handler(), first);
}

/// One that was sent in open code is raised alone, even if another one follows.
#[test]
fn only_what_a_mask_held_back_is_raised_together() {
    let mut mini = two_frames();
    mini.send(Some(0), INSTANCE);
    mini.send(Some(1), INSTANCE);
    for id in [0, 1] {
        assert_eq!(mini.check(RUNNING), c::RAISED);
        assert_eq!(mini.raised(), [id]);
    }
    mini.nit(HARD);
    mini.send(Some(0), INSTANCE);
    assert_eq!(mini.check(RUNNING), 0);
    // Not seen before it is raised with the other one.
    mini.send(Some(1), INSTANCE);
    assert_eq!(mini.tit(0), c::ASKED | c::RAISED);
    assert_eq!(mini.raised(), [0, 1]);
}

/// A level is computed by the compiler with the header's function, and taken apart by
/// the core.
#[test]
fn levels_mean_the_same_on_both_sides() {
    let mut mini = two_frames();
    let (finally, enters) = (c::level_inside(0, Hard), c::level_inside(0, Soft));
    assert_eq!(c_int::from(finally), HARD);
    let deeper = c::level_inside(finally, Soft);
    // Soft: a blocked call is broken. Soft inside of hard: it is not.
    for (level, broken) in [(enters, true), (finally, false), (deeper, false)] {
        mini.nit(level.into());
        assert!(mini.is_masked());
        let handler = mini.enter_handler();
        let result = mini.leave_handler(handler, Some((0, false)), BLOCKED);
        assert_eq!(result == c::RAISED, broken, "{level:#x}");
        mini.tit(0);
    }
}
