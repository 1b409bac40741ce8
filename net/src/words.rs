//! How the text of a peer is shown to people.

use std::fmt::{self, Display, Write};

/// Shows a text, or an error that may quote a text, so that it cannot be mistaken for anything else. A character
/// that moves the cursor, ends the line, changes the direction of writing or has no width is shown as its number,
/// such as `\u{1b}`. Every other character is shown as it is.
///
/// Every `Display` of this crate that contains a peer's text shows it with this type. The error's fields contain
/// the text byte for byte.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", found.escape_unicode())?;
            rest = &rest[at + found.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Returns whether a terminal, or a person, may mistake a text that contains the character for another text.
fn is_hidden(c: char) -> bool {
    match c {
        // Soft hyphen; the Arabic letter mark, which has a direction; the Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}'
        // Zero-width space and joiners, and the marks of direction.
        | '\u{200b}'..='\u{200f}'
        // Line and paragraph separator, bidirectional embeddings and overrides.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, bidirectional isolates, and format characters that are out of use.
        | '\u{2060}'..='\u{206f}'
        // The byte order mark, which is a zero-width space elsewhere, and interlinear annotations.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        // Tags: an invisible copy of ASCII.
        | '\u{e0000}'..='\u{e007f}' => true,
        // C0, which includes the newlines, DEL and C1.
        c => c.is_control(),
    }
}

/// A text with one of each kind of character that [`Shown`] escapes, for the tests of the types that use it.
#[cfg(test)]
pub(crate) const HOSTILE: &str =
    "a\u{1b}[2J\r\nb\u{7f}\u{85}\u{9b}c\u{202e}d\u{2066}e\u{2069}\u{200b}\u{2028}\u{2029}\u{feff}f";

/// Returns whether a text has none of the hidden characters of [`HOSTILE`], for the same tests.
#[cfg(test)]
pub(crate) fn is_harmless(text: &str) -> bool {
    let hostile = HOSTILE.replace(|c: char| c.is_ascii_graphic(), "");
    !text.contains(|c| hostile.contains(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Shown(text).to_string()
    }

    /// The rule, written by number and independent of the function under test.
    fn must_not_be_shown(c: char) -> bool {
        matches!(
            u32::from(c),
            0..0x20 | 0x7f..0xa0 | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2064 | 0x2066..=0x2069 | 0xfeff
        )
    }

    #[test]
    fn a_character_that_acts_on_the_terminal_or_hides_is_shown_by_its_number() {
        assert_eq!(shown("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(shown("one\r\ntwo\0"), "one\\u{d}\\u{a}two\\u{0}");
        assert_eq!(shown("\u{7f}\u{80}\u{9b}\u{9f}\u{a0}"), "\\u{7f}\\u{80}\\u{9b}\\u{9f}\u{a0}");
        assert_eq!(shown("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(shown("\u{2065}\u{2066}\u{2069}\u{2070}"), "\\u{2065}\\u{2066}\\u{2069}\u{2070}");
        assert_eq!(shown("a\u{2027}\u{2028}\u{2029}\u{200a}\u{200b}"), "a\u{2027}\\u{2028}\\u{2029}\u{200a}\\u{200b}");
        assert_eq!(shown("\u{feff}\u{e0041}"), "\\u{feff}\\u{e0041}");
    }

    #[test]
    fn every_other_text_is_shown_as_it_is() {
        for text in ["", "no such mailbox", "a \\ and a \"", "Größe, 長さ, حجم, 🦀", "a\u{301}"] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn an_error_that_quotes_a_text_is_shown_the_same() {
        assert_eq!(Shown(format_args!("no {} here", "\u{7}")).to_string(), "no \\u{7} here");
    }

    /// Returns texts in which half of the characters are close to the hidden ones.
    fn text() -> impl Strategy<Value = String> {
        let hidden = prop_oneof![0..0xa1u32, 0x1ff0..0x2080u32, 0xfef0..0xfffdu32, 0xe0000..0xe0100u32];
        let hidden = hidden.prop_filter_map("a character", char::from_u32);
        prop::collection::vec(prop_oneof![hidden, any::<char>()], 0..50).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_acts_or_hides(text in text()) {
            let shown = shown(&text);
            prop_assert!(!shown.contains(must_not_be_shown), "{shown:?}");
            prop_assert!(is_harmless(&shown));
            let kept: String = text.chars().filter(|c| !is_hidden(*c)).collect();
            prop_assert_eq!(self::shown(&kept), kept, "what is left is shown as it is");
            if !text.contains(is_hidden) {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
