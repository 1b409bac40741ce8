//! Revoked certificates in a file.
//!
//! The file is the text form of a [`RevocationList`], a line for each entry, so that people can read it and add to
//! it while no program does. It is replaced in one step: after a crash or a power cut it holds the list before a
//! change or the list after it. A list that cannot be read is an error, and never an empty list.
//!
//! One program at a time may write to a file. Of two, the one that writes last decides.
//!
//! The functions of this module block on file access. From async code, call them before the work starts or in
//! `spawn_blocking`.

mod error;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

pub use error::RevocationFileError;

use super::file::{
    access::{self, Access, Flaw, Others},
    place::{directory_of, make_directories, sync_directory},
};
use crate::RevocationList;

/// Reads the list in the file at `path`.
///
/// # Errors
///
/// [`RevocationFileError::NotFound`] if nothing exists at `path`. For anything at `path` that is not a regular file
/// with a list, or that others may change, another [`RevocationFileError`].
///
/// ```no_run
/// let revoked = twolane_id::storage::revocations::load("/etc/example/revoked")?;
/// # Ok::<(), twolane_id::storage::revocations::RevocationFileError>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<RevocationList, RevocationFileError> {
    load_as(path.as_ref(), access::us())
}

fn load_as(path: &Path, us: u32) -> Result<RevocationList, RevocationFileError> {
    // All checks use the open file, because the path can point to another file in the meantime.
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| io_error(path, "look at", source))?;
    if !metadata.is_file() {
        return Err(RevocationFileError::NotAFile { path: path.to_owned() });
    }
    refuse_if_others_may_write(path, &metadata, us)?;
    let mut text = Vec::new();
    file.take(MAX_LENGTH + 1).read_to_end(&mut text).map_err(|source| io_error(path, "read", source))?;
    if text.len() as u64 > MAX_LENGTH {
        return Err(RevocationFileError::TooLong { path: path.to_owned() });
    }
    let text = String::from_utf8(text).map_err(|_| RevocationFileError::NotText { path: path.to_owned() })?;
    text.parse().map_err(|source| RevocationFileError::Content { path: path.to_owned(), source })
}

/// Writes the list into the file at `path`, mode 0600, in place of what is there, and creates missing directories,
/// mode 0700.
///
/// The file is replaced in one step, after the list has reached the disk. A crash or a full disk leaves the file as
/// it was, but can leave a hidden temporary file in the same directory. Lines that people have added to the file, and
/// comments, are lost. A symbolic link at `path` is replaced by a file.
///
/// # Errors
///
/// [`RevocationFileError::Io`] if the operating system refuses the write, and [`RevocationFileError::TooLong`] if the
/// list would not be read again.
///
/// ```
/// use twolane_id::{SecretKey, delegation::Revocation, storage::revocations};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("revoked");
/// # let (owner, node) = (SecretKey::generate().public_key(), SecretKey::generate().public_key());
/// let revoked = [Revocation::Node { owner, node }].into_iter().collect();
/// revocations::store(&path, &revoked)?;
/// assert_eq!(revocations::load(&path)?, revoked);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn store(path: impl AsRef<Path>, revoked: &RevocationList) -> Result<(), RevocationFileError> {
    let path = path.as_ref();
    let text = format!("{HEADING}{revoked}");
    if text.len() as u64 > MAX_LENGTH {
        return Err(RevocationFileError::TooLong { path: path.to_owned() });
    }
    let directory = directory_of(path);
    make_directories(directory, &mut sync_directory)
        .map_err(|source| io_error(path, "make the directory of", source))?;
    write_beside(path, directory, &text).map_err(|source| io_error(path, "write", source))?;
    sync_directory(directory).map_err(|source| io_error(path, "sync the directory of", source))
}

/// Reads the list in the file at `path`, adds the entries of `more`, and writes it. A file that does not exist is
/// created. So a place that cannot be written to is noticed here, and not when something is revoked.
///
/// # Errors
///
/// The errors of [`load`], except [`RevocationFileError::NotFound`], and those of [`store`].
pub fn open_or_create(path: impl AsRef<Path>, more: RevocationList) -> Result<RevocationList, RevocationFileError> {
    let path = path.as_ref();
    let mut revoked = match load(path) {
        Err(RevocationFileError::NotFound { .. }) => RevocationList::new(),
        loaded => loaded?,
    };
    revoked.extend(more.iter());
    store(path, &revoked)?;
    Ok(revoked)
}

/// The first line of a file.
const HEADING: &str = "# Revoked certificates (twolane). The program that uses this file replaces it as a whole.\n";

/// Maximum length of a file in bytes: some 600,000 entries. The limit prevents reading the target of a wrong path (a
/// video, a device) into memory.
const MAX_LENGTH: u64 = 64 << 20;

fn io_error(path: &Path, action: &'static str, source: io::Error) -> RevocationFileError {
    RevocationFileError::Io { path: path.to_owned(), action, source }
}

fn open(path: &Path) -> Result<File, RevocationFileError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Prevents waiting for a writer if the path is a pipe.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path).map_err(|source| match source.kind() {
        // The target of a link is missing, and not the list.
        io::ErrorKind::NotFound if path.symlink_metadata().is_err() => {
            RevocationFileError::NotFound { path: path.to_owned() }
        }
        _ => io_error(path, "open", source),
    })
}

/// Refuses a file that others may write to: they could take a revocation back.
fn refuse_if_others_may_write(path: &Path, metadata: &fs::Metadata, us: u32) -> Result<(), RevocationFileError> {
    let Some(access) = access::of(metadata) else { return Ok(()) };
    access.judge(us, Others::Read).map_err(|flaw| {
        let (path, Access { owner, mode }) = (path.to_owned(), access);
        match flaw {
            Flaw::Owner => RevocationFileError::ForeignOwner { path, owner, us },
            Flaw::Mode => RevocationFileError::Exposed { path, mode },
        }
    })
}

/// Writes `text` to the disk beside `path`, and then gives it that name.
fn write_beside(path: &Path, directory: &Path, text: &str) -> io::Result<()> {
    // tempfile makes files of mode 0600.
    let mut file = tempfile::Builder::new().prefix(".revoked-").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
