//! The functions that the fuzz targets in `fuzz/` run. Each function takes arbitrary bytes, and panics if one of its
//! assertions does not hold.
//!
//! This module is for fuzz targets only, and is not covered by any promise of stability. The inputs in `fuzz/corpus`
//! also run as a plain test, `tests/fuzz_corpus.rs`.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a finding is a panic")]

mod codecs;
mod delegations;
mod keys;
mod machines;
mod seeds;

pub use self::{
    codecs::{control, wire},
    delegations::delegation,
    keys::{id52, ticket},
    machines::machines,
    seeds::{Seed, seeds},
};

/// A fuzz target: its name, which is also the name of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All fuzz targets.
pub const TARGETS: [Target; 6] = [
    ("wire", wire),
    ("control", control),
    ("ticket", ticket),
    ("id52", id52),
    ("delegation", delegation),
    ("machines", machines),
];
