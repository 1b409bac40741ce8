//! The receiver's side.

use std::{future::Future, io, path::Path};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use twolane::{WriteError, XStream};

use super::{CHUNK, Offer, QUEUE, Receipt};
use crate::{
    error::{ReceiveError, Unconfirmed, broken},
    meter::Meter,
    names::StoredName,
    policy::{CONFIRM, PATIENCE, Policy, Rehearsal},
    store::{Found, Inbox, Item, Staged, StoreError},
    wire::Attributes,
};

/// The length of a BLAKE3 hash in bytes.
const HASH: usize = blake3::OUT_LEN;

/// Receives a file from a stream, and stores it. Stops if `stop` resolves before the whole file has arrived.
///
/// The inner `Result` tells whether the sender could be told that the file is stored. The file is stored in both
/// cases.
///
/// Not cancel-safe: if the future is dropped half-way, nothing is stored, and the sender receives no reason.
///
/// # Errors
///
/// Returns [`ReceiveError`]. Nothing of the file remains then. The caller has to tell the sender with
/// [`to_stream_error`](ReceiveError::to_stream_error), unless that returns `None`.
pub async fn receive(
    stream: &mut XStream,
    inbox: &Inbox,
    policy: &Policy,
    meter: &Meter,
    stop: impl Future<Output = ()>,
) -> Result<(Receipt, Result<(), Unconfirmed>), ReceiveError> {
    let offer = Offer::from_bytes(stream.metadata()).map_err(|_| ReceiveError::Offer)?;
    let name = StoredName::of(offer.file_name())?;
    if let (Some(size), Some(max)) = (offer.size, policy.max_bytes)
        && size > max
    {
        return Err(ReceiveError::TooLarge { max });
    }
    let (inbox, sender, existing, size) = (inbox.clone(), stream.peer(), policy.existing, offer.size);
    let place = tokio::task::spawn_blocking(move || Place::prepare(&inbox, sender, name, existing, size));
    let mut disk = Disk::start(place.await.map_err(broken)??);
    let received = tokio::select! {
        biased;
        () = stop => Err(ReceiveError::Stopped),
        received = take(stream, &offer, policy, &mut disk, meter) => received,
    };
    let receipt = match received {
        Ok(hash) => disk.store(hash).await?,
        Err(error) => {
            disk.discard().await;
            return Err(error);
        }
    };
    let told = in_time(confirm(stream, &receipt)).await;
    Ok((receipt, told))
}

/// Receives the file. Returns the hash that follows it.
async fn take(
    stream: &mut XStream,
    offer: &Offer,
    policy: &Policy,
    disk: &mut Disk,
    meter: &Meter,
) -> Result<blake3::Hash, ReceiveError> {
    let rehearsal = policy.rehearsal;
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    // The number of bytes that were read. The last 32 of them may be the hash.
    let mut total: u64 = 0;
    loop {
        if let Some(Rehearsal { after, code, stall }) = rehearsal
            && meter.bytes() >= after
        {
            tokio::time::sleep(stall).await;
            return Err(ReceiveError::Rehearsed { after: meter.bytes(), code });
        }
        let mut room = chunk.len() - filled;
        if let Some(rehearsal) = rehearsal {
            let wanted = (rehearsal.after + HASH as u64).saturating_sub(total);
            room = room.min(usize::try_from(wanted).unwrap_or(usize::MAX).max(1));
        }
        let len = tokio::select! {
            read = timeout(PATIENCE, stream.read(&mut chunk[filled..filled + room])) => {
                read.map_err(|_| ReceiveError::Silent(PATIENCE))??
            }
            failed = disk.failed() => return Err(failed.into()),
        };
        filled += len;
        total += len as u64;
        let taken = total.saturating_sub(HASH as u64);
        meter.add(usize::try_from(taken - meter.bytes()).unwrap_or(usize::MAX));
        if let Some(offered) = offer.size
            && taken > offered
        {
            return Err(ReceiveError::Size { offered, more: true });
        }
        if let Some(max) = policy.max_bytes.filter(|max| taken > *max) {
            return Err(ReceiveError::TooLarge { max });
        }
        if len > 0 && filled < chunk.len() {
            continue;
        }
        if len == 0
            && let Some(offered) = offer.size
            && total < offered
        {
            return Err(ReceiveError::Size { offered, more: false });
        }
        let Some(end) = filled.checked_sub(HASH) else {
            return Err(ReceiveError::protocol("the data ended without a hash"));
        };
        let mut hash = [0; HASH];
        hash.copy_from_slice(&chunk[end..filled]);
        chunk.truncate(end);
        disk.write(chunk.into()).await?;
        if len == 0 {
            return match offer.size {
                Some(offered) if taken < offered => Err(ReceiveError::Size { offered, more: false }),
                _ => Ok(blake3::Hash::from_bytes(hash)),
            };
        }
        chunk = vec![0; CHUNK];
        chunk[..HASH].copy_from_slice(&hash);
        filled = HASH;
    }
}

async fn confirm(stream: &mut XStream, receipt: &Receipt) -> Result<(), WriteError> {
    let line = serde_json::to_string(receipt).unwrap_or_default();
    stream.send_string(&line).await?;
    stream.finish()?;
    stream.delivered().await
}

async fn in_time(confirming: impl Future<Output = Result<(), WriteError>>) -> Result<(), Unconfirmed> {
    Ok(timeout(CONFIRM, confirming).await.map_err(|_| Unconfirmed::Silent(CONFIRM))??)
}

/// Where the file is put.
struct Place {
    item: Item,
    /// `None` if a file of this name and length is there, which may be the same.
    staged: Option<Staged>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Place {
    fn prepare(
        inbox: &Inbox,
        sender: twolane::PublicKey,
        name: StoredName,
        existing: crate::Existing,
        size: Option<u64>,
    ) -> Result<Self, StoreError> {
        let item = inbox.begin(sender, name, false, Attributes::default(), existing)?;
        let staged = match item.look(Path::new(""), size)? {
            Found::Whole if existing == crate::Existing::Refuse => None,
            Found::Whole | Found::Left { .. } => {
                // The data comes before the hash, so it cannot be known whether it is the same.
                item.replaces();
                // What another protocol has left is of no use here.
                item.discard();
                Some(item.stage(Path::new(""), Attributes::default(), 0))
            }
        };
        Ok(Self { item, staged, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(data);
        if let Some(staged) = &self.staged {
            staged.write_at(self.bytes, data).map_err(StoreError::from_io)?;
        }
        self.bytes += data.len() as u64;
        Ok(())
    }

    fn store(&self, expected: blake3::Hash) -> Result<Receipt, StoreError> {
        let found = self.hasher.finalize();
        if found != expected {
            return Err(StoreError::Hash);
        }
        match &self.staged {
            Some(staged) => staged.close(self.bytes).map_err(StoreError::from_io)?,
            None => {
                self.item.compare(Path::new(""), found)?;
            }
        }
        let published = self.item.publish()?;
        Ok(Receipt { stored: published.name, bytes: self.bytes, blake3: found.to_hex().to_string() })
    }
}

/// A thread that hashes and writes the file, a few chunks behind the network.
struct Disk {
    /// `None` once there is nothing more to write.
    jobs: Option<mpsc::Sender<Job>>,
    worker: JoinHandle<Result<Option<Receipt>, StoreError>>,
}

enum Job {
    Write(Bytes),
    Store(blake3::Hash),
}

impl Disk {
    fn start(mut place: Place) -> Self {
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        let worker = tokio::task::spawn_blocking(move || {
            let mut work = || -> Result<Option<Receipt>, StoreError> {
                while let Some(job) = queue.blocking_recv() {
                    match job {
                        Job::Write(data) => place.write(&data)?,
                        Job::Store(hash) => return place.store(hash).map(Some),
                    }
                }
                Ok(None)
            };
            let done = work();
            if !matches!(done, Ok(Some(_))) {
                place.item.discard();
            }
            done
        });
        Self { jobs: Some(jobs), worker }
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreError> {
        self.give(Job::Write(data)).await
    }

    async fn store(&mut self, hash: blake3::Hash) -> Result<Receipt, StoreError> {
        self.give(Job::Store(hash)).await?;
        match (&mut self.worker).await.map_err(broken)?? {
            Some(receipt) => Ok(receipt),
            None => Err(StoreError::Io(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits until the disk has failed. Cancel-safe.
    async fn failed(&mut self) -> StoreError {
        match (&mut self.worker).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => StoreError::Io(io::ErrorKind::BrokenPipe.into()),
            Err(error) => broken(error),
        }
    }

    /// Discards the file. Returns once nothing of the file remains.
    async fn discard(mut self) {
        self.jobs = None;
        if !self.worker.is_finished() {
            let _ = self.worker.await;
        }
    }

    async fn give(&mut self, job: Job) -> Result<(), StoreError> {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).await.is_ok()
        {
            return Ok(());
        }
        // The worker ends before its queue only if it has failed.
        Err(self.failed().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_does_not_take_its_receipt_is_not_waited_for() {
        let waited = tokio::time::Instant::now();
        let told = timeout(2 * CONFIRM, in_time(std::future::pending())).await;
        assert!(matches!(told, Ok(Err(Unconfirmed::Silent(CONFIRM)))), "{told:?}");
        assert_eq!(waited.elapsed(), CONFIRM);
        assert!(in_time(async { Ok(()) }).await.is_ok());
    }
}
