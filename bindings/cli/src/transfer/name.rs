//! The names that a stranger may give a file here.

use std::{fmt, path::Path};

/// The longest name that common file systems take, in bytes.
const MAX: usize = 255;

/// The name of a file in the receiver's directory: one component, and nothing that a terminal or a shell trips over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName(String);

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing after the last separator.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, which are directories.
    #[error("the name stands for a directory")]
    Directory,
    /// NUL, a line feed, an escape sequence, or a character that reverses what is shown.
    #[error("the name contains a control character")]
    Control,
    /// Longer than a file system takes.
    #[error("the name has {len} bytes, and {MAX} is the most")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// On Windows: a drive, a stream of another file, a device, or another name than the file would have.
    #[error("the name means something else to Windows")]
    Windows,
    /// What the receiver calls its own temporary files.
    #[error("the name is one that the receiver uses itself")]
    Reserved,
}

impl FileName {
    /// The last component of what the sender calls the file: where it was there is of no interest here.
    ///
    /// # Errors
    ///
    /// [`NameError`] if no file can have that name.
    pub fn from_offer(offered: &str) -> Result<Self, NameError> {
        // The sender's system may be one that separates with a backslash.
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

    /// The name.
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
    // The second part reverses the direction of writing, which makes `gpj.exe` look like `exe.jpg`.
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether Windows takes it for the name of a file in the directory it is joined to: `C:x` is in another one, `a:b` is a
/// stream of the file `a`, `nul.txt` is a device, and of `a.` and `a ` the last character is dropped.
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
