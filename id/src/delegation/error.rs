//! Errors of reading, verifying and issuing a certificate.
//!
//! Every message says what to do next.

use std::time::SystemTime;

use thiserror::Error;

use super::{Serial, time::Utc};
use crate::{InvalidPublicKey, ParsePublicKeyError, PublicKey, RandomnessError};

/// The reason why a delegation is not accepted. In the variants up to [`BadSignature`](Self::BadSignature), the
/// delegation was made wrongly, cut or changed, and nothing in it is to be trusted. From
/// [`NotYetValid`](Self::NotYetValid) on, it is genuine but does not hold in these circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DelegationError {
    /// The text is not the text of a delegation.
    #[error("{flaw}")]
    BadText {
        /// The flaw of the text.
        flaw: TextFlaw,
    },
    /// The bytes end too early.
    #[error("the delegation ends after {found} bytes, within its {part}: copy the complete delegation again")]
    Truncated {
        /// The number of bytes.
        found: usize,
        /// The part in which the bytes end.
        part: &'static str,
    },
    /// There are more bytes than a delegation can have.
    #[error("the delegation has {len} bytes, and the limit is {max}: ask its owner for one with a shorter scope")]
    TooLong {
        /// The number of bytes.
        len: usize,
        /// The limit, [`Delegation::MAX_LEN`](super::Delegation::MAX_LEN).
        max: usize,
    },
    /// The layout is of a version that this program does not know.
    #[error("the delegation is of version {found}, and this program knows version 1: update the program")]
    Version {
        /// The version that the first byte names.
        found: u8,
    },
    /// The bytes are not the canonical encoding of a delegation.
    #[error("the delegation is not written as it has to be: {what}; ask its owner for another")]
    NotCanonical {
        /// The flaw, as a sentence.
        what: &'static str,
    },
    /// One of the keys is not usable.
    #[error("the delegation's {which} key is not usable ({error}): ask its owner for another")]
    BadKey {
        /// The role of the key: `owner`, `node` or `audience`.
        which: &'static str,
        /// The flaw of the key.
        error: InvalidPublicKey,
    },
    /// The owner and the node are the same key. Such a certificate would state nothing.
    #[error("{owner} delegates to itself, which means nothing: ask its owner for one that names another key")]
    OwnerIsNode {
        /// The key that is both owner and node.
        owner: PublicKey,
    },
    /// The signature is not the owner's signature over exactly these bytes.
    #[error("the delegation names {owner} as its owner but is not signed by that key: do not trust its contents")]
    BadSignature {
        /// The owner that the delegation names.
        owner: PublicKey,
    },
    /// The delegation does not hold yet, even with the allowance for skewed clocks.
    #[error(
        "the delegation holds from {} on, and it is {} here: wait, or set the clock",
        Utc(*.not_before), Utc(*.now)
    )]
    NotYetValid {
        /// The first moment at which it holds.
        not_before: SystemTime,
        /// The local time, without the allowance.
        now: SystemTime,
    },
    /// The delegation no longer holds, even with the allowance for skewed clocks.
    #[error(
        "the delegation expired at {}, and it is {} here: ask its owner for a new one",
        Utc(*.expired), Utc(*.now)
    )]
    Expired {
        /// The first moment at which it no longer held.
        expired: SystemTime,
        /// The local time, without the allowance.
        now: SystemTime,
    },
    /// A peer other than the node shows the delegation. This is either a mix-up or a misused copy.
    #[error("the delegation is for the node {named}, and {presented_by} shows it: do not accept it from there")]
    WrongNode {
        /// The node that the delegation names.
        named: PublicKey,
        /// The peer of the connection.
        presented_by: PublicKey,
    },
    /// The audience of the delegation does not contain the local key.
    #[error("the delegation is not meant for {us}: ask its owner for one whose audience has this key")]
    WrongAudience {
        /// The local key, to which the delegation was shown.
        us: PublicKey,
    },
    /// The owner has revoked the delegation.
    #[error("the delegation with the serial {serial} is revoked: ask its owner for a new one")]
    Revoked {
        /// Its serial.
        serial: Serial,
    },
    /// The owner has revoked all its delegations for this node.
    #[error("all delegations of this owner for the node {node} are revoked: use another key, or ask the owner")]
    NodeRevoked {
        /// The node.
        node: PublicKey,
    },
    /// The owner has revoked all its delegations from before a time.
    #[error("all delegations of this owner from before {} are revoked: ask it for a new one", Utc(*.before))]
    RevokedBefore {
        /// The time.
        before: SystemTime,
    },
}

/// The error for a text that is not a [`Revocation`](super::Revocation).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseRevocationError {
    /// The text does not have three words.
    #[error("a revocation has three words, not {found}: a kind, an owner, and what is revoked")]
    Words {
        /// The number of words.
        found: usize,
    },
    /// The first word is no kind of revocation.
    #[error("a revocation begins with certificate, node or before: this one does not")]
    Kind,
    /// The owner is not a key.
    #[error("the owner is not a key ({error})")]
    Owner {
        /// The flaw of the text.
        error: ParsePublicKeyError,
    },
    /// The node is not a key.
    #[error("the node is not a key ({error})")]
    Node {
        /// The flaw of the text.
        error: ParsePublicKeyError,
    },
    /// The serial is not one.
    #[error("the serial cannot be read ({error})")]
    Serial {
        /// The flaw of the text.
        error: ParseSerialError,
    },
    /// The time is not written as RFC 3339 has it, in UTC.
    #[error("the time cannot be read: write it like 2030-05-01T12:00:00Z")]
    Time,
}

/// The error for a text that is not a [`RevocationList`](super::RevocationList).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {error}")]
#[non_exhaustive]
pub struct ParseRevocationListError {
    /// The number of the first line that cannot be read, from 1.
    pub line: usize,
    /// The flaw of the line.
    pub error: ParseRevocationError,
}

/// The flaw of a text that should be a delegation. The text was written or copied wrongly.
///
/// A text that does not begin like a delegation is not repeated, because it can be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextFlaw {
    /// The text does not begin with `delegation`.
    #[error("a delegation begins with the word delegation, and this text does not: copy it whole, without spaces")]
    Prefix,
    /// The text is longer than any delegation.
    #[error("a delegation has at most {max} characters, and this text has {len} bytes: copy nothing else")]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character is outside the alphabet.
    #[error("{found:?}, character {position}, does not occur in a delegation: only 0-9 and a-v do")]
    Character {
        /// The first such character.
        found: char,
        /// Its position in the text, counted from 1.
        position: usize,
    },
    /// The number of characters does not correspond to a whole number of bytes.
    #[error("a part of the delegation is missing, it has {len} characters: copy it whole")]
    Cut {
        /// The number of characters.
        len: usize,
    },
    /// The last character carries bits beyond the last whole byte.
    #[error("the last character of the delegation cannot be {found:?}: it was mistyped or cut from a longer text")]
    TrailingBits {
        /// The last character.
        found: char,
    },
}

/// The reason why a delegation cannot be issued as requested. Except for [`Randomness`](Self::Randomness), the
/// caller's request is wrong.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The scope is empty.
    #[error("a delegation needs a scope: name at least one pattern, such as chat/*")]
    ScopeEmpty,
    /// No expiry is given.
    #[error("a delegation needs an end: say when it expires")]
    NoExpiry,
    /// There are more patterns than fit.
    #[error("a delegation has at most {max} patterns, not {found}: use wider ones, or issue several")]
    TooManyPatterns {
        /// The number of patterns.
        found: usize,
        /// The limit, [`Delegation::MAX_SCOPE`](super::Delegation::MAX_SCOPE).
        max: usize,
    },
    /// There are more audience keys than fit.
    #[error("a delegation is meant for at most {max} peers, not {found}: name none, which means any, or issue several")]
    TooManyPeers {
        /// The number of audience keys.
        found: usize,
        /// The limit, [`Delegation::MAX_AUDIENCE`](super::Delegation::MAX_AUDIENCE).
        max: usize,
    },
    /// The certificate would be longer than the limit for reading it.
    #[error("the delegation would have {len} bytes, and the limit is {max}: use shorter patterns, or issue several")]
    TooLong {
        /// The length that the certificate would have, in bytes.
        len: usize,
        /// The limit, [`Delegation::MAX_LEN`](super::Delegation::MAX_LEN).
        max: usize,
    },
    /// The owner and the node are the same key.
    #[error("a key cannot delegate to itself: name the key of the node, or sign with the owner's")]
    OwnerIsNode,
    /// The delegation would not hold for even one second.
    #[error(
        "the delegation would never hold: it begins at {} and expires at {}",
        Utc(*.not_before), Utc(*.expires)
    )]
    NeverValid {
        /// The first moment at which it would hold.
        not_before: SystemTime,
        /// The first moment at which it would no longer hold.
        expires: SystemTime,
    },
    /// The operating system provides no random numbers for the serial.
    #[error("no serial can be chosen: give one")]
    Randomness(#[from] RandomnessError),
}

/// The error for a text that is not a pattern of protocol names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// The text is empty.
    #[error("a pattern cannot be empty: write chat/1, chat/* or *")]
    Empty,
    /// The text is longer than the longest name of a protocol.
    #[error("the pattern has {len} characters, and the limit is {max}")]
    TooLong {
        /// The number of characters in the text.
        len: usize,
        /// The limit, [`Pattern::MAX_LEN`](super::Pattern::MAX_LEN).
        max: usize,
    },
    /// A character is not visible ASCII.
    #[error("{found:?}, character {position}, cannot be in a pattern: only visible ASCII can, without spaces")]
    Character {
        /// The first such character.
        found: char,
        /// Its position in the text, counted from 1.
        position: usize,
    },
    /// A star is not at the end of the pattern.
    #[error("the star at character {position} is not at the end of the pattern: write chat/1, chat/* or *")]
    Star {
        /// The position of the star, counted from 1.
        position: usize,
    },
}

/// The error for a text that is not a serial.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseSerialError {
    /// The text does not have 32 characters.
    #[error("a serial has 32 hexadecimal digits, this text has {found} characters: copy it whole, without spaces")]
    Length {
        /// The number of characters in the text.
        found: usize,
    },
    /// A character is not a lower-case hexadecimal digit.
    #[error("{found:?}, character {position} of 32, does not occur in a serial: only 0-9 and a-f (lower case) do")]
    Character {
        /// The first such character.
        found: char,
        /// Its position in the text, counted from 1.
        position: usize,
    },
}
