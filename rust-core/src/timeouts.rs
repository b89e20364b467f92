//! Timeouts: interrupts that a thread has ordered for itself.
//!
//! Each is known by the exception that it raises, with which it also has entered a scope:
//! that says what is inside of it (`scopes.rs`). It has a deadline. When that has come it is *due*, and waits for a place inside of its block
//! where it may be raised. It is raised once; when its block ends, nothing is left of it.
//!
//! The thread has one timer, for the deadline that comes next. All of this is the
//! thread's own: what rings only makes it look.

use crate::scopes::Identity;

/// Microseconds of the clock that deadlines are compared with.
pub type Time = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    Due,
    Raised,
    /// One around it is raised, which breaks its block, too.
    Superseded,
}

#[derive(Clone, Copy, Debug)]
struct Timeout {
    scope: Identity,
    deadline: Time,
    state: State,
}

/// The timeouts of one thread, in the order in which they were entered.
#[derive(Debug, Default)]
pub struct Timeouts {
    entries: Vec<Timeout>,
    /// When to look again for one that is due, but not in force in what runs.
    again: Option<Time>,
}

/// There was no memory; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl Timeouts {
    /// A block with this scope is entered, and to be left before the deadline.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn enter(&mut self, scope: Identity, deadline: Time) -> Result<(), NoMemory> {
        self.entries.try_reserve(1).map_err(|_| NoMemory)?;
        self.entries.push(Timeout {
            scope,
            deadline,
            state: State::Armed,
        });
        Ok(())
    }

    /// The block is left. Whether its interrupt was raised in there; nothing if it was
    /// not entered in this thread.
    pub fn leave(&mut self, scope: Identity) -> Option<bool> {
        let found = self.entries.iter().position(|entry| entry.scope == scope)?;
        Some(self.entries.remove(found).state == State::Raised)
    }

    /// Nothing is left. Returns all.
    pub fn clear(&mut self) -> impl Iterator<Item = Identity> {
        std::mem::take(&mut self.entries)
            .into_iter()
            .map(|entry| entry.scope)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, outermost first.
    pub fn all(&self) -> impl Iterator<Item = Identity> {
        self.entries.iter().map(|entry| entry.scope)
    }

    /// It is so late now.
    pub fn look(&mut self, now: Time) {
        self.again = self.again.filter(|&again| again > now);
        for entry in &mut self.entries {
            if entry.state == State::Armed && entry.deadline <= now {
                entry.state = State::Due;
            }
        }
    }

    /// When to look next.
    pub fn next(&self) -> Option<Time> {
        let armed = self.entries.iter().filter(|e| e.state == State::Armed);
        armed.map(|entry| entry.deadline).chain(self.again).min()
    }

    /// Look at this time, whatever comes.
    pub fn look_again(&mut self, time: Time) {
        self.again.get_or_insert(time);
    }

    /// Those that are due, outermost first.
    pub fn due(&self) -> impl Iterator<Item = Identity> {
        let due = self.entries.iter().filter(|e| e.state == State::Due);
        due.map(|entry| entry.scope)
    }

    /// It is raised. Those inside of it are not: `is_inside` says which are, of those
    /// entered after it.
    pub fn raise(&mut self, scope: Identity, is_inside: impl Fn(Identity) -> bool) {
        let mut raised = false;
        for entry in &mut self.entries {
            if entry.scope == scope {
                entry.state = State::Raised;
                raised = true;
            } else if raised
                && matches!(entry.state, State::Armed | State::Due)
                && is_inside(entry.scope)
            {
                entry.state = State::Superseded;
            }
        }
    }

    /// In the child of a fork nothing waits, but deadlines hold.
    pub fn after_fork(&mut self) {
        for entry in &mut self.entries {
            if entry.state == State::Due {
                entry.state = State::Armed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: Identity = 1;
    const INNER: Identity = 2;

    fn nested(outer: Time, inner: Time) -> Timeouts {
        let mut timeouts = Timeouts::default();
        timeouts.enter(OUTER, outer).unwrap();
        timeouts.enter(INNER, inner).unwrap();
        timeouts
    }

    fn due(timeouts: &Timeouts) -> Vec<Identity> {
        timeouts.due().collect()
    }

    #[test]
    fn each_is_due_when_its_time_has_come() {
        let mut timeouts = nested(20, 10);
        assert_eq!(timeouts.next(), Some(10));
        timeouts.look(9);
        assert!(due(&timeouts).is_empty());
        timeouts.look(10);
        assert_eq!(due(&timeouts), [INNER]);
        assert_eq!(timeouts.next(), Some(20));
        timeouts.look(30);
        assert_eq!(due(&timeouts), [OUTER, INNER]);
        assert_eq!(timeouts.next(), None);
    }

    #[test]
    fn each_is_raised_once() {
        let mut timeouts = nested(10, 10);
        timeouts.look(10);
        timeouts.raise(OUTER, |_| false);
        assert_eq!(due(&timeouts), [INNER]);
        timeouts.look(99);
        assert_eq!(due(&timeouts), [INNER]);
        assert_eq!(timeouts.leave(INNER), Some(false));
        assert_eq!(timeouts.leave(OUTER), Some(true));
        assert!(timeouts.is_empty());
        assert_eq!(timeouts.leave(OUTER), None);
    }

    #[test]
    fn what_is_inside_is_broken_by_the_outer_one() {
        let mut timeouts = nested(10, 20);
        timeouts.look(10);
        timeouts.raise(OUTER, |scope| scope == INNER);
        timeouts.look(20);
        assert!(due(&timeouts).is_empty());
        // What is entered while the block is left is another one.
        timeouts.enter(3, 30).unwrap();
        timeouts.look(30);
        assert_eq!(due(&timeouts), [3]);
        assert_eq!(timeouts.leave(INNER), Some(false));
    }

    #[test]
    fn one_looks_again() {
        let mut timeouts = nested(10, 90);
        timeouts.look(10);
        timeouts.look_again(50);
        timeouts.look_again(60);
        assert_eq!(timeouts.next(), Some(50));
        timeouts.look(50);
        assert_eq!(timeouts.next(), Some(90));
    }

    #[test]
    fn what_is_left_is_not_due_any_more() {
        let mut timeouts = nested(10, 10);
        timeouts.look(10);
        assert_eq!(timeouts.leave(OUTER), Some(false));
        assert_eq!(due(&timeouts), [INNER]);
        assert_eq!(timeouts.clear().collect::<Vec<_>>(), [INNER]);
        assert!(timeouts.is_empty());
    }

    #[test]
    fn a_child_looks_at_the_clock_again() {
        let mut timeouts = nested(10, 20);
        timeouts.look(10);
        timeouts.after_fork();
        assert!(due(&timeouts).is_empty());
        assert_eq!(timeouts.next(), Some(10));
    }
}
