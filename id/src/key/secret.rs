//! The secret key: made, read, used and shown on request only.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer, SigningKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{
    ParseSecretKeyError, PublicKey, RandomnessError, Signature,
    text::{self, Flaw},
};

/// An Ed25519 secret key: the 32-byte seed of RFC 8032, section 5.1.5. Whoever has it *is* the
/// peer.
///
/// There is no `Display` and no serde, [`Debug`] shows the public key, and equality takes the same
/// time whatever the keys. Only [`to_bytes`](Self::to_bytes) and [`to_hex`](Self::to_hex) give the
/// secret away.
///
/// Drop overwrites the secret in memory. Each clone is a secret of its own; a move can leave the
/// former place unwiped, which no Rust type can prevent, so hand out references where a key lives
/// long.
///
/// ```
/// use twolane_id::SecretKey;
///
/// let key = SecretKey::generate();
/// let text = key.to_hex(); // wiped when dropped, as the key is
/// assert_eq!(SecretKey::from_hex(&text)?, key);
/// # Ok::<(), twolane_id::ParseSecretKeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The length of a secret key in bytes.
    pub const LENGTH: usize = 32;

    /// The length of the text form in characters, all of which are ASCII.
    pub const HEX_LENGTH: usize = 64;

    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Panics
    ///
    /// When the operating system has no random numbers to give, in which case nothing that needs
    /// cryptography can run. [`try_generate`](Self::try_generate) returns an error instead.
    ///
    /// ```
    /// let key = twolane_id::SecretKey::generate();
    /// println!("I am {}", key.public_key());
    /// ```
    #[expect(clippy::panic, reason = "no caller can go on without a key, and one who can has try_generate")]
    pub fn generate() -> Self {
        match Self::try_generate() {
            Ok(key) => key,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`RandomnessError`] when the operating system refuses to give any, say in a sandbox that
    /// forbids it.
    pub fn try_generate() -> Result<Self, RandomnessError> {
        let mut seed = Zeroizing::new([0; Self::LENGTH]);
        getrandom::fill(seed.as_mut_slice())?;
        Ok(Self::from_bytes(&seed))
    }

    /// Takes the 32-byte seed. Any 32 bytes are a secret key; only random ones are a secret.
    ///
    /// The caller keeps `bytes`, and should have them in a [`Zeroizing`].
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Reads the text form: exactly 64 lower-case hexadecimal digits, nothing around them.
    ///
    /// # Errors
    ///
    /// [`ParseSecretKeyError`] tells the length or the position that is wrong, and nothing of the
    /// text itself.
    pub fn from_hex(text: &str) -> Result<Self, ParseSecretKeyError> {
        text::check(text, Self::HEX_LENGTH, text::is_hex)?;
        let mut seed = Zeroizing::new([0; Self::LENGTH]);
        HEXLOWER
            .decode_mut(text.as_bytes(), seed.as_mut_slice())
            .map_err(|partial| ParseSecretKeyError::Character { position: partial.error.position + 1 })?;
        Ok(Self::from_bytes(&seed))
    }

    /// Gives the seed away: the 32 bytes that [`from_bytes`](Self::from_bytes) takes. Wiped when
    /// dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Gives the secret away in its text form: 64 lower-case hexadecimal digits. Wiped when
    /// dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::HEX_LENGTH));
        HEXLOWER.encode_append(self.0.as_bytes(), &mut text);
        text
    }

    /// The public key that belongs to this secret. Computed when the secret was made, so this is
    /// cheap.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_derived(self.0.as_ref())
    }

    /// Signs exactly `message` (RFC 8032, section 5.1.6). The same message always gives the same
    /// signature.
    ///
    /// What a signature is for should be part of what is signed: a signature over `b"42"` is as
    /// good for one program's 42 as for another's.
    ///
    /// ```
    /// let key = twolane_id::SecretKey::generate();
    /// let signature = key.sign(b"example.org login 2031-05-01");
    /// assert_eq!(signature.to_string().len(), 128);
    /// ```
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(message).to_bytes())
    }
}

/// Kept by the field, which wipes itself.
impl ZeroizeOnDrop for SecretKey {}

const _: fn() = || {
    fn wipes_itself<T: ZeroizeOnDrop>() {}
    wipes_itself::<SigningKey>();
};

/// Shows the public key only.
impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey(of {})", self.public_key())
    }
}

/// As [`SecretKey::from_hex`]. There is deliberately no way back by `Display`.
impl FromStr for SecretKey {
    type Err = ParseSecretKeyError;

    fn from_str(text: &str) -> Result<Self, ParseSecretKeyError> {
        Self::from_hex(text)
    }
}

impl From<Flaw> for ParseSecretKeyError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Length { found } => Self::Length { found },
            Flaw::Character { position, .. } => Self::Character { position },
        }
    }
}

#[cfg(test)]
mod tests;
