//! A file's bytes in their order, over one stream or spread over several.

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

/// How long the first stream is asked why another one has ended. Its reason is under way at that time.
const REASON: Duration = Duration::from_secs(2);

/// What joins the streams of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferId(u64);

impl TransferId {
    /// A new one: it has to be unique among those that one sender has under way at one receiver.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// The metadata of a stream beside the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct PartOffer {
    id: TransferId,
    /// From 1 on: the stream with the offer is number 0.
    part: usize,
}

/// The sender's streams beside the first. Empty if there is one only.
#[derive(Debug, Default)]
pub struct Parts {
    plan: Option<Plan>,
    /// As many as are planned beside the first, in their order.
    streams: Vec<XStream>,
}

impl Parts {
    /// Opens them, all at once.
    ///
    /// # Errors
    ///
    /// One was not opened.
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

    /// Writes the file's next bytes, of which `offset` were written before.
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

    /// Every byte has been written.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.streams.iter_mut().try_for_each(XStream::finish)
    }
}

/// Where a receiver puts streams that belong to a transfer which is under way.
#[derive(Debug, Clone, Default)]
pub struct Gathering(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    expected: HashMap<Key, mpsc::Sender<(usize, XStream)>>,
    /// Streams that came before their offer was read: the two take different ways through the endpoint.
    early: Early<XStream>,
}

/// The streams beside the first that a receiver waits for. Dropped, it waits for none.
#[derive(Debug)]
pub struct Expected {
    gathering: Gathering,
    key: Key,
    plan: Plan,
    arriving: mpsc::Receiver<(usize, XStream)>,
}

impl Gathering {
    /// Expects the other streams of a transfer. `None` if that transfer is under way already.
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

    /// A stream of [`PART_PROTOCOL`] has come. It is kept for a while if nobody expects it yet.
    pub fn add(&self, stream: XStream) {
        let Ok(PartOffer { id, part }) = serde_json::from_slice(stream.metadata()) else {
            return;
        };
        let key = (stream.peer(), id);
        let mut waiting = self.lock();
        if let Some(sender) = waiting.expected.get(&key) {
            // Of more than were planned none has room.
            let _ = sender.try_send((part, stream));
            return;
        }
        waiting.early.add(key, (part, stream), Instant::now());
    }

    /// Drops streams that nobody has expected for half a minute, which their senders notice, and returns when that has
    /// happened once; if there are none, never. Cancel-safe.
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

/// A receiver's streams.
#[derive(Debug)]
pub(super) struct Stripes<'a> {
    first: &'a mut XStream,
    plan: Option<Plan>,
    parts: Vec<XStream>,
    size: u64,
    offset: u64,
}

/// Why the streams beside the first are not there.
#[derive(Debug)]
pub(super) enum Ungathered {
    /// They did not come in time.
    TimedOut,
    /// There are others than planned.
    Wrong,
    /// The first one has ended.
    Read(ReadError),
}

impl<'a> Stripes<'a> {
    /// With all the streams that are expected. `size` is the file's length, which a plan is made for.
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
        // A sender that is gone is noticed at once. What it sends meanwhile stays where it is.
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

    /// The next bytes: those of the file, and what follows them on the first stream. 0 at the end.
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

    /// Whether every stream beside the first has ended, as it has to once the file is whole.
    pub(super) async fn have_ended(&mut self) -> Result<bool, ReadError> {
        for part in &mut self.parts {
            if part.read(&mut [0]).await? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the sender says on the first stream about the end of another one.
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

/// Waits until a stream has ended before its time.
async fn ended(recv: &mut RecvStream) -> ReadError {
    match recv.peek(1).await {
        Err(error) => error,
        Ok(_) => std::future::pending().await,
    }
}
