//! Errors of files with revocations.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::MAX_LENGTH;
use crate::delegation::ParseRevocationListError;

/// The reason why a file with revocations cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RevocationFileError {
    /// Nothing exists at the path.
    #[error("there is no file {}: check the path", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a directory, a pipe, a device or a similar object.
    #[error("{} is not a regular file: give the path of a file with revocations", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file's mode lets its group or everybody write to it (Unix only).
    #[error(
        "others may change the revocations in {} (mode {mode:04o}): look through them, then run `chmod go-w {}`",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The path as it was given.
        path: PathBuf,
        /// The permission bits of the file, as `chmod` takes them.
        mode: u32,
    },
    /// The file belongs to another user, who can take a revocation back (Unix only).
    #[error(
        "the revocations in {} belong to the user {owner}, and this program runs as the user {us}: look through them, \
         then run `chown {us} {}`",
        path.display(),
        path.display()
    )]
    ForeignOwner {
        /// The path as it was given.
        path: PathBuf,
        /// The id of the user that owns the file.
        owner: u32,
        /// The id of the user as whom this program accesses files.
        us: u32,
    },
    /// The file, or the list that is to be written, is longer than 64 MiB.
    #[error(
        "the revocations of {} have more than {MAX_LENGTH} bytes: remove those of expired certificates",
        path.display()
    )]
    TooLong {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The content of the file is not text.
    #[error("{} does not hold text: give the path of a file with revocations", path.display())]
    NotText {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A line of the file is not a revocation.
    #[error("{} does not hold revocations", path.display())]
    Content {
        /// The path as it was given.
        path: PathBuf,
        /// The line, and its flaw.
        source: ParseRevocationListError,
    },
    /// The operating system refuses the access, for example for missing permissions or a full disk.
    #[error("cannot {action} the file {}", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// The failed action, as an infinitive.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}
