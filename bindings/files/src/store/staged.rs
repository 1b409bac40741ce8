//! A file that is being put together.

use std::{
    fs::{File, FileTimes},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use super::disk;
use crate::{
    piece::{self, PIECE, PieceHash},
    wire::Attributes,
};

/// A file in the staging folder. It is made when its first piece is written, so that thousands of files can be
/// announced and only few are open.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    attributes: Attributes,
    /// The length of what an earlier transfer has left there.
    left: u64,
    file: Mutex<Option<Arc<File>>>,
}

impl Staged {
    pub(super) fn new(path: PathBuf, attributes: Attributes, left: u64) -> Self {
        Self { path, attributes, left, file: Mutex::new(None) }
    }

    /// Writes a piece. Blocks.
    pub(crate) fn write(&self, index: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(index * PIECE, data)
    }

    /// Writes some bytes. Blocks.
    pub(crate) fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        disk::write_at(&*self.file()?, data, offset)
    }

    /// Writes a piece of `len` zeros. Where nothing was written before, a hole does as well. Blocks.
    pub(crate) fn write_zeros(&self, index: u64, len: usize) -> io::Result<()> {
        if index * PIECE >= self.left {
            return Ok(());
        }
        self.write(index, &vec![0; len])
    }

    /// Returns the hashes of up to `count` pieces of what was left there, from piece `first`. `size` is the length of
    /// the file, if it is known. Blocks.
    pub(crate) fn hashes(&self, first: u64, count: u64, size: Option<u64>) -> io::Result<Vec<PieceHash>> {
        use io::{Read, Seek, SeekFrom};
        // A handle of its own: pieces are written beside.
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(first * PIECE))?;
        let only = size.is_some_and(|size| piece::count(size) == 1);
        let mut hashes = Vec::new();
        let mut buf = vec![0; piece::PIECE_LEN];
        for index in first..first + count {
            let len = size.map_or(PIECE, |size| {
                let range = piece::range(index, size);
                range.end - range.start
            });
            let buf = &mut buf[..len as usize];
            file.read_exact(buf)?;
            hashes.push(piece::hash(index, buf, only));
        }
        Ok(hashes)
    }

    /// Gives the file its length and its attributes, and closes it. Blocks.
    pub(crate) fn close(&self, size: u64) -> io::Result<()> {
        let file = self.file()?;
        // Zeros at the end were not written, and what was left may be longer.
        file.set_len(size)?;
        if let Some((seconds, nanos)) = self.attributes.modified {
            let since = Duration::new(seconds, nanos);
            if let Some(time) = UNIX_EPOCH.checked_add(since) {
                // A time that the file system cannot store is no reason to lose the file.
                let _ = file.set_times(FileTimes::new().set_modified(time));
            }
        }
        if let Some(mode) = self.attributes.mode {
            disk::restrict(&file, mode)?;
        }
        *self.lock() = None;
        Ok(())
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let mut open = self.lock();
        if let Some(file) = &*open {
            return Ok(file.clone());
        }
        let opened = || disk::options(self.attributes.mode).create(true).truncate(false).open(&self.path);
        let file = match opened() {
            // An earlier transfer has closed it, and its sender has no right to write it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                disk::unrestrict(&self.path)?;
                opened()?
            }
            opened => opened?,
        };
        let file = Arc::new(file);
        *open = Some(file.clone());
        Ok(file)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
