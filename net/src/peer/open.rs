//! Opening a stream on a connection: header out, answer in.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Release},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::TryAcquireError, time::timeout};

use super::link::Link;
use crate::{
    error::{GetStreamError, Phase, ReadError, WriteError},
    protocol::Protocol,
    stream::{Lanes, OpenPermit, RawError, RecvStream, SendStream, XStream},
    wire::{
        grease, header,
        status::{self, Status},
    },
};

/// What a stream is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Bytes,
    /// Data that travels with the header.
    pub(crate) early: Bytes,
    /// The early data is all there is.
    pub(crate) finish: bool,
}

/// Data that travels with the header at most. What comes after the answer is counted by the ledger, and what comes
/// before it is not: so much is safe uncounted (see `stream/credit/chunks.rs`), and fills a round trip of 100 ms at 30 Mbit/s.
const EARLY_BYTES: usize = 400 * 1024;

/// So much early data is copied behind the header; more goes out beside it as it is.
const JOIN: usize = 1024;

/// A bound on a stream's opening: what is left of it, and what it was, for the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Within {
    pub(crate) left: Duration,
    pub(crate) after: Duration,
}

/// Why there is no stream.
pub(crate) enum OpenError {
    /// The connection takes no new streams: there is, or will be, another one.
    Draining,
    /// Anything else.
    Failed(GetStreamError),
}

/// Opens a stream and waits for the peer's answer, within a bound of its own or one of the caller's (`None`).
/// `phase` is [`Phase::Answer`] from the moment on at which the peer can have seen something of it. The stream is put into
/// `stream`, where the caller wants it: returned, it would be copied from future to future.
///
/// Cancel-safe in that a dropped call leaves a stream that is reset when it is dropped.
pub(crate) async fn open(
    link: &Link,
    opening: &Opening,
    within: Option<Within>,
    phase: &mut Phase,
    stream: &mut Option<XStream>,
) -> Result<(), OpenError> {
    *phase = Phase::Send;
    // A little less for a free lane than for the whole, so that what was waited for is known.
    let for_lane = within.map(|Within { left, after }| Within { left: left.mul_f32(0.95), after });
    // In one place, whoever polls it: what is awaited is copied into each future around it.
    let running = pin!(run(link, opening, for_lane, phase, stream));
    let opened = match within {
        None => running.await,
        Some(Within { left, after }) => {
            let timed_out = Err(OpenError::Failed(GetStreamError::TimedOut { after }));
            timeout(left, running).await.unwrap_or(timed_out)
        }
    };
    match &opened {
        Ok(()) | Err(OpenError::Draining | OpenError::Failed(GetStreamError::Rejected { .. })) => {}
        Err(OpenError::Failed(_)) => drop(link.carrier.metrics.streams_failed.inc()),
    }
    opened
}

async fn run(
    link: &Link,
    opening: &Opening,
    patience: Option<Within>,
    phase: &mut Phase,
    stream: &mut Option<XStream>,
) -> Result<(), OpenError> {
    let carrier = &link.carrier;
    let (len, max) = (opening.metadata.len(), link.max_metadata());
    if len as u64 > max {
        return Err(GetStreamError::MetadataTooLarge { len, max }.into());
    }
    let permit = match carrier.open_credit.try_take() {
        Ok(permit) => permit,
        Err(TryAcquireError::NoPermits) => Box::pin(free_lane(link, patience)).await?,
        Err(TryAcquireError::Closed) => return Err(gone(link)),
    };
    let slot = carrier.begin_opening().ok_or_else(|| gone(link))?;
    let (send, recv) = carrier.connection.open_bi().await.map_err(|error| lost(link, error))?;
    let lanes = Lanes::opened(carrier, send.id().into(), permit.use_up(), slot);
    carrier.opened.fetch_add(1, Release);
    let (send, recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
    let opened = XStream::new(send, recv, opening.protocol.clone(), opening.metadata.clone());
    let (send, recv) = stream.insert(opened).raw();

    let most = opening.early.len().min(EARLY_BYTES);
    let (early, rest) = opening.early.split_at(if most == 0 { 0 } else { send.early_room(most) });
    let header = header::Header { protocol: opening.protocol.clone(), metadata: opening.metadata.clone() };
    let tail = grease::tail(send.lanes().id());
    let mut first = Vec::with_capacity(header.len(&tail) + if early.len() <= JOIN { early.len() } else { 0 });
    header.encode(&mut first, &tail);
    // With the header in one allocation, or beside it without a copy.
    let beside = if early.len() <= JOIN {
        first.extend_from_slice(early);
        Bytes::new()
    } else {
        opening.early.slice(..early.len())
    };
    send.count_early(early.len());
    *phase = Phase::Answer;
    match send.write_raw([first.into(), beside]).await {
        Err(WriteError::Lost(error)) => return Err(GetStreamError::from(error).into()),
        // What is long may still have to be reset, if the peer does not want it.
        Ok(()) if opening.finish && rest.is_empty() => {
            let _ = if early.len() <= JOIN { send.finish_and_let_go() } else { send.finish() };
        }
        // If the peer wants nothing of it, its answer says why.
        Ok(()) | Err(_) => {}
    }
    match recv.read_raw(status::TRUNCATED, Status::decode).await {
        Ok(Status::Accepted { .. }) => {
            send.on_answer();
            carrier.metrics.streams_opened.inc();
        }
        Ok(Status::Rejected(rejection)) => {
            carrier.metrics.streams_rejected_by_peer.inc();
            return Err(GetStreamError::Rejected { protocol: opening.protocol.clone(), rejection }.into());
        }
        Err(RawError::Malformed(malformed)) => {
            send.reset_with(malformed.lane_code());
            recv.stop_with(malformed.lane_code());
            return Err(GetStreamError::from(malformed).into());
        }
        Err(RawError::Read(error)) => return Err(unanswered(error).into()),
    }
    if !rest.is_empty() {
        let rest = opening.early.slice_ref(rest);
        if Box::pin(send.write_chunk(rest)).await.is_ok() && opening.finish {
            let _ = send.finish();
        }
    }
    Ok(())
}

/// The right to open a data lane, once one is free.
async fn free_lane(link: &Link, patience: Option<Within>) -> Result<OpenPermit<'_>, OpenError> {
    let free_lane = link.carrier.open_credit.take();
    let permit = match patience {
        None => free_lane.await,
        Some(Within { left, after }) => match timeout(left, free_lane).await {
            Ok(permit) => permit,
            Err(_) => return Err(GetStreamError::TooManyStreams { max: link.max_lanes(), after }.into()),
        },
    };
    permit.map_err(|_| gone(link))
}

fn unanswered(error: ReadError) -> GetStreamError {
    match error {
        ReadError::Lost(error) => error.into(),
        ReadError::Reset { code } => GetStreamError::Reset { code },
        ReadError::Failed(error)
        | ReadError::FailedIncomplete { error, .. }
        | ReadError::Aborted(error)
        | ReadError::EndedHere(error) => GetStreamError::Failed(error),
        ReadError::Malformed(malformed) => malformed.into(),
    }
}

fn lost(link: &Link, error: iroh::endpoint::ConnectionError) -> GetStreamError {
    link.carrier.lost(error).into()
}

/// The connection takes no more streams: it is lost, or drains.
fn gone(link: &Link) -> OpenError {
    match link.carrier.connection.close_reason() {
        Some(error) => lost(link, error).into(),
        None => OpenError::Draining,
    }
}

impl From<GetStreamError> for OpenError {
    fn from(error: GetStreamError) -> Self {
        Self::Failed(error)
    }
}
