use std::str::FromStr;

use ed25519_dalek::{Verifier, VerifyingKey};
use proptest::prelude::*;

use super::*;
use crate::{PublicKey, SecretKey};

struct Vector {
    secret: &'static str,
    public: &'static str,
    message: &'static str,
    signature: &'static str,
}

/// RFC 8032, section 7.1, tests 1 to 3.
const RFC_8032: [Vector; 3] = [
    Vector {
        secret: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        public: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        message: "",
        signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
                    5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    },
    Vector {
        secret: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        public: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        message: "72",
        signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                    085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    },
    Vector {
        secret: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        public: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        message: "af82",
        signature: "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                    18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    },
];

/// The order of the base point, 2^252 + 27742317777372353535851937790883648493, little-endian.
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn decode(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn signed() -> (PublicKey, &'static [u8], Signature) {
    let key = SecretKey::from_bytes(&[1; 32]);
    (key.public_key(), b"hello", key.sign_raw(b"hello"))
}

#[test]
fn the_vectors_of_rfc_8032_are_signed_and_verified() {
    for vector in RFC_8032 {
        let secret = SecretKey::from_hex(vector.secret).unwrap();
        let public = PublicKey::from_bytes(&decode(vector.public).try_into().unwrap()).unwrap();
        let message = decode(vector.message);
        assert_eq!(secret.public_key(), public);
        assert_eq!(secret.sign_raw(&message).to_string(), vector.signature);
        assert_eq!(public.verify_raw(&message, &vector.signature.parse().unwrap()), Ok(()));
    }
}

#[test]
fn every_flipped_bit_of_a_signature_is_noticed() {
    let (key, message, signature) = signed();
    for bit in 0..512 {
        let mut bytes = signature.to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(key.verify_raw(message, &Signature::from_bytes(&bytes)).is_err(), "bit {bit}");
    }
}

#[test]
fn another_message_or_another_key_is_noticed_and_the_error_names_the_key() {
    let (key, message, signature) = signed();
    let other = SecretKey::from_bytes(&[2; 32]).public_key();
    for (key, message) in [(key, b"hell".as_slice()), (key, b"hello!"), (key, b""), (other, message)] {
        let error = key.verify_raw(message, &signature).unwrap_err();
        assert_eq!(error.public_key(), key);
        assert!(error.to_string().contains(&key.to_string()));
    }
}

#[test]
fn a_scalar_that_is_not_reduced_is_refused() {
    let (key, message, signature) = signed();
    // S + L equals S modulo L, and therefore satisfies the equation.
    let mut forged = signature.to_bytes();
    let mut carry = 0;
    for (byte, addend) in forged[32..].iter_mut().zip(decode(L)) {
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(key.verify_raw(message, &signature).is_ok());
    assert!(key.verify_raw(message, &Signature::from_bytes(&forged)).is_err());
}

#[test]
fn a_nonce_point_of_small_order_is_refused() {
    let (key, ..) = signed();
    let message = b"made without the nonce that RFC 8032 asks for";
    // R is the neutral element, S = H(R, A, M) * a.
    let signature: Signature = "0100000000000000000000000000000000000000000000000000000000000000\
         f6d4a33a78569aac47c4293135ae35ef290fa67f97a6bbd479f25de396228407"
        .parse()
        .unwrap();

    let lax = VerifyingKey::from_bytes(key.as_bytes()).unwrap();
    assert!(lax.verify(message, &signature.to_dalek()).is_ok(), "only strictness refuses it");
    assert!(key.verify_raw(message, &signature).is_err());
}

#[test]
fn a_wrong_length_is_named_in_characters() {
    for found in [0, 1, 127, 129, 256] {
        assert_eq!("0".repeat(found).parse::<Signature>(), Err(ParseSignatureError::Length { found }));
    }
}

#[test]
fn a_wrong_character_is_named_with_its_position() {
    for (found, index) in [('g', 0), ('A', 1), ('\n', 64), ('é', 127)] {
        let text: String = (0..128).map(|i| if i == index { found } else { '0' }).collect();
        assert_eq!(text.parse::<Signature>(), Err(ParseSignatureError::Character { found, position: index + 1 }));
    }
}

#[test]
fn debug_is_short() {
    let signature = Signature::from_bytes(&[0xab; 64]);
    assert_eq!(format!("{signature:?}"), "Signature(abababababababab..)");
}

#[test]
fn serde_writes_the_text_for_people_and_64_bytes_for_machines() {
    let (_, _, signature) = signed();
    let json = serde_json::to_string(&signature).unwrap();
    assert_eq!(json, format!("\"{signature}\""));
    assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);

    let binary = postcard::to_stdvec(&signature).unwrap();
    assert_eq!(binary, signature.to_bytes());
    assert_eq!(postcard::from_bytes::<Signature>(&binary).unwrap(), signature);
    assert!(postcard::from_bytes::<Signature>(&binary[..63]).is_err());
    for json in ["\"\"", "\"abc\"", "7", "[]"] {
        assert!(serde_json::from_str::<Signature>(json).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Signature::from_str(&text);
    }

    #[test]
    fn no_text_of_about_the_right_shape_panics(text in "[0-9a-gA-Fß\u{1F511} ]{126,130}") {
        if let Ok(signature) = Signature::from_str(&text) {
            prop_assert_eq!(signature.to_string(), text);
        }
    }

    #[test]
    fn every_64_bytes_survive_their_text(r: [u8; 32], s: [u8; 32]) {
        let bytes: [u8; 64] = [r, s].concat().try_into().unwrap();
        let signature = Signature::from_bytes(&bytes);
        prop_assert_eq!(signature.to_string().parse(), Ok(signature));
    }

    #[test]
    fn one_other_character_is_never_the_same_signature(
        r: [u8; 32], s: [u8; 32], index in 0..128_usize,
        other in prop_oneof![any::<char>(), prop::char::range('0', 'f')],
    ) {
        let bytes: [u8; 64] = [r, s].concat().try_into().unwrap();
        let signature = Signature::from_bytes(&bytes);
        let mut text: Vec<char> = signature.to_string().chars().collect();
        prop_assume!(text[index] != other);
        text[index] = other;
        let text: String = text.into_iter().collect();
        prop_assert_ne!(text.parse(), Ok(signature));
    }

    #[test]
    fn what_a_key_signs_verifies_under_it_and_no_other_bytes_do(
        seed: [u8; 32], message: Vec<u8>, garbage_r: [u8; 32], garbage_s: [u8; 32],
    ) {
        let secret = SecretKey::from_bytes(&seed);
        let signature = secret.sign_raw(&message);
        prop_assert_eq!(secret.sign_raw(&message), signature);
        prop_assert!(secret.public_key().verify_raw(&message, &signature).is_ok());
        let bytes: [u8; 64] = [garbage_r, garbage_s].concat().try_into().unwrap();
        prop_assert!(secret.public_key().verify_raw(&message, &Signature::from_bytes(&bytes)).is_err());
    }
}
