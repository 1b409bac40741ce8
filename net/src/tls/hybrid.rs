//! X25519MLKEM768: ML-KEM-768 (FIPS 203) and X25519 in one key exchange of TLS 1.3, group 0x11ec of the IANA registry
//! "TLS Supported Groups". Whoever breaks one of the two does not learn the secret.
//!
//! Both primitives are those of others. X25519 is ring's, which has no ML-KEM. ML-KEM is libcrux's: it has proofs that
//! it does what FIPS 203 says and that its time does not depend on secrets, and programs such as Firefox use it. It is
//! plain Rust, so it builds wherever the rest does. This file puts their bytes in a row.

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use rustls::{
    Error, NamedGroup, PeerMisbehaved, ProtocolVersion,
    crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup, ring::kx_group::X25519},
    ffdhe_groups::FfdheGroup,
};

/// Length of the client's half of ML-KEM, an encapsulation key, in bytes. 32 bytes of X25519 follow it.
const ENCAPSULATION_KEY: usize = 1184;
/// Length of the server's half of ML-KEM, a ciphertext, in bytes. 32 bytes of X25519 follow it.
const CIPHERTEXT: usize = 1088;

const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The key exchange.
#[derive(Debug)]
pub(super) struct X25519MlKem768;

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (decapsulation_key, encapsulation_key) = mlkem768::generate_key_pair(random()?).into_parts();
        let x25519 = X25519.start()?;
        let share = [&encapsulation_key.as_slice()[..], x25519.pub_key()].concat();
        Ok(Box::new(Client { decapsulation_key, x25519, share }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, point) = split(client_share, ENCAPSULATION_KEY)?;
        let key = MlKem768PublicKey::try_from(key).map_err(|_| INVALID)?;
        // FIPS 203, section 7.2: the bytes need not be a key.
        if !mlkem768::validate_public_key(&key) {
            return Err(INVALID);
        }
        let x25519 = X25519.start_and_complete(point)?;
        let (ciphertext, ml_kem) = mlkem768::encapsulate(&key, random()?);
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [&ciphertext.as_slice()[..], &x25519.pub_key[..]].concat(),
            secret: both(&ml_kem, &x25519.secret),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A client that has sent its share.
struct Client {
    decapsulation_key: MlKem768PrivateKey,
    x25519: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Client {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, point) = split(server_share, CIPHERTEXT)?;
        let ciphertext = MlKem768Ciphertext::try_from(ciphertext).map_err(|_| INVALID)?;
        let x25519 = self.x25519.complete(point)?;
        // A ciphertext that was made for another key gives a secret that nobody has: the handshake then fails at the
        // first message that is encrypted.
        let ml_kem = mlkem768::decapsulate(&self.decapsulation_key, &ciphertext);
        Ok(both(&ml_kem, &x25519))
    }

    /// Returns the share of X25519 alone. It is sent beside the whole share, so a server that has no ML-KEM answers at
    /// once as well.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.x25519.group(), self.x25519.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        self.x25519.complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// Separates the halves of a share. ring checks the length of the second one.
fn split(share: &[u8], ml_kem: usize) -> Result<(&[u8], &[u8]), Error> {
    share.split_at_checked(ml_kem).ok_or(INVALID)
}

fn both(ml_kem: &[u8], x25519: &SharedSecret) -> SharedSecret {
    [ml_kem, x25519.secret_bytes()].concat().into()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::FailedToGetRandomBytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_SHARE: usize = ENCAPSULATION_KEY + 32;
    const SERVER_SHARE: usize = CIPHERTEXT + 32;

    fn refused<T>(result: Result<T, Error>) -> bool {
        matches!(result, Err(Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare)))
    }

    #[test]
    fn both_sides_have_the_same_secret_and_no_two_exchanges_have() {
        let mut secrets = Vec::new();
        for _ in 0..10 {
            let client = X25519MlKem768.start().unwrap();
            let server = X25519MlKem768.start_and_complete(client.pub_key()).unwrap();
            assert_eq!((client.pub_key().len(), server.pub_key.len()), (KEY_SHARE, SERVER_SHARE));
            assert_eq!((client.group(), server.group), (NamedGroup::X25519MLKEM768, NamedGroup::X25519MLKEM768));
            let secret = client.complete(&server.pub_key).unwrap().secret_bytes().to_vec();
            assert_eq!(secret, server.secret.secret_bytes());
            assert_eq!(secret.len(), 64);
            secrets.push(secret);
        }
        secrets.sort_unstable();
        assert!(secrets.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn the_bytes_of_ml_kem_come_first_in_both_shares_and_in_the_secret() {
        // A client that is written out here.
        let (private, public) = mlkem768::generate_key_pair([7; 64]).into_parts();
        let x25519 = X25519.start().unwrap();
        let share = [&public.as_slice()[..], x25519.pub_key()].concat();
        let server = X25519MlKem768.start_and_complete(&share).unwrap();
        let (ciphertext, point) = server.pub_key.split_at(1088);
        let ml_kem = mlkem768::decapsulate(&private, &MlKem768Ciphertext::try_from(ciphertext).unwrap());
        let x25519 = x25519.complete(point).unwrap();
        assert_eq!(server.secret.secret_bytes(), [&ml_kem[..], x25519.secret_bytes()].concat());

        // And a server.
        let client = X25519MlKem768.start().unwrap();
        let (key, point) = client.pub_key().split_at(1184);
        let (ciphertext, ml_kem) = mlkem768::encapsulate(&MlKem768PublicKey::try_from(key).unwrap(), [8; 32]);
        let x25519 = X25519.start_and_complete(point).unwrap();
        let share = [&ciphertext.as_slice()[..], &x25519.pub_key[..]].concat();
        let secret = client.complete(&share).unwrap();
        assert_eq!(secret.secret_bytes(), [&ml_kem[..], x25519.secret.secret_bytes()].concat());
    }

    #[test]
    fn a_server_without_ml_kem_takes_the_second_share_of_the_same_flight() {
        let client = X25519MlKem768.start().unwrap();
        let (group, share) = client.hybrid_component().unwrap();
        assert_eq!(group, NamedGroup::X25519);
        let server = X25519.start_and_complete(share).unwrap();
        let secret = client.complete_hybrid_component(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
    }

    #[test]
    fn shares_of_another_length_and_keys_that_are_none_are_refused() {
        let valid = X25519MlKem768.start().unwrap().pub_key().to_vec();
        for len in [0, 1, 32, ENCAPSULATION_KEY, KEY_SHARE - 1] {
            assert!(refused(X25519MlKem768.start_and_complete(&valid[..len])), "{len} bytes");
        }
        assert!(refused(X25519MlKem768.start_and_complete(&[&valid[..], &[0]].concat())));
        // Numbers of 12 bits that are over the modulus.
        let mut no_key = valid.clone();
        no_key[..3].fill(0xff);
        assert!(refused(X25519MlKem768.start_and_complete(&no_key)));
        // The point of small order: its secret would be zero.
        let mut no_point = valid.clone();
        no_point[ENCAPSULATION_KEY..].fill(0);
        assert!(refused(X25519MlKem768.start_and_complete(&no_point)));

        let server = X25519MlKem768.start_and_complete(&valid).unwrap().pub_key;
        for share in [&server[..0], &server[..CIPHERTEXT], &server[1..], &[&server[..], &[0]].concat()] {
            let client = X25519MlKem768.start().unwrap();
            assert!(refused(client.complete(share)), "{} bytes", share.len());
        }
    }

    #[test]
    fn a_ciphertext_for_another_key_gives_a_secret_that_nobody_else_has() {
        let (one, other) = (X25519MlKem768.start().unwrap(), X25519MlKem768.start().unwrap());
        let server = X25519MlKem768.start_and_complete(one.pub_key()).unwrap();
        let secret = other.complete(&server.pub_key).unwrap();
        assert_ne!(secret.secret_bytes()[..32], server.secret.secret_bytes()[..32]);
    }

    /// The key that OpenSSL 4.0 makes of the bytes 0 to 63, what it has encapsulated for that key, and what it gets
    /// from a ciphertext in which a bit was turned over.
    #[test]
    fn what_openssl_has_encapsulated_is_what_is_decapsulated_here() {
        let seed = std::array::from_fn(|at| at as u8);
        let (private, public) = mlkem768::generate_key_pair(seed).into_parts();
        assert_eq!(hex(&public.as_slice()[..16]), "298aa10d423c8dda069d02bc59e6cdf0");
        assert_eq!(hex(&public.as_slice()[1152..]), "5e43481c3eeb397eb192505229b67a201ea893c3e2cb32da8bc342fa4dea0578");
        let mut ciphertext = *include_bytes!("vectors/mlkem768_ciphertext");
        let decapsulated = |ciphertext: [u8; 1088]| hex(&mlkem768::decapsulate(&private, &ciphertext.into()));
        assert_eq!(decapsulated(ciphertext), "8a604732025ef84f3d7001f3a37adcb8f3d5be407cdd10bfbdfab2716b86c32e");
        ciphertext[0] ^= 1;
        assert_eq!(decapsulated(ciphertext), "bba2cc6e0655320def5e16e3e4b54ab844e14778d5915feebe60bd4945fd8f48");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
