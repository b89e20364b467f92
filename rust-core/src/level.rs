//! The level byte: how deep in masked regions a frame stands.
//!
//! The layout is fixed by `include/interrupt_core.h`; the compiler computes
//! levels, this side only reads them.

/// Bits 0 to 4: number of masked regions open in the frame.
pub const DEPTH_MASK: u8 = 0x1f;
/// Bit 5: one of the open regions is hard.
pub const HARD: u8 = 0x20;
/// Bit 7: the innermost region is soft, inside a hard one.
pub const ENTERING: u8 = 0x80;

/// How strongly something masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// A call that is really blocked may be interrupted.
    Soft,
    /// Nothing may be.
    Hard,
}

/// The level that is in force in one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// Read the byte that a frame holds.
    ///
    /// A frame that is about to suspend holds one more bit, which says nothing
    /// about masking and is dropped here.
    pub fn from_frame(byte: u8) -> Self {
        Level(byte & (DEPTH_MASK | HARD | ENTERING))
    }

    /// The number of open regions.
    pub fn depth(self) -> u8 {
        self.0 & DEPTH_MASK
    }

    /// Whether the innermost region is soft: the frame is entering something.
    pub fn is_entering(self) -> bool {
        self.depth() > 0 && (self.0 & HARD == 0 || self.0 & ENTERING != 0)
    }

    /// How the regions mask, if a scope has opened the outermost `floor` of them.
    pub fn mask_above(self, floor: u8) -> Option<Strength> {
        if self.depth() <= floor {
            None
        } else if self.0 & HARD == 0 || (self.is_entering() && self.depth() == floor + 1) {
            Some(Strength::Soft)
        } else {
            Some(Strength::Hard)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(byte: u8) -> Option<Strength> {
        Level::from_frame(byte).mask_above(0)
    }

    #[test]
    fn depth_zero_is_open_whatever_the_other_bits() {
        assert_eq!(mask(0), None);
        assert_eq!(mask(HARD), None);
        assert!(!Level::from_frame(ENTERING).is_entering());
    }

    #[test]
    fn soft_and_hard_differ_in_one_bit() {
        assert_eq!(mask(2), Some(Strength::Soft));
        assert_eq!(mask(2 | HARD), Some(Strength::Hard));
    }

    #[test]
    fn soft_inside_hard_is_hard_unless_that_is_opened() {
        let level = Level::from_frame(2 | HARD | ENTERING);
        assert!(level.is_entering());
        assert_eq!(level.mask_above(0), Some(Strength::Hard));
        assert_eq!(level.mask_above(1), Some(Strength::Soft));
        assert_eq!(level.mask_above(2), None);
    }

    #[test]
    fn what_a_scope_has_opened_does_not_mask() {
        let level = Level::from_frame(2 | HARD);
        assert_eq!(level.mask_above(1), Some(Strength::Hard));
        assert_eq!(level.mask_above(2), None);
        assert_eq!(level.mask_above(3), None);
    }

    #[test]
    fn suspending_does_not_change_the_level() {
        assert_eq!(
            Level::from_frame(0x40 | 3 | HARD),
            Level::from_frame(3 | HARD)
        );
    }
}
