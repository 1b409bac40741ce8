//! Scenes with two or more endpoints on loopback: each rule of `INVARIANTS.md` that needs more than one side.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by failing")]

mod bad_input;
mod ends;
mod errors;
mod negotiation;
mod paused_reader;
mod peers;
mod requests;
mod stage;
