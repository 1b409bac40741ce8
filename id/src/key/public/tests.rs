use std::{
    collections::{BTreeSet, HashSet},
    str::FromStr,
};

use proptest::prelude::*;

use super::*;
use crate::SecretKey;

const RFC_8032_TEST_1: &str = "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0";

fn bytes(hex: &str) -> [u8; 32] {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

fn key(seed: u8) -> PublicKey {
    SecretKey::from_bytes(&[seed; 32]).public_key()
}

/// All points whose order divides the cofactor 8, with their orders.
const SMALL_ORDER: [(u8, &str); 8] = [
    (1, "0100000000000000000000000000000000000000000000000000000000000000"),
    (2, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    (4, "0000000000000000000000000000000000000000000000000000000000000000"),
    (4, "0000000000000000000000000000000000000000000000000000000000000080"),
    (8, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    (8, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    (8, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    (8, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
];

#[test]
fn known_keys_have_their_known_id52() {
    let rfc = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let rfc = PublicKey::from_bytes(&bytes(rfc)).unwrap();
    assert_eq!(rfc.to_string(), RFC_8032_TEST_1);
    assert_eq!(key(1).to_string(), "ha4e7nbk17opbvaircmjpeiteb56e2dv3ma146vjei403d0fdte0");
    assert_eq!(key(2).to_string(), "g4sne3l8fkblull3ahjc6j3upj5or2khmjn3f8ituo7ln3u9mea0");
}

#[test]
fn an_id52_is_read_in_upper_lower_and_mixed_case() {
    let key: PublicKey = RFC_8032_TEST_1.parse().unwrap();
    let mixed: String = RFC_8032_TEST_1
        .char_indices()
        .map(|(index, c)| if index % 2 == 0 { c.to_ascii_uppercase() } else { c })
        .collect();
    for text in [RFC_8032_TEST_1.to_uppercase(), mixed] {
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(text.parse::<PublicKey>().unwrap().to_string(), RFC_8032_TEST_1);
    }
}

#[test]
fn debug_is_short_and_display_can_be_padded() {
    let key: PublicKey = RFC_8032_TEST_1.parse().unwrap();
    assert_eq!(format!("{key:?}"), "PublicKey(qtd9g0c2m4..)");
    assert_eq!(format!("{key:>55}"), format!("   {RFC_8032_TEST_1}"));
    assert_eq!(format!("{key:.6}"), "qtd9g0");
}

#[test]
fn a_wrong_length_is_named_in_characters() {
    for (text, found) in [
        (String::new(), 0),
        (RFC_8032_TEST_1[..51].to_owned(), 51),
        (format!("{RFC_8032_TEST_1}\n"), 53),
        ("é".repeat(26), 26),
        ("0".repeat(64), 64),
        ("0".repeat(1 << 20), 1 << 20),
    ] {
        assert_eq!(text.parse::<PublicKey>(), Err(ParsePublicKeyError::Length { found }));
    }
    let message = "abc".parse::<PublicKey>().unwrap_err().to_string();
    assert_eq!(message, "an id52 has 52 characters, this text has 3: copy it whole, without spaces");
}

#[test]
fn a_wrong_character_is_named_with_its_position() {
    for (found, index) in [('w', 0), ('Z', 1), (' ', 25), ('é', 30), ('\0', 50), ('=', 51)] {
        let text: String = RFC_8032_TEST_1.char_indices().map(|(i, c)| if i == index { found } else { c }).collect();
        assert_eq!(text.parse::<PublicKey>(), Err(ParsePublicKeyError::Character { found, position: index + 1 }));
    }
    let message = format!("{}-0", &RFC_8032_TEST_1[..50]).parse::<PublicKey>().unwrap_err();
    assert_eq!(message.to_string(), "'-', character 51 of 52, does not occur in an id52: only 0-9 and a-v do");
}

#[test]
fn of_the_32_last_characters_only_the_two_without_trailing_bits_are_read() {
    for last in "0123456789abcdefghijklmnopqrstuvABCDEFGHIJKLMNOPQRSTUV".chars() {
        let result = format!("{}{last}", &RFC_8032_TEST_1[..51]).parse::<PublicKey>();
        match last {
            '0' => assert_eq!(result.unwrap().to_string(), RFC_8032_TEST_1),
            // The digit flips the sign of x, which gives another point of the curve.
            'g' | 'G' => assert_ne!(result.unwrap().to_string(), RFC_8032_TEST_1),
            found => assert_eq!(result, Err(ParsePublicKeyError::TrailingBits { found })),
        }
    }
}

#[test]
fn each_of_the_eight_points_of_small_order_is_refused() {
    for (order, hex) in SMALL_ORDER {
        let bytes = bytes(hex);
        assert!(VerifyingKey::from_bytes(&bytes).unwrap().is_weak(), "order {order}: {hex}");
        let refused = InvalidPublicKey::SmallOrder;
        assert_eq!(PublicKey::from_bytes(&bytes), Err(refused), "order {order}: {hex}");
        assert_eq!(BASE32_DNSSEC.encode(&bytes).parse::<PublicKey>(), Err(ParsePublicKeyError::Key(refused)));
    }
}

#[test]
fn every_coordinate_that_is_not_reduced_is_refused() {
    // The coordinates from 2^255 - 19 to 2^255 - 1, with either sign of x.
    for (first, last) in (0xed..=0xff).flat_map(|first| [(first, 0x7f), (first, 0xff)]) {
        let mut bytes = [0xff; 32];
        bytes[0] = first;
        bytes[31] = last;
        assert_eq!(PublicKey::from_bytes(&bytes), Err(InvalidPublicKey::NotCanonical), "{bytes:?}");
    }
}

#[test]
fn the_largest_reduced_coordinates_are_looked_at_as_points() {
    let mut on_curve = 0;
    for first in 0xe0..=0xec {
        let mut bytes = [0xff; 32];
        bytes[0] = first;
        bytes[31] = 0x7f;
        match PublicKey::from_bytes(&bytes) {
            Ok(_) => on_curve += 1,
            Err(error) => assert_ne!(error, InvalidPublicKey::NotCanonical, "{first:#x}"),
        }
    }
    assert!(on_curve > 0);
}

#[test]
fn a_negative_zero_is_refused() {
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        assert_eq!(PublicKey::from_bytes(&bytes(hex)), Err(InvalidPublicKey::SmallOrder));
    }
}

#[test]
fn bytes_that_are_not_on_the_curve_are_refused() {
    let mut two = [0; 32];
    two[0] = 2;
    assert_eq!(PublicKey::from_bytes(&two), Err(InvalidPublicKey::NotOnCurve));
}

#[test]
fn keys_sort_as_their_id52s_do_and_equal_keys_hash_the_same() {
    let keys: Vec<_> = (0..50).map(key).collect();
    let by_key: Vec<_> = keys.iter().collect::<BTreeSet<_>>().iter().map(|k| k.to_string()).collect();
    let by_text: BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(by_key, by_text.into_iter().collect::<Vec<_>>());

    let copies = keys.iter().map(|key| key.to_string().parse::<PublicKey>().unwrap());
    assert_eq!(keys.iter().copied().chain(copies).collect::<HashSet<_>>().len(), 50);
}

#[test]
fn a_key_takes_no_more_room_than_its_bytes() {
    assert_eq!(size_of::<PublicKey>(), 32);
}

#[test]
fn serde_writes_the_id52_for_people_and_32_bytes_for_machines() {
    let key = key(1);
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(json, format!("\"{key}\""));
    assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    // The string is not borrowed from the input.
    let value = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    assert_eq!(serde_json::from_value::<PublicKey>(value).unwrap(), key);

    let binary = postcard::to_stdvec(&key).unwrap();
    assert_eq!(binary, key.to_bytes());
    assert_eq!(postcard::from_bytes::<PublicKey>(&binary).unwrap(), key);
}

#[test]
fn serde_refuses_what_from_str_and_from_bytes_refuse() {
    let weak = BASE32_DNSSEC.encode(&[0; 32]);
    for json in ["\"\"", "\"abc\"", "52", "null", "[1,2]", &format!("\"{weak}\"")] {
        assert!(serde_json::from_str::<PublicKey>(json).is_err(), "{json}");
    }
    assert!(postcard::from_bytes::<PublicKey>(&[0; 32]).is_err());
    assert!(postcard::from_bytes::<PublicKey>(&key(1).as_bytes()[..31]).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = PublicKey::from_str(&text);
    }

    #[test]
    fn no_text_of_about_the_right_shape_panics(text in "[0-9a-zA-Zß\u{1F511} ]{50,54}") {
        if let Ok(key) = PublicKey::from_str(&text) {
            prop_assert_eq!(key.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn no_32_bytes_panic_and_all_that_are_accepted_come_back(bytes: [u8; 32]) {
        if let Ok(key) = PublicKey::from_bytes(&bytes) {
            prop_assert_eq!(key.to_bytes(), bytes);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn the_key_of_every_secret_is_sound_and_survives_its_text(seed: [u8; 32]) {
        let key = SecretKey::from_bytes(&seed).public_key();
        prop_assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
        let text = key.to_string();
        prop_assert_eq!(text.len(), 52);
        prop_assert!(text.ends_with(['0', 'g']));
        prop_assert_eq!(text.parse(), Ok(key));
    }

    #[test]
    fn one_other_character_is_never_the_same_key(
        seed: [u8; 32], index in 0..52_usize, other in any::<char>(),
    ) {
        let key = SecretKey::from_bytes(&seed).public_key();
        let mut text: Vec<char> = key.to_string().chars().collect();
        prop_assume!(text[index] != other.to_ascii_lowercase());
        text[index] = other;
        let text: String = text.into_iter().collect();
        prop_assert_ne!(text.parse(), Ok(key));
    }

    #[test]
    fn one_other_symbol_is_never_the_same_key(
        seed: [u8; 32], index in 0..52_usize, other in "[0-9a-vA-V]",
    ) {
        let key = SecretKey::from_bytes(&seed).public_key();
        let mut text = key.to_string();
        prop_assume!(text[index..=index] != other.to_ascii_lowercase());
        text.replace_range(index..=index, &other);
        prop_assert_ne!(text.parse(), Ok(key));
    }
}
