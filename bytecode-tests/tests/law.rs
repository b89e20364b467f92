//! The law of masked regions over every code object of the standard library
//! and its tests, at both ends of what the compiler can leave out.

use bytecode_tests::interpreter::check_law;

/// Test data with syntax errors on purpose. More of them would mean that the
/// compiler has begun to refuse good code.
const NOT_COMPILED: usize = 5;

// Somewhat below what 3.13 has. A census that finds less looked elsewhere.
const CODE_OBJECTS: usize = 75_000;
const NITS: usize = 50_000;

#[test]
fn the_standard_library_keeps_the_law() {
    assert_standard_library_keeps_the_law(0);
}

#[test]
fn the_standard_library_without_asserts_and_docstrings_keeps_the_law() {
    assert_standard_library_keeps_the_law(2);
}

fn assert_standard_library_keeps_the_law(optimize: u8) {
    let census = check_law(optimize, &[]);
    if let Some(report) = census.report() {
        panic!("{report}");
    }
    let not_compiled = &census.not_compiled;
    assert!(
        not_compiled.len() <= NOT_COMPILED,
        "these do not compile: {not_compiled:#?}"
    );
    assert!(census.code_objects > CODE_OBJECTS, "{census:?}");
    assert!(census.nits > NITS, "{census:?}");
    assert!(census.tits > NITS, "{census:?}");
    // The compiler leaves a few handlers of empty `try` bodies behind; if there were many,
    // we would be blind to much of the code.
    assert!(
        census.unreached < census.instructions / 1_000,
        "{} of {} instructions were not reached",
        census.unreached,
        census.instructions
    );
}
