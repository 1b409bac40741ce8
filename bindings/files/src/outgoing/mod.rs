//! What a sender sends: the files and folders that its user has named, with all that is in them.

mod read;
mod stamp;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

pub(crate) use self::read::{Job, Piece, Read as Reading, What, start};
use crate::wire::Attributes;

/// Something that a user has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, a folder or a named pipe.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// A file or a folder to send, with all that is in it.
#[derive(Debug)]
pub struct OutgoingItem {
    name: String,
    pub(crate) entries: Vec<Entry>,
    files: u64,
    bytes: Option<u64>,
    skipped: Vec<PathBuf>,
}

/// A file or a folder of an item.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The path that the receiver is told, from the item's name on.
    pub(crate) path: Vec<String>,
    pub(crate) attributes: Attributes,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Folder,
    File { source: Input, size: Option<u64> },
}

/// The reason why something cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It does not exist, or cannot be read.
    #[error("{} cannot be read", crate::shown(&path.to_string_lossy()))]
    Read {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Its name is no text. The receiver's system may have no such names.
    #[error("{} has a name that is not text{}", crate::shown(&path.to_string_lossy()), if *is_item { ": give it one with --name" } else { "" })]
    Name {
        /// The path.
        path: PathBuf,
        /// Whether the user has named it, and can give it another name.
        is_item: bool,
    },
}

impl Input {
    /// Returns the name of the file or folder, if it is text. That of `.` and `..` is the name of the folder that they
    /// stand for.
    pub fn name(&self) -> Option<String> {
        let Self::Path(path) = self else { return Some("stdin".into()) };
        match path.file_name() {
            Some(name) => name.to_str().map(str::to_owned),
            None => path.canonicalize().ok()?.file_name()?.to_str().map(str::to_owned),
        }
    }
}

impl OutgoingItem {
    /// Lists what is to be sent. `name` is the name for the receiver, if it is another one than the input has. Blocks.
    ///
    /// A link that the user has named is followed. Links inside a folder, and what is neither a file nor a folder, are
    /// [skipped](Self::skipped).
    ///
    /// # Errors
    ///
    /// [`ScanError`] if something cannot be read. The first file is opened to see that; others are opened when their
    /// turn comes.
    pub fn scan(input: &Input, name: Option<&str>) -> Result<Self, ScanError> {
        let path = match input {
            Input::Path(path) => path.clone(),
            Input::Stdin => PathBuf::from("-"),
        };
        let unnamed = || ScanError::Name { path: path.clone(), is_item: true };
        let name = name.map(str::to_owned).or_else(|| input.name()).ok_or_else(unnamed)?;
        let mut item =
            Self { name: name.clone(), entries: Vec::new(), files: 0, bytes: Some(0), skipped: Vec::new() };
        let Input::Path(path) = input else {
            item.add_file(vec![name], Attributes::default(), Input::Stdin, None);
            return Ok(item);
        };
        let failed = |source| ScanError::Read { path: path.clone(), source };
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            item.add_folder(path, vec![name], &metadata)?;
        } else {
            let size = if metadata.is_file() { regular_size(path, &metadata).map_err(failed)? } else { None };
            item.add_file(vec![name], attributes(&metadata), input.clone(), size);
        }
        Ok(item)
    }

    /// Returns the name for the receiver.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this is one file, and no folder.
    pub fn is_file(&self) -> bool {
        matches!(&self.entries[..], [Entry { kind: Kind::File { .. }, .. }])
    }

    /// Returns the number of files.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns the number of bytes of all files, if it is known.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Returns the links, sockets, pipes and devices inside folders, which are not sent.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    fn add_file(&mut self, path: Vec<String>, attributes: Attributes, source: Input, size: Option<u64>) {
        self.files += 1;
        self.bytes = self.bytes.zip(size).map(|(sum, size)| sum.saturating_add(size));
        self.entries.push(Entry { path, attributes, kind: Kind::File { source, size } });
    }

    fn add_folder(&mut self, folder: &Path, path: Vec<String>, metadata: &Metadata) -> Result<(), ScanError> {
        self.entries.push(Entry { path: path.clone(), attributes: attributes(metadata), kind: Kind::Folder });
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ScanError::Read { path, source }
        };
        let mut inside: Vec<_> = fs::read_dir(folder)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .map_err(failed(folder))?;
        // In the order of their names: the same folder is sent in the same order each time.
        inside.sort_by_key(fs::DirEntry::file_name);
        for entry in inside {
            let at = entry.path();
            let kind = entry.file_type().map_err(failed(&at))?;
            if !kind.is_dir() && !kind.is_file() {
                self.skipped.push(at);
                continue;
            }
            let Ok(name) = entry.file_name().into_string() else {
                return Err(ScanError::Name { path: at, is_item: false });
            };
            let metadata = entry.metadata().map_err(failed(&at))?;
            let path = [&path[..], &[name]].concat();
            if kind.is_dir() {
                self.add_folder(&at, path, &metadata)?;
            } else {
                self.add_file(path, attributes(&metadata), Input::Path(at), Some(metadata.len()));
            }
        }
        Ok(())
    }
}

/// Returns the length of a file, if it is known. Files that the system makes while they are read, such as those below
/// `/proc`, say that they have 0 bytes.
fn regular_size(path: &Path, metadata: &Metadata) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let grows = metadata.len() == 0 && file.read(&mut [0])? > 0;
    Ok((!grows).then_some(metadata.len()))
}

fn attributes(metadata: &Metadata) -> Attributes {
    #[cfg(unix)]
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        Some(metadata.permissions().mode() & 0o777)
    };
    #[cfg(not(unix))]
    let mode = None;
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Attributes { mode, modified: since.map(|since| (since.as_secs(), since.subsec_nanos())) }
}
