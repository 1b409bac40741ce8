//! Keys in files.
//!
//! A key file holds the 64 lower-case hexadecimal digits of one secret key, and a line end. The file is either
//! complete or absent, even if the program or the machine stops during its creation. It is never overwritten. On
//! Unix, only its owner has access, and its owner is the user as whom the program runs, or the superuser. On other
//! systems it has the access rules of its directory, so choose a directory that others cannot read.
//!
//! Container platforms mount secrets in ways that these rules refuse. [`load_container_secret`] reads them, and says
//! what it allows.
//!
//! The functions of this module block on file access. From async code, call them before the work starts or in
//! `spawn_blocking`.

pub(super) mod access;
mod error;
pub(super) mod place;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

pub use error::KeyFileError;

use self::{
    access::Others,
    place::{Private, SyncDirectory, directory_of, make_directories, sync_directory},
};
use super::parse_stored;
use crate::SecretKey;

/// Reads the key in the file at `path`.
///
/// # Errors
///
/// [`KeyFileError::NotFound`] if nothing exists at `path`. For anything at `path` that is not a regular file with
/// one key, another [`KeyFileError`]. On Unix the same holds for a file to which others than its owner have access,
/// for a file of another user than the one as whom the program runs (the superuser's files are accepted), and for a
/// symbolic link.
///
/// ```no_run
/// let key = twolane_id::storage::file::load("/etc/example/key")?;
/// # Ok::<(), twolane_id::storage::file::KeyFileError>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    load_as(path.as_ref(), access::us(), Others::None)
}

/// Reads the key in a file that a container platform has mounted as a secret, for example
/// `/run/secrets/node-key`. Use this only for such a path: it trusts the platform with what [`load`] checks.
///
/// Unlike `load`, it allows the following:
/// - symbolic links. Kubernetes replaces a secret by replacing a link.
/// - a file that its group, or everybody, can read. Docker mounts secrets with mode 0444, and Kubernetes with 0644,
///   or with 0440 and the group of the container. Every process in the container can then read the key.
///
/// Like `load`, it refuses a file that its group or everybody can write, and a file of another user than the
/// superuser and the one as whom the program runs: whoever can write the file chooses the identity.
///
/// # Errors
///
/// Those of `load`, without [`KeyFileError::Symlink`], and with [`KeyFileError::Writable`] in place of
/// [`KeyFileError::Exposed`].
///
/// ```no_run
/// let key = twolane_id::storage::file::load_container_secret("/run/secrets/node-key")?;
/// # Ok::<(), twolane_id::storage::file::KeyFileError>(())
/// ```
pub fn load_container_secret(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    load_as(path.as_ref(), access::us(), Others::Read)
}

/// Writes `key` into a new file at `path`, mode 0600, and creates missing directories, mode 0700.
///
/// The complete file appears in one step, after its content has reached the disk. A crash or a full disk leaves no
/// file at `path`, but can leave a hidden temporary file of the same mode in the same directory. The names of the
/// file and of new directories have reached the disk when the call returns.
///
/// # Errors
///
/// [`KeyFileError::AlreadyExists`] if anything exists at `path`, which stays unchanged.
/// [`KeyFileError::Unprotected`] if a file in that directory does not belong to this user alone, whatever mode it is
/// created with: no secret is written then. [`KeyFileError::Io`] if the operating system refuses the write. If only
/// the sync of the directory failed, the file exists, but can be lost in a power cut.
///
/// ```
/// use twolane_id::{SecretKey, storage::file};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("key");
/// let key = SecretKey::generate();
/// file::create(&path, &key)?;
/// assert_eq!(file::load(&path)?, key);
/// assert!(file::create(&path, &key).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn create(path: impl AsRef<Path>, key: &SecretKey) -> Result<(), KeyFileError> {
    create_and_sync(path.as_ref(), key, &mut sync_directory)
}

/// Reads the key in the file at `path`, or generates a key and stores it if there is no file.
///
/// If several programs call this at the same time, one of them generates the key, and all of them get that key.
///
/// # Errors
///
/// The errors of [`load`] and [`create`]. In particular, a file that exists and cannot be used is an error and
/// stays unchanged: a new key would be a new identity.
///
/// ```
/// use twolane_id::storage::file;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("example/key");
/// let first = file::load_or_create(&path)?;
/// let again = file::load_or_create(&path)?;
/// assert_eq!(first.public_key(), again.public_key());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_or_create(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    let path = path.as_ref();
    match load(path) {
        Err(KeyFileError::NotFound { .. }) => {}
        found => return found,
    }
    let key = SecretKey::try_generate()?;
    match create(path, &key) {
        Ok(()) => Ok(key),
        // Another program created the file first, and that file is complete.
        Err(KeyFileError::AlreadyExists { .. }) => load(path),
        Err(error) => Err(error),
    }
}

fn load_as(path: &Path, us: u32, others: Others) -> Result<SecretKey, KeyFileError> {
    // All checks use the open file, because the path can point to another file in the meantime.
    let mut file = open(path, others)?;
    let metadata = file.metadata().map_err(|source| io_error(path, "look at", source))?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    access::check(path, &metadata, us, others)?;

    let mut buffer = Zeroizing::new([0; MAX_LENGTH + 1]);
    let length = read_up_to(&mut file, buffer.as_mut_slice()).map_err(|source| io_error(path, "read", source))?;
    if length > MAX_LENGTH {
        return Err(KeyFileError::TooLong { path: path.to_owned() });
    }
    parse_stored(buffer.get(..length).unwrap_or_default())
        .map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

fn create_and_sync(path: &Path, key: &SecretKey, sync: SyncDirectory<'_>) -> Result<(), KeyFileError> {
    let directory = directory_of(path);
    make_directories(directory, sync).map_err(|source| io_error(path, "make the directory of", source))?;
    let file = Private::new(path, directory)?;
    let file = file.fill(key).map_err(|source| io_error(path, "write beside", source))?;
    file.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::AlreadyExists { path: path.to_owned() },
        _ => io_error(path, "create", refused.error),
    })?;
    sync(directory).map_err(|source| io_error(path, "sync the directory of", source))
}

/// Maximum length of a key file in bytes: a key with generous white space. The limit prevents reading the target of
/// a wrong path (a video, a device) into memory.
const MAX_LENGTH: usize = 1024;

fn io_error(path: &Path, action: &'static str, source: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), action, source }
}

/// Opens the file. Where others may read it, a symbolic link to it may be given as well.
fn open(path: &Path, others: Others) -> Result<File, KeyFileError> {
    let follow = others == Others::Read;
    let is_link = || !follow && path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // The flags refuse a symbolic link, and prevent waiting for a writer if the path is a pipe.
        let flags = if follow { OFlags::NONBLOCK } else { OFlags::NONBLOCK | OFlags::NOFOLLOW };
        options.custom_flags(flags.bits().cast_signed());
    }
    #[cfg(not(unix))]
    if is_link() {
        return Err(KeyFileError::Symlink { path: path.to_owned() });
    }
    options.open(path).map_err(|source| {
        if is_link() {
            KeyFileError::Symlink { path: path.to_owned() }
        } else if source.kind() == io::ErrorKind::NotFound {
            KeyFileError::NotFound { path: path.to_owned() }
        } else {
            io_error(path, "open", source)
        }
    })
}

/// Fills `buffer` from the start, and returns the number of bytes read. A growing `Vec` would leave copies of the
/// key in memory.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
