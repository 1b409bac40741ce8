//! The place of a new key file: its directories, and the file before it has its name.

use std::{
    fs::DirBuilder,
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;

use super::{
    KeyFileError,
    access::{self, Others},
    io_error,
};
use crate::SecretKey;

/// [`sync_directory`], or what a test has in place of it.
pub(in crate::storage) type SyncDirectory<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

/// Returns the directory of `path`.
pub(in crate::storage) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Makes a directory and those above it that are missing, mode 0700. Each new directory has its name on the disk
/// before a key is written below it: a key in a directory whose name is lost is lost with it. Of programs that do
/// this at once, the one that made a directory waits for its name, also if another program then creates the key.
pub(in crate::storage) fn make_directories(directory: &Path, sync: SyncDirectory<'_>) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = directory.ancestors().take_while(is_missing).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(directory)?;
    missing.iter().rev().try_for_each(|made| sync(directory_of(made)))
}

/// An empty file, without a name that anybody looks for, to which only this user has access. It is removed unless it
/// is given a name.
#[derive(Debug)]
pub(super) struct Private(NamedTempFile);

impl Private {
    pub(super) fn new(path: &Path, directory: &Path) -> Result<Self, KeyFileError> {
        let file = new_file(directory).map_err(|source| io_error(path, "write beside", source))?;
        Self::check(file, path, directory)
    }

    /// Checks the access to the file while it is still empty. The mode that was asked for is not always the mode of
    /// the file: vfat, exfat, SMB and some mounts of containers and virtual machines give every file the same mode,
    /// and NFS can give it another owner.
    fn check(file: NamedTempFile, path: &Path, directory: &Path) -> Result<Self, KeyFileError> {
        let metadata = file.as_file().metadata().map_err(|source| io_error(path, "look at a file beside", source))?;
        match access::of(&metadata) {
            Some(found) if found.judge(access::us(), Others::None).is_err() => {
                let access::Access { owner, mode } = found;
                Err(KeyFileError::Unprotected { directory: directory.to_owned(), owner, mode })
            }
            _ => Ok(Self(file)),
        }
    }

    /// Writes the key to the disk.
    pub(super) fn fill(self, key: &SecretKey) -> io::Result<NamedTempFile> {
        let Self(mut file) = self;
        file.write_all(key.to_hex().as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

fn new_file(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".key-");
    #[cfg(unix)]
    {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};
        builder.permissions(Permissions::from_mode(0o600));
    }
    builder.tempfile_in(directory)
}

/// Makes the names in `directory` survive a power cut.
#[cfg(unix)]
pub(in crate::storage) fn sync_directory(directory: &Path) -> io::Result<()> {
    match std::fs::File::open(directory)?.sync_all() {
        // Some file systems have nothing to sync for a directory, and return one of these errors.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(not(unix))]
pub(in crate::storage) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_file_that_others_could_read_gets_no_secret_and_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for mode in [0o644, 0o640, 0o604, 0o755, 0o777, 0o620] {
            let file = new_file(directory.path()).unwrap();
            // As a file system does that gives all files one mode.
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = Private::check(file, &path, directory.path()).unwrap_err();
            let KeyFileError::Unprotected { directory: named, mode: found, owner } = &error else {
                panic!("{error}");
            };
            assert_eq!((named.as_path(), *found, *owner), (directory.path(), mode, access::us()));
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        let file = Private::new(&path, directory.path()).unwrap().fill(&SecretKey::generate()).unwrap();
        assert_eq!(file.as_file().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
}
