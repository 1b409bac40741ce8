//! A peer written from `net/WIRE.md` alone, on stock quinn and rustls. Nothing in [`tls`], [`reader`], [`peer`], [`server`] and
//! [`wire`](crate::wire) comes from the library: if this peer and another understand each other, the document is enough.

#![expect(clippy::expect_used, clippy::panic, reason = "a peer that breaks a rule fails the check that it is asked by")]

pub mod bytes;
pub mod peer;
pub mod reader;
pub mod server;
pub mod tls;
