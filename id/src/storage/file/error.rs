//! What can be wrong with a key file.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::MAX_LENGTH;
use crate::{ParseSecretKeyError, RandomnessError};

/// Why a key file cannot be read or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is nothing at the path. The only error that [`load_or_create`](super::load_or_create)
    /// answers with a new key.
    #[error("there is no key file {}: check the path, or generate a key", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is something at the path, and a key file is never overwritten.
    #[error(
        "{} already exists and stays as it is: choose another path, or move it away",
        path.display()
    )]
    AlreadyExists {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a symbolic link, whose target somebody else may choose.
    #[error("{} is a symbolic link: give the path of the key file itself", path.display())]
    Symlink {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a directory, a pipe, a device or the like.
    #[error("{} is not a regular file: give the path of a key file", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file's mode lets its group or everybody else in (Unix only).
    #[error(
        "others have access to the key file {} (mode {mode:04o}): run `chmod 600 {}`, and make a \
         new key if somebody may have read this one",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The path as it was given.
        path: PathBuf,
        /// The permission bits of the file, as `chmod` takes them.
        mode: u32,
    },
    /// The file is longer than a key and some white space can be, 1024 bytes.
    #[error("{} is longer than {MAX_LENGTH} bytes: it is not a key file", path.display())]
    TooLong {
        /// The path as it was given.
        path: PathBuf,
    },
    /// What is in the file is not the text of a secret key.
    #[error("{} does not hold a secret key", path.display())]
    Content {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with the text, without the text.
        source: ParseSecretKeyError,
    },
    /// No key could be generated.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The operating system refuses. Permissions, a full disk and the like.
    #[error("cannot {action} the key file {}", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// What was being done, in an infinitive.
        action: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
}
