//! A peer written from `net/WIRE.md` alone, on stock quinn and rustls. [`tls`], [`reader`], [`peer`], [`server`]
//! and [`wire`](crate::wire) use no code of the library. If this peer and another one understand each other, the
//! document is complete. [`tap`] is a wire between two peers.

#![expect(clippy::expect_used, clippy::panic, reason = "a peer that breaks a rule fails the check that it is asked by")]

pub mod bytes;
pub mod peer;
pub mod reader;
pub mod server;
pub mod tap;
pub mod tls;
