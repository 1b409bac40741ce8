//! A peer written from `net/WIRE.md` alone, on stock quinn and rustls, against a real endpoint.
//!
//! Nothing in [`wire`], [`tls`] and [`peer`] comes from the library: where this peer and an endpoint understand each
//! other, a stranger's implementation would too. The endpoint's side uses the public API only.

#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod control;
mod document;
mod drain;
mod errors;
mod garbage;
mod lanes;
mod pause;
mod peer;
mod reader;
mod records;
mod server;
mod tls;
mod twins;
mod wire;
