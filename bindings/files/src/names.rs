//! The names under which a receiver stores what it is sent, and how names are shown. This module does no I/O.
//!
//! A name can do harm by itself: `.profile` in a home folder is run at the next login, `-rf` is taken for an option,
//! `a:b` is a stream of another file on Windows, and `nul` a device. Such names are stored in another form, the same on
//! every system, so that nothing has to be refused and nothing is lost: the character that does the harm is replaced by
//! its bytes in hexadecimal digits, such as `%3A`.

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

/// Maximum length of a stored name in bytes, as common file systems allow it.
const MAX: usize = 255;

/// The reason why a file or a folder cannot have a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is `.` or `..`, which are folders.
    #[error("the name stands for a folder")]
    Folder,
    /// The name contains a separator or NUL, which no name can have.
    #[error("the name contains a separator")]
    Separator,
    /// The name is longer than a file system allows.
    #[error("the name has {len} bytes where it is stored, and {MAX} is the most")]
    TooLong {
        /// The length of the stored name in bytes.
        len: usize,
    },
}

/// The name of an item in the receiver's folder: one component of a path, in a form that does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredName(String);

impl StoredName {
    /// Makes the stored form of the name of an item. The item may be in a home folder, so the name does not begin with
    /// a dot.
    ///
    /// # Errors
    ///
    /// [`NameError`] if nothing can have that name.
    pub fn of(name: &str) -> Result<Self, NameError> {
        stored(name, true).map(Self)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the `number`th other name for the same item: `photo (1).jpg` for `photo.jpg`. The result is not longer
    /// than a name may be.
    pub(crate) fn numbered(&self, number: u32) -> Self {
        let (stem, extension) = match self.0.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && extension.len() < 16 => (stem, format!(".{extension}")),
            _ => (self.0.as_str(), String::new()),
        };
        let end = format!(" ({number}){extension}");
        let stem = &stem[..stem.floor_char_boundary(MAX.saturating_sub(end.len()))];
        Self(format!("{stem}{end}"))
    }
}

impl AsRef<Path> for StoredName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for StoredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the stored form of a path inside an item. A name may begin with a dot there, because a folder without its
/// hidden files is another folder.
pub(crate) fn stored_path(names: &[String]) -> Result<PathBuf, NameError> {
    names.iter().map(|name| stored(name, false)).collect()
}

/// Shows a text of the peer's, or a name, so that it cannot act on a terminal or be mistaken for another text.
///
/// ```
/// assert_eq!(twolane_files::shown("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
/// ```
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

fn stored(name: &str, is_item: bool) -> Result<String, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Folder);
    }
    if name.contains(['/', '\0']) {
        return Err(NameError::Separator);
    }
    let mut out = String::with_capacity(name.len());
    let device = is_device(name);
    let last = name.chars().count() - 1;
    let mut rest = name;
    for (at, character) in name.chars().enumerate() {
        rest = &rest[character.len_utf8()..];
        let harmful = match character {
            // Two digits after it would make it look like the stored form of another name.
            '%' => is_hexadecimal(rest),
            '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\' => true,
            // Windows drops them at the end of a name.
            '.' | ' ' if at == last => true,
            '.' if at == 0 => is_item,
            '-' if at == 0 => true,
            _ if at == 0 && device => true,
            other => is_hidden(other),
        };
        if harmful {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(character);
        }
    }
    if out.len() > MAX {
        return Err(NameError::TooLong { len: out.len() });
    }
    Ok(out)
}

fn is_hexadecimal(text: &str) -> bool {
    text.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Returns whether Windows takes a name for a device, in every folder and with every extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || numbered.is_some_and(|rest| {
            matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        })
}

/// Returns whether a terminal, or a person, may mistake a text that contains the character for another text.
fn is_hidden(character: char) -> bool {
    match character {
        // Soft hyphen, the Arabic letter mark, the Mongolian vowel separator, and characters without a width.
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{feff}'
        // Separators of lines, what changes the direction of writing, invisible operators, and tags.
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn item(name: &str) -> Result<String, NameError> {
        StoredName::of(name).map(|stored| stored.to_string())
    }

    #[test]
    fn a_name_that_does_no_harm_stays_as_it_is() {
        for name in ["photo.jpg", "a b", "日本.txt", "100%", "5%off", "null", "com10", "a-b", "_", "~", "a.tar.gz"] {
            assert_eq!(item(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn a_name_that_does_harm_on_some_system_is_stored_in_a_form_that_does_none() {
        for (name, stored) in [
            (".profile", "%2Eprofile"),
            (".twolane", "%2Etwolane"),
            ("-rf", "%2Drf"),
            ("a:b", "a%3Ab"),
            ("..\\up", "%2E.%5Cup"),
            ("C:x", "C%3Ax"),
            ("nul", "%6Eul"),
            ("Com1.txt", "%43om1.txt"),
            ("lpt¹.x", "%6Cpt¹.x"),
            ("a.", "a%2E"),
            ("a ", "a%20"),
            ("...", "%2E.%2E"),
            (" ", "%20"),
            ("a\nb", "a%0Ab"),
            ("a\u{1b}[2J", "a%1B[2J"),
            ("a\u{202e}gpj.exe", "a%E2%80%AEgpj.exe"),
            ("%2Eprofile", "%252Eprofile"),
        ] {
            assert_eq!(item(name).as_deref(), Ok(stored), "{name:?}");
        }
    }

    #[test]
    fn inside_a_folder_a_name_may_begin_with_a_dot_and_nothing_else_changes() {
        let path = |names: &[&str]| stored_path(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(path(&[".git", "config"]), Ok(PathBuf::from(".git/config")));
        assert_eq!(path(&["a", "-rf"]), Ok(PathBuf::from("a/%2Drf")));
        assert_eq!(path(&["a", ".."]), Err(NameError::Folder));
        assert_eq!(path(&["a", "b/c"]), Err(NameError::Separator));
        assert_eq!(path(&["a", ""]), Err(NameError::Empty));
    }

    #[test]
    fn what_nothing_can_be_called_is_refused() {
        for (name, error) in [
            ("", NameError::Empty),
            (".", NameError::Folder),
            ("..", NameError::Folder),
            ("a/b", NameError::Separator),
            ("/", NameError::Separator),
            ("a\0b", NameError::Separator),
        ] {
            assert_eq!(item(name), Err(error), "{name:?}");
        }
        assert!(item(&"a".repeat(MAX)).is_ok());
        assert_eq!(item(&"ä".repeat(128)), Err(NameError::TooLong { len: 256 }));
        assert_eq!(item(&":".repeat(86)), Err(NameError::TooLong { len: 258 }));
    }

    #[test]
    fn another_name_for_the_same_item_keeps_its_ending_and_its_length() {
        let numbered = |name: &str| StoredName::of(name).unwrap().numbered(1).to_string();
        assert_eq!(numbered("photo.jpg"), "photo (1).jpg");
        assert_eq!(numbered("photo"), "photo (1)");
        assert_eq!(numbered("a.tar.gz"), "a.tar (1).gz");
        assert!(numbered(&"ä".repeat(127)).len() <= MAX);
        assert!(numbered(&format!("{}.jpg", "a".repeat(251))).ends_with(" (1).jpg"));
    }

    proptest! {
        #[test]
        fn every_stored_name_is_one_component_of_a_path(name in "\\PC{0,40}|[./\\\\a\\x00-\\x1f%:]{0,20}|.{0,300}") {
            if let Ok(stored) = StoredName::of(&name) {
                let components: Vec<_> = Path::new(stored.as_str()).components().collect();
                prop_assert!(matches!(components[..], [Component::Normal(_)]), "{:?}", components);
                prop_assert!((1..=MAX).contains(&stored.as_str().len()));
                prop_assert!(!stored.as_str().starts_with(['.', '-']));
                prop_assert!(!stored.as_str().contains(is_hidden));
            }
        }

        #[test]
        fn no_two_names_are_stored_under_one(one in "[%a.:2E-]{1,6}", other in "[%a.:2E-]{1,6}") {
            if one != other
                && let (Ok(one), Ok(other)) = (StoredName::of(&one), StoredName::of(&other))
            {
                prop_assert_ne!(one, other);
            }
        }

        #[test]
        fn nothing_that_is_shown_acts_or_hides(text in ".{0,100}") {
            prop_assert!(!shown(&text).contains(is_hidden));
        }
    }
}
