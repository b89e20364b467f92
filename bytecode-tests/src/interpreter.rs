//! Finds the interpreter under test and runs the Python drivers in it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::law::{self, Violation};

/// Names the interpreter to test instead of the one `scripts/build` makes.
pub const INTERPRETER_VARIABLE: &str = "CPYTHON_NIT_PYTHON";

/// The interpreter under test, or what to do to get one.
fn interpreter() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(INTERPRETER_VARIABLE) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "{INTERPRETER_VARIABLE} names {}, which is not a file",
                path.display()
            ))
        };
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the repository");
    let path = root.join("build/release/python");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "no interpreter at {}; make it with: scripts/build",
            path.display()
        ))
    }
}

/// A command that runs a driver, apart from the user's environment: -I and -S
/// keep their settings and packages out, -W their source's warnings.
fn driver<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let interpreter = interpreter().unwrap_or_else(|reason| panic!("{reason}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("driver")
        .join(name);
    let mut command = Command::new(interpreter);
    command
        .args(["-I", "-S", "-W", "ignore"])
        .arg(script)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// The normalised disassembly of each source file, by file name without `.py`.
///
/// # Panics
/// If there is no interpreter, or it cannot compile one of the files.
pub fn disassemble(sources: &[PathBuf]) -> BTreeMap<String, String> {
    let output = driver("disassemble.py", sources)
        .stderr(Stdio::inherit())
        .output()
        .expect("the interpreter starts");
    assert!(
        output.status.success(),
        "disassemble.py: {}, see its message above",
        output.status
    );
    let listings: BTreeMap<String, String> =
        serde_json::from_slice(&output.stdout).expect("disassemble.py prints one JSON object");
    listings
        .into_iter()
        .map(|(name, listing)| (name, without_addresses(&listing)))
        .collect()
}

/// Leaves out the address in each `<code object f at 0x7f..., file ...>`.
fn without_addresses(listing: &str) -> String {
    const MARK: &str = " at 0x";
    let mut parts = listing.split(MARK);
    let mut normalised = String::from(parts.next().unwrap_or_default());
    for part in parts {
        normalised.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    normalised
}

/// What checking many code objects came to.
#[derive(Debug, Default)]
pub struct Census {
    /// Files read, those that do not compile included.
    pub files: usize,
    /// Files the compiler refuses: test data with errors on purpose.
    pub not_compiled: Vec<String>,
    /// Code objects checked.
    pub code_objects: usize,
    /// Instructions in them.
    pub instructions: usize,
    /// Instructions no path leads to, so that nothing was proved about them, in other
    /// files than the tests of masks.
    pub unreached: usize,
    /// NIT instructions seen.
    pub nits: usize,
    /// TIT instructions seen.
    pub tits: usize,
    /// Every broken rule, with the code object it was found in.
    pub violations: Vec<(String, Violation)>,
}

/// Checks every code object of the sources, compiled at this optimisation
/// level; of the whole standard library if there are none.
///
/// # Panics
/// If there is no interpreter, or it does not get to the end.
pub fn check_law(optimize: u8, sources: &[PathBuf]) -> Census {
    let mut census = Census::default();
    let (files, not_compiled) = for_each_code_object(optimize, sources, |code| census.add(&code));
    census.files = files;
    census.not_compiled = not_compiled;
    census
}

/// Hands out every code object of the sources, as in [`check_law`]; then tells
/// how many files there were and which do not compile.
///
/// # Panics
/// If there is no interpreter, or it does not get to the end.
pub fn for_each_code_object(
    optimize: u8,
    sources: &[PathBuf],
    mut take: impl FnMut(law::CodeObject),
) -> (usize, Vec<String>) {
    let mut arguments = vec![optimize.to_string().into()];
    arguments.extend(sources.iter().map(|path| path.clone().into_os_string()));
    // Standard error is inherited: the driver's progress is seen while it runs.
    let mut child = driver("dump_code_objects.py", arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter starts");
    let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
    let mut summary = None;
    for line in lines {
        let line = line.expect("the driver prints UTF-8");
        match serde_json::from_str(&line).expect("every line is a record") {
            Record::Code(code) => take(code),
            Record::Summary {
                files,
                not_compiled,
            } => summary = Some((files, not_compiled)),
        }
    }
    let status = child.wait().expect("the driver ends");
    summary
        .filter(|_| status.success())
        .unwrap_or_else(|| panic!("dump_code_objects.py: {status}, see its message above"))
}

/// A line the dump driver prints.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record<'a> {
    #[serde(borrow)]
    Code(law::CodeObject<'a>),
    Summary {
        files: usize,
        not_compiled: Vec<String>,
    },
}

/// They are full of `try: pass`, of whose handlers the compiler leaves something behind.
fn is_test_of_masks(file: &str) -> bool {
    file.rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with("test_interrupt"))
}

impl Census {
    fn add(&mut self, code: &law::CodeObject) {
        let count = |opname| {
            let instructions = code.instructions.iter();
            instructions.filter(|i| i.opname == opname).count()
        };
        self.code_objects += 1;
        self.nits += count("NIT");
        self.tits += count("TIT");
        let place = format!("{}:{} {}", code.file, code.line, code.name);
        let verdict = law::check(code);
        self.instructions += code.instructions.len();
        if !is_test_of_masks(&code.file) {
            self.unreached += verdict.unreached;
        }
        let violations = verdict.violations.into_iter();
        self.violations
            .extend(violations.map(|v| (place.clone(), v)));
    }

    /// The violations to read first, one a line, and how many there are of
    /// each rule; `None` if the law holds.
    pub fn report(&self) -> Option<String> {
        const SHOWN: usize = 20;
        if self.violations.is_empty() {
            return None;
        }
        let mut by_rule = BTreeMap::new();
        for (_, violation) in &self.violations {
            *by_rule.entry(violation.rule).or_insert(0_usize) += 1;
        }
        let mut report = String::from("the law is broken:\n");
        for (rule, count) in by_rule {
            report += &format!("  {count} times: {rule}\n");
        }
        for (place, violation) in self.violations.iter().take(SHOWN) {
            report += &format!("{place}, {violation}\n");
        }
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_left_out() {
        assert_eq!(
            without_addresses("<code object f at 0x7f00ab, file \"x.py\"> <code object g at 0x1>"),
            "<code object f, file \"x.py\"> <code object g>"
        );
        assert_eq!(without_addresses("NIT 1\n"), "NIT 1\n");
    }

    #[test]
    fn a_report_names_rule_place_and_offset() {
        let code = law::CodeObject {
            file: "x.py".into(),
            line: 3,
            name: "f".into(),
            instructions: vec![
                law::Instruction::new(0, "NIT", 1),
                law::Instruction::new(2, "RETURN_VALUE", 0),
            ],
            protected: vec![],
        };
        let mut census = Census::default();
        census.add(&code);
        assert_eq!((census.code_objects, census.nits, census.tits), (1, 1, 0));
        let report = census.report().expect("a return at level 1 is a violation");
        assert!(report.contains("x.py:3 f, offset 2"), "{report}");
        assert!(
            report.contains(&law::Rule::ReturnMasked.to_string()),
            "{report}"
        );
    }
}
