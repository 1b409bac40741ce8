//! The bytes of a file in order, over one stream or spread over several streams.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use n0_future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use twolane::{
    Endpoint, GetStreamError, PublicKey, ReadError, RecvStream, SendStream, StreamOptions, WriteError, XStream,
};

use super::{
    PART_PROTOCOL, Plan,
    early::{Early, GATHER, Key},
};

/// Maximum time to wait on the first stream for the reason why another stream has ended. The reason is already on
/// its way at that time.
const REASON: Duration = Duration::from_secs(2);

/// The id that the streams of one transfer share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferId(u64);

impl TransferId {
    /// Makes a random id. An id has to be unique among the concurrent transfers of one sender to one receiver.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// The metadata of a part stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct PartOffer {
    id: TransferId,
    /// The number of the part stream, counted from 1. The stream with the offer has the number 0.
    part: usize,
}

/// The sender's part streams. Empty if the transfer has only one stream.
#[derive(Debug, Default)]
pub struct Parts {
    plan: Option<Plan>,
    /// The part streams in order, as many as planned.
    streams: Vec<XStream>,
}

impl Parts {
    /// Opens all part streams concurrently.
    ///
    /// # Errors
    ///
    /// Returns an error if a stream cannot be opened.
    pub async fn open(
        endpoint: &Endpoint,
        peer: PublicKey,
        plan: Plan,
        id: TransferId,
    ) -> Result<Self, GetStreamError> {
        let opening = (1..plan.streams()).map(|part| {
            let metadata = serde_json::to_vec(&PartOffer { id, part }).unwrap_or_default();
            let options =
                StreamOptions { metadata: metadata.into(), timeout: Some(GATHER), ..StreamOptions::default() };
            endpoint.get_stream_with(peer, PART_PROTOCOL, options)
        });
        Ok(Self { plan: Some(plan), streams: try_join_all(opening).await? })
    }

    /// Writes the next bytes of the file. `offset` is the number of bytes that were written before.
    pub(super) async fn write(
        &mut self,
        first: &mut SendStream,
        mut offset: u64,
        mut data: Bytes,
    ) -> Result<(), WriteError> {
        let Some(plan) = self.plan else {
            return first.write_chunk(data).await;
        };
        while !data.is_empty() {
            let range = plan.at(offset);
            let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(data.len());
            let piece = data.split_to(len);
            match range.stream.checked_sub(1) {
                None => first.write_chunk(piece).await?,
                Some(part) => self.streams[part].write_chunk(piece).await?,
            }
            offset += len as u64;
        }
        Ok(())
    }

    /// Finishes the part streams, after every byte has been written.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.streams.iter_mut().try_for_each(XStream::finish)
    }
}

/// The receiver's collection point for the part streams of transfers.
#[derive(Debug, Clone, Default)]
pub struct Gathering(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    expected: HashMap<Key, mpsc::Sender<(usize, XStream)>>,
    /// The part streams whose offer has not been read yet. An offer and its part streams take different ways
    /// through the endpoint, so a part stream can arrive first.
    early: Early<XStream>,
}

/// The part streams that a receiver waits for. After a drop, the receiver waits for none of them.
#[derive(Debug)]
pub struct Expected {
    gathering: Gathering,
    key: Key,
    plan: Plan,
    arriving: mpsc::Receiver<(usize, XStream)>,
}

impl Gathering {
    /// Registers a transfer whose part streams are expected. Returns `None` if this transfer is already in
    /// progress.
    pub fn expect(&self, peer: PublicKey, id: TransferId, plan: Plan) -> Option<Expected> {
        let (sender, arriving) = mpsc::channel(plan.streams());
        let key = (peer, id);
        let mut waiting = self.lock();
        if waiting.expected.contains_key(&key) {
            return None;
        }
        for part in waiting.early.take(key) {
            let _ = sender.try_send(part);
        }
        waiting.expected.insert(key, sender);
        drop(waiting);
        Some(Expected { gathering: self.clone(), key, plan, arriving })
    }

    /// Adds a stream of [`PART_PROTOCOL`]. It is kept for a while if no transfer expects it yet.
    pub fn add(&self, stream: XStream) {
        let Ok(PartOffer { id, part }) = serde_json::from_slice(stream.metadata()) else {
            return;
        };
        let key = (stream.peer(), id);
        let mut waiting = self.lock();
        if let Some(sender) = waiting.expected.get(&key) {
            // The channel has no room for more streams than planned, so extra streams are dropped.
            let _ = sender.try_send((part, stream));
            return;
        }
        waiting.early.add(key, (part, stream), Instant::now());
    }

    /// Waits until streams have to be dropped because no transfer has expected them for half a minute, and drops
    /// them once. The senders notice the drop. If no stream is waiting, this never returns. Cancel-safe.
    pub async fn expire(&self) {
        let Some(at) = self.lock().early.next_expiry() else {
            return std::future::pending().await;
        };
        sleep_until(at.into()).await;
        self.lock().early.expire(Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.gathering.lock().expected.remove(&self.key);
    }
}

/// The streams of a transfer at the receiver.
#[derive(Debug)]
pub(super) struct Stripes<'a> {
    first: &'a mut XStream,
    plan: Option<Plan>,
    parts: Vec<XStream>,
    size: u64,
    offset: u64,
}

/// The reason why the part streams are missing.
#[derive(Debug)]
pub(super) enum Ungathered {
    /// The part streams did not arrive in time.
    TimedOut,
    /// The part streams are not the planned ones.
    Wrong,
    /// The first stream has ended.
    Read(ReadError),
}

impl<'a> Stripes<'a> {
    /// Waits for all expected part streams. `size` is the length of the file for which the plan was made.
    pub(super) async fn gather(
        first: &'a mut XStream,
        expected: Option<Expected>,
        size: u64,
    ) -> Result<Self, Ungathered> {
        let Some(mut expected) = expected else {
            return Ok(Self { first, plan: None, parts: Vec::new(), size, offset: 0 });
        };
        let count = expected.plan.streams() - 1;
        let mut parts: Vec<Option<XStream>> = (0..count).map(|_| None).collect();
        let gathering = async {
            for _ in 0..count {
                let (part, stream) = expected.arriving.recv().await.ok_or(Ungathered::Wrong)?;
                match part.checked_sub(1).and_then(|part| parts.get_mut(part)) {
                    Some(place @ None) => *place = Some(stream),
                    _ => return Err(Ungathered::Wrong),
                }
            }
            Ok(())
        };
        // This detects at once that the sender is gone. Bytes that the sender sends in the meantime stay unread.
        let (_, watched) = first.halves();
        let gathered = tokio::select! {
            gathered = timeout(GATHER, gathering) => gathered,
            ended = ended(watched) => return Err(Ungathered::Read(ended)),
        };
        match gathered {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => return Err(wrong),
            Err(_) => {
                let mut stripes = Self { first, plan: None, parts: Vec::new(), size, offset: 0 };
                return Err(stripes.reason().await.map_or(Ungathered::TimedOut, Ungathered::Read));
            }
        }
        let parts = parts.into_iter().flatten().collect();
        Ok(Self { first, plan: Some(expected.plan), parts, size, offset: 0 })
    }

    /// Reads the next bytes: those of the file, then those that follow on the first stream. Returns 0 at the end.
    ///
    /// Cancel-safe.
    pub(super) async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let Some(plan) = self.plan.filter(|_| self.offset < self.size) else {
            return self.first.read(buf).await;
        };
        let range = plan.at(self.offset);
        let len = range.len.min(self.size - self.offset);
        let room = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..room];
        let part = range.stream.checked_sub(1).and_then(|part| self.parts.get_mut(part));
        let read = match part {
            None => self.first.read(buf).await?,
            Some(part) => match part.read(buf).await {
                Ok(read) => read,
                Err(error) => return Err(self.reason().await.unwrap_or(error)),
            },
        };
        self.offset += read as u64;
        Ok(read)
    }

    /// Returns whether every part stream has ended, as it has to once the file is complete.
    pub(super) async fn have_ended(&mut self) -> Result<bool, ReadError> {
        for part in &mut self.parts {
            if part.read(&mut [0]).await? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the reason that the sender gives on the first stream for the end of another stream.
    async fn reason(&mut self) -> Option<ReadError> {
        let mut buf = vec![0; 64 * 1024];
        let ended = async {
            loop {
                match self.first.read(&mut buf).await {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(error) => return Some(error),
                }
            }
        };
        timeout(REASON, ended).await.ok().flatten()
    }
}

/// Waits until a stream has ended early.
async fn ended(recv: &mut RecvStream) -> ReadError {
    match recv.peek(1).await {
        Err(error) => error,
        Ok(_) => std::future::pending().await,
    }
}
