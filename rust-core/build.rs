//! Compiles the C side of the tests: a miniature eval loop that uses the header
//! as the interpreter does. Only test programs link it.

fn main() {
    println!("cargo::rerun-if-changed=include/interrupt_core.h");
    println!("cargo::rerun-if-changed=tests/mini_eval.c");
    if std::env::var_os("CARGO_CFG_LOOM").is_some() {
        // Loom's models have nothing that C could call.
        return;
    }
    let objects = cc::Build::new()
        .file("tests/mini_eval.c")
        .include("include")
        .std("c11")
        .warnings_into_errors(true)
        .compile_intermediates();
    for object in objects {
        println!("cargo::rustc-link-arg-tests={}", object.display());
    }
}
