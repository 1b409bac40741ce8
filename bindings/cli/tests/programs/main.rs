//! Tests that run the programs as processes and observe the events that they write. No test sleeps: each step waits
//! until the previous step is visible.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may, their helpers too")]

mod arguments;
mod demo;
mod doctor;
mod endings;
mod hostile;
mod ports;
mod refusals;
mod support;
mod transfers;
