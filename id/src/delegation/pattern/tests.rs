use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Pattern, ParsePatternError> {
    text.parse()
}

#[test]
fn a_name_matches_itself_a_beginning_its_continuations_and_a_star_everything() {
    for (pattern, yes, no) in [
        ("chat/1", &["chat/1"][..], &["chat/", "chat/11", "chat/2", "Chat/1", "achat/1", ""][..]),
        ("chat/*", &["chat/1", "chat/", "chat/1/2"], &["chat", "chatter/1", "CHAT/1", "mail/chat/1", ""]),
        ("chat*", &["chat", "chat/1", "chatter/1"], &["cha", "Chat"]),
        ("*", &["chat/1", "x", "*"], &[]),
    ] {
        let parsed = parse(pattern).unwrap();
        yes.iter().for_each(|name| assert!(parsed.matches(name), "{pattern} covers {name}"));
        no.iter().for_each(|name| assert!(!parsed.matches(name), "{pattern} does not cover {name}"));
    }
}

#[test]
fn a_pattern_has_1_to_255_visible_ascii_characters_and_a_star_only_at_its_end() {
    assert_eq!(parse(""), Err(ParsePatternError::Empty));
    assert!(parse(&"x".repeat(255)).is_ok());
    assert_eq!(parse(&"x".repeat(256)), Err(ParsePatternError::TooLong { len: 256, max: 255 }));
    for (text, found, position) in [("a b", ' ', 2), ("é", 'é', 1), ("ab\n", '\n', 3), ("a\u{7f}", '\u{7f}', 2)] {
        assert_eq!(parse(text), Err(ParsePatternError::Character { found, position }));
    }
    for (text, position) in [("*a", 1), ("a*b", 2), ("**", 1), ("chat/*/1", 6)] {
        assert_eq!(parse(text), Err(ParsePatternError::Star { position }));
    }
}

#[test]
fn serde_sees_the_text() {
    let pattern = parse("chat/*").unwrap();
    assert_eq!(serde_json::to_string(&pattern).unwrap(), "\"chat/*\"");
    assert_eq!(serde_json::from_str::<Pattern>("\"chat/*\"").unwrap(), pattern);
    assert!(serde_json::from_str::<Pattern>("\"a*b\"").is_err());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_is_written_as_it_was(text in prop_oneof![any::<String>(), "[!-~]{0,260}"]) {
        if let Ok(pattern) = parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn only_a_star_makes_a_pattern_cover_more_than_itself(name in "[!-)+-~]{1,20}", other in "[!-~]{0,3}") {
        let longer = format!("{name}{other}");
        prop_assert_eq!(parse(&name).unwrap().matches(&longer), other.is_empty());
        prop_assert!(parse(&(name + "*")).unwrap().matches(&longer));
    }
}
