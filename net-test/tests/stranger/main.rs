//! A peer written from `net/WIRE.md` alone, on stock quinn and rustls, against a real endpoint.
//!
//! [`wire`] and `twolane_test::stranger` use no code of the library. If this peer and an endpoint understand each
//! other, another implementation and the endpoint do too. The endpoint's side uses only the public API.

#![allow(unreachable_pub, reason = "a test is no library")]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod conformance;
mod control;
mod document;
mod drain;
mod early;
mod errors;
mod exchange;
mod garbage;
mod given_up;
mod lanes;
mod pause;
mod peer;
mod records;
mod server;
mod twins;

use twolane_test::{
    stranger::{reader, tap, tls},
    wire,
};
