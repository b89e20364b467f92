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

mod mini;

use std::str::FromStr;
use std::time::Instant;

use mini::c::{self, LeftOut};
use mini::exhaustive::Search;
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
