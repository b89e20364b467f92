//! One snapshot of the disassembly for each construct in `fixtures/`.
//!
//! A test a fixture, so that a failure names its construct. README.md says how
//! to read the snapshots and how to accept a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytecode_tests::interpreter::{check_law, disassemble, for_each_code_object};
use bytecode_tests::law;

/// All listings: starting the interpreter once is most of the work.
static LISTINGS: LazyLock<BTreeMap<String, String>> =
    LazyLock::new(|| disassemble(&fixture_paths()));

macro_rules! fixtures {
    ($($name:ident)*) => {
        const FIXTURES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                assert_disassembly(stringify!($name));
            }
        )*
    };
}

fixtures! {
    async_generator_try_finally
    async_generator_yield_in_finally
    async_generator_yield_in_nested_with
    async_with_as_name
    async_with_async_comprehension
    async_with_await_in_body
    async_with_await_in_item
    async_with_in_async_generator
    async_with_in_except
    async_with_in_finally
    async_with_in_loop_break
    async_with_in_loop_continue
    async_with_nested
    async_with_plain
    async_with_raise
    async_with_return_constant
    async_with_return_value
    async_with_suppressing_exit
    async_with_two_items
    coroutine_try_finally
    coroutine_without_regions
    explicit_scopes_composed
    finally_async_for
    finally_await
    finally_await_after_return
    finally_break
    finally_break_conditional
    finally_break_out_of_two
    finally_comprehension
    finally_continue
    finally_continue_conditional
    finally_endless
    finally_lambda
    finally_loop
    finally_match
    finally_raise
    finally_return
    finally_return_conditional
    finally_return_replaces_return
    finally_try_except
    finally_yield
    finally_yield_from
    generator_return_in_try_finally
    generator_try_finally
    generator_without_regions
    generator_yield_from_in_try_finally
    try_except_as_finally
    try_except_else_finally
    try_except_finally
    try_except_finally_in_loop
    try_except_finally_reraise
    try_except_finally_return_in_handler
    try_except_star_else_finally
    try_except_star_finally
    try_except_star_finally_return_in_body
    try_except_star_with_in_handler
    try_except_star_without_finally
    try_except_without_finally
    try_finally
    try_finally_at_module_level
    try_finally_comprehension_in_body
    try_finally_empty_body
    try_finally_empty_cleanup
    try_finally_for_and_if_in_body
    try_finally_generator_expression_in_body
    try_finally_in_class_body
    try_finally_in_finally
    try_finally_in_loop_break
    try_finally_in_loop_continue
    try_finally_in_while_break
    try_finally_nested
    try_finally_nested_in_loop_break
    try_finally_raise
    try_finally_return_constant
    try_finally_return_early
    try_finally_return_local
    try_finally_return_through_two
    try_finally_return_value
    try_finally_while_in_body
    try_finally_with_in_body
    with_as_attribute
    with_as_call_in_target
    with_as_name
    with_as_subscript
    with_as_tuple
    with_at_module_level
    with_comprehension_and_if_in_body
    with_comprehension_in_body
    with_comprehension_in_item
    with_deleting_name
    with_empty_body
    with_endless_body
    with_for_and_if_in_body
    with_generator_expression_in_body
    with_in_class_body
    with_in_coroutine
    with_in_else
    with_in_except
    with_in_finally
    with_in_finally_return
    with_in_generator
    with_in_loop
    with_in_loop_break
    with_in_loop_continue
    with_in_loop_else
    with_in_method_using_class_cell
    with_in_try_body
    with_in_with_item
    with_match_in_body
    with_nested
    with_nested_in_loop_break
    with_parenthesised_items
    with_plain
    with_raise
    with_return_constant
    with_return_early
    with_return_from_loop
    with_return_value
    with_suppressing_exit
    with_try_finally_in_body
    with_two_items
    with_two_items_return
    with_while_in_body
    with_yield_from_in_body
    with_yield_in_item
}

fn assert_disassembly(name: &str) {
    let listing = LISTINGS
        .get(name)
        .unwrap_or_else(|| panic!("there is no tests/fixtures/{name}.py"));
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, listing));
}

fn fixture_paths() -> Vec<PathBuf> {
    FIXTURES
        .iter()
        .map(|name| tests_folder("fixtures").join(name).with_extension("py"))
        .collect()
}

fn tests_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The names of the files in a folder that have this extension, without it.
fn names_in(folder: &Path, extension: &str) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

#[test]
fn every_fixture_has_its_test() {
    let listed: BTreeSet<String> = FIXTURES.iter().map(|&name| name.to_owned()).collect();
    let present = names_in(&tests_folder("fixtures"), "py");
    let differences: Vec<_> = listed.symmetric_difference(&present).collect();
    assert!(
        differences.is_empty(),
        "only in tests/fixtures or only in the list in disassembly.rs: {differences:?}"
    );
}

#[test]
fn every_snapshot_has_its_fixture() {
    let mut orphans = names_in(&tests_folder("snapshots"), "snap");
    orphans.retain(|name| !FIXTURES.contains(&name.as_str()));
    assert!(
        orphans.is_empty(),
        "remove these from tests/snapshots: {orphans:?}"
    );
}

#[test]
fn listings_do_not_depend_on_where_and_when() {
    for (name, listing) in LISTINGS.iter() {
        assert!(!listing.contains(" at 0x"), "{name}: an address");
        assert!(!listing.contains("file \"/"), "{name}: a path");
    }
    assert_eq!(*LISTINGS, disassemble(&fixture_paths()));
}

#[test]
fn every_fixture_keeps_the_law() {
    let census = check_law(0, &fixture_paths());
    assert_eq!(census.files, FIXTURES.len());
    assert_eq!(census.not_compiled, Vec::<String>::new());
    assert!(census.nits > FIXTURES.len(), "{} NIT only", census.nits);
    if let Some(report) = census.report() {
        panic!("{report}");
    }
}

/// The law can fail, on real code too: take out one NIT or TIT at a time.
#[test]
fn the_law_misses_nits_and_tits_that_are_lost() {
    let (mut found, mut overlooked) = (0, 0);
    for_each_code_object(0, &fixture_paths(), |code| {
        for i in 0..code.instructions.len() {
            let mut damaged = code.clone();
            let opname = &mut damaged.instructions[i].opname;
            if !matches!(*opname, "NIT" | "TIT") {
                continue;
            }
            *opname = "NOP";
            if law::check(&damaged).violations.is_empty() {
                overlooked += 1;
            } else {
                found += 1;
            }
        }
    });
    // Not all: of two TIT in a row the second alone does the same, and no path
    // leads to the copies for exceptions of what cannot raise.
    assert!(
        found > 15 * overlooked,
        "{found} found, {overlooked} overlooked"
    );
}
