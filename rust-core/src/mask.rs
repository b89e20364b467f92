//! Raise or wait.
//!
//! The mask lives in the frames: a frame that dies, is suspended or is switched
//! away takes its mask along, so there is no counter to leak.  The price is that
//! "is this thread masked?" means walking its frames.  That is paid once per
//! interrupt, not per region: when an interrupt has to wait, the *outermost*
//! masked frame is remembered as the masker.  As long as that frame stays masked
//! the answer cannot change, whatever inner regions come and go, so only its
//! leaving asks again.
//!
//! A running signal handler masks too (softly): one handler's exception must not
//! cut another handler short.  It stands between the frame it interrupted and
//! its own frames, so it takes its place in the same walk.
//!
//! A thread may switch between several stacks (greenlets). What waits belongs to
//! the thread, so when a second stack is masked too, whichever opens first
//! releases it.

use crate::level::Level;

/// The identity of a frame: its address, never dereferenced here.
pub type FrameId = usize;

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
    /// Not one frame alone: a running signal handler, or frames of several
    /// stacks. Every region that is left asks again.
    Several,
}

/// The answer to "may it be raised here?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Raise it now.
    Raise,
    /// It waits, until the masker leaves.
    Wait(Masker),
}

/// The frame that a running signal handler interrupted; `None` if no Python
/// frame was running.
pub type HandlerBase = Option<FrameId>;

/// Decide for a thread whose frames, innermost first, are `frames`, and whose
/// running signal handlers interrupted `handlers`. `before` is who held back
/// what waits already, if anything does.
///
/// A handler counts only if the frame it interrupted is on this stack: code that
/// switches stacks inside a handler runs code that is not the handler's. For the
/// same reason `before` may be a frame of another stack; then either stack may be
/// the first to open.
pub fn decide(
    frames: impl Iterator<Item = (FrameId, Level)>,
    handlers: &[HandlerBase],
    place: Place,
    before: Option<Masker>,
) -> Verdict {
    let mut hard = false;
    let mut masker = None;
    let mut elsewhere = before.is_some();
    for (frame, level) in frames {
        if handlers.contains(&Some(frame)) {
            masker = Some(Masker::Several);
        }
        if !level.is_open() {
            hard |= level.is_hard();
            masker = Some(Masker::Frame(frame));
        }
        if before == Some(Masker::Frame(frame)) {
            elsewhere = false;
        }
    }
    if handlers.contains(&None) {
        masker = Some(Masker::Several);
    }
    match masker {
        Some(masker) if hard || place == Place::Running => {
            Verdict::Wait(if elsewhere { Masker::Several } else { masker })
        }
        _ => Verdict::Raise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::HARD;

    fn frames(levels: &[u8]) -> impl Iterator<Item = (FrameId, Level)> {
        // Frames are numbered from 1, innermost first.
        let numbered = levels.iter().enumerate();
        numbered.map(|(i, &byte)| (i + 1, Level::from_frame(byte)))
    }

    fn ask(levels: &[u8], handlers: &[HandlerBase], place: Place) -> Verdict {
        decide(frames(levels), handlers, place, None)
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
    fn a_handler_masks_softly() {
        let handler = [Some(2)];
        assert_eq!(
            ask(&[0, 0], &handler, Place::Running),
            Verdict::Wait(Masker::Several)
        );
        assert_eq!(ask(&[0, 0], &handler, Place::Blocked), Verdict::Raise);
        assert_eq!(
            ask(&[0], &[None], Place::Running),
            Verdict::Wait(Masker::Several)
        );
    }

    #[test]
    fn the_older_of_handler_and_frame_is_the_masker() {
        // Frame 1 belongs to the handler, frame 2 was interrupted.
        let handler = [Some(2)];
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
        assert_eq!(ask(&[0, 0], &[Some(9)], Place::Running), Verdict::Raise);
    }

    #[test]
    fn a_masker_of_another_stack_is_not_forgotten() {
        let before = |masker| decide(frames(&[0, 1]), &[], Place::Running, masker);
        let this = Masker::Frame(2);
        assert_eq!(before(None), Verdict::Wait(this));
        assert_eq!(before(Some(this)), Verdict::Wait(this));
        for other in [Masker::Frame(9), Masker::Several] {
            assert_eq!(before(Some(other)), Verdict::Wait(Masker::Several));
        }
    }
}
