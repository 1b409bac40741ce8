//! The programs as processes, watched through the events they write. Nothing here sleeps: each step waits for the one
//! before it to be seen.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may, their helpers too")]

mod arguments;
mod demo;
mod doctor;
mod endings;
mod hostile;
mod refusals;
mod support;
mod transfers;
