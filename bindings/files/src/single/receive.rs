//! The receiver's side of a transfer.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use twolane::{ConnectionLost, ReadError, StreamError, WriteError, XStream};

use super::{
    CHUNK, Expected, FileName, Inbox, Meter, NameError, Offer, PATIENCE, QUEUE, Reason, Receipt, RefusalDetails,
    StoreError,
    store::Part,
    stripes::{Stripes, Ungathered},
};

/// The length of a BLAKE3 hash in bytes.
const HASH: usize = blake3::OUT_LEN;

/// Maximum time for a sender to read the receipt. The receipt has about 200 bytes, and a dead connection is
/// detected within 20 s. Without this limit, a live sender that does not read the receipt would keep its place at
/// the receiver for ever.
const CONFIRM: Duration = Duration::from_secs(30);

/// A refusal half-way through the file, to try out the error lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehearsal {
    /// The number of bytes of the file that are taken before the refusal.
    pub after: u64,
    /// The error code that the sender is told.
    pub code: u64,
    /// The time for which nothing is read before the refusal, so that the data lane fills up.
    pub stall: Duration,
}

/// The reason why a file was not received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The offer cannot be read.
    #[error("the offer cannot be read")]
    Offer(#[source] serde_json::Error),
    /// The part streams are missing, or are not those of the offer.
    #[error("the streams that the file is spread over are not those of the offer")]
    Spread,
    /// The data is too short for a hash.
    #[error("the data ended without a hash")]
    NoHash,
    /// The name cannot be the name of a file.
    #[error("the file cannot have this name: {0}")]
    Name(#[from] NameError),
    /// The file cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More or fewer bytes than offered arrived.
    #[error("{offered} bytes were offered, and {} arrived", if *.more { "more" } else { "less" })]
    Size {
        /// The offered length in bytes.
        offered: u64,
        /// Whether more bytes arrived.
        more: bool,
    },
    /// The receiver was configured to refuse the file.
    #[error("refused after {after} bytes, as the receiver was told to")]
    Rehearsed {
        /// The number of bytes that were taken.
        after: u64,
        /// The error code.
        code: u64,
    },
    /// The sender failed the transfer.
    #[error("the sender gave up: {:?}", .0.text())]
    Failed(std::sync::Arc<StreamError>),
    /// The sender ended the stream without a reason.
    #[error("the sender dropped the transfer before the file was complete")]
    Dropped,
    /// The connection was lost.
    #[error("the connection was lost before the file was complete")]
    Lost(#[from] ConnectionLost),
    /// The sender is connected, but sends nothing.
    #[error("the sender sent nothing for {0:?}")]
    Silent(Duration),
    /// The receiver was asked to stop.
    #[error("the receiver was stopped")]
    Stopped,
    /// The stream cannot be read for another reason.
    #[error("the stream cannot be read")]
    Read(#[source] ReadError),
}

/// The reason why a sender may not know that its file is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unconfirmed {
    /// The stream or the connection has ended.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The sender is connected, but does not read the receipt.
    #[error("the sender did not take the receipt within {0:?}")]
    Silent(Duration),
}

/// Receives a file from a stream and from the `expected` part streams, and stores it. Stops if `stop` resolves
/// before the whole file has arrived.
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
    expected: Option<Expected>,
    inbox: &Inbox,
    rehearsal: Option<Rehearsal>,
    meter: &Meter,
    stop: impl Future<Output = ()>,
) -> Result<(Receipt, Result<(), Unconfirmed>), ReceiveError> {
    let offer = Offer::from_bytes(stream.metadata()).map_err(ReceiveError::Offer)?;
    let name = FileName::from_offer(&offer.name)?;
    let inbox = inbox.clone();
    let part = tokio::task::spawn_blocking(move || inbox.begin(name)).await.map_err(broken)??;

    let mut disk = Disk::start(part);
    let received = tokio::select! {
        biased;
        () = stop => Err(ReceiveError::Stopped),
        received = gather_and_take(stream, expected, &offer, rehearsal, &mut disk, meter) => received,
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

impl ReceiveError {
    /// Returns the error for the sender. Returns `None` if the sender has failed the transfer itself, or is gone.
    pub fn to_stream_error(&self, received: u64) -> Option<StreamError> {
        let code = match self {
            Self::Rehearsed { code, .. } => *code,
            _ => self.reason()?.code(),
        };
        Some(refusal(code, &self.words(), received))
    }

    /// Returns the kind of error, if the sender is to be told.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Offer(_) | Self::Spread | Self::NoHash => Some(Reason::Protocol),
            Self::Name(_) => Some(Reason::Name),
            Self::Store(error) => Some(error.reason()),
            Self::Size { .. } => Some(Reason::Size),
            Self::Silent(_) => Some(Reason::Silent),
            Self::Stopped => Some(Reason::Interrupted),
            Self::Rehearsed { .. } | Self::Failed(_) | Self::Dropped | Self::Lost(_) | Self::Read(_) => None,
        }
    }

    /// Returns the text with the causes. Only the system's errors about missing room are included for the sender,
    /// because other errors may name paths.
    fn words(&self) -> String {
        match self {
            Self::Store(StoreError::Full(source)) => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

/// Makes an error for the sender, with the number of bytes that the receiver had taken.
fn refusal(code: u64, text: &str, received: u64) -> StreamError {
    let error = StreamError::new(code, text);
    let details = serde_json::to_vec(&RefusalDetails { received }).unwrap_or_default();
    match error.clone().with_details(details) {
        Ok(detailed) => detailed,
        Err(_) => error,
    }
}

/// Receives the file from all its streams. Returns the hash that follows the file.
async fn gather_and_take(
    stream: &mut XStream,
    expected: Option<Expected>,
    offer: &Offer,
    rehearsal: Option<Rehearsal>,
    disk: &mut Disk,
    meter: &Meter,
) -> Result<blake3::Hash, ReceiveError> {
    let gathered = Stripes::gather(stream, expected, offer.size.unwrap_or_default()).await;
    let mut stripes = gathered.map_err(|ungathered| match ungathered {
        Ungathered::TimedOut | Ungathered::Wrong => ReceiveError::Spread,
        Ungathered::Read(error) => error.into(),
    })?;
    let hash = take(&mut stripes, offer, rehearsal, disk, meter).await?;
    let ended = timeout(PATIENCE, stripes.have_ended()).await.map_err(|_| ReceiveError::Silent(PATIENCE))??;
    match offer.size {
        Some(offered) if !ended => Err(ReceiveError::Size { offered, more: true }),
        _ => Ok(hash),
    }
}

/// Receives the file. Returns the hash that follows it.
async fn take(
    stream: &mut Stripes<'_>,
    offer: &Offer,
    rehearsal: Option<Rehearsal>,
    disk: &mut Disk,
    meter: &Meter,
) -> Result<blake3::Hash, ReceiveError> {
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    // The number of bytes that were read. The last 32 of them may be the hash.
    let mut total: u64 = 0;
    loop {
        if let Some(rehearsal) = rehearsal
            && meter.bytes() >= rehearsal.after
        {
            tokio::time::sleep(rehearsal.stall).await;
            return Err(ReceiveError::Rehearsed { after: meter.bytes(), code: rehearsal.code });
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
            return Err(ReceiveError::NoHash);
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
    fn start(mut part: Part) -> Self {
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        let worker = tokio::task::spawn_blocking(move || {
            while let Some(job) = queue.blocking_recv() {
                match job {
                    Job::Write(data) => part.write(&data)?,
                    Job::Store(hash) => return part.store(hash).map(Some),
                }
            }
            Ok(None)
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

fn broken(error: tokio::task::JoinError) -> StoreError {
    StoreError::Io(io::Error::other(error))
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) | ReadError::FailedIncomplete { error, .. } | ReadError::Aborted(error) => {
                Self::Failed(error)
            }
            ReadError::Reset { .. } => Self::Dropped,
            ReadError::Lost(lost) => Self::Lost(lost),
            other => Self::Read(other),
        }
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
