//! What differs between operating systems and file systems.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Writes all of `data` at `offset`.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

/// Writes all of `data` at `offset`.
#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, data, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                data = &data[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends, and returns the number of bytes.
pub(crate) fn read_full(input: &mut (impl io::Read + ?Sized), buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Gives a file or a folder a name that nothing has, and fails with `AlreadyExists` if something has it. Readers never
/// see the name without the content, except on a file system that cannot do both in one step: exFAT, some network file
/// systems, FUSE. There, an empty file or folder takes the name first.
pub(crate) fn rename_new(from: &Path, to: &Path, is_folder: bool) -> io::Result<()> {
    match rename_in_one_step(from, to) {
        Err(error) if is_missing(&error) => rename_over_a_placeholder(from, to, is_folder),
        done => done,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_in_one_step(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_in_one_step(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns whether an error means that the file system, or the kernel, does not know the operation: ENOSYS, ENOTSUP, or
/// the EINVAL of a file system that does not know the flag.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

fn rename_over_a_placeholder(from: &Path, to: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        fs::create_dir(to)?;
        // Windows does not rename over a folder, even over an empty one.
        if cfg!(windows) {
            fs::remove_dir(to)?;
        }
    } else {
        OpenOptions::new().write(true).create_new(true).open(to)?;
    }
    let renamed = fs::rename(from, to);
    if renamed.is_err() {
        let _ = if is_folder { fs::remove_dir(to) } else { fs::remove_file(to) };
    }
    renamed
}

/// Returns the number of bytes for which there is room in a folder, if the system tells.
#[cfg(unix)]
pub(crate) fn available(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Returns the number of bytes for which there is room in a folder, if the system tells.
#[cfg(not(unix))]
pub(crate) fn available(_: &Path) -> Option<u64> {
    None
}

/// Makes sure that a file is on the disk, with its content.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    // Windows asks for the right to write. On Unix a file may have none by now.
    let file = if cfg!(windows) { OpenOptions::new().write(true).open(path) } else { File::open(path) };
    file?.sync_all()
}

/// Makes sure that the names in a folder are on the disk.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // Not every file system can sync a folder.
        Err(error) if is_missing(&error) => Ok(()),
        synced => synced,
    }
}

/// Makes sure that everything on the file system of `dir` is on the disk. Returns false if the system cannot do that.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn sync_file_system(dir: &Path) -> io::Result<bool> {
    rustix::fs::syncfs(File::open(dir)?)?;
    Ok(true)
}

/// Makes sure that everything on the file system of `dir` is on the disk. Returns false if the system cannot do that.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn sync_file_system(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Returns a number by which two names of one file can be told from two files, if the system has one.
#[cfg(unix)]
pub(crate) fn identity(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns a number by which two names of one file can be told from two files, if the system has one.
#[cfg(not(unix))]
pub(crate) fn identity(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// Makes options for a new file whose permission bits are `mode`, as far as the user's umask allows. This side can
/// always read and write it, until [`restrict`].
pub(crate) fn options(mode: Option<u32>) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode((mode.unwrap_or(0o666) & 0o777) | 0o600);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options
}

/// Takes the right to write from a file whose sender has none.
pub(crate) fn restrict(file: &File, mode: u32) -> io::Result<()> {
    if mode & 0o200 != 0 {
        return Ok(());
    }
    let mut permissions = file.metadata()?.permissions();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        permissions.set_mode(permissions.mode() & !0o222);
    }
    #[cfg(not(unix))]
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

/// Gives this side the right to write a file back.
pub(crate) fn unrestrict(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        permissions.set_mode(permissions.mode() | 0o600);
    }
    #[cfg(not(unix))]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions)
}

/// Makes a folder whose permission bits are `mode`, as far as the user's umask allows. This side can always use it.
pub(crate) fn make_folder(path: &Path, mode: Option<u32>) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode((mode.unwrap_or(0o777) & 0o777) | 0o700);
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_something_has_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), b"new").unwrap();
        fs::write(path("b"), b"old").unwrap();
        fs::create_dir(path("c")).unwrap();
        type Rename = fn(&Path, &Path) -> io::Result<()>;
        let ways: [Rename; 2] =
            [|from, to| rename_new(from, to, false), |from, to| rename_over_a_placeholder(from, to, false)];
        for rename in ways {
            for taken in ["b", "c"] {
                let error = rename(&path("a"), &path(taken)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{taken}");
            }
            rename(&path("a"), &path("free")).unwrap();
            assert_eq!(fs::read(path("free")).unwrap(), b"new");
            fs::rename(path("free"), path("a")).unwrap();
        }
        assert_eq!(fs::read(path("b")).unwrap(), b"old");
    }

    #[test]
    fn a_folder_gets_its_name_with_its_content_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for rename in [rename_new, rename_over_a_placeholder] {
            fs::create_dir(path("a")).unwrap();
            fs::write(path("a").join("file"), b"data").unwrap();
            fs::write(path("taken"), b"mine").unwrap();
            assert!(rename(&path("a"), &path("taken"), true).is_err());
            rename(&path("a"), &path("b"), true).unwrap();
            assert_eq!(fs::read(path("b").join("file")).unwrap(), b"data");
            fs::remove_dir_all(path("b")).unwrap();
        }
        let missing = rename_over_a_placeholder(&path("nothing"), &path("left"), false);
        assert!(missing.is_err() && !path("left").exists(), "no placeholder stays");
    }
}
