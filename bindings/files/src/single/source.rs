//! Reading and hashing a file on a separate thread.

use std::{
    fs::File,
    io::{self, Read},
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CHUNK, Offer, QUEUE};
use crate::outgoing::Input;

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

impl Source {
    /// Starts to read a file of `size` bytes, if that is known.
    ///
    /// # Errors
    ///
    /// Returns an error if no thread can be started. Other errors are those of [`send`](super::send()).
    pub fn start(input: &Input, name: String, size: Option<u64>) -> io::Result<Self> {
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
        Ok(Self { offer: Offer { name, size }, items })
    }

    /// Returns the offer for the receiver.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Returns the next item, or `None` after the end or an error.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Item>> {
        self.items.recv().await
    }
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
