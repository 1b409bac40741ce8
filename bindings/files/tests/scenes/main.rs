//! Transfers between two endpoints on loopback.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may, their helpers too")]

mod arrivals;
mod refusals;
mod resumption;
mod stranger;
mod support;
