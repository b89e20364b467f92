//! A miniature interpreter in C, the model it is compared with, and the programs
//! that both run.

#![allow(missing_docs)]
#![allow(dead_code, reason = "no test program needs all of it")]

pub mod c;
pub mod exhaustive;
pub mod model;
pub mod program;
pub mod random;
