//! Keys in files.
//!
//! A key file holds the 64 lower-case hexadecimal digits of one secret key, and a line end. The file is either
//! complete or absent, even if the program or the machine stops during its creation. It is never overwritten. On
//! Unix, only its owner has access. On other systems it has the access rules of its directory, so choose a
//! directory that others cannot read.
//!
//! The functions of this module block on file access. From async code, call them before the work starts or in
//! `spawn_blocking`.

mod error;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

pub use error::KeyFileError;

use super::parse_stored;
use crate::SecretKey;

/// Reads the key in the file at `path`.
///
/// # Errors
///
/// [`KeyFileError::NotFound`] if nothing exists at `path`. For anything at `path` that is not a regular file with
/// one key and with access for its owner only, another [`KeyFileError`].
///
/// ```no_run
/// let key = twolane_id::storage::file::load("/etc/example/key")?;
/// # Ok::<(), twolane_id::storage::file::KeyFileError>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    let path = path.as_ref();
    // All checks use the open file, because the path can point to another file in the meantime.
    let mut file = open(path)?;
    let metadata = file.metadata().map_err(|source| io_error(path, "look at", source))?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    refuse_if_others_have_access(path, &metadata)?;

    let mut buffer = Zeroizing::new([0; MAX_LENGTH + 1]);
    let length = read_up_to(&mut file, buffer.as_mut_slice()).map_err(|source| io_error(path, "read", source))?;
    if length > MAX_LENGTH {
        return Err(KeyFileError::TooLong { path: path.to_owned() });
    }
    parse_stored(buffer.get(..length).unwrap_or_default())
        .map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

/// Writes `key` into a new file at `path`, mode 0600, and creates missing directories, mode 0700.
///
/// The complete file appears in one step, after its content has reached the disk. A crash or a full disk leaves no
/// file at `path`, but can leave a hidden temporary file of the same mode in the same directory.
///
/// # Errors
///
/// [`KeyFileError::AlreadyExists`] if anything exists at `path`, which stays unchanged. [`KeyFileError::Io`] if the
/// operating system refuses the write. If only the sync of the directory failed, the file exists, but can be lost
/// in a power cut.
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
    let path = path.as_ref();
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    create_directories(directory).map_err(|source| io_error(path, "make the directory of", source))?;

    let temporary = write_temporary(directory, key).map_err(|source| io_error(path, "write beside", source))?;
    temporary.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::AlreadyExists { path: path.to_owned() },
        _ => io_error(path, "create", refused.error),
    })?;
    sync_directory(directory).map_err(|source| io_error(path, "sync the directory of", source))
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

/// Maximum length of a key file in bytes: a key with generous white space. The limit prevents reading the target of
/// a wrong path (a video, a device) into memory.
const MAX_LENGTH: usize = 1024;

fn io_error(path: &Path, action: &'static str, source: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), action, source }
}

fn open(path: &Path) -> Result<File, KeyFileError> {
    let is_link = || path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // The flags refuse a symbolic link, and prevent waiting for a writer if the path is a pipe.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
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

#[cfg(unix)]
fn refuse_if_others_have_access(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_if_others_have_access(_: &Path, _: &fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
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

pub(super) fn create_directories(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(directory)
}

/// Writes `key` to the disk in a file of mode 0600, which is removed unless it is given a name.
fn write_temporary(directory: &Path, key: &SecretKey) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".key-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o600));
    }
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(key.to_hex().as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes a new name in `directory` survive a power cut.
#[cfg(unix)]
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Some file systems have nothing to sync for a directory, and return one of these errors.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
