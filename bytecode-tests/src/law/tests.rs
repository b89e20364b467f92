//! Each rule has a program that keeps it and, by one edit, one that breaks it.

use super::*;

const SOFT: u32 = 0;
const HARD: u32 = 0x20;
const ENTERING: u32 = 0x80;
const SUSPENDING: u32 = 0x40;

/// A program by instruction numbers; offsets are twice those.
#[derive(Clone)]
struct Program {
    instructions: Vec<Instruction<'static>>,
    protected: Vec<Protected>,
}

fn op(opname: &'static str) -> Instruction<'static> {
    with_arg(opname, 0)
}

fn with_arg(opname: &'static str, oparg: u32) -> Instruction<'static> {
    Instruction::new(0, opname, oparg)
}

fn nit(oparg: u32) -> Instruction<'static> {
    with_arg("NIT", oparg)
}

fn tit(oparg: u32) -> Instruction<'static> {
    with_arg("TIT", oparg)
}

fn jump(opname: &'static str, to: u32) -> Instruction<'static> {
    Instruction {
        target: Some(2 * to),
        ..op(opname)
    }
}

impl Program {
    fn new<const N: usize>(instructions: [Instruction<'static>; N]) -> Self {
        Self {
            instructions: instructions.to_vec(),
            protected: Vec::new(),
        }
    }

    /// Adds a range, the end excluded.
    fn protect(mut self, start: u32, end: u32, handler: u32) -> Self {
        self.protected.push(Protected {
            start: 2 * start,
            end: 2 * end,
            handler: 2 * handler,
        });
        self
    }

    fn replace(mut self, number: usize, by: Instruction<'static>) -> Self {
        self.instructions[number] = by;
        self
    }

    fn verdict(&self) -> Verdict {
        let instructions = self.instructions.iter().zip(0..);
        check(&CodeObject {
            file: "test.py".into(),
            line: 1,
            name: "f".into(),
            instructions: instructions
                .map(|(&instruction, number)| Instruction {
                    offset: 2 * number,
                    ..instruction
                })
                .collect(),
            protected: self.protected.clone(),
        })
    }

    fn assert_keeps_the_law(&self) {
        let verdict = self.verdict();
        assert_eq!(verdict.violations, []);
        assert_eq!(verdict.unreached, 0);
    }

    /// Exactly this is found: rules, each with the number of its instruction.
    fn assert_breaks<const N: usize>(&self, expected: [(Rule, u32); N]) {
        let violations = self.verdict().violations;
        let found: Vec<_> = violations.iter().map(|v| (v.rule, v.offset / 2)).collect();
        assert_eq!(found, expected, "{violations:#?}");
    }
}

/// `with manager: work()`, then return.
fn with_statement() -> Program {
    Program::new([
        op("LOAD_GLOBAL"),
        nit(1 | SOFT),
        op("BEFORE_WITH"),
        tit(0),
        op("POP_TOP"),
        op("CALL"),
        nit(1 | HARD),
        op("CALL"),
        tit(0),
        op("RETURN_CONST"),
        nit(1 | HARD), // 10: the exit on an exception
        op("PUSH_EXC_INFO"),
        op("WITH_EXCEPT_START"),
        jump("POP_JUMP_IF_TRUE", 16),
        tit(0),
        op("RERAISE"),
        op("POP_TOP"), // 16: suppressed
        op("POP_EXCEPT"),
        tit(0),
        op("RETURN_CONST"),
        nit(0), // 20: the exit raised
        op("COPY"),
        op("POP_EXCEPT"),
        op("RERAISE"),
    ])
    .protect(3, 6, 10)
    .protect(10, 17, 20)
}

/// `try: work()`, `finally: yield`, then return.
fn finally_that_yields() -> Program {
    Program::new([
        op("RETURN_GENERATOR"),
        op("POP_TOP"),
        op("RESUME"),
        op("CALL"),
        nit(1 | HARD),
        tit(1 | HARD | SUSPENDING),
        op("YIELD_VALUE"),
        tit(0),
        op("RETURN_CONST"),
        nit(1 | HARD), // 9: the copy for exceptions
        op("PUSH_EXC_INFO"),
        op("CALL"),
        tit(0),
        op("RERAISE"),
        nit(0), // 14: the copy raised
        op("COPY"),
        op("POP_EXCEPT"),
        op("RERAISE"),
    ])
    .protect(3, 4, 9)
    .protect(9, 14, 14)
}

/// A region inside a hard one, and a condition around the inner one.
fn nested_regions() -> Program {
    Program::new([
        nit(1 | HARD),
        jump("POP_JUMP_IF_TRUE", 5),
        nit(2 | HARD),
        op("CALL"),
        tit(1 | HARD),
        op("CALL"), // 5
        tit(0),
        op("RETURN_CONST"),
    ])
}

#[test]
fn good_programs_keep_the_law() {
    with_statement().assert_keeps_the_law();
    finally_that_yields().assert_keeps_the_law();
    nested_regions().assert_keeps_the_law();
}

#[test]
fn a_missing_tit_on_one_path_gives_two_levels() {
    nested_regions()
        .replace(4, op("NOP"))
        .assert_breaks([(Rule::OneLevel, 5)]);
}

#[test]
fn a_loop_that_deepens_the_level_gives_two_levels() {
    Program::new([
        op("RESUME"),
        nit(1 | HARD), // 1
        jump("POP_JUMP_IF_TRUE", 5),
        op("CALL"),
        jump("JUMP_BACKWARD", 1),
        tit(0), // 5
        op("RETURN_CONST"),
    ])
    .assert_breaks([(Rule::OneLevel, 1)]);
}

#[test]
fn a_missing_tit_before_a_return_is_found() {
    with_statement()
        .replace(8, op("NOP"))
        .assert_breaks([(Rule::ReturnMasked, 9)]);
    with_statement()
        .replace(18, op("NOP"))
        .assert_breaks([(Rule::ReturnMasked, 19)]);
}

#[test]
fn every_kind_of_return_is_looked_at() {
    for opname in ["RETURN_VALUE", "RETURN_CONST"] {
        Program::new([nit(1 | HARD), op(opname)]).assert_breaks([(Rule::ReturnMasked, 1)]);
    }
    Program::new([nit(1 | HARD), op("RETURN_GENERATOR"), tit(0), op("RERAISE")])
        .assert_breaks([(Rule::ReturnMasked, 1)]);
}

#[test]
fn a_handler_reached_from_two_levels_needs_its_nit() {
    with_statement()
        .replace(20, op("NOP"))
        .assert_breaks([(Rule::HandlerSetsLevel, 20)]);
}

#[test]
fn tit_raises_at_the_level_it_stores() {
    // Only TIT is protected: no exception comes from inside the region.
    let program = Program::new([
        nit(1 | HARD),
        tit(0),
        op("RETURN_CONST"),
        op("PUSH_EXC_INFO"), // 3
        op("RERAISE"),
    ]);
    program.clone().protect(1, 2, 3).assert_keeps_the_law();
    // With a call inside the region there is.
    let program = Program::new([
        nit(1 | HARD),
        op("CALL"),
        tit(0),
        op("RETURN_CONST"),
        op("PUSH_EXC_INFO"), // 4
        op("RERAISE"),
    ]);
    program
        .protect(1, 3, 4)
        .assert_breaks([(Rule::HandlerSetsLevel, 4)]);
}

#[test]
fn a_handler_cannot_open_two_regions_at_once() {
    let violations = with_statement()
        .replace(10, nit(2 | HARD))
        .verdict()
        .violations;
    let expected = (Rule::HandlerSetsLevel, 20);
    let found: Vec<_> = violations.iter().map(|v| (v.rule, v.offset)).collect();
    assert!(found.contains(&expected), "{violations:#?}");
}

#[test]
fn a_handler_that_opens_the_mask_of_its_statement_is_found() {
    // In a `finally`: try: work() / except: raise.
    let handler = |first| {
        Program::new([
            nit(1 | HARD),
            op("NOP"),
            op("CALL"), // 2: protected
            tit(0),
            op("RETURN_CONST"),
            first, // 5
            op("PUSH_EXC_INFO"),
            op("RAISE_VARARGS"),
        ])
        .protect(2, 3, 5)
    };
    handler(nit(1 | HARD)).assert_keeps_the_law();
    handler(nit(0)).assert_breaks([(Rule::HandlerDropsLevel, 5)]);
    handler(nit(1 | SOFT)).assert_breaks([(Rule::HardStays, 5)]);
}

#[test]
fn a_handler_belongs_to_where_its_range_begins() {
    // A statement that starts with a region of its own: try: finally: ...
    Program::new([
        op("RESUME"),
        nit(1 | HARD), // 1: protected from here
        op("CALL"),
        op("RAISE_VARARGS"),
        nit(0), // 4
        op("PUSH_EXC_INFO"),
        op("RERAISE"),
    ])
    .protect(1, 4, 4)
    .assert_keeps_the_law();
}

#[test]
fn nit_opens_one_region() {
    nested_regions()
        .replace(2, nit(3 | HARD))
        .assert_breaks([(Rule::NitOpensOne, 2)]);
    let again = Program::new([nit(1), nit(1), tit(0), op("RETURN_CONST")]);
    again.assert_breaks([(Rule::NitOpensOne, 1)]);
    let open = Program::new([nit(0), op("RETURN_CONST")]);
    open.assert_breaks([(Rule::NitOpensOne, 0)]);
}

#[test]
fn soft_inside_hard_stays_hard() {
    nested_regions()
        .replace(2, nit(2 | SOFT))
        .assert_breaks([(Rule::HardStays, 2)]);
}

#[test]
fn a_soft_region_inside_a_hard_one_says_so() {
    // What enters there without the mark, and the mark where nothing enters.
    let enter = |level| {
        Program::new([
            nit(1 | HARD),
            nit(level),
            op("BEFORE_WITH"),
            tit(1 | HARD),
            tit(0),
            op("RETURN_CONST"),
        ])
    };
    enter(2 | HARD).assert_breaks([(Rule::EnterMasked, 2)]);
    Program::new([nit(1 | ENTERING), tit(0), op("RETURN_CONST")])
        .assert_breaks([(Rule::Encoding, 0), (Rule::TitLeaves, 1)]);
}

#[test]
fn tit_lowers_the_level() {
    let raises = Program::new([tit(1), op("RETURN_CONST")]);
    raises.assert_breaks([(Rule::TitLeaves, 0)]);
    // What is left of a region whose NIT was forgotten.
    let leaves_nothing = Program::new([op("CALL"), tit(0), op("RETURN_CONST")]);
    leaves_nothing.assert_breaks([(Rule::TitLeaves, 1)]);
}

#[test]
fn tit_restores_the_strength_of_the_enclosing_region() {
    nested_regions()
        .replace(4, tit(1 | SOFT))
        .assert_breaks([(Rule::TitRestores, 4)]);
    Program::new([
        nit(1 | SOFT),
        nit(2 | HARD),
        tit(1 | HARD),
        tit(0),
        op("RETURN_CONST"),
    ])
    .assert_breaks([(Rule::TitRestores, 2)]);
}

#[test]
fn tit_may_leave_several_regions() {
    Program::new([nit(1), nit(2 | HARD), tit(0), op("RETURN_CONST")]).assert_keeps_the_law();
}

#[test]
fn a_masked_yield_rearms() {
    finally_that_yields()
        .replace(5, op("NOP"))
        .assert_breaks([(Rule::YieldRearms, 6)]);
}

#[test]
fn an_unmasked_yield_does_not_rearm() {
    let program = Program::new([op("RESUME"), op("YIELD_VALUE"), op("RETURN_CONST")]);
    program.assert_keeps_the_law();
}

#[test]
fn rearming_keeps_the_level() {
    finally_that_yields()
        .replace(5, tit(1 | SOFT | SUSPENDING))
        .assert_breaks([(Rule::YieldRearms, 5)]);
    finally_that_yields()
        .replace(5, tit(2 | HARD | SUSPENDING))
        .assert_breaks([(Rule::YieldRearms, 5)]);
}

#[test]
fn rearming_is_for_yields_only() {
    finally_that_yields()
        .replace(6, op("CALL"))
        .assert_breaks([(Rule::YieldRearms, 5)]);
}

#[test]
fn nothing_jumps_past_the_rearming() {
    finally_that_yields()
        .replace(4, nit(1 | HARD))
        .replace(11, jump("POP_JUMP_IF_TRUE", 6))
        .assert_breaks([(Rule::YieldRearms, 6)]);
}

#[test]
fn an_oparg_is_a_level() {
    let program = |first| Program::new([first, op("RAISE_VARARGS")]);
    for bad in [
        nit(0x81),
        nit(0x100),
        nit(HARD),
        tit(SUSPENDING),
        nit(SUSPENDING | 1),
    ] {
        program(bad).assert_breaks([(Rule::Encoding, 0)]);
    }
}

#[test]
fn entering_is_masked_and_ends_protected() {
    let open = with_statement().replace(1, op("NOP")).replace(3, op("NOP"));
    open.assert_breaks([(Rule::EnterMasked, 2)]);
    let mut late = with_statement();
    late.protected[0].start += 2;
    late.assert_breaks([(Rule::EnterMasked, 2)]);
}

#[test]
fn an_exception_goes_on_outside_the_region() {
    with_statement()
        .replace(14, op("NOP"))
        .assert_breaks([(Rule::ReraiseOutside, 15)]);
    finally_that_yields()
        .replace(12, op("NOP"))
        .assert_breaks([(Rule::ReraiseOutside, 13)]);
}

#[test]
fn a_comprehension_re_raises_in_the_region_around_it() {
    finally_that_yields()
        .replace(12, op("STORE_FAST"))
        .assert_keeps_the_law();
}

#[test]
fn exiting_is_hard_masked() {
    with_statement()
        .replace(10, nit(1 | SOFT))
        .assert_breaks([(Rule::ExitMasked, 12)]);
}

#[test]
fn a_jump_back_is_protected_as_its_loop_is() {
    let program = Program::new([
        op("FOR_ITER"),
        op("POP_TOP"),
        jump("JUMP_BACKWARD", 0),
        nit(0),
        op("RERAISE"),
    ]);
    program.clone().protect(0, 3, 3).assert_keeps_the_law();
    program.clone().protect(1, 3, 3).assert_keeps_the_law();
    program
        .protect(0, 2, 3)
        .assert_breaks([(Rule::JumpBackProtected, 2)]);
}

#[test]
fn jumps_lead_to_instructions() {
    let program = Program::new([jump("JUMP_FORWARD", 7)]);
    program.assert_breaks([(Rule::WellFormed, 0)]);
    Program::new([op("NOP")]).assert_breaks([(Rule::WellFormed, 0)]);
    let program = Program::new([op("RETURN_CONST")]);
    program
        .protect(0, 1, 9)
        .assert_breaks([(Rule::WellFormed, 9)]);
}

#[test]
fn unreached_instructions_are_counted() {
    let program = Program::new([op("RETURN_CONST"), op("NOP"), op("RETURN_CONST")]);
    let verdict = program.verdict();
    assert_eq!((verdict.violations, verdict.unreached), (vec![], 2));
}

#[test]
fn a_code_object_is_read_from_the_dump() {
    let line = r#"{"file":"a.py","line":1,"name":"f","instructions":[[0,"NIT",33,null],
        [2,"JUMP_FORWARD",1,4],[4,"RETURN_VALUE",null,null]],"protected":[[0,2,4]]}"#;
    let code: CodeObject = serde_json::from_str(line).expect("the dump's form");
    let found: Vec<_> = check(&code).violations.iter().map(|v| v.rule).collect();
    assert_eq!(found, [Rule::ReturnMasked]);
}
