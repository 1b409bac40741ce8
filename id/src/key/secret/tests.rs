use proptest::prelude::*;

use super::*;

#[test]
fn generated_keys_differ() {
    let keys = [SecretKey::generate(), SecretKey::generate(), SecretKey::try_generate().unwrap()];
    assert_ne!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_ne!(keys[0].public_key(), keys[1].public_key());
}

#[test]
fn the_bytes_are_the_seed_of_rfc_8032() {
    let key = SecretKey::from_bytes(&[7; 32]);
    assert_eq!(*key.to_bytes(), [7; 32]);
    assert_eq!(*key.to_hex(), "07".repeat(32));
    assert_eq!(SecretKey::from_hex(&key.to_hex()), Ok(key));
}

#[test]
fn debug_shows_the_public_key_and_nothing_of_the_secret() {
    let key = SecretKey::from_bytes(&[0xab; 32]);
    let id52 = key.public_key().to_string();
    for shown in [format!("{key:?}"), format!("{key:#?}")] {
        assert_eq!(shown, format!("SecretKey(of {id52})"));
    }
}

#[test]
fn a_wrong_length_is_named_in_characters() {
    for (text, found) in [
        (String::new(), 0),
        ("0".repeat(63), 63),
        ("0".repeat(65), 65),
        (format!("{}\n", "0".repeat(64)), 65),
        // Lengths of other formats, and lengths at which other parsers panic.
        ("0".repeat(52), 52),
        ("é".repeat(32), 32),
        ("0".repeat(128), 128),
    ] {
        assert_eq!(SecretKey::from_hex(&text), Err(ParseSecretKeyError::Length { found }));
    }
}

#[test]
fn a_wrong_character_is_named_by_its_position() {
    for (found, index) in [('g', 0), ('A', 1), (' ', 32), ('é', 62), ('\u{1F511}', 63)] {
        let text: String = (0..64).map(|i| if i == index { found } else { '0' }).collect();
        let error = SecretKey::from_hex(&text).unwrap_err();
        assert_eq!(error, ParseSecretKeyError::Character { position: index + 1 });
    }
}

#[test]
fn no_error_contains_a_character_of_the_text() {
    for text in ["Q".repeat(64), "Q".repeat(63), format!("{}Q", "7".repeat(63))] {
        let error = SecretKey::from_hex(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains('Q') && !shown.contains("77"), "{shown}");
    }
}

#[test]
fn upper_case_is_refused_so_that_a_key_has_one_text() {
    let text = SecretKey::from_bytes(&[0xab; 32]).to_hex().to_uppercase();
    assert_eq!(text.parse::<SecretKey>(), Err(ParseSecretKeyError::Character { position: 1 }));
}

/// Two implementations apply to a type that has the trait. The call is then ambiguous, and this test does not
/// compile.
#[test]
fn a_secret_key_has_neither_display_nor_serde() {
    struct Second;

    trait IfDisplay<T> {
        fn absent() {}
    }
    impl<T> IfDisplay<()> for T {}
    impl<T: fmt::Display> IfDisplay<Second> for T {}
    <SecretKey as IfDisplay<_>>::absent();

    trait IfSerialize<T> {
        fn absent() {}
    }
    impl<T> IfSerialize<()> for T {}
    impl<T: serde::Serialize> IfSerialize<Second> for T {}
    <SecretKey as IfSerialize<_>>::absent();
}

#[test]
fn all_that_holds_a_secret_is_wiped_on_drop() {
    fn is_wiped<T: ZeroizeOnDrop>(_: &T) {}
    let key = SecretKey::generate();
    is_wiped(&key);
    is_wiped(&key.to_bytes());
    is_wiped(&key.to_hex());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<SecretKey>();
    }

    #[test]
    fn no_text_of_about_the_right_shape_panics(text in "[0-9a-gA-Fß\u{1F511} ]{62,66}") {
        if let Ok(key) = text.parse::<SecretKey>() {
            prop_assert_eq!(&*key.to_hex(), &text);
        }
    }

    #[test]
    fn every_key_survives_its_bytes_and_its_text(seed: [u8; 32]) {
        let key = SecretKey::from_bytes(&seed);
        prop_assert_eq!(*key.to_bytes(), seed);
        prop_assert_eq!(key.to_hex().len(), 64);
        prop_assert_eq!(key.to_hex().parse(), Ok(key));
    }

    #[test]
    fn one_other_character_is_never_the_same_key(
        seed: [u8; 32], index in 0..64_usize,
        other in prop_oneof![any::<char>(), prop::char::range('0', 'f')],
    ) {
        let key = SecretKey::from_bytes(&seed);
        let mut text: Vec<char> = key.to_hex().chars().collect();
        prop_assume!(text[index] != other);
        text[index] = other;
        let text: String = text.into_iter().collect();
        prop_assert_ne!(text.parse(), Ok(key));
    }
}
