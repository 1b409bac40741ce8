//! Why a certificate is not believed, and why one is not issued.
//!
//! Every message says what to do next.

use std::time::SystemTime;

use thiserror::Error;

use super::{Serial, time::Utc};
use crate::{InvalidPublicKey, PublicKey, RandomnessError};

/// A delegation is not to be believed. Up to [`BadSignature`](Self::BadSignature) the fault of whoever made, cut or
/// changed it, so that nothing in it counts; from [`NotYetValid`](Self::NotYetValid) on it is genuine, and does not hold
/// in these circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DelegationError {
    /// The text is none of a delegation.
    #[error("{flaw}")]
    BadText {
        /// What is wrong with it.
        flaw: TextFlaw,
    },
    /// The bytes end too early.
    #[error("the delegation ends after {found} bytes, within its {part}: get it again, whole")]
    Truncated {
        /// How many bytes there are.
        found: usize,
        /// What they end in.
        part: &'static str,
    },
    /// There are more bytes than a delegation has.
    #[error("the delegation has {len} bytes, and the limit is {max}: ask its owner for one with a shorter scope")]
    TooLong {
        /// How many bytes there are.
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
    /// The bytes are not the one encoding that a delegation has.
    #[error("the delegation is not written as it has to be: {what}; ask its owner for another")]
    NotCanonical {
        /// What is wrong, as a sentence.
        what: &'static str,
    },
    /// One of the keys is not usable.
    #[error("the delegation's {which} key is not usable ({error}): ask its owner for another")]
    BadKey {
        /// Whose key: `owner`, `node` or `audience`.
        which: &'static str,
        /// What is wrong with it.
        error: InvalidPublicKey,
    },
    /// The owner and the node are one key. Such a certificate would say nothing.
    #[error("{owner} delegates to itself, which means nothing: ask its owner for one that names another key")]
    OwnerIsNode {
        /// The key that is both.
        owner: PublicKey,
    },
    /// The owner has not signed exactly this.
    #[error("the delegation is not signed by {owner}, whom it names as its owner: do not trust anything in it")]
    BadSignature {
        /// Who should have signed.
        owner: PublicKey,
    },
    /// It does not hold yet, the allowance for skewed clocks included.
    #[error(
        "the delegation holds from {} on, and it is {} here: wait, or set the clock",
        Utc(*.not_before), Utc(*.now)
    )]
    NotYetValid {
        /// The first moment at which it holds.
        not_before: SystemTime,
        /// The time here, without the allowance.
        now: SystemTime,
    },
    /// It holds no more, the allowance for skewed clocks included.
    #[error(
        "the delegation expired at {}, and it is {} here: ask its owner for a new one",
        Utc(*.expired), Utc(*.now)
    )]
    Expired {
        /// The first moment at which it held no more.
        expired: SystemTime,
        /// The time here, without the allowance.
        now: SystemTime,
    },
    /// Somebody else than the node shows it. Either a mix-up, or a copy in the wrong hands.
    #[error("the delegation is for the node {named}, and {presented_by} shows it: do not accept it from there")]
    WrongNode {
        /// The node that it names.
        named: PublicKey,
        /// The peer of the connection.
        presented_by: PublicKey,
    },
    /// It is meant for others than us.
    #[error("the delegation is not meant for {us}: ask its owner for one whose audience has this key")]
    WrongAudience {
        /// The key that it was shown to.
        us: PublicKey,
    },
    /// Its owner has taken it back.
    #[error("the delegation with the serial {serial} is revoked: ask its owner for a new one")]
    Revoked {
        /// Its serial.
        serial: Serial,
    },
}

/// What is wrong with a text that should be a delegation's. The fault of whoever wrote or copied it.
///
/// Repeats nothing of a text that does not begin as a delegation's, for that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextFlaw {
    /// It does not begin with `delegation`.
    #[error("a delegation begins with the word delegation, and this text does not: copy it whole, without spaces")]
    Prefix,
    /// It is longer than any delegation.
    #[error("a delegation has at most {max} characters, and this text has {len} bytes: copy nothing else")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character is outside the alphabet.
    #[error("{found:?}, character {position}, does not occur in a delegation: only 0-9 and a-v do")]
    Character {
        /// The first such character.
        found: char,
        /// Which one it is, counted from 1.
        position: usize,
    },
    /// No number of whole bytes has so many characters.
    #[error("a part of the delegation is missing, it has {len} characters: copy it whole")]
    Cut {
        /// How many characters there are.
        len: usize,
    },
    /// The last character carries bits that no byte has.
    #[error("the last character of the delegation cannot be {found:?}: it was mistyped or cut from a longer text")]
    TrailingBits {
        /// The last character.
        found: char,
    },
}

/// A delegation cannot be issued as it was asked for. The fault of the caller, but for
/// [`Randomness`](Self::Randomness).
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// No protocol is named.
    #[error("a delegation needs a scope: name at least one pattern, such as chat/*")]
    ScopeEmpty,
    /// No end is named.
    #[error("a delegation needs an end: say when it expires")]
    NoExpiry,
    /// There are more patterns than fit.
    #[error("a delegation has at most {max} patterns, not {found}: use wider ones, or issue several")]
    TooManyPatterns {
        /// How many there are.
        found: usize,
        /// The limit, [`Delegation::MAX_SCOPE`](super::Delegation::MAX_SCOPE).
        max: usize,
    },
    /// There are more audience keys than fit.
    #[error("a delegation is meant for at most {max} peers, not {found}: name none, which means any, or issue several")]
    TooManyPeers {
        /// How many there are.
        found: usize,
        /// The limit, [`Delegation::MAX_AUDIENCE`](super::Delegation::MAX_AUDIENCE).
        max: usize,
    },
    /// The whole would be longer than anybody reads.
    #[error("the delegation would have {len} bytes, and the limit is {max}: use shorter patterns, or issue several")]
    TooLong {
        /// How many bytes it would have.
        len: usize,
        /// The limit, [`Delegation::MAX_LEN`](super::Delegation::MAX_LEN).
        max: usize,
    },
    /// The owner and the node are one key.
    #[error("a key cannot delegate to itself: name the key of the node, or sign with the owner's")]
    OwnerIsNode,
    /// There would be no second in which it holds.
    #[error(
        "the delegation would never hold: it begins at {} and expires at {}",
        Utc(*.not_before), Utc(*.expires)
    )]
    NeverValid {
        /// The first moment at which it would hold.
        not_before: SystemTime,
        /// The first moment at which it would hold no more.
        expires: SystemTime,
    },
    /// The operating system has no random numbers to give for the serial.
    #[error("no serial can be chosen: give one")]
    Randomness(#[from] RandomnessError),
}

/// A text is no pattern of protocol names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// There is nothing.
    #[error("a pattern cannot be empty: write chat/1, chat/* or *")]
    Empty,
    /// It is longer than the longest name of a protocol.
    #[error("the pattern has {len} characters, and the limit is {max}")]
    TooLong {
        /// How many characters it has.
        len: usize,
        /// The limit, [`Pattern::MAX_LEN`](super::Pattern::MAX_LEN).
        max: usize,
    },
    /// A character is not visible ASCII.
    #[error("{found:?}, character {position}, cannot be in a pattern: only visible ASCII can, without spaces")]
    Character {
        /// The first such character.
        found: char,
        /// Which one it is, counted from 1.
        position: usize,
    },
    /// A star is elsewhere than at the end.
    #[error("the star at character {position} is not at the end of the pattern: write chat/1, chat/* or *")]
    Star {
        /// Which character it is, counted from 1.
        position: usize,
    },
}

/// A text is no serial.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseSerialError {
    /// The text does not have 32 characters.
    #[error("a serial has 32 hexadecimal digits, this text has {found} characters: copy it whole, without spaces")]
    Length {
        /// How many characters the text has.
        found: usize,
    },
    /// A character is no lower-case hexadecimal digit.
    #[error("{found:?}, character {position} of 32, does not occur in a serial: only 0-9 and a-f (lower case) do")]
    Character {
        /// The first such character.
        found: char,
        /// Which one it is, counted from 1.
        position: usize,
    },
}
