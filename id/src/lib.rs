//! Identities of twolane: Ed25519 keys that people can read, sign with and keep.
//!
//! A [`PublicKey`] is what a peer is known by. Its text form is the *id52*: 52 characters of
//! base32hex in lower case, short enough for a DNS label and safe to double-click. A [`SecretKey`]
//! proves that one is that peer, and a [`Signature`] is such a proof over some bytes. A
//! [`Delegation`] lets one key act for another, within bounds: [`delegation`] has its rules and its
//! bytes. [`storage`] keeps secret keys where they outlive the program: in a file, in an environment
//! variable, in the operating system's keyring.
//!
//! ```
//! use twolane_id::{PublicKey, SecretKey};
//!
//! let secret = SecretKey::generate();
//! let id52 = secret.public_key().to_string();
//! let signature = secret.sign(b"hello");
//!
//! // Elsewhere, with nothing but the id52, the message and the signature:
//! let peer: PublicKey = id52.parse()?;
//! peer.verify(b"hello", &signature)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What holds for everything here:
//! - No input, of whatever kind or length, causes a panic.
//! - A [`PublicKey`] that exists is a sound one: canonical, on the curve, not of small order.
//! - Verification is strict: a signature cannot be changed into another that verifies as well.
//! - A secret is shown only by a method that says so, never by `Display`, `Debug` or an error, and
//!   is wiped from memory when dropped.
//!
//! # Non-goals
//!
//! No networking, no encryption, no certificates but delegations (and no chains of those), no names
//! (an id52 *is* the name), no distribution of revocations, no passphrase around a stored key, and no protection of a key from other programs of the same user: that is
//! the keyring's work.
//!
//! # Features
//!
//! - `cli`: the program `id52`. The library does not need it.
//! - `keyring`: `storage::keyring`, on the store that the operating system provides.

pub mod delegation;
mod key;
pub mod storage;

pub use delegation::{
    Delegation, DelegationBuilder, DelegationError, IssueError, Pattern, Presented, RevocationList, Serial,
};
pub use key::{
    InvalidPublicKey, ParsePublicKeyError, ParseSecretKeyError, ParseSignatureError, PublicKey, RandomnessError,
    SecretKey, Signature, VerifyError,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
