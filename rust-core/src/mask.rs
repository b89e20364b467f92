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
    /// The running signal handler; every masked frame is one of its own.
    Handler,
}

/// The answer to "may it be raised here?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Raise it now.
    Raise,
    /// It waits, until the masker leaves.
    Wait(Masker),
}

/// A running signal handler, as the walk sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// None runs.
    None,
    /// It interrupted this frame.
    Above(FrameId),
    /// It runs with no Python frame below it.
    AboveNothing,
}

/// Decide for a thread whose frames, innermost first, are `frames`.
///
/// A handler counts only if the frame it interrupted is on this stack: code that
/// switches stacks inside a handler runs code that is not the handler's.
pub fn decide(
    frames: impl Iterator<Item = (FrameId, Level)>,
    handler: Handler,
    place: Place,
) -> Verdict {
    let mut hard = false;
    let mut masker = None;
    for (frame, level) in frames {
        if handler == Handler::Above(frame) {
            masker = Some(Masker::Handler);
        }
        if !level.is_open() {
            hard |= level.is_hard();
            masker = Some(Masker::Frame(frame));
        }
    }
    if handler == Handler::AboveNothing {
        masker = Some(Masker::Handler);
    }
    match masker {
        Some(masker) if hard || place == Place::Running => Verdict::Wait(masker),
        _ => Verdict::Raise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::HARD;

    fn ask(levels: &[u8], handler: Handler, place: Place) -> Verdict {
        // Frames are numbered from 1, innermost first.
        let frames = levels.iter().enumerate();
        decide(
            frames.map(|(i, &byte)| (i + 1, Level::from_frame(byte))),
            handler,
            place,
        )
    }

    #[test]
    fn open_frames_raise() {
        assert_eq!(ask(&[], Handler::None, Place::Running), Verdict::Raise);
        assert_eq!(ask(&[0, 0], Handler::None, Place::Running), Verdict::Raise);
    }

    #[test]
    fn any_masked_frame_masks_its_callees() {
        for levels in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
            let verdict = ask(&levels, Handler::None, Place::Running);
            assert!(matches!(verdict, Verdict::Wait(_)), "{levels:?}");
        }
    }

    #[test]
    fn the_outermost_masked_frame_is_the_masker() {
        assert_eq!(
            ask(&[1, 0, 1, 0], Handler::None, Place::Running),
            Verdict::Wait(Masker::Frame(3))
        );
    }

    #[test]
    fn a_blocked_call_is_held_back_by_hard_regions_only() {
        assert_eq!(ask(&[1, 2], Handler::None, Place::Blocked), Verdict::Raise);
        // Soft inside hard stays hard, also across frames.
        assert_eq!(
            ask(&[1, 1 | HARD], Handler::None, Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
        assert_eq!(
            ask(&[1 | HARD, 1], Handler::None, Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
    }

    #[test]
    fn a_handler_masks_softly() {
        let handler = Handler::Above(2);
        assert_eq!(
            ask(&[0, 0], handler, Place::Running),
            Verdict::Wait(Masker::Handler)
        );
        assert_eq!(ask(&[0, 0], handler, Place::Blocked), Verdict::Raise);
        assert_eq!(
            ask(&[0], Handler::AboveNothing, Place::Running),
            Verdict::Wait(Masker::Handler)
        );
    }

    #[test]
    fn the_older_of_handler_and_frame_is_the_masker() {
        // Frame 1 belongs to the handler, frame 2 was interrupted.
        let handler = Handler::Above(2);
        assert_eq!(
            ask(&[1, 0], handler, Place::Running),
            Verdict::Wait(Masker::Handler)
        );
        assert_eq!(
            ask(&[0, 1], handler, Place::Running),
            Verdict::Wait(Masker::Frame(2))
        );
        assert_eq!(
            ask(&[0, 1 | HARD], handler, Place::Blocked),
            Verdict::Wait(Masker::Frame(2))
        );
    }

    #[test]
    fn a_handler_of_another_stack_does_not_mask() {
        assert_eq!(
            ask(&[0, 0], Handler::Above(9), Place::Running),
            Verdict::Raise
        );
    }
}
