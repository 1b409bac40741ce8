//! Scenes with two or more endpoints on loopback: each rule of `INVARIANTS.md` that needs more than one side.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect by failing")]

mod access;
mod bad_input;
mod cancellation;
mod clock;
mod congestion;
mod delegation;
mod dials;
mod early;
mod endings;
mod ends;
mod errors;
mod hooks;
mod incoming;
mod keep;
mod lane_credit;
mod limits;
mod lost;
mod mortal;
mod negotiation;
mod numbers;
mod paths;
mod paused_reader;
mod peers;
mod pieces;
mod records;
mod relay;
mod requests;
mod seed;
mod sharing;
mod shutdown;
mod stage;
mod status;
