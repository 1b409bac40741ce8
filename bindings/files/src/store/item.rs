//! An item that is arriving: a file, or a folder with all that is in it.

use std::{
    collections::HashSet,
    fs::{self, File, FileTimes},
    hash::{BuildHasher, RandomState},
    io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use blake3::Hash;
use twolane::PublicKey;

use super::{Existing, Hold, Inbox, Staged, StoreError, disk, make_room, remove};
use crate::{names::StoredName, wire::Attributes};

/// Number of files up to which each is synced by itself. More of them are synced together with everything else on the
/// file system: 10,000 files one by one take tens of seconds on a disk.
const SYNCED_ONE_BY_ONE: usize = 16;
/// Number of bytes of paths that are remembered for the times of folders, which are set at the end.
const MAX_TIMES: usize = 16 << 20;
/// Number of names that are tried for an item that gets another name.
const MAX_NUMBER: u32 = 1000;

/// An item that is arriving. Its methods block. Drop ends the right to it and leaves what has arrived, for the next
/// transfer of the same item.
#[derive(Debug)]
pub(crate) struct Item {
    hold: Hold,
    name: StoredName,
    is_folder: bool,
    way: Way,
    existing: Existing,
    /// Where the item is put together.
    staged: PathBuf,
    /// The item's place in the receiver's folder.
    target: PathBuf,
    /// Whether an earlier transfer has left something.
    is_resumed: bool,
    state: Mutex<State>,
    hasher: RandomState,
}

/// How an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing has its name.
    Fresh,
    /// Something has its name, and nothing is overwritten: the item is there already, or is refused.
    Compare,
    /// Something has its name. It is replaced, or the item gets another name.
    Replace,
}

#[derive(Debug, Default)]
struct State {
    /// The hashes of the paths of this transfer.
    paths: HashSet<u64>,
    /// The hashes of the numbers of the files on the disk: two names can mean one file, if the file system takes capital
    /// and small letters for the same.
    files: HashSet<u64>,
    times: Vec<(PathBuf, SystemTime)>,
    times_len: usize,
    /// Whether something is not yet there, or is different.
    differs: bool,
}

/// What is there of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first `len` bytes, or others in their place, were left by an earlier transfer.
    Left { len: u64 },
    /// A whole file of the same length is in the receiver's folder.
    Whole,
}

/// How an item was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) name: String,
    /// Whether all of it was there already.
    pub(crate) already: bool,
}

impl Inbox {
    /// Prepares the place of an item. Blocks.
    pub(crate) fn begin(
        &self,
        sender: PublicKey,
        name: StoredName,
        is_folder: bool,
        attributes: Attributes,
        existing: Existing,
    ) -> Result<Item, StoreError> {
        let hold = self.hold(sender, name.as_str())?;
        let target = self.dir.join(&name);
        let there = target.symlink_metadata().ok();
        let way = match (&there, existing) {
            (None, _) => Way::Fresh,
            (Some(_), Existing::Refuse) => Way::Compare,
            (Some(_), Existing::Overwrite | Existing::Rename) => Way::Replace,
        };
        let same_kind = there.is_none_or(|there| if is_folder { there.is_dir() } else { there.is_file() });
        if !same_kind && existing != Existing::Rename {
            return Err(StoreError::Exists(name.to_string()));
        }
        let staged = self.staging_of(sender).join(&name);
        let mut is_resumed = false;
        if way != Way::Compare {
            make_room(self, sender, name.as_str());
            is_resumed = match staged.symlink_metadata() {
                Ok(left) if left.is_dir() == is_folder => true,
                Ok(_) => {
                    remove(&staged).map_err(StoreError::from_io)?;
                    false
                }
                Err(_) => false,
            };
            if is_folder && !is_resumed {
                disk::make_folder(&staged, attributes.mode).map_err(StoreError::from_io)?;
            }
            if is_resumed && let Ok(left) = File::open(&staged) {
                // It is in use, and not to be cleaned away.
                let _ = left.set_times(FileTimes::new().set_modified(SystemTime::now()));
            }
        }
        let state = State { differs: !same_kind, ..State::default() };
        let item = Item {
            hold,
            name,
            is_folder,
            way,
            existing,
            staged,
            target,
            is_resumed,
            state: Mutex::new(state),
            hasher: RandomState::new(),
        };
        if is_folder {
            item.remember_time(Path::new(""), attributes);
        }
        Ok(item)
    }
}

impl Item {
    /// Makes a folder in the item.
    pub(crate) fn folder(&self, path: &Path, attributes: Attributes) -> Result<(), StoreError> {
        self.claim(path)?;
        let is_there = self.plain(path).is_some_and(|metadata| metadata.is_dir());
        if self.way == Way::Compare {
            return if is_there { Ok(()) } else { Err(self.exists()) };
        }
        if !is_there {
            self.lock().differs = true;
        }
        let staged = self.staged.join(path);
        match staged.symlink_metadata() {
            Ok(left) if left.is_dir() => {}
            Ok(_) => {
                remove(&staged).map_err(StoreError::from_io)?;
                disk::make_folder(&staged, attributes.mode).map_err(StoreError::from_io)?;
            }
            Err(_) => disk::make_folder(&staged, attributes.mode).map_err(StoreError::from_io)?,
        }
        self.remember_time(path, attributes);
        Ok(())
    }

    /// Looks what is there of a file of `size` bytes.
    pub(crate) fn look(&self, path: &Path, size: Option<u64>) -> Result<Found, StoreError> {
        self.claim(path)?;
        // A folder that gets another name needs all its files in the new place.
        let compares = self.way == Way::Compare
            || (self.way == Way::Replace && (self.existing == Existing::Overwrite || !self.is_folder));
        if compares
            && let Some(size) = size
            && self.plain(path).is_some_and(|there| there.is_file() && there.len() == size)
        {
            return Ok(Found::Whole);
        }
        self.differs()?;
        self.left(path)
    }

    /// Returns whether the file in the receiver's folder has this hash. If it does not, looks what else is there.
    pub(crate) fn compare(&self, path: &Path, hash: Hash) -> Result<Option<Found>, StoreError> {
        let mut hasher = blake3::Hasher::new();
        let read = File::open(self.target_of(path)).and_then(|file| hasher.update_reader(file).map(|_| ()));
        if read.is_ok() && hasher.finalize() == hash {
            return Ok(None);
        }
        self.differs()?;
        self.left(path).map(Some)
    }

    /// Makes a file of the item.
    pub(crate) fn stage(&self, path: &Path, attributes: Attributes, left: u64) -> Staged {
        Staged::new(self.staged_of(path), attributes, left)
    }

    /// Notes that the item is another one than what is there, or may be.
    pub(crate) fn replaces(&self) {
        self.lock().differs = true;
    }

    /// Notes that a file is closed. It may be the same as another one, under two names.
    pub(crate) fn closed(&self, path: &Path) -> Result<(), StoreError> {
        let metadata = self.staged_of(path).symlink_metadata().map_err(StoreError::from_io)?;
        if let Some(identity) = disk::identity(&metadata)
            && !self.lock().files.insert(self.hasher.hash_one(identity))
        {
            return Err(StoreError::Twice(path.display().to_string()));
        }
        Ok(())
    }

    /// Gives the item its name, once all of it is there.
    pub(crate) fn publish(&self) -> Result<Published, StoreError> {
        let name = match self.way {
            Way::Compare => None,
            Way::Replace if !self.lock().differs => {
                let _ = remove(&self.staged);
                None
            }
            Way::Fresh | Way::Replace => {
                self.prepare().map_err(StoreError::from_io)?;
                let name = self.give_name()?;
                disk::sync_folder(self.hold.inbox.dir()).map_err(StoreError::from_io)?;
                Some(name)
            }
        };
        Ok(Published { already: name.is_none(), name: name.unwrap_or_else(|| self.name.to_string()) })
    }

    /// Removes all that has arrived. For an item that cannot ever be stored.
    pub(crate) fn discard(&self) {
        if self.way != Way::Compare {
            let _ = remove(&self.staged);
        }
    }

    /// Looks what an earlier transfer has left of a file.
    fn left(&self, path: &Path) -> Result<Found, StoreError> {
        let staged = self.staged_of(path);
        match staged.symlink_metadata() {
            Ok(left) if left.is_file() => return Ok(Found::Left { len: left.len() }),
            Ok(_) => remove(&staged).map_err(StoreError::from_io)?,
            Err(_) => {}
        }
        Ok(Found::Left { len: 0 })
    }

    fn differs(&self) -> Result<(), StoreError> {
        if self.way == Way::Compare {
            return Err(self.exists());
        }
        self.lock().differs = true;
        Ok(())
    }

    fn exists(&self) -> StoreError {
        StoreError::Exists(self.name.to_string())
    }

    /// Notes a path of the item, which may come once.
    fn claim(&self, path: &Path) -> Result<(), StoreError> {
        if self.lock().paths.insert(self.hash_of(path)) {
            Ok(())
        } else {
            Err(StoreError::Twice(path.display().to_string()))
        }
    }

    fn hash_of(&self, path: &Path) -> u64 {
        // Where the file system takes capital and small letters for the same, there is no number on the disk to tell.
        if cfg!(unix) {
            self.hasher.hash_one(path)
        } else {
            self.hasher.hash_one(path.to_string_lossy().to_lowercase())
        }
    }

    /// Returns what is at a path in the receiver's folder, if no link is on the way.
    fn plain(&self, path: &Path) -> Option<fs::Metadata> {
        let mut at = self.target.clone();
        let mut found = at.symlink_metadata().ok()?;
        for component in path.components() {
            let Component::Normal(name) = component else { return None };
            if !found.is_dir() {
                return None;
            }
            at.push(name);
            found = at.symlink_metadata().ok()?;
        }
        Some(found)
    }

    fn remember_time(&self, path: &Path, attributes: Attributes) {
        let Some((seconds, nanos)) = attributes.modified else { return };
        let Some(time) = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)) else { return };
        let mut state = self.lock();
        state.times_len += path.as_os_str().len() + size_of::<(PathBuf, SystemTime)>();
        if state.times_len <= MAX_TIMES {
            state.times.push((path.to_owned(), time));
        }
    }

    /// Removes what does not belong to the item, gives the folders their times, and makes sure that all of it is on the
    /// disk.
    fn prepare(&self) -> io::Result<()> {
        let mut found = Vec::new();
        if self.is_folder {
            self.walk(Path::new(""), &mut found)?;
        } else {
            found.push(self.staged.clone());
        }
        // The deepest first: what happens in a folder changes its time.
        for (path, time) in self.lock().times.iter().rev() {
            if let Ok(folder) = File::open(self.staged_of(path)) {
                let _ = folder.set_times(FileTimes::new().set_modified(*time));
            }
        }
        let files = found.iter().filter(|path| !path.is_dir()).count();
        if files > SYNCED_ONE_BY_ONE && disk::sync_file_system(&self.staged)? {
            return Ok(());
        }
        for path in found {
            if path.is_dir() { disk::sync_folder(&path)? } else { disk::sync_file(&path)? }
        }
        Ok(())
    }

    /// Lists what is in a folder of the item, and removes what an earlier transfer has left and this one has not.
    fn walk(&self, path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let folder = self.staged_of(path);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = path.join(entry.file_name());
            let is_ours = !self.is_resumed || self.lock().paths.contains(&self.hash_of(&path));
            if !is_ours {
                remove(&entry.path())?;
            } else if entry.file_type()?.is_dir() {
                self.walk(&path, found)?;
            } else {
                found.push(entry.path());
            }
        }
        found.push(folder);
        Ok(())
    }

    /// Moves the item to its place, and returns its name there.
    fn give_name(&self) -> Result<String, StoreError> {
        let taken = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.exists(),
            _ => StoreError::from_io(error),
        };
        if self.way == Way::Replace && self.existing == Existing::Overwrite {
            if self.is_folder {
                self.replace_in(Path::new(""))?;
                let _ = remove(&self.staged);
            } else {
                fs::rename(&self.staged, &self.target).map_err(StoreError::from_io)?;
            }
            return Ok(self.name.to_string());
        }
        let mut name = self.name.clone();
        for number in 1..=MAX_NUMBER {
            match disk::rename_new(&self.staged, &self.hold.inbox.dir().join(&name), self.is_folder) {
                Ok(()) => return Ok(name.to_string()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.existing == Existing::Rename => {
                    name = self.name.numbered(number);
                }
                Err(error) => return Err(taken(error)),
            }
        }
        Err(self.exists())
    }

    /// Moves what is in a folder of the item into the folder of the same name.
    fn replace_in(&self, path: &Path) -> Result<(), StoreError> {
        let folder = self.staged_of(path);
        for entry in fs::read_dir(&folder).map_err(StoreError::from_io)? {
            let entry = entry.map_err(StoreError::from_io)?;
            let path = path.join(entry.file_name());
            let is_folder = entry.file_type().map_err(StoreError::from_io)?.is_dir();
            let target = self.target_of(&path);
            match self.plain(&path) {
                Some(there) if there.is_dir() != is_folder => return Err(self.exists()),
                Some(_) if is_folder => self.replace_in(&path)?,
                // What is behind a link is not in the receiver's folder.
                None if target.symlink_metadata().is_ok() => return Err(self.exists()),
                _ => fs::rename(entry.path(), &target).map_err(StoreError::from_io)?,
            }
        }
        disk::sync_folder(&self.target_of(path)).map_err(StoreError::from_io)
    }

    fn staged_of(&self, path: &Path) -> PathBuf {
        joined(&self.staged, path)
    }

    fn target_of(&self, path: &Path) -> PathBuf {
        joined(&self.target, path)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins paths. An empty path adds no separator, with which a file would be no file.
fn joined(base: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { base.to_owned() } else { base.join(path) }
}
