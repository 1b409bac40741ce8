//! The receiver's directory. It contains each file completely or not at all, and no file is ever overwritten.
//!
//! Received bytes are written to a hidden temporary file in the same directory. The file is synced, and is then
//! given its name in one step that fails if a file of that name exists. A receiver locks its temporary files while
//! it runs. The lock distinguishes the files of a running receiver from those that a killed receiver has left.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{FileName, Reason, Receipt};

const PREFIX: &str = ".twolane-";
const SUFFIX: &str = ".part";

/// The directory into which files are received.
#[derive(Debug, Clone)]
pub struct Inbox {
    dir: PathBuf,
}

/// The reason why a file is not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file of this name exists.
    #[error("a file named {0} is there, and nothing is overwritten")]
    Exists(FileName),
    /// There is no room: the disk is full, or the quota or the limit on the size of a file is reached.
    #[error("there is no room for it")]
    Full(#[source] io::Error),
    /// Any other error of the operating system.
    #[error("it cannot be stored")]
    Io(#[source] io::Error),
    /// The received bytes are not the bytes that were sent.
    #[error("it arrived damaged: the hash is {found}, and should be {expected}")]
    Hash {
        /// The hash of the received bytes.
        found: blake3::Hash,
        /// The hash of the sent bytes.
        expected: blake3::Hash,
    },
}

/// A file that is arriving. Drop removes it.
#[derive(Debug)]
pub(super) struct Part {
    file: NamedTempFile,
    name: FileName,
    dir: PathBuf,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Inbox {
    /// Opens a directory, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the directory cannot be created, or if the path is not a directory.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"),
            _ => error,
        })?;
        Ok(Self { dir })
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes the files that killed receivers have left, and returns their number. Files that cannot be locked or
    /// removed stay.
    pub fn clean(&self) -> usize {
        // The lock prevents other receivers from creating a temporary file in the meantime: a file that is created
        // but not yet locked would look abandoned.
        let Ok(guard) = File::open(&self.dir) else {
            return 0;
        };
        if guard.try_lock().is_err() {
            return 0;
        }
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return 0;
        };
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_temporary))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter(|entry| is_abandoned(&entry.path()) && fs::remove_file(entry.path()).is_ok())
            .count()
    }

    /// Starts a file, unless a file of this name exists.
    pub(super) fn begin(&self, name: FileName) -> Result<Part, StoreError> {
        if self.dir.join(&name).symlink_metadata().is_ok() {
            return Err(StoreError::Exists(name));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The umask decides, as for any new file.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let guard = File::open(&self.dir).map_err(StoreError::from_io)?;
        // Some file systems have no locks. There, nothing is ever cleaned.
        let _ = guard.lock_shared();
        let file = builder.tempfile_in(&self.dir).map_err(StoreError::from_io)?;
        let _ = file.as_file().try_lock();
        Ok(Part { file, name, dir: self.dir.clone(), hasher: blake3::Hasher::new(), bytes: 0 })
    }
}

impl Part {
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(data);
        self.bytes += data.len() as u64;
        self.file.as_file_mut().write_all(data).map_err(StoreError::from_io)
    }

    /// Gives the file its name, if its hash is the expected one.
    pub(super) fn store(self, expected: blake3::Hash) -> Result<Receipt, StoreError> {
        self.store_and(sync_directory, expected)
    }

    fn store_and(
        self,
        sync: impl FnOnce(&Path) -> io::Result<()>,
        expected: blake3::Hash,
    ) -> Result<Receipt, StoreError> {
        let found = self.hasher.finalize();
        if found != expected {
            return Err(StoreError::Hash { found, expected });
        }
        self.file.as_file().sync_all().map_err(StoreError::from_io)?;
        let target = self.dir.join(&self.name);
        if let Err(refused) = self.file.persist_noclobber(&target) {
            return Err(match refused.error.kind() {
                io::ErrorKind::AlreadyExists => StoreError::Exists(self.name),
                _ => StoreError::from_io(refused.error),
            });
        }
        // The file is complete at this point. Its name is on the disk only after the directory is synced.
        if let Err(error) = sync(&self.dir).or_else(unless_it_cannot) {
            let _ = fs::remove_file(&target);
            return Err(StoreError::from_io(error));
        }
        Ok(Receipt { stored: self.name.to_string(), bytes: self.bytes, blake3: found.to_hex().to_string() })
    }
}

impl StoreError {
    /// Returns the reason that the sender is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Exists(_) => Reason::Exists,
            Self::Full(_) => Reason::StorageFull,
            Self::Io(_) => Reason::Storage,
            Self::Hash { .. } => Reason::Hash,
        }
    }

    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Io(error),
        }
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(windows) {
        // On Windows a directory cannot be opened as a file, and does not need to be synced.
        return Ok(());
    }
    File::open(dir)?.sync_all()
}

/// Turns errors of file systems that cannot sync a directory into success. These file systems do not need the sync.
fn unless_it_cannot(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    }
}

/// Returns whether `name` is the name of a file that is arriving.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

fn is_abandoned(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> (tempfile::TempDir, Inbox) {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        (dir, inbox)
    }

    fn part(inbox: &Inbox, name: &str, data: &[u8]) -> Part {
        let mut part = inbox.begin(FileName::from_offer(name).unwrap()).expect("the name is free");
        part.write(data).unwrap();
        part
    }

    fn names(inbox: &Inbox) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(inbox.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_whole() {
        let (_guard, inbox) = inbox();
        let part = part(&inbox, "a", b"data");
        assert!(names(&inbox).iter().all(|name| is_temporary(name)));
        let receipt = part.store(blake3::hash(b"data")).unwrap();
        assert_eq!((receipt.bytes, names(&inbox)), (4, vec!["a".to_owned()]));
    }

    #[test]
    fn a_file_that_is_damaged_or_dropped_leaves_nothing() {
        let (_guard, inbox) = inbox();
        let damaged = part(&inbox, "a", b"data").store(blake3::hash(b"date"));
        assert_eq!(damaged.unwrap_err().reason(), Reason::Hash);
        drop(part(&inbox, "b", b"data"));
        assert!(names(&inbox).is_empty());
    }

    #[test]
    fn a_file_whose_name_may_not_be_on_the_disk_is_not_confirmed() {
        let (_guard, inbox) = inbox();
        let stored = |name, kind: io::ErrorKind| {
            let part = part(&inbox, name, b"data");
            part.store_and(move |_| Err(kind.into()), blake3::hash(b"data"))
        };
        assert_eq!(stored("a", io::ErrorKind::Other).unwrap_err().reason(), Reason::Storage);
        assert!(names(&inbox).is_empty());
        for (name, cannot) in [("b", io::ErrorKind::InvalidInput), ("c", io::ErrorKind::Unsupported)] {
            assert!(stored(name, cannot).is_ok(), "{cannot}");
        }
        assert_eq!(names(&inbox), ["b", "c"]);
    }

    #[test]
    fn of_two_files_with_one_name_the_first_to_be_whole_stays() {
        let (_guard, inbox) = inbox();
        let (one, two) = (part(&inbox, "a", b"one"), part(&inbox, "a", b"two"));
        two.store(blake3::hash(b"two")).unwrap();
        let late = one.store(blake3::hash(b"one")).unwrap_err();
        assert_eq!(late.reason(), Reason::Exists);
        let again = inbox.begin(FileName::from_offer("a").unwrap());
        assert!(matches!(again, Err(StoreError::Exists(_))));
        assert_eq!(fs::read(inbox.dir().join("a")).unwrap(), b"two");
        assert_eq!(names(&inbox), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_not_followed() {
        let (_guard, inbox) = inbox();
        let late = part(&inbox, "a", b"data");
        std::os::unix::fs::symlink("elsewhere", inbox.dir().join("a")).unwrap();
        let refused = late.store(blake3::hash(b"data")).unwrap_err();
        assert_eq!(refused.reason(), Reason::Exists);
        assert_eq!(names(&inbox), ["a"]);
    }

    #[test]
    fn only_what_nobody_writes_any_more_is_cleaned() {
        let (_guard, inbox) = inbox();
        let arriving = part(&inbox, "a", b"data");
        fs::write(inbox.dir().join(".twolane-left.part"), b"left").unwrap();
        fs::write(inbox.dir().join("mine.part"), b"mine").unwrap();
        assert_eq!(inbox.clean(), 1);
        assert_eq!(names(&inbox).len(), 2);
        arriving.store(blake3::hash(b"data")).unwrap();
        assert_eq!(names(&inbox), ["a", "mine.part"]);
    }

    #[test]
    fn every_way_to_have_no_room_counts_as_full() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            let error = StoreError::from_io(kind.into());
            assert_eq!(error.reason(), Reason::StorageFull);
        }
        let error = StoreError::from_io(io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.reason(), Reason::Storage);
    }
}
