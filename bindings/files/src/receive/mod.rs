//! The receiver's side of `files/1`.

mod base;
mod desk;

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use twolane::{RecvStream, SendStream, XStream};

use self::desk::Desk;
use crate::{
    error::{ReceiveError, Unconfirmed, broken},
    frames::next_frame,
    gather::{Expected, Gathering},
    meter::Meter,
    names::StoredName,
    policy::{CONFIRM, PATIENCE, Policy, STREAMS},
    reason::Reason,
    receiving::FILES,
    store::Inbox,
    wire::{FromReceiver, FromSender, Offer},
};

/// Number of frames for the sender that wait.
const QUEUE: usize = 64;
/// Number of bytes of frames that are written together.
const TOGETHER: usize = 16 * 1024;
/// Maximum time to wait on the control stream for the reason why a data stream has ended.
const EXPLAINED: std::time::Duration = std::time::Duration::from_secs(2);

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is stored.
    Stored {
        /// Its name in the folder.
        name: String,
        /// Whether all of it was there already.
        already: bool,
        /// The number of files.
        files: u64,
        /// The number of bytes.
        bytes: u64,
        /// The BLAKE3 hash, if the item is a file.
        hash: Option<blake3::Hash>,
    },
    /// This side has refused it.
    Refused {
        /// The reason that the sender was told.
        reason: Reason,
        /// The reason in words.
        text: String,
    },
    /// The sender has given it up.
    GivenUp {
        /// The code: see [`Reason::from_code`].
        code: u64,
        /// The reason in words. It comes from the peer: show it with [`shown`](crate::shown).
        text: String,
    },
}

/// The end of a transfer in which every item was stored, refused or given up.
#[derive(Debug)]
pub struct Report {
    /// What became of each item, by its number, in the order in which that was known.
    pub items: Vec<(u64, Received)>,
    /// Whether the sender knows that.
    pub told: Result<(), Unconfirmed>,
}

/// What a receiver is told while a transfer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// An item begins, under its stored name.
    Begun {
        /// The number of the item, counted from 0.
        item: u64,
        /// The name, in the form that does no harm.
        name: String,
        /// The number of bytes, if the item is a file of known length.
        size: Option<u64>,
    },
    /// What became of an item.
    Done {
        /// The number of the item, counted from 0.
        item: u64,
        /// What became of it.
        received: Received,
    },
}

/// What a transfer needs of its receiver.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where it is stored.
    pub inbox: &'a Inbox,
    /// Where its data streams arrive.
    pub gathering: &'a Gathering,
    /// What is taken.
    pub policy: &'a Policy,
}

/// Receives a transfer on its control stream, which was accepted, and stores its items. Stops if `stop` resolves before.
/// `tell` is called as items begin and end.
///
/// Not cancel-safe: if the future is dropped half-way, the sender receives no reason. What has arrived stays in the
/// folder for the next transfer of the same items.
///
/// # Errors
///
/// [`ReceiveError`] if the transfer ended before every item was stored, refused or given up. The sender was told, unless
/// it is gone or has ended the transfer itself.
pub async fn receive(
    stream: XStream,
    offer: &Offer,
    place: Place<'_>,
    meter: &Arc<Meter>,
    tell: impl Fn(&Progress) + Send + Sync + 'static,
    stop: impl Future<Output = ()>,
) -> Result<Report, ReceiveError> {
    let sender = stream.peer();
    let (mut tx, mut rx) = stream.split();
    let result = async {
        let Some(expected) = place.gathering.expect(sender, offer.id, STREAMS as usize) else {
            return Err(ReceiveError::protocol("two transfers have the same id"));
        };
        check_size(&place, sender, offer).await?;
        let (control, mut frames) = mpsc::channel(QUEUE);
        let (bases, mut left) = mpsc::unbounded_channel();
        let desk = Desk::new(sender, offer.items, place.inbox, place.policy, meter, control, bases, tell);
        desk.say(&FromReceiver::Start { streams: STREAMS, files: FILES }).await?;
        let ended = tokio::select! {
            biased;
            () = stop => Err(ReceiveError::Stopped),
            ended = read_control(&desk, &mut rx) => ended,
            error = read_parts(&desk, expected) => Err(error),
            error = base::tell_all(&desk, &mut left) => Err(error),
            error = write(&mut tx, &mut frames) => Err(error),
            error = watch(&desk) => Err(error),
            () = desk.settled_for(CONFIRM) => Err(ReceiveError::Silent(CONFIRM)),
        };
        match ended {
            Err(error) if !desk.is_settled() => Err(error),
            ended => Ok((desk.take_fates(), ended)),
        }
    }
    .await;
    match result {
        Ok((items, Ok(()))) => Ok(Report { items, told: confirm(&mut tx).await }),
        // Every item is stored, refused or given up, and that is the end, whatever the sender knows of it.
        Ok((items, Err(error))) => Ok(Report { items, told: Err(Unconfirmed::Ended(Box::new(error))) }),
        Err(error) => {
            if let Some(told) = error.to_stream_error(meter.bytes()) {
                // An error of this call is ignored, because a sender that is gone needs no reason.
                let _ = tx.fail(told).await;
            }
            Err(error)
        }
    }
}

/// Checks that the transfer is not larger than this receiver takes, or than there is room for.
async fn check_size(place: &Place<'_>, sender: twolane::PublicKey, offer: &Offer) -> Result<(), ReceiveError> {
    let Some(bytes) = offer.bytes else { return Ok(()) };
    if let Some(max) = place.policy.max_bytes.filter(|max| bytes > *max) {
        return Err(ReceiveError::TooLarge { max });
    }
    let (inbox, name) = (place.inbox.clone(), StoredName::of(&offer.name));
    let checked = tokio::task::spawn_blocking(move || {
        // What is there already needs no room.
        if name.is_ok_and(|name| inbox.dir().join(name).symlink_metadata().is_ok()) {
            return Ok(());
        }
        inbox.check_room(sender, bytes)
    });
    Ok(checked.await.map_err(broken)??)
}

/// Reads the sender's frames up to its end, which comes once it knows what became of every item.
async fn read_control(desk: &Arc<Desk>, rx: &mut RecvStream) -> Result<(), ReceiveError> {
    while let Some((kind, body)) = next_frame(rx).await? {
        read_frame(desk, kind, &body, true).await?;
    }
    if desk.is_settled() { Ok(()) } else { Err(ReceiveError::protocol("the transfer ended before its items")) }
}

/// Reads the data streams as they come. Returns only with an error.
async fn read_parts(desk: &Arc<Desk>, mut expected: Expected) -> ReceiveError {
    let mut parts = JoinSet::new();
    loop {
        tokio::select! {
            stream = expected.next() => {
                parts.spawn(read_part(desk.clone(), stream));
            }
            Some(done) = parts.join_next() => match done {
                Ok(Ok(())) => {}
                Ok(Err(error @ (ReceiveError::Failed(_) | ReceiveError::Dropped | ReceiveError::Lost(_)))) => {
                    // A sender that ends a transfer ends every stream, and says why on the control stream.
                    sleep(EXPLAINED).await;
                    return error;
                }
                Ok(Err(error)) => return error,
                Err(error) => return broken(error).into(),
            },
        }
    }
}

async fn read_part(desk: Arc<Desk>, mut stream: XStream) -> Result<(), ReceiveError> {
    // Nothing goes back on it.
    let (_, rx) = stream.halves();
    while let Some((kind, body)) = next_frame(rx).await? {
        read_frame(&desk, kind, &body, false).await?;
    }
    Ok(())
}

async fn read_frame(desk: &Arc<Desk>, kind: u64, body: &Bytes, is_control: bool) -> Result<(), ReceiveError> {
    desk.heard();
    match FromSender::decode(kind, body)? {
        Some(FromSender::Piece { file, index, last, hash, data }) => desk.piece(file, index, last, hash, data).await,
        Some(FromSender::Zeros { file, first, count }) => desk.zeros(file, first, count).await,
        Some(frame) if is_control => desk.frame(frame).await,
        Some(_) => Err(ReceiveError::protocol("a frame of the control stream came on a data stream")),
        None => Ok(()),
    }
}

/// Writes what is to be said. Returns only with an error.
async fn write(tx: &mut SendStream, frames: &mut mpsc::Receiver<Vec<u8>>) -> ReceiveError {
    while let Some(mut bytes) = frames.recv().await {
        while bytes.len() < TOGETHER
            && let Ok(more) = frames.try_recv()
        {
            bytes.extend_from_slice(&more);
        }
        match timeout(PATIENCE, tx.write_chunk(bytes.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // If the sender has ended the transfer, its reason comes on the control stream.
                sleep(EXPLAINED).await;
                return error.into();
            }
            Err(_) => return ReceiveError::Silent(PATIENCE),
        }
    }
    std::future::pending().await
}

/// Waits until the sender has sent nothing for too long.
async fn watch(desk: &Arc<Desk>) -> ReceiveError {
    let mut heard = desk.progress();
    loop {
        sleep(PATIENCE).await;
        let now = desk.progress();
        if now == heard {
            return ReceiveError::Silent(PATIENCE);
        }
        heard = now;
    }
}

async fn confirm(tx: &mut SendStream) -> Result<(), Unconfirmed> {
    tx.finish()?;
    Ok(timeout(CONFIRM, tx.delivered()).await.map_err(|_| Unconfirmed::Silent(CONFIRM))??)
}
