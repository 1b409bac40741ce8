//! Reading and hashing a file on a separate thread.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CHUNK, Offer, QUEUE, Spread};

/// The source of the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file or a named pipe.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// A file that a separate thread reads and hashes, a few chunks ahead of the network.
///
/// Drop ends the thread at its next chunk. It does not interrupt a read that blocks, for example on a pipe, so
/// nothing may wait for the thread.
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
    /// Checks a file without waiting for it.
    ///
    /// # Errors
    ///
    /// Returns an error if the file does not exist, cannot be read, or is a directory.
    pub fn check(&self) -> io::Result<()> {
        let Self::Path(path) = self else {
            return Ok(());
        };
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if metadata.is_file() {
            // Opening a named pipe would block until it has a writer.
            File::open(path)?;
        }
        Ok(())
    }

    /// Returns the name that is sent to the receiver. Returns `None` if the file name is not text.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Path(path) => path.file_name().and_then(|name| name.to_str()),
            Self::Stdin => Some("stdin"),
        }
    }
}

impl Source {
    /// Starts to read the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the metadata of the file cannot be read, or if no thread can be started. Later errors
    /// are returned by `next`.
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
                // An error of this send is ignored, because the receiver of the channel is gone.
                let _ = chunks.blocking_send(Err(error));
            }
        })?;
        Ok(Self { offer: Offer { name, size, spread: None }, items })
    }

    /// Returns the offer for the receiver.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Spreads the file over several streams, or uses one stream if `spread` is `None`.
    pub fn spread(&mut self, spread: Option<Spread>) {
        self.offer.spread = spread;
    }

    /// Returns the next item, or `None` after the end or an error.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Item>> {
        self.items.recv().await
    }
}

/// Returns the length of a file, if it is known. Files that the system generates while they are read, such as those
/// below `/proc`, report a length of 0.
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
        // The chunk goes to the network first, which can send it while it is being hashed.
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
