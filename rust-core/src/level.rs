//! The level byte: how deep in masked regions a frame stands.
//!
//! The layout is fixed by `include/interrupt_core.h`; the compiler computes
//! levels, this side only reads them.

/// Bits 0 to 4: number of masked regions open in the frame.
pub const DEPTH_MASK: u8 = 0x1f;
/// Bit 5: one of the open regions is hard.
pub const HARD: u8 = 0x20;

/// The level that is in force in one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// Read the byte that a frame holds.
    ///
    /// A frame that is about to suspend holds one more bit, which says nothing
    /// about masking and is dropped here.
    pub fn from_frame(byte: u8) -> Self {
        Level(byte & (DEPTH_MASK | HARD))
    }

    /// Whether no region is open.
    pub fn is_open(self) -> bool {
        self.0 & DEPTH_MASK == 0
    }

    /// Whether nothing at all may be raised, not even out of a blocked call.
    pub fn is_hard(self) -> bool {
        !self.is_open() && self.0 & HARD != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_zero_is_open_whatever_the_other_bits() {
        assert!(Level::from_frame(0).is_open());
        assert!(Level::from_frame(HARD).is_open());
        assert!(!Level::from_frame(HARD).is_hard());
    }

    #[test]
    fn soft_and_hard_differ_in_one_bit() {
        assert!(!Level::from_frame(2).is_open());
        assert!(!Level::from_frame(2).is_hard());
        assert!(Level::from_frame(2 | HARD).is_hard());
    }

    #[test]
    fn suspending_does_not_change_the_level() {
        assert_eq!(
            Level::from_frame(0x40 | 3 | HARD),
            Level::from_frame(3 | HARD)
        );
    }
}
