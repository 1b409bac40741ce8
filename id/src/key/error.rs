//! Errors of keys and signatures, one type for each operation.
//!
//! Every message says what to do next. No message contains any part of a secret.

use thiserror::Error;

use super::PublicKey;

/// The error for a text that is not an id52. The text was written or copied wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePublicKeyError {
    /// The text does not have 52 characters.
    #[error("an id52 has 52 characters, this text has {found}: copy it whole, without spaces")]
    Length {
        /// The number of characters in the text.
        found: usize,
    },
    /// A character is outside the alphabet.
    #[error("{found:?}, character {position} of 52, does not occur in an id52: only 0-9 and a-v do")]
    Character {
        /// The first such character.
        found: char,
        /// Its position in the text, counted from 1.
        position: usize,
    },
    /// The last character carries bits that no key has: 52 characters hold 260 bits, and a key has 256.
    #[error(
        "the last character of an id52 is 0 or g, not {found:?}: it was mistyped or \
         cut from a longer text"
    )]
    TrailingBits {
        /// The last character.
        found: char,
    },
    /// The text is well-formed, but the 32 bytes that it stands for are not a usable key.
    #[error(
        "the characters are those of an id52, but the key is not usable: ask its \
         owner for the id52 again"
    )]
    Key(#[from] InvalidPublicKey),
}

/// The error for 32 bytes that are not a usable public key. The bytes were made wrongly: no key generator
/// produces such bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPublicKey {
    /// The coordinate is not reduced modulo 2^255 - 19 (RFC 8032, section 5.1.3, step 1). It is a second encoding
    /// of a point that has a canonical one, so one peer could appear under two names.
    #[error("the 32 bytes are not the canonical encoding of a point")]
    NotCanonical,
    /// No point of the curve has this coordinate (RFC 8032, section 5.1.3, step 3).
    #[error("the 32 bytes are not a point of the Ed25519 curve")]
    NotOnCurve,
    /// The point is one of the eight points of small order. For such a key, signatures that verify for almost any
    /// message can be made without a secret.
    #[error("the key is one of the eight weak points under which anybody can sign")]
    SmallOrder,
}

/// The error for a text that is not a secret key. The text was written or copied wrongly.
///
/// It carries no character of the text, because most of the text can be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseSecretKeyError {
    /// The text does not have 64 characters.
    #[error(
        "a secret key has 64 hexadecimal digits, this text has {found} characters: copy it whole, \
         without spaces"
    )]
    Length {
        /// The number of characters in the text.
        found: usize,
    },
    /// A character is not a lower-case hexadecimal digit.
    #[error("character {position} of 64 of the secret key is not one of 0-9 and a-f (lower case)")]
    Character {
        /// Its position in the text, counted from 1.
        position: usize,
    },
}

/// The error for a text that is not a signature. The text was written or copied wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseSignatureError {
    /// The text does not have 128 characters.
    #[error(
        "a signature has 128 hexadecimal digits, this text has {found} characters: copy it whole, \
         without spaces"
    )]
    Length {
        /// The number of characters in the text.
        found: usize,
    },
    /// A character is not a lower-case hexadecimal digit.
    #[error(
        "{found:?}, character {position} of 128, does not occur in a signature: only 0-9 and \
         a-f (lower case) do"
    )]
    Character {
        /// The first such character.
        found: char,
        /// Its position in the text, counted from 1.
        position: usize,
    },
}

/// The error for a signature that this key did not make over exactly this message, in exactly this context. The
/// message, the context, the signature or the key is not the intended one. Verification cannot tell which of them is
/// wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature is not {key}'s for exactly these bytes: do not trust them")]
pub struct VerifyError {
    pub(super) key: PublicKey,
}

impl VerifyError {
    /// The key under which the signature did not verify.
    pub fn public_key(&self) -> PublicKey {
        self.key
    }
}

/// The error for an operating system that provides no random numbers, so no key or serial can be generated.
#[derive(Debug, Clone, Copy, Error)]
#[error("the operating system's random number generator does not work, so nothing was generated")]
pub struct RandomnessError(#[from] getrandom::Error);
