//! That the comparison with the model can fail: each kind of NIT and TIT of the miniature
//! interpreter is left out, each occasion on which it asks again, and each other thing it
//! does for the core, one at a time. Random programs then show a difference: something is
//! raised where it may not be, late, never, or not together.
//!
//! One at a time, since what the core forgets it forgets in the whole process.

#![cfg(not(loom))]

mod mini;

use std::sync::Mutex;

use interrupt_core::ffi;
use mini::c::{self, LeftOut, Miniature, Place};
use mini::random;

/// What C leaves out.
const LEFT_OUT: [LeftOut; 15] = [
    LeftOut::RegionNit,
    LeftOut::HandlerNit,
    LeftOut::TitStore,
    LeftOut::TitAsks,
    LeftOut::TitFloor,
    LeftOut::SuspendingTit,
    LeftOut::SuspendingAsks,
    LeftOut::CatchFloor,
    LeftOut::UnwindFloor,
    LeftOut::FrameLevel,
    LeftOut::TakeDown,
    LeftOut::LeaveUp,
    LeftOut::HoldBack,
    LeftOut::CarrierEnds,
    LeftOut::ScopeUp,
];

/// What the core forgets, in the order of the reasons of `_PyInterruptCore_Release()`.
const SUPPRESSED: [&str; 8] = [
    "LEAVE",
    "CATCH",
    "UNWIND",
    "REGION_ENDS",
    "THROW",
    "SCOPE_EXIT",
    "SCOPE_ENTER",
    "HAND_OVER",
];

static SWITCHES: Mutex<()> = Mutex::new(());

const SEED: u64 = 1;
const PROGRAMS: u32 = 100_000;

fn report(name: &str, found: Result<usize, random::Difference>) -> Option<String> {
    match found {
        Err(difference) => {
            println!("{name}: {difference}");
            None
        }
        Ok(_) => Some(name.to_owned()),
    }
}

#[test]
fn each_omission_is_found() {
    let _alone = SWITCHES.lock().unwrap();
    let left_out = LEFT_OUT.map(|left_out| {
        let found = random::search(left_out, SEED, PROGRAMS);
        report(&format!("{left_out:?}"), found)
    });
    let suppressed = SUPPRESSED.iter().enumerate().map(|(reason, name)| {
        let reason = reason.try_into().expect("a small number");
        ffi::_PyInterruptCore_SuppressRelease(reason);
        let found = random::search(LeftOut::InTheCore, SEED, PROGRAMS);
        ffi::_PyInterruptCore_SuppressRelease(-1);
        report(name, found)
    });
    let missed: Vec<_> = left_out.into_iter().chain(suppressed).flatten().collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn without_masks_everything_is_raised_at_once() {
    const RUNNING: i32 = 0;
    const HARD: i32 = 0x21;
    let _alone = SWITCHES.lock().unwrap();
    for masked in [false, true] {
        ffi::_PyInterruptCore_SetMasks(masked.into());
        let mut mini = Miniature::new(LeftOut::Nothing);
        mini.call(Place::Stack(0));
        assert_eq!(mini.enter_scope(0, 1), 0);
        mini.nit(HARD);
        assert_eq!(mini.is_masked(), masked);
        mini.send(Some(0), 0);
        let raised = mini.check(RUNNING) == c::RAISED;
        assert_eq!(raised, !masked);
    }
}
