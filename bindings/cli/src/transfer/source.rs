//! Reading and hashing a file, beside the network.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CHUNK, Offer, QUEUE, Spread};

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, or a named pipe.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// A file that is being read and hashed by a thread of its own, a few chunks ahead of the network.
///
/// Dropped, it ends the thread at its next chunk. A read that waits, say for a pipe, is not woken: the thread must not
/// be waited for.
#[derive(Debug)]
pub struct Source {
    offer: Offer,
    items: mpsc::Receiver<io::Result<Item>>,
}

#[derive(Debug)]
pub(super) enum Item {
    Data(Bytes),
    End(blake3::Hash),
}

impl Input {
    /// Looks at a file without waiting for it.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, or is a directory.
    pub fn check(&self) -> io::Result<()> {
        let Self::Path(path) = self else {
            return Ok(());
        };
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if metadata.is_file() {
            // Opening a named pipe would wait for its writer.
            File::open(path)?;
        }
        Ok(())
    }

    /// What the receiver is told that it is called. `None` if the name is not text.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Path(path) => path.file_name().and_then(|name| name.to_str()),
            Self::Stdin => Some("stdin"),
        }
    }
}

impl Source {
    /// Starts to read.
    ///
    /// # Errors
    ///
    /// The file cannot be looked at, or no thread can be had. Others come when it is read.
    pub fn start(input: &Input, name: String) -> io::Result<Self> {
        let size = match input {
            Input::Path(path) => regular_size(path)?,
            Input::Stdin => None,
        };
        let (chunks, items) = mpsc::channel(QUEUE);
        let input = input.clone();
        thread::Builder::new().name("source".into()).spawn(move || {
            let read = match input {
                Input::Path(path) => File::open(path).and_then(|mut file| read(&mut file, &chunks)),
                Input::Stdin => read(&mut io::stdin().lock(), &chunks),
            };
            if let Err(error) = read {
                // Nobody listens any more: then nobody wants to know.
                let _ = chunks.blocking_send(Err(error));
            }
        })?;
        Ok(Self { offer: Offer { name, size, spread: None }, items })
    }

    /// What to tell the receiver.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Has the file go over several streams, or over one.
    pub fn spread(&mut self, spread: Option<Spread>) {
        self.offer.spread = spread;
    }

    /// What comes next; `None` after the end or an error.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Item>> {
        self.items.recv().await
    }
}

/// The length of a file, if it is known. Of files that the system makes while they are read, as those below `/proc`, it
/// is said to be 0.
fn regular_size(path: &Path) -> io::Result<Option<u64>> {
    let metadata = path.metadata()?;
    if !metadata.is_file() || (metadata.len() == 0 && File::open(path)?.read(&mut [0])? > 0) {
        return Ok(None);
    }
    Ok(Some(metadata.len()))
}

fn read(input: &mut impl Read, chunks: &mpsc::Sender<io::Result<Item>>) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let mut chunk = vec![0; CHUNK];
        let len = match input.read(&mut chunk) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let item = if len == 0 {
            Item::End(hasher.finalize())
        } else {
            chunk.truncate(len);
            Item::Data(chunk.into())
        };
        // The network gets it first, and is busy with it while it is hashed.
        let hashed = match &item {
            Item::Data(data) => data.clone(),
            Item::End(_) => Bytes::new(),
        };
        if chunks.blocking_send(Ok(item)).is_err() || hashed.is_empty() {
            return Ok(());
        }
        hasher.update(&hashed);
    }
}
