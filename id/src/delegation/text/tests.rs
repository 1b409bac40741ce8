use proptest::prelude::*;

use super::*;
use crate::delegation::sample::*;

fn flaw(text: &str) -> TextFlaw {
    match text.parse::<Delegation>() {
        Err(DelegationError::BadText { flaw }) => flaw,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn the_text_is_one_lower_case_word_that_begins_with_what_it_is() {
    let text = sample().to_string();
    assert!(text.starts_with("delegation0658houteg4v35"), "{text}");
    assert!(text.chars().all(text::is_base32hex) && text == text.to_lowercase());
}

#[test]
fn either_case_is_read() {
    let text = sample().to_string();
    assert_eq!(text.to_uppercase().parse(), Ok(sample()));
    assert_eq!(text.replacen('d', "D", 2).parse(), Ok(sample()));
}

#[test]
fn another_beginning_is_refused_and_nothing_of_the_text_repeated() {
    let digits = sample().to_string().split_off(PREFIX.len());
    for text in ["", "d", "delegatio", "delegatiom0", " delegation0", "deleg\u{e4}tion", &digits, &"01".repeat(32)] {
        assert_eq!(flaw(text), TextFlaw::Prefix, "{text:?}");
    }
    assert!(!TextFlaw::Prefix.to_string().contains('0'));
}

#[test]
fn a_wrong_character_is_named_with_its_position_in_the_text() {
    for (found, index) in [('w', 0), (' ', 3), ('é', 5), ('=', 20), ('-', 1)] {
        let mut digits: Vec<char> = sample().to_string().chars().collect();
        digits[PREFIX.len() + index] = found;
        let text: String = digits.into_iter().collect();
        assert_eq!(flaw(&text), TextFlaw::Character { found, position: PREFIX.len() + index + 1 });
    }
}

#[test]
fn what_is_longer_than_any_delegation_is_refused_with_the_limit() {
    assert_eq!(MAX_TEXT_LEN, 3287);
    let text = format!("{PREFIX}{}", "0".repeat(3278));
    assert_eq!(flaw(&text), TextFlaw::TooLong { len: 3288, max: 3287 });
    // This text has the maximum length, and a version that does not exist.
    let text = format!("{PREFIX}{}", "0".repeat(3277));
    assert_eq!(text.parse::<Delegation>(), Err(DelegationError::Version { found: 0 }));
}

#[test]
fn a_text_cut_anywhere_is_refused() {
    let text = sample().to_string();
    for len in 0..text.len() {
        assert!(text[..len].parse::<Delegation>().is_err(), "{len}");
    }
    assert_eq!(flaw(&format!("{PREFIX}0")), TextFlaw::Cut { len: 11 });
    assert_eq!(flaw(&format!("{PREFIX}065")), TextFlaw::Cut { len: 13 });
    assert_eq!(PREFIX.parse::<Delegation>(), Err(DelegationError::Truncated { found: 0, part: "version" }));
}

#[test]
fn bits_after_the_last_byte_have_to_be_zero() {
    // 163 bytes and two patterns of 7 bytes are 177 bytes, or 1416 bits. 284 characters have 4 more bits.
    let text = sample().to_string();
    let (rest, last) = text.split_at(text.len() - 1);
    assert!(["0", "g"].contains(&last), "{last}");
    for digit in "123456789abcdefhijklmnopqrstuv".chars() {
        assert_eq!(flaw(&format!("{rest}{digit}")), TextFlaw::TrailingBits { found: digit });
    }
}

#[test]
fn serde_sees_the_text_in_every_format() {
    let text = sample().to_string();
    let json = serde_json::to_string(&sample()).unwrap();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Delegation>(&json).unwrap(), sample());
    let binary = postcard::to_stdvec(&sample()).unwrap();
    assert_eq!(postcard::from_bytes::<Delegation>(&binary).unwrap(), sample());
    for json in ["\"\"", "\"delegation\"", "7", "[]", "null"] {
        assert!(serde_json::from_str::<Delegation>(json).is_err(), "{json}");
    }
}

proptest! {
    #[test]
    fn every_delegation_survives_its_text(delegation in any_delegation()) {
        let text = delegation.to_string();
        prop_assert!(text.len() <= MAX_TEXT_LEN);
        prop_assert_eq!(text.parse(), Ok(delegation));
    }

    #[test]
    fn one_other_character_is_never_a_delegation(
        index in any::<prop::sample::Index>(), other in prop_oneof![any::<char>(), prop::char::range('0', 'v')],
    ) {
        let mut text: Vec<char> = sample().to_string().chars().collect();
        let index = index.index(text.len());
        prop_assume!(!text[index].eq_ignore_ascii_case(&other));
        text[index] = other;
        prop_assert!(text.into_iter().collect::<String>().parse::<Delegation>().is_err());
    }

    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), "(delegation|DELEGATION)[0-9a-wA-Wß\u{1F511} ]{0,300}"]) {
        let _ = text.parse::<Delegation>();
    }
}
