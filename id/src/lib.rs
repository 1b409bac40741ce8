//! Identities of twolane: Ed25519 keys with a readable text form, signatures, delegations and key storage.
//!
//! A [`PublicKey`] identifies a peer. Its text form is the *id52*: 52 characters of base32hex in lower case, short
//! enough for a DNS label and safe to double-click. A [`SecretKey`] proves that its holder is that peer, and a
//! [`Signature`] is such a proof over a sequence of bytes. A [`Delegation`] lets one key act for another key within
//! limits. The module [`delegation`] describes the rules of delegations and their byte layout. The module
//! [`storage`] keeps secret keys in places that outlive the program: a file, an environment variable, and the
//! operating system's keyring.
//!
//! ```
//! use twolane_id::{PublicKey, SecretKey};
//!
//! let secret = SecretKey::generate();
//! let id52 = secret.public_key().to_string();
//! let signature = secret.sign("example.org letter", b"hello");
//!
//! // Elsewhere, with the id52, the purpose, the message and the signature alone:
//! let peer: PublicKey = id52.parse()?;
//! peer.verify("example.org letter", b"hello", &signature)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The whole crate follows these rules:
//! - No input, of any kind or length, causes a panic.
//! - Every [`PublicKey`] is valid: canonically encoded, on the curve, and not of small order.
//! - Verification is strict: a signature cannot be changed into another signature that also verifies.
//! - A signature for one purpose is valid for no other one: [`MESSAGE_DOMAIN`] says how. Only the methods whose names
//!   end in `_raw` sign and verify bytes without a domain.
//! - Only methods that are documented to do so reveal a secret. `Display`, `Debug` and errors never contain one. A
//!   secret is wiped from memory when it is dropped.
//!
//! # Non-goals
//!
//! The crate has no networking, no encryption, no certificates except delegations (and no chains of delegations),
//! no names (an id52 *is* the name), no distribution of revocations, and no passphrase around a stored key. It does
//! not protect a key from other programs of the same user: the keyring does that.
//!
//! # Features
//!
//! - `cli`: the program `id52`. The library does not need it.
//! - `keyring`: the module `storage::keyring`, which uses the store that the operating system provides.

pub mod delegation;
mod key;
pub mod storage;

pub use delegation::{
    Delegation, DelegationBuilder, DelegationError, IssueError, Pattern, Presented, RevocationList, Serial,
};
pub use key::{
    InvalidPublicKey, MESSAGE_DOMAIN, ParsePublicKeyError, ParseSecretKeyError, ParseSignatureError, PublicKey,
    RandomnessError, SecretKey, Signature, VerifyError,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
