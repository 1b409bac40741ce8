//! Errors of key files.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::MAX_LENGTH;
use crate::{ParseSecretKeyError, RandomnessError};

/// The reason why a key file cannot be read or created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Nothing exists at the path. This is the only error for which [`load_or_create`](super::load_or_create)
    /// generates a key.
    #[error("there is no key file {}: check the path, or generate a key", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Something exists at the path, and a key file is never overwritten.
    #[error(
        "{} already exists and stays as it is: choose another path, or move it away",
        path.display()
    )]
    AlreadyExists {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a symbolic link, and another user may control its target.
    #[error(
        "{} is a symbolic link: give the path of the key file itself, or say that it is a container secret",
        path.display()
    )]
    Symlink {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a directory, a pipe, a device or a similar object.
    #[error("{} is not a regular file: give the path of a key file", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file's mode gives access to its group or to everybody (Unix only).
    #[error(
        "others have access to the key file {} (mode {mode:04o}): run `chmod 600 {}`, and make a \
         new key if somebody may have read this one; or say that it is a container secret",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The path as it was given.
        path: PathBuf,
        /// The permission bits of the file, as `chmod` takes them.
        mode: u32,
    },
    /// The file is loaded as a container secret, and its mode lets its group or everybody write it (Unix only).
    #[error(
        "others can write the key file {} (mode {mode:04o}), and so choose the key: mount it read-only for them, as \
         with `chmod go-w {}`",
        path.display(),
        path.display()
    )]
    Writable {
        /// The path as it was given.
        path: PathBuf,
        /// The permission bits of the file, as `chmod` takes them.
        mode: u32,
    },
    /// The file belongs to another user, who can put another key there (Unix only).
    #[error(
        "the key file {} belongs to the user {owner}, who chooses its key, and this program runs as the user {us}: \
         run it as that user, or run `chown {us} {}` if the key is meant for this program",
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
    /// A new file in this directory does not belong to this user alone, although it was created with mode 0600. No
    /// secret was written (Unix only).
    #[error(
        "a new file in {} belongs to the user {owner} and has the mode {mode:04o}, so that others could use a key \
         there: choose a directory on a file system that keeps owners and modes",
        directory.display()
    )]
    Unprotected {
        /// The directory of the path.
        directory: PathBuf,
        /// The id of the user that owns the new file.
        owner: u32,
        /// The permission bits of the new file, as `chmod` takes them.
        mode: u32,
    },
    /// The file is longer than 1024 bytes, the limit for a key and its white space.
    #[error("{} is longer than {MAX_LENGTH} bytes: it is not a key file", path.display())]
    TooLong {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The content of the file is not the text of a secret key.
    #[error("{} does not hold a secret key", path.display())]
    Content {
        /// The path as it was given.
        path: PathBuf,
        /// The flaw of the text. It contains nothing of the text.
        source: ParseSecretKeyError,
    },
    /// No key could be generated.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The operating system refuses the access, for example for missing permissions or a full disk.
    #[error("cannot {action} the key file {}", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// The failed action, as an infinitive.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}
