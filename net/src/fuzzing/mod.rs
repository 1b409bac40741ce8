//! What the fuzz targets in `fuzz/` run: each function takes any bytes and panics if what it asserts does not hold.
//!
//! For fuzz targets, and with no promise of stability. The inputs in `fuzz/corpus` also run as a plain test,
//! `tests/fuzz_corpus.rs`.

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

/// A target: its name, which is that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("wire", wire),
    ("control", control),
    ("ticket", ticket),
    ("id52", id52),
    ("delegation", delegation),
    ("machines", machines),
];
