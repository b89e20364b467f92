//! How the loom models are run.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

/// Run a model in all interleavings with at most this many preemptions, each of which
/// returns what came of it: there must be just this many outcomes.
///
/// Loom's search is not complete. It remembers only the latest access to a word: the
/// load with which a push begins makes it forget that the owner has read the word
/// before, and it never tries that push first. The other way round it does. So the
/// owner is spawned last, since of the threads that can run loom first runs the
/// oldest; and each model says how many outcomes there are, and all must have been
/// seen. With the owner as the first thread no look found anything.
pub fn check<T: Ord + Debug + Send + 'static>(
    preemptions: Option<usize>,
    outcomes: usize,
    model: impl Fn() -> T + Sync + Send + 'static,
) {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = Arc::clone(&seen);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let outcome = model();
        record.lock().unwrap().insert(outcome);
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), outcomes, "{seen:#?}");
}
