//! The file names that a receiver accepts from a sender.

use std::{fmt, path::Path};

/// Maximum length of a name in bytes, as common file systems allow it.
const MAX: usize = 255;

/// The name of a file in the receiver's directory: one path component, without characters that disturb a terminal
/// or a shell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName(String);

/// The reason why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty after the last separator.
    #[error("the name is empty")]
    Empty,
    /// The name is `.` or `..`, which are directories.
    #[error("the name stands for a directory")]
    Directory,
    /// The name contains NUL, a line feed, an escape sequence, or a character that reverses the displayed text.
    #[error("the name contains a control character")]
    Control,
    /// The name is longer than a file system allows.
    #[error("the name has {len} bytes, and {MAX} is the most")]
    TooLong {
        /// The length of the name in bytes.
        len: usize,
    },
    /// On Windows: the name denotes a drive, a stream of another file or a device, or Windows would change it.
    #[error("the name means something else to Windows")]
    Windows,
    /// The name has the form of the receiver's own temporary files.
    #[error("the name is one that the receiver uses itself")]
    Reserved,
}

impl FileName {
    /// Takes the last component of the name that the sender offers. The directory of the file at the sender does
    /// not matter.
    ///
    /// # Errors
    ///
    /// Returns [`NameError`] if no file can have that name.
    pub fn from_offer(offered: &str) -> Result<Self, NameError> {
        // The sender's system may use a backslash as the separator.
        let name = offered.rsplit(['/', '\\']).next().unwrap_or_default();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(NameError::Directory);
        }
        if name.chars().any(is_control) {
            return Err(NameError::Control);
        }
        if name.len() > MAX {
            return Err(NameError::TooLong { len: name.len() });
        }
        if cfg!(windows) && !is_a_file_on_windows(name) {
            return Err(NameError::Windows);
        }
        if super::store::is_temporary(name) {
            return Err(NameError::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_control(character: char) -> bool {
    // The second part matches characters that reverse the direction of writing, which makes `gpj.exe` look like
    // `exe.jpg`.
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether Windows takes the name for a file in the directory that it is joined to. `C:x` is in another
/// directory, `a:b` is a stream of the file `a`, `nul.txt` is a device, and Windows drops the last character of
/// `a.` and `a `.
fn is_a_file_on_windows(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || numbered.is_some_and(|rest| {
            matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        });
    !device && !name.contains(['<', '>', ':', '"', '|', '?', '*']) && !name.ends_with(['.', ' '])
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn name(offered: &str) -> Result<String, NameError> {
        FileName::from_offer(offered).map(|name| name.to_string())
    }

    #[test]
    fn only_the_last_component_counts() {
        for offered in [
            "photo.jpg",
            "../photo.jpg",
            "../../../photo.jpg",
            "/etc/photo.jpg",
            "C:\\Users\\me\\photo.jpg",
            "a\0b/photo.jpg",
        ] {
            assert_eq!(name(offered).as_deref(), Ok("photo.jpg"), "{offered:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (offered, error) in [
            ("", NameError::Empty),
            ("/", NameError::Empty),
            ("etc/", NameError::Empty),
            (".", NameError::Directory),
            ("..", NameError::Directory),
            ("a/..", NameError::Directory),
            ("..\\..", NameError::Directory),
            ("a\0b", NameError::Control),
            ("a\nb", NameError::Control),
            ("a\u{1b}[2Jb", NameError::Control),
            ("a\u{202e}gpj.exe", NameError::Control),
            (".twolane-x.part", NameError::Reserved),
        ] {
            assert_eq!(name(offered), Err(error), "{offered:?}");
        }
    }

    #[test]
    fn the_limit_is_in_bytes() {
        assert!(name(&"a".repeat(MAX)).is_ok());
        assert_eq!(name(&"ä".repeat(128)), Err(NameError::TooLong { len: 256 }));
    }

    #[test]
    fn what_windows_takes_for_something_else_is_no_name_there() {
        for other in ["C:x", "a:b", "nul", "NUL.txt", "con .tar.gz", "Com1", "lpt¹.x", "a.", "a ", "...", "a?", "a*"] {
            assert!(!is_a_file_on_windows(other), "{other:?}");
            assert_eq!(name(other).is_ok(), !cfg!(windows), "{other:?}");
        }
        for file in ["a", "null", "console.txt", ".profile", "com", "com10", "a b", "日本.txt"] {
            assert!(is_a_file_on_windows(file), "{file:?}");
        }
    }

    #[test]
    #[cfg(not(windows))]
    fn hidden_files_and_spaces_are_names() {
        for offered in [".profile", "...", "a b", " ", "-rf", "name.", "日本.txt"] {
            assert_eq!(name(offered).as_deref(), Ok(offered));
        }
    }

    proptest! {
        #[test]
        fn every_name_stays_in_its_directory(offered in "\\PC{0,40}|[./\\\\a\\x00-\\x1f]{0,20}|.{0,300}") {
            if let Ok(name) = FileName::from_offer(&offered) {
                let components: Vec<_> = Path::new(name.as_str()).components().collect();
                prop_assert!(matches!(components[..], [Component::Normal(_)]), "{components:?}");
                prop_assert!((1..=MAX).contains(&name.as_str().len()));
                prop_assert!(offered.ends_with(name.as_str()));
                prop_assert!(!name.as_str().contains(['/', '\\', '\0', '\n']));
            }
        }
    }
}
