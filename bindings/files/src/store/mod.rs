//! The receiver's folder. An item appears in it whole or not at all, under a name that does no harm.
//!
//! What arrives is put together in `.twolane/SENDER/NAME` in the same folder, and gets its name at the end in one step.
//! What is left there by a transfer that was cut is where the next transfer of the same item goes on. Only its own
//! sender can go on with it: another sender would learn from the hashes what is there.

pub(crate) mod disk;
mod item;
mod staged;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;
use twolane::PublicKey;

pub(crate) use self::{
    item::{Found, Item},
    staged::Staged,
};
use crate::reason::Reason;

/// The folder for what is arriving.
const STAGING: &str = ".twolane";
/// Number of items of one sender that are kept after a transfer was cut. The oldest makes room for the next.
const LEFT: usize = 16;

/// The folder into which files and folders are received. Cheap to clone; all clones share what is arriving.
#[derive(Debug, Clone)]
pub struct Inbox {
    dir: Arc<Path>,
    arriving: Arc<Mutex<HashMap<PublicKey, Arriving>>>,
    /// The right to put an item together was given back.
    released: Arc<Notify>,
}

/// What is arriving from one sender.
#[derive(Debug)]
struct Arriving {
    /// Locked while something is arriving, so that another process with the same folder keeps away.
    _lock: File,
    items: HashSet<String>,
}

/// The right of a transfer to put an item together. Drop ends it.
#[derive(Debug)]
struct Hold {
    inbox: Inbox,
    sender: PublicKey,
    name: String,
}

/// What happens if something else has the name of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The item is refused.
    #[default]
    Refuse,
    /// A file is replaced. The files of a folder replace those of the same names, and the others stay.
    Overwrite,
    /// The item gets another name, such as `photo (1).jpg`.
    Rename,
}

/// The reason why an item, or a file of it, is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something else has the name.
    #[error("something else named {0} is there, and nothing is overwritten")]
    Exists(String),
    /// Two files of one item have the same name on this file system.
    #[error("two of its files have the same name here: {0}")]
    Twice(String),
    /// The same item is arriving already.
    #[error("it is arriving already, in another transfer")]
    Arriving,
    /// There is no room: the disk is full, or the quota or the limit on the size of a file is reached.
    #[error("there is no room for it")]
    Full(#[source] io::Error),
    /// There is not enough room, as the system tells before anything is written.
    #[error("it has {needed} bytes, and there is room for {available}")]
    NoRoom {
        /// The number of bytes that were offered.
        needed: u64,
        /// The number of bytes for which there is room.
        available: u64,
    },
    /// Any other error of the operating system.
    #[error("it cannot be stored")]
    Io(#[source] io::Error),
    /// The received bytes are not the bytes that were sent.
    #[error("it arrived damaged: its hash is not the one that its sender said")]
    Hash,
}

impl StoreError {
    /// Returns the reason that the sender is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Exists(_) => Reason::Exists,
            Self::Twice(_) => Reason::Name,
            Self::Arriving => Reason::Busy,
            Self::Full(_) | Self::NoRoom { .. } => Reason::StorageFull,
            Self::Io(_) => Reason::Storage,
            Self::Hash => Reason::Hash,
        }
    }

    /// Returns the text for the sender. It names no path of this machine: errors of the system may, and are told by
    /// their kind alone.
    pub fn words(&self) -> String {
        match self {
            Self::Full(source) | Self::Io(source) => format!("{self}: {}", source.kind()),
            _ => self.to_string(),
        }
    }

    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Io(error),
        }
    }
}

impl Inbox {
    /// Opens a folder, and makes it if it does not exist. Blocks.
    ///
    /// # Errors
    ///
    /// An error if the folder cannot be made, is no folder, or nothing can be written into it.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"),
            _ => error,
        })?;
        // Better here than when the first sender is there.
        tempfile::Builder::new().prefix(".twolane-").suffix(".part").tempfile_in(&dir)?.close()?;
        Ok(Self { dir: dir.into(), arriving: Arc::default(), released: Arc::default() })
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes what was left unfinished and was not touched for `age`, and returns the number of items. Blocks.
    pub fn clean(&self, age: Duration) -> usize {
        let Ok(senders) = fs::read_dir(self.dir.join(STAGING)) else { return 0 };
        let Some(oldest) = SystemTime::now().checked_sub(age) else { return 0 };
        let mut removed = 0;
        for sender in senders.flatten() {
            let Some(key) = sender.file_name().to_str().and_then(|name| name.parse::<PublicKey>().ok()) else {
                continue;
            };
            for (name, changed) in left(&sender.path()) {
                if changed < oldest
                    && let Ok(_hold) = self.hold(key, &name)
                {
                    removed += usize::from(remove(&sender.path().join(&name)).is_ok());
                }
            }
        }
        removed
    }

    /// Checks that there is room for `bytes` of a sender, with what has arrived of it before. Blocks.
    pub(crate) fn check_room(&self, sender: PublicKey, bytes: u64) -> Result<(), StoreError> {
        let Some(available) = disk::available(&self.dir) else { return Ok(()) };
        let left = bytes_in(&self.staging_of(sender));
        if bytes > available.saturating_add(left) {
            return Err(StoreError::NoRoom { needed: bytes, available });
        }
        Ok(())
    }

    /// Returns what is notified when the right to put an item together is given back.
    pub(crate) fn released(&self) -> &Notify {
        &self.released
    }

    fn staging_of(&self, sender: PublicKey) -> PathBuf {
        self.dir.join(STAGING).join(sender.to_string())
    }

    /// Takes the right to put an item together.
    fn hold(&self, sender: PublicKey, name: &str) -> Result<Hold, StoreError> {
        let mut arriving = self.lock();
        if !arriving.contains_key(&sender) {
            let lock = lock_file(&self.staging_of(sender))?;
            arriving.insert(sender, Arriving { _lock: lock, items: HashSet::new() });
        }
        let fresh = arriving.get_mut(&sender).is_some_and(|arriving| arriving.items.insert(name.to_owned()));
        drop(arriving);
        if !fresh {
            return Err(StoreError::Arriving);
        }
        Ok(Hold { inbox: self.clone(), sender, name: name.to_owned() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PublicKey, Arriving>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
        self.inbox.released.notify_waiters();
    }
}

impl Hold {
    fn release(&self) {
        let mut arriving = self.inbox.lock();
        let Some(sender) = arriving.get_mut(&self.sender) else { return };
        sender.items.remove(&self.name);
        if !sender.items.is_empty() {
            return;
        }
        // A folder in which something is left is not removed.
        let staging = self.inbox.staging_of(self.sender);
        if fs::remove_dir(&staging).is_ok() {
            let _ = fs::remove_file(lock_path(&staging));
            let _ = fs::remove_dir(self.inbox.dir.join(STAGING));
        }
        arriving.remove(&self.sender);
    }
}

fn lock_path(staging: &Path) -> PathBuf {
    staging.with_extension("lock")
}

/// Makes the staging folder of a sender, and locks it against other processes.
fn lock_file(staging: &Path) -> Result<File, StoreError> {
    let path = lock_path(staging);
    // Whoever unlocks a file may remove it. A file that is locked and not there any more locks nothing.
    for _ in 0..8 {
        fs::create_dir_all(staging).map_err(StoreError::from_io)?;
        let file = disk::options(Some(0o600)).create(true).truncate(false).open(&path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(StoreError::from_io)?,
        };
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Arriving),
            // Some file systems have no locks. There, nobody must use a folder twice.
            Err(fs::TryLockError::Error(_)) => return Ok(file),
            Ok(()) => {}
        }
        let here = file.metadata().ok().as_ref().and_then(disk::identity);
        let there = fs::metadata(&path).ok().as_ref().and_then(disk::identity);
        if here == there && staging.is_dir() {
            return Ok(file);
        }
    }
    Err(StoreError::Arriving)
}

/// Returns the items that are left in the staging folder of a sender, and when each was last touched.
fn left(staging: &Path) -> Vec<(String, SystemTime)> {
    let Ok(entries) = fs::read_dir(staging) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            Some((entry.file_name().into_string().ok()?, changed))
        })
        .collect()
}

/// Makes room for another item of a sender: removes the oldest of those that are left, if there are too many.
fn make_room(inbox: &Inbox, sender: PublicKey, name: &str) {
    let staging = inbox.staging_of(sender);
    let mut left = left(&staging);
    left.retain(|(left, _)| left != name);
    left.sort_by_key(|(_, changed)| *changed);
    let many = left.len().saturating_sub(LEFT - 1);
    for (old, _) in &left[..many] {
        if let Ok(_hold) = inbox.hold(sender, old) {
            let _ = remove(&staging.join(old));
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn bytes_in(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| bytes_in(&entry.path())).sum()
}
