//! Delegation: an owner's signed statement that a node acts for it.
//!
//! A person or a company has one key, the *owner*, kept in a safe place. Each machine of the owner has its own key,
//! the *node*, which other peers meet on the network. A [`Delegation`] is the certificate between the two keys:
//! "node N acts for me, for these protocols, towards these peers, from this time until that time". A peer that is
//! shown the certificate knows the owner behind the connection, and the owner's key never has to be on the machine.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use twolane_id::{Delegation, Presented, SecretKey};
//!
//! // On the owner's machine, once. The node has told the owner its id52.
//! let owner = SecretKey::generate();
//! # let (laptop, me) = (SecretKey::generate().public_key(), SecretKey::generate().public_key());
//! let month = Duration::from_secs(30 * 24 * 60 * 60);
//! let delegation = Delegation::build(laptop)
//!     .scope("chat/*".parse()?)
//!     .expires(SystemTime::now() + month)
//!     .sign(&owner)?;
//! let text = delegation.to_string();
//!
//! // On a peer, which received the text on a connection with the key `laptop`.
//! let delegation: Delegation = text.parse()?;
//! delegation.verify(&Presented {
//!     now: SystemTime::now(),
//!     skew: Duration::from_secs(60),
//!     node: laptop,
//!     audience: me,
//! })?;
//! assert!(delegation.permits("chat/1"));
//! assert_eq!(delegation.owner(), owner.public_key());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Required checks
//!
//! A certificate is not secret: every peer that it was shown to has a copy. Its value depends on the peer that
//! shows it, and only the handshake of the connection proves the key of that peer. A peer therefore decides in five
//! steps:
//!
//! 1. [`Delegation::from_bytes`] or [`FromStr`](std::str::FromStr): the certificate is well-formed, and signed by
//!    the owner that it names. Every value of the type has passed this check.
//! 2. [`Delegation::verify`]: the certificate is shown by the node that it names, to a peer in its audience, at a
//!    time when it holds.
//! 3. [`RevocationList::check`]: the certificate is not revoked.
//! 4. [`Delegation::permits`]: the protocol that the node asks for is in the scope.
//! 5. [`Delegation::owner`]: the peer grants the request to this owner. A valid certificate of an unknown owner
//!    gives no rights by itself.
//!
//! Expiry is not enforced automatically. The program that grants access because of a certificate has to end the
//! access at [`Delegation::expires`].
//!
//! # The bytes, version 1
//!
//! Integers are big-endian. Each certificate has one encoding, and no other encoding is read.
//!
//! | offset | bytes | what |
//! | ---: | ---: | --- |
//! | 0 | 1 | the version, 1 |
//! | 1 | 32 | the owner's public key |
//! | 33 | 32 | the node's public key, which is another one |
//! | 65 | 8 | not before: seconds since 1970-01-01T00:00:00Z, without leap seconds |
//! | 73 | 8 | expires: likewise, later than not before, at most 253402300799 (9999-12-31T23:59:59Z) |
//! | 81 | 16 | the serial |
//! | 97 | 1 | the number of patterns, 1 to 16 |
//! | 98 | | each pattern: one byte for its length, 1 to 255, then its characters |
//! | | 1 | the number of audience keys, 0 to 16 |
//! | | 32 each | the audience keys; none means that the certificate is good towards anybody |
//! | | 64 | the owner's Ed25519 signature (RFC 8032) over [`CONTEXT`] and everything before the signature |
//!
//! Patterns are strictly ascending, compared byte by byte (a text comes before its own continuations). The audience
//! keys are strictly ascending too. No certificate is longer than 2048 bytes. Each public key is valid, as
//! [`PublicKey`] defines it.
//!
//! The text form is `delegation`, followed by the bytes in base32hex (RFC 4648, section 7) without padding. It is
//! written in lower case and read in either case.
//!
//! [`PublicKey`]: crate::PublicKey

mod builder;
mod certificate;
mod error;
mod format;
mod pattern;
mod revocation;
#[cfg(test)]
mod sample;
mod serial;
mod text;
mod time;

pub use builder::DelegationBuilder;
pub use certificate::{Delegation, Presented};
pub use error::{
    DelegationError, IssueError, ParsePatternError, ParseRevocationError, ParseRevocationListError, ParseSerialError,
    TextFlaw,
};
pub use format::CONTEXT;
pub use pattern::Pattern;
pub use revocation::{Revocation, RevocationList};
pub use serial::Serial;
