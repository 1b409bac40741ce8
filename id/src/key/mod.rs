//! The public key, the secret key and the signature, and their errors.

mod domain;
mod error;
mod public;
mod secret;
mod signature;
pub(crate) mod text;

pub use domain::MESSAGE_DOMAIN;
pub use error::{
    InvalidPublicKey, ParsePublicKeyError, ParseSecretKeyError, ParseSignatureError, RandomnessError, VerifyError,
};
pub use public::PublicKey;
pub use secret::SecretKey;
pub use signature::Signature;
