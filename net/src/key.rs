//! Conversion between the keys of this library and those of iroh: the same 32 bytes in two types.

use iroh::EndpointId;
use twolane_id::{PublicKey, SecretKey};

/// Returns the id that iroh uses for a peer.
#[expect(clippy::expect_used, reason = "a PublicKey is a point on the curve, which is all that iroh asks of an id")]
pub fn to_iroh(key: &PublicKey) -> EndpointId {
    EndpointId::from_bytes(key.as_bytes()).expect("a point on the curve")
}

/// Returns the key that belongs to an id of iroh. Returns `None` for a key of small order: iroh accepts such keys,
/// and this library does not, because anybody can sign for them.
pub fn from_iroh(id: &EndpointId) -> Option<PublicKey> {
    PublicKey::from_bytes(id.as_bytes()).ok()
}

pub(crate) fn secret_to_iroh(key: &SecretKey) -> iroh::SecretKey {
    iroh::SecretKey::from_bytes(&key.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_derive_the_same_public_key() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let public = secret.public_key();
        assert_eq!(to_iroh(&public), secret_to_iroh(&secret).public());
        assert_eq!(from_iroh(&to_iroh(&public)), Some(public));
    }

    #[test]
    fn a_key_of_small_order_is_no_peer() {
        // The neutral element: iroh accepts it, and every signature by it can be forged.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        if let Ok(id) = EndpointId::from_bytes(&neutral) {
            assert_eq!(from_iroh(&id), None);
        }
    }
}
