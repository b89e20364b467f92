//! Raise or wait.
//!
//! The mask lives in the frames: a frame that dies, is suspended or is switched
//! away takes its mask along, so there is no counter to leak. The price is that
//! "is this thread masked?" means walking its frames. That is paid once per
//! interrupt, not per region: when an interrupt has to wait, the *outermost*
//! masked frame is remembered as the masker. As long as that frame stays masked
//! the answer cannot change, whatever inner regions come and go, so only its
//! leaving asks again.
//!
//! The interpreter masks some of what it runs itself: a signal handler (softly:
//! one handler's exception must not cut another handler short), the cleanup of
//! what is finalized. Such a runtime region stands between the frame that ran and
//! the frames in it, so it takes its place in the same walk.
//!
//! Some library code that runs while something is left has to wait there for the work
//! of others, for which nothing says how long it takes. It says so by a runtime region
//! that softens: its own frame, and frames outside of it as far as they are leaving a
//! `with` and nothing else.
//!
//! Scopes mask, and open regions, as `scopes.rs` says. If nothing but a scope masks,
//! only leaving it asks again; unless generators carry scopes: then what counts
//! changes whenever one is suspended or resumed, which nobody reports, and every
//! check point asks.
//!
//! A thread may switch between several stacks (greenlets). What waits belongs to
//! the thread, so when a second stack is masked too, whichever opens first
//! releases it.

use crate::level::Strength;
use crate::scopes::{FrameId, InForce, Step};

/// Where an interrupt is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Code runs: soft and hard regions mask.
    Running,
    /// A call is blocked in the kernel: only hard regions mask.
    Blocked,
}

/// Whose leaving can end the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masker {
    /// The outermost masked frame.
    Frame(FrameId),
    /// A scope, and no frame.
    Scope,
    /// Not one frame alone: a runtime region, or frames of several stacks. Every
    /// region that is left asks again.
    Several,
}

/// The answer to "may it be raised here?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Raise it now.
    Raise,
    /// It waits, until the masker leaves.
    Wait(Masker),
    /// It waits, and every check point asks again.
    WaitAndAsk,
}

/// What a runtime region does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// It masks.
    Masks(Strength),
    /// It masks as well; extension code has entered it, so what is forced is raised in it.
    Guards {
        /// How.
        strength: Strength,
        /// Which entry this is: none has the same in this process.
        number: usize,
    },
    /// It softens what its base is called to leave.
    WaitsForOthers,
    /// What is outside of it does not count: a thread runs what it was made for, as if
    /// nothing were around it.
    Opens,
}

/// What the interpreter masks of what it runs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeRegion {
    /// The frame that ran before; `None` if no Python frame did.
    pub base: Option<FrameId>,
    /// What it does.
    pub kind: RegionKind,
}

/// Decide for a thread in which `steps` run, innermost first, and which has entered
/// `regions`. `before` is who held back what waits already, if anything does.
///
/// A runtime region counts only if its base is on this stack: code that switches
/// stacks inside of one runs code that is not the region's. For the same reason
/// `before` may be a frame of another stack; then either stack may be the first to
/// open.
pub fn decide(
    steps: impl Iterator<Item = Step>,
    regions: &[Option<RuntimeRegion>],
    place: Place,
    before: Option<Masker>,
    scopes: &InForce,
) -> Verdict {
    let based_on = |base| based_on(regions, base);
    let region_on = |base| {
        let masking = based_on(base).filter_map(|kind| match kind {
            RegionKind::Masks(strength) | RegionKind::Guards { strength, .. } => Some(strength),
            RegionKind::WaitsForOthers | RegionKind::Opens => None,
        });
        masking.max()
    };
    // Whether a region that softens is farther inside.
    let mut softens = false;
    let mut strength = scopes.mask;
    let mut masker = None;
    let mut elsewhere = !matches!(before, None | Some(Masker::Scope));
    let mut opened = false;
    for step in steps {
        let Step { frame, level, .. } = step;
        let Some(id) = frame else { continue };
        if let Some(region) = region_on(frame) {
            strength = strength.max(Some(region));
            masker = Some(Masker::Several);
        }
        opened = based_on(frame).any(|kind| kind == RegionKind::Opens);
        if opened {
            break;
        }
        let waits_here = based_on(frame).any(|kind| kind == RegionKind::WaitsForOthers);
        softens |= waits_here;
        let floor = scopes.floor(frame);
        if let Some(mut region) = level.mask_above(floor) {
            let only_exits = step.exiting && level.depth() == floor + 1;
            if waits_here || (softens && only_exits) {
                region = Strength::Soft;
            }
            strength = strength.max(Some(region));
            masker = Some(Masker::Frame(id));
        }
        if before == Some(Masker::Frame(id)) {
            elsewhere = false;
        }
        opened = scopes.outermost == frame;
        if opened {
            break;
        }
    }
    if let Some(region) = region_on(None).filter(|_| !opened) {
        strength = strength.max(Some(region));
        masker = Some(Masker::Several);
    }
    match strength {
        None => Verdict::Raise,
        Some(Strength::Soft) if place == Place::Blocked => Verdict::Raise,
        Some(_) => match masker {
            None if scopes.generators_matter => Verdict::WaitAndAsk,
            _ if elsewhere => Verdict::Wait(Masker::Several),
            Some(masker) => Verdict::Wait(masker),
            None => Verdict::Wait(Masker::Scope),
        },
    }
}

/// Whether what runs is the cleanup of something that is finalized: an exception would
/// be caught by nobody.
pub fn is_finalizing(steps: impl Iterator<Item = Step>, regions: &[Option<RuntimeRegion>]) -> bool {
    let hard = RegionKind::Masks(Strength::Hard);
    for step in steps.filter(|step| step.frame.is_some()) {
        let mut opened = false;
        for kind in based_on(regions, step.frame) {
            if kind == hard {
                return true;
            }
            opened |= kind == RegionKind::Opens;
        }
        if opened {
            return false;
        }
    }
    based_on(regions, None).any(|kind| kind == hard)
}

/// The regions that this frame has entered. If one of them opens, what it has entered
/// before is outside of that, and not among them.
fn based_on(
    regions: &[Option<RuntimeRegion>],
    base: Option<FrameId>,
) -> impl Iterator<Item = RegionKind> {
    let here = move |region: &&RuntimeRegion| region.base == base;
    let opens = |region: &Option<RuntimeRegion>| {
        region
            .as_ref()
            .filter(here)
            .is_some_and(|region| region.kind == RegionKind::Opens)
    };
    let first = regions.iter().rposition(opens).unwrap_or(0);
    let inside = regions.get(first..).unwrap_or_default();
    inside
        .iter()
        .flatten()
        .filter(here)
        .map(|region| region.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{HARD, Level};

    fn frames(levels: &[u8]) -> impl Iterator<Item = Step> {
        // Frames are numbered from 1, innermost first.
        levels.iter().enumerate().map(|(i, &byte)| Step {
            frame: Some(i + 1),
            carrier: None,
            level: Level::from_frame(byte),
            exiting: false,
        })
    }

    fn ask(levels: &[u8], regions: &[Option<RuntimeRegion>], place: Place) -> Verdict {
        decide(frames(levels), regions, place, None, &InForce::default())
    }

    /// What a signal handler makes that interrupted this frame.
    fn handler(base: Option<FrameId>) -> Option<RuntimeRegion> {
        Some(RuntimeRegion {
            base,
            kind: RegionKind::Masks(Strength::Soft),
        })
    }

    #[test]
    fn a_guard_masks_and_can_be_forced() {
        for (strength, blocked) in [
            (Strength::Soft, Verdict::Raise),
            (Strength::Hard, Verdict::Wait(Masker::Several)),
        ] {
            let guard = Some(RuntimeRegion {
                base: Some(1),
                kind: RegionKind::Guards {
                    strength,
                    number: 7,
                },
            });
            let waits = Verdict::Wait(Masker::Several);
            assert_eq!(ask(&[0, 0], &[guard], Place::Running), waits);
            assert_eq!(ask(&[0, 0], &[guard], Place::Blocked), blocked);
            assert!(!is_finalizing([].into_iter(), &[guard]));
        }
    }

    #[test]
    fn open_frames_raise() {
        assert_eq!(ask(&[], &[], Place::Running), Verdict::Raise);
        assert_eq!(ask(&[0, 0], &[], Place::Running), Verdict::Raise);
    }

    #[test]
    fn any_masked_frame_masks_its_callees() {
        for levels in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
            let verdict = ask(&levels, &[], Place::Running);
            assert!(matches!(verdict, Verdict::Wait(_)), "{levels:?}");
        }
    }

    #[test]
    fn the_outermost_masked_frame_is_the_masker() {
        assert_eq!(
            ask(&[1, 0, 1, 0], &[], Place::Running),
            Verdict::Wait(Masker::Frame(3))
        );
    }

    #[test]
    fn a_blocked_call_is_held_back_by_hard_regions_only() {
        assert_eq!(ask(&[1, 2], &[], Place::Blocked), Verdict::Raise);
        // Soft inside hard stays hard, also across frames.
        assert_eq!(
            ask(&[1, 1 | HARD], &[], Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
        assert_eq!(
            ask(&[1 | HARD, 1], &[], Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
    }

    #[test]
    fn outside_of_the_outermost_frame_nothing_counts() {
        let scopes = InForce {
            floors: vec![(2, 1)],
            outermost: Some(2),
            ..InForce::default()
        };
        let ask = |levels: &[u8], regions: &[Option<RuntimeRegion>]| {
            decide(frames(levels), regions, Place::Running, None, &scopes)
        };
        let open = [0, 1 | HARD, 1 | HARD];
        assert_eq!(ask(&open, &[]), Verdict::Raise);
        assert_eq!(
            ask(&open, &[handler(Some(3)), handler(None)]),
            Verdict::Raise
        );
        assert_eq!(ask(&[0, 2 | HARD, 0], &[]), Verdict::Wait(Masker::Frame(2)));
        assert_eq!(
            ask(&open, &[handler(Some(2))]),
            Verdict::Wait(Masker::Several)
        );
    }

    #[test]
    fn a_handler_masks_softly() {
        let outermost = handler(None);
        let handler = [handler(Some(2))];
        assert_eq!(
            ask(&[0, 0], &handler, Place::Running),
            Verdict::Wait(Masker::Several)
        );
        assert_eq!(ask(&[0, 0], &handler, Place::Blocked), Verdict::Raise);
        assert_eq!(
            ask(&[0], &[outermost], Place::Running),
            Verdict::Wait(Masker::Several)
        );
    }

    #[test]
    fn a_finalizer_masks_hard() {
        let finalizer = Some(RuntimeRegion {
            base: Some(2),
            kind: RegionKind::Masks(Strength::Hard),
        });
        for regions in [
            &[finalizer][..],
            &[finalizer, handler(Some(2))],
            &[handler(Some(2)), finalizer],
        ] {
            for place in [Place::Running, Place::Blocked] {
                assert_eq!(ask(&[0, 0], regions, place), Verdict::Wait(Masker::Several));
            }
        }
    }

    /// Levels and whether the frame has called `__exit__`, innermost first.
    fn while_waiting(frames: &[(u8, bool)], base: usize, more: Option<RuntimeRegion>) -> Verdict {
        let steps = frames.iter().enumerate().map(|(i, &(byte, exiting))| Step {
            frame: Some(i + 1),
            carrier: None,
            level: Level::from_frame(byte),
            exiting,
        });
        let waits = Some(RuntimeRegion {
            base: Some(base),
            kind: RegionKind::WaitsForOthers,
        });
        let scopes = InForce::default();
        decide(steps, &[waits, more], Place::Blocked, None, &scopes)
    }

    #[test]
    fn a_wait_for_others_softens_the_exits_around_it() {
        let exits = (1 | HARD, true);
        let raise = Verdict::Raise;
        assert_eq!(while_waiting(&[(0, false), exits], 1, None), raise);
        assert_eq!(while_waiting(&[(0, false), exits, exits], 1, None), raise);
        // The one that waits decides about its own cleanup, too.
        assert_eq!(while_waiting(&[(1 | HARD, false), exits], 1, None), raise);
        // Code is not interrupted.
        let open = while_waiting(&[(0, false)], 1, None);
        assert_eq!(open, raise);
    }

    #[test]
    fn a_wait_for_others_softens_no_other_cleanup() {
        let exits = (1 | HARD, true);
        let wait = |frame| Verdict::Wait(Masker::Frame(frame));
        // What it has called, a `finally`, an exit inside of a `finally`.
        assert_eq!(while_waiting(&[(1 | HARD, false), exits], 2, None), wait(2));
        assert_eq!(
            while_waiting(&[(0, false), (1 | HARD, false)], 1, None),
            wait(2)
        );
        assert_eq!(
            while_waiting(&[(0, false), (2 | HARD, true)], 1, None),
            wait(2)
        );
        // Of another stack.
        assert_eq!(while_waiting(&[(0, false), exits], 9, None), wait(2));
        // What is finalized.
        let finalizer = Some(RuntimeRegion {
            base: Some(2),
            kind: RegionKind::Masks(Strength::Hard),
        });
        assert_eq!(while_waiting(&[(0, false), exits], 1, finalizer), wait(2));
    }

    #[test]
    fn what_is_outside_of_a_region_that_opens_does_not_count() {
        let opens = Some(RuntimeRegion {
            base: Some(2),
            kind: RegionKind::Opens,
        });
        let finalizer = |base| {
            Some(RuntimeRegion {
                base,
                kind: RegionKind::Masks(Strength::Hard),
            })
        };
        let wait = Verdict::Wait(Masker::Several);
        for outside in [None, Some(2), Some(3)] {
            let mut regions = vec![finalizer(outside)];
            assert_eq!(ask(&[0, 0, 0], &regions, Place::Blocked), wait);
            assert!(is_finalizing(frames(&[0, 0, 0]), &regions));
            regions.push(opens);
            for levels in [[0, 0, 0], [0, 1 | HARD, 0], [0, 0, 1 | HARD]] {
                assert_eq!(ask(&levels, &regions, Place::Running), Verdict::Raise);
            }
            assert!(!is_finalizing(frames(&[0, 0, 0]), &regions));
            // What masks inside of it does.
            let masker = Verdict::Wait(Masker::Frame(1));
            assert_eq!(ask(&[1, 0, 0], &regions, Place::Running), masker);
            for inside in [Some(1), Some(2)] {
                let mut regions = regions.clone();
                regions.push(finalizer(inside));
                assert_eq!(ask(&[0, 0, 0], &regions, Place::Running), wait);
                assert!(is_finalizing(frames(&[0, 0, 0]), &regions));
            }
        }
    }

    #[test]
    fn the_older_of_handler_and_frame_is_the_masker() {
        // Frame 1 belongs to the handler, frame 2 was interrupted.
        let handler = [handler(Some(2))];
        assert_eq!(
            ask(&[1, 0], &handler, Place::Running),
            Verdict::Wait(Masker::Several)
        );
        assert_eq!(
            ask(&[0, 1], &handler, Place::Running),
            Verdict::Wait(Masker::Frame(2))
        );
        assert_eq!(
            ask(&[0, 1 | HARD], &handler, Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
    }

    #[test]
    fn a_handler_of_another_stack_does_not_mask() {
        assert_eq!(
            ask(&[0, 0], &[handler(Some(9))], Place::Running),
            Verdict::Raise
        );
        assert_eq!(ask(&[0, 0], &[None], Place::Running), Verdict::Raise);
    }

    #[test]
    fn a_masker_of_another_stack_is_not_forgotten() {
        let before = |masker| {
            decide(
                frames(&[0, 1]),
                &[],
                Place::Running,
                masker,
                &InForce::default(),
            )
        };
        let this = Masker::Frame(2);
        assert_eq!(before(None), Verdict::Wait(this));
        assert_eq!(before(Some(this)), Verdict::Wait(this));
        assert_eq!(before(Some(Masker::Scope)), Verdict::Wait(this));
        for other in [Masker::Frame(9), Masker::Several] {
            assert_eq!(before(Some(other)), Verdict::Wait(Masker::Several));
        }
    }

    #[test]
    fn a_scope_masks_open_frames() {
        for (mask, blocked) in [
            (Strength::Soft, Verdict::Raise),
            (Strength::Hard, Verdict::Wait(Masker::Scope)),
        ] {
            let scopes = InForce {
                mask: Some(mask),
                ..InForce::default()
            };
            let ask = |place| decide(frames(&[0, 0]), &[], place, None, &scopes);
            assert_eq!(ask(Place::Running), Verdict::Wait(Masker::Scope));
            assert_eq!(ask(Place::Blocked), blocked);
        }
    }

    #[test]
    fn where_generators_carry_scopes_every_check_point_asks() {
        let scopes = InForce {
            mask: Some(Strength::Hard),
            generators_matter: true,
            ..InForce::default()
        };
        let ask = |levels| decide(frames(levels), &[], Place::Running, None, &scopes);
        assert_eq!(ask(&[0, 0]), Verdict::WaitAndAsk);
        let elsewhere = Some(Masker::Frame(9));
        assert_eq!(
            decide(frames(&[0]), &[], Place::Running, elsewhere, &scopes),
            Verdict::WaitAndAsk
        );
        // A frame that masks does so whatever generators do.
        assert_eq!(ask(&[0, 1]), Verdict::Wait(Masker::Frame(2)));
    }
}
