//! The domain of signed messages: what a signature covers besides the message.
//!
//! An identity key signs more than messages. The same key proves a peer in the handshake of TLS, names the relay of
//! the peer in the address directory, logs in at relays, and issues delegations. A signature for one of these purposes
//! must never be valid for another one. Otherwise the person who asks for a signature over a file could ask for one
//! that opens a connection in the signer's name. Each purpose therefore has a domain of its own: the beginning of the
//! signed bytes, which no other purpose uses.

/// The domain of the messages that [`SecretKey::sign`](crate::SecretKey::sign) signs. The signed bytes are this
/// domain, the length of the context in bytes (8 bytes, big-endian), the context, and the message.
///
/// | what the same key signs | the signed bytes |
/// | --- | --- |
/// | a message | begin with this domain, and are at least 34 bytes |
/// | a delegation | begin with [`delegation::CONTEXT`](crate::delegation::CONTEXT) |
/// | a handshake of TLS 1.3 (RFC 8446, section 4.4.3) | begin with 64 spaces |
/// | an address record of pkarr (BEP 44) | begin with `3:seqi` or `4:salt` |
/// | a login at a relay of iroh | are 16 or 32 bytes |
pub const MESSAGE_DOMAIN: &[u8] = b"twolane signed message v1\0";

/// Returns the bytes that the signature of a message covers. The length of the context is among them, so that no
/// byte can move between the context and the message.
pub(super) fn signed_bytes(context: &str, message: &[u8]) -> Vec<u8> {
    let length = context.len() as u64;
    [MESSAGE_DOMAIN, &length.to_be_bytes(), context.as_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;
    use crate::{SecretKey, Signature, delegation};

    /// The signature of the seed 32 times 01 over `hello` in the context `file`. A program that knows only the
    /// documentation has made it.
    const SIGNATURE: &str = "886172761759255b2eb95ff2b5a2afc4dba30bc232d196959ad5a0e0639390971b71af7de6e915e8d603801358\
                             0afd0ba7d5c8556a72c9b400712b272c35820c";

    /// How the other bytes begin that an identity key signs.
    const OTHERS: [&[u8]; 5] = [
        delegation::CONTEXT,
        b"                                                                TLS 1.3, server CertificateVerify\0",
        b"                                                                TLS 1.3, client CertificateVerify\0",
        b"3:seqi1900000000e1:v",
        b"4:salt",
    ];

    fn key() -> SecretKey {
        SecretKey::from_bytes(&[1; 32])
    }

    #[test]
    fn the_signed_bytes_and_the_signature_are_pinned() {
        let expected = concat!("74776f6c616e65207369676e6564206d65737361676520763100", "0000000000000004", "66696c65");
        assert_eq!(HEXLOWER.encode(&signed_bytes("file", b"hello")), format!("{expected}68656c6c6f"));
        let signature = key().sign("file", b"hello");
        assert_eq!(signature.to_string(), SIGNATURE);
        assert_eq!(key().public_key().verify("file", b"hello", &signature), Ok(()));
    }

    #[test]
    fn a_signature_is_valid_in_its_own_context_alone() {
        let (public, signature) = (key().public_key(), key().sign("file", b"hello"));
        for context in ["", "fil", "files", "File", "file\0", "mail"] {
            assert!(public.verify(context, b"hello", &signature).is_err(), "{context:?}");
        }
        assert!(public.verify("file", b"hell", &signature).is_err());
    }

    #[test]
    fn no_byte_moves_between_the_context_and_the_message() {
        let (public, signature) = (key().public_key(), key().sign("file", b"hello"));
        for (context, message) in [("fil", "ehello"), ("fileh", "ello"), ("filehello", ""), ("", "filehello")] {
            assert!(public.verify(context, message.as_bytes(), &signature).is_err(), "{context:?}");
        }
    }

    #[test]
    fn no_two_domains_begin_alike() {
        let all = [&[MESSAGE_DOMAIN][..], &OTHERS].concat();
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert!(at == other_at || !one.starts_with(other), "{}", one.escape_ascii());
            }
        }
    }

    #[test]
    fn a_signed_message_is_longer_than_what_a_relay_has_signed_for_a_login() {
        assert_eq!(signed_bytes("", b"").len(), 34);
    }

    #[test]
    fn whoever_gets_bytes_signed_has_no_handshake_record_or_delegation_signed() {
        let public = key().public_key();
        for other in OTHERS {
            let bytes = [other, &[7; 32]].concat();
            for context in ["", "file"] {
                assert!(public.verify_raw(&bytes, &key().sign(context, &bytes)).is_err(), "{}", other.escape_ascii());
            }
            assert!(public.verify("", &bytes, &key().sign_raw(&bytes)).is_err(), "{}", other.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_context_and_no_message_leave_the_domain(context in any::<String>(), message: Vec<u8>) {
            let bytes = signed_bytes(&context, &message);
            prop_assert!(bytes.starts_with(MESSAGE_DOMAIN) && bytes.len() >= 34);
            prop_assert!(OTHERS.iter().all(|other| !bytes.starts_with(other)));
        }

        #[test]
        fn each_context_and_message_has_bytes_of_its_own(
            one in "[ab]{0,4}", message in "[ab]{0,4}", other in "[ab]{0,4}", another in "[ab]{0,4}",
        ) {
            let equal = (&one, &message) == (&other, &another);
            let bytes = signed_bytes(&one, message.as_bytes());
            prop_assert_eq!(bytes == signed_bytes(&other, another.as_bytes()), equal);
        }

        #[test]
        fn what_is_signed_verifies_and_only_as_it_was_signed(
            seed: [u8; 32], context in any::<String>(), message: Vec<u8>,
        ) {
            let key = SecretKey::from_bytes(&seed);
            let signature: Signature = key.sign(&context, &message);
            prop_assert!(key.public_key().verify(&context, &message, &signature).is_ok());
            prop_assert!(key.public_key().verify_raw(&message, &signature).is_err());
            prop_assert!(key.public_key().verify(&context, &message, &key.sign_raw(&message)).is_err());
        }
    }
}
