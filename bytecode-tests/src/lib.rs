//! Asks the built interpreter what its compiler emits.
//!
//! Two views of the same thing. A disassembly, normalised so that it reads the
//! same on every machine, for the snapshots: they *show* one construct each.
//! And a plain dump of code objects for [`law`], which *proves* the masked
//! regions consistent, for code nobody has looked at.

pub mod interpreter;
pub mod law;
