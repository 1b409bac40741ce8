//! The data streams of the transfers that a receiver has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{sync::mpsc, time::sleep_until};
use twolane::{PublicKey, XStream};

use crate::{
    early::{Early, Key},
    wire::PartOffer,
};

/// The receiver's collection point for data streams: every stream of [`DATA_PROTOCOL`](crate::DATA_PROTOCOL) is
/// [added](Self::add), and goes to its transfer. Cheap to clone; all clones are one point.
#[derive(Debug, Clone, Default)]
pub struct Gathering(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    expected: HashMap<Key, mpsc::Sender<XStream>>,
    /// The streams whose offer has not been read yet. An offer and its data streams take different ways through the
    /// endpoint, so a data stream can arrive first.
    early: Early<XStream>,
}

/// The data streams of one transfer. After a drop, none of them is expected.
#[derive(Debug)]
pub(crate) struct Expected {
    gathering: Gathering,
    key: Key,
    arriving: mpsc::Receiver<XStream>,
}

impl Gathering {
    /// Adds a stream. It is kept for half a minute if no transfer expects it yet. A stream that belongs to none, or is
    /// one too many, is dropped, which its sender notices.
    pub fn add(&self, stream: XStream) {
        let Ok(PartOffer { id }) = PartOffer::from_bytes(stream.metadata()) else { return };
        let key = (stream.peer(), id);
        let mut waiting = self.lock();
        if let Some(sender) = waiting.expected.get(&key) {
            // The channel has no room for more streams than the receiver has allowed.
            let _ = sender.try_send(stream);
            return;
        }
        waiting.early.add(key, stream, Instant::now());
    }

    /// Waits until streams have to be dropped because no transfer has expected them for half a minute, and drops them
    /// once. If no stream is waiting, this never returns: call it anew after each [`add`](Self::add). Cancel-safe.
    pub async fn expire(&self) {
        let Some(at) = self.lock().early.next_expiry() else {
            return std::future::pending().await;
        };
        sleep_until(at.into()).await;
        self.lock().early.expire(Instant::now());
    }

    /// Expects at most `streams` streams. Returns `None` if this transfer is in progress already.
    pub(crate) fn expect(&self, peer: PublicKey, id: [u8; 16], streams: usize) -> Option<Expected> {
        let (sender, arriving) = mpsc::channel(streams.max(1));
        let key = (peer, id);
        let mut waiting = self.lock();
        if waiting.expected.contains_key(&key) {
            return None;
        }
        for stream in waiting.early.take(key) {
            let _ = sender.try_send(stream);
        }
        waiting.expected.insert(key, sender);
        drop(waiting);
        Some(Expected { gathering: self.clone(), key, arriving })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// Waits for the next stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> XStream {
        match self.arriving.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.gathering.lock().expected.remove(&self.key);
    }
}
