//! The secret key.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer, SigningKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{
    ParseSecretKeyError, PublicKey, RandomnessError, Signature, domain,
    text::{self, Flaw},
};

/// An Ed25519 secret key: the 32-byte seed of RFC 8032, section 5.1.5. The holder of the secret key *is* the peer.
///
/// The type implements neither `Display` nor serde's traits. [`Debug`] shows the public key, and equality takes the
/// same time for all keys. Only [`to_bytes`](Self::to_bytes) and [`to_hex`](Self::to_hex) reveal the secret.
///
/// Drop overwrites the secret in memory. Each clone is a separate copy of the secret. A move can leave the old
/// memory unwiped, which no Rust type can prevent; pass references to a key that lives long.
///
/// ```
/// use twolane_id::SecretKey;
///
/// let key = SecretKey::generate();
/// let text = key.to_hex(); // wiped on drop, like the key
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

    /// Generates a new key from the operating system's random numbers.
    ///
    /// # Panics
    ///
    /// Panics if the operating system provides no random numbers, in which case no cryptography can work.
    /// [`try_generate`](Self::try_generate) returns an error instead.
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

    /// Generates a new key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// Returns [`RandomnessError`] if the operating system provides none, for example in a sandbox that forbids it.
    pub fn try_generate() -> Result<Self, RandomnessError> {
        let mut seed = Zeroizing::new([0; Self::LENGTH]);
        getrandom::fill(seed.as_mut_slice())?;
        Ok(Self::from_bytes(&seed))
    }

    /// Makes a key from the 32-byte seed. Any 32 bytes are a valid secret key, but only random bytes are secret.
    ///
    /// The caller keeps `bytes`, and should hold them in a [`Zeroizing`].
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Reads the text form: exactly 64 lower-case hexadecimal digits, with nothing around them.
    ///
    /// # Errors
    ///
    /// Returns [`ParseSecretKeyError`], which names the wrong length or position and contains nothing of the text
    /// itself.
    pub fn from_hex(text: &str) -> Result<Self, ParseSecretKeyError> {
        text::check(text, Self::HEX_LENGTH, text::is_hex)?;
        let mut seed = Zeroizing::new([0; Self::LENGTH]);
        HEXLOWER
            .decode_mut(text.as_bytes(), seed.as_mut_slice())
            .map_err(|partial| ParseSecretKeyError::Character { position: partial.error.position + 1 })?;
        Ok(Self::from_bytes(&seed))
    }

    /// Reveals the seed: the 32 bytes that [`from_bytes`](Self::from_bytes) reads. The returned value is wiped on
    /// drop.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Reveals the secret in its text form: 64 lower-case hexadecimal digits. The returned value is wiped on drop.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::HEX_LENGTH));
        HEXLOWER.encode_append(self.0.as_bytes(), &mut text);
        text
    }

    /// Returns the public key of this secret. It was computed when the secret key was made, so the call is cheap.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_derived(self.0.as_ref())
    }

    /// Signs `message` for the purpose that `context` names. The same context and message always give the same
    /// signature, which [`PublicKey::verify`](crate::PublicKey::verify) checks.
    ///
    /// The context is a text that no other program uses, such as `example.org login`. It keeps the signatures of one
    /// program apart from those of another one: in an empty context, a signature over `b"42"` is valid for the 42 of
    /// every program that names no context. Whatever the context and the message are, the signature is none of a TLS
    /// handshake, of an address record or of a delegation: it covers the context and the message after
    /// [`MESSAGE_DOMAIN`](crate::MESSAGE_DOMAIN), which specifies the bytes. The signature itself is that of RFC 8032,
    /// section 5.1.6. The call copies the message once.
    ///
    /// ```
    /// let key = twolane_id::SecretKey::generate();
    /// let signature = key.sign("example.org login", b"2031-05-01");
    /// assert_eq!(signature.to_string().len(), 128);
    /// ```
    pub fn sign(&self, context: &str, message: &[u8]) -> Signature {
        self.sign_raw(&domain::signed_bytes(context, message))
    }

    /// Signs exactly `message` (RFC 8032, section 5.1.6), without a domain. This is for formats that prescribe the
    /// signed bytes. Everything else uses [`sign`](Self::sign).
    ///
    /// Whoever chooses the bytes can act in the name of this key: bytes that look like a TLS handshake, an address
    /// record or a delegation become one. Therefore never sign bytes that somebody else has chosen.
    ///
    /// ```
    /// let key = twolane_id::SecretKey::from_bytes(&[1; 32]);
    /// let signature = key.sign_raw(b"the bytes that a format prescribes");
    /// assert!(key.public_key().verify_raw(b"the bytes that a format prescribes", &signature).is_ok());
    /// ```
    pub fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(message).to_bytes())
    }
}

/// The field wipes itself on drop.
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

/// Works like [`SecretKey::from_hex`]. `Display` is missing on purpose.
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
