//! Opening a stream on a connection: sends the header, reads the answer.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Release},
    time::Duration,
};

use bytes::Bytes;
use iroh::endpoint::{RecvStream as QuicRecv, SendStream as QuicSend};
use tokio::{sync::TryAcquireError, time::timeout};

use super::link::Link;
use crate::{
    bound::at_once,
    error::{GetStreamError, Phase, ReadError, WriteError},
    protocol::Protocol,
    stream::{Lanes, OpenPermit, RawError, RecvStream, SendStream, XStream},
    wire::{
        grease, header,
        status::{self, Status},
    },
};

#[cfg(test)]
mod tests;

/// The parameters of a new stream.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Bytes,
    /// Handling the stream twice is harmless, so it may be opened before the handshake is done.
    pub(crate) repeatable: bool,
    /// Data that travels with the header.
    pub(crate) early: Bytes,
    /// Whether the stream carries no data after the early data.
    pub(crate) finish: bool,
    /// Number of bytes read from the peer at which reading pauses while early data is still to be written. The peer
    /// may send more than noq holds. If nothing were read, the peer would wait for a reader here, while this side
    /// waits for the peer.
    pub(crate) read_ahead: usize,
}

/// Maximum number of data bytes that travel with the header. Before the peer has answered, it cannot be asked how
/// many of them it has read. This many are safe without asking (`stream/credit/chunks.rs`). They fill a round trip
/// of 100 ms at 30 Mbit/s.
pub(crate) const EARLY_BYTES: usize = 400 * 1024;

/// Maximum length of early data that is copied behind the header. Longer early data is written after it without a
/// copy.
const JOIN: usize = 1024;

/// Timeout for opening a stream: the time that is left of it, and its full length for the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Within {
    pub(crate) left: Duration,
    pub(crate) after: Duration,
}

/// The reason why there is no stream.
pub(crate) enum OpenError {
    /// The connection takes no new streams. There is another connection, or there will be one.
    Draining,
    /// Any other reason.
    Failed(GetStreamError),
}

/// Opens a stream and waits for the peer's answer, for at most `within`. With `None` the caller has a timeout of its
/// own. `phase` is [`Phase::Answer`] from the moment at which the peer can have seen part of the stream. The stream
/// is stored in `stream`, where the caller wants it: as a return value it would be copied from future to future.
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
    // The wait for a free lane gets a little less time than the whole, so that the error tells what was waited for.
    let for_lane = within.map(|Within { left, after }| Within { left: left.mul_f32(0.95), after });
    // Pinned in one place: an awaited future is copied into each future around it.
    let running = pin!(run(link, opening, for_lane, phase, stream));
    let opened = match within {
        None => running.await,
        Some(Within { left, after }) => {
            let timed_out = Err(OpenError::Failed(GetStreamError::TimedOut { after }));
            timeout(left, running).await.unwrap_or(timed_out)
        }
    };
    if opened.is_err() && link.carrier.is_void() {
        return Err(OpenError::Draining);
    }
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
    let (send, recv) = match at_once(carrier.connection.open_bi()) {
        Some(opened) => opened.map_err(|error| lost(link, error))?,
        None => Box::pin(free_stream(link, patience)).await?,
    };
    let lanes = Lanes::opened(carrier, send.id().into(), permit.use_up(), slot);
    carrier.opened.fetch_add(1, Release);
    let (send, recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
    let opened = XStream::new(send, recv, opening.protocol.clone(), opening.metadata.clone());
    let (send, recv) = stream.insert(opened).raw();

    let most = opening.early.len().min(EARLY_BYTES);
    let (early, rest) = opening.early.split_at(if most == 0 { 0 } else { send.early_room(most) });
    let (protocol, metadata) = (opening.protocol.clone(), opening.metadata.clone());
    let is_early = !link.is_established();
    debug_assert!(!is_early || opening.repeatable, "all others wait for the handshake");
    let header = header::Header { protocol, metadata, early: is_early };
    let tail = grease::tail(send.lanes().id());
    let mut first = Vec::with_capacity(header.len(&tail) + if early.len() <= JOIN { early.len() } else { 0 });
    header.encode(&mut first, &tail);
    // In one allocation with the header, or after it without a copy.
    let beside = if early.len() <= JOIN {
        first.extend_from_slice(early);
        Bytes::new()
    } else {
        opening.early.slice(..early.len())
    };
    let mut preamble =
        Preamble { joined: early.len() <= JOIN, early: early.len(), counted: 0, left: [first.into(), beside] };
    let taken = at_once(send.write_raw_from(&mut preamble.left));
    preamble.count(send);
    if let Some(Err(WriteError::Lost(error))) = taken {
        // noq has taken nothing, so the peer has seen nothing of the stream.
        return Err(GetStreamError::from(error).into());
    }
    *phase = Phase::Answer;
    if is_early {
        carrier.metrics.requests_sent_early.inc();
    }
    let finish = opening.finish && rest.is_empty();
    let answer_metadata;
    let answer = match taken {
        Some(Ok(())) if !preamble.is_left() => {
            if finish {
                // Long early data may still have to be reset, if the peer does not want it.
                let _ = if preamble.joined { send.finish_and_let_go() } else { send.finish() };
            }
            read_answer(recv).await
        }
        _ => Box::pin(write_and_read_answer(send, recv, &mut preamble, finish)).await,
    };
    // An answer has come, or none will come: from here on the lane ends like any other lane.
    send.lanes().set_answered();
    match answer {
        Ok(Status::Accepted { metadata }) => {
            send.on_answer();
            carrier.metrics.streams_opened.inc();
            answer_metadata = (!metadata.is_empty()).then(|| Box::new(metadata));
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
    let written = preamble.counted;
    if written < opening.early.len() {
        let rest = opening.early.slice(written..);
        Box::pin(write_rest(send, recv, rest, opening)).await;
    }
    if let Some(stream) = stream {
        stream.set_answer_metadata(answer_metadata);
    }
    Ok(())
}

/// Reads the acceptor's answer. Its metadata must be within the limit in this side's HELLO.
async fn read_answer(recv: &mut RecvStream) -> Result<Status, RawError> {
    let max = recv.lanes().carrier.limits.metadata as u64;
    recv.read_raw(status::TRUNCATED, |input| Status::decode_within(input, max)).await
}

/// The header, and the early data that travels with it.
struct Preamble {
    /// The bytes that are still to be written: the header, and early data that is not copied behind it.
    left: [Bytes; 2],
    /// Whether the early data is in one buffer with the header.
    joined: bool,
    /// The length of the early data.
    early: usize,
    /// The number of early data bytes that were written and counted.
    counted: usize,
}

impl Preamble {
    fn is_left(&self) -> bool {
        self.left.iter().any(|bytes| !bytes.is_empty())
    }

    /// Counts early data as soon as it is written.
    fn count(&mut self, send: &mut SendStream) {
        let written = match self.joined {
            true if self.left[0].is_empty() => self.early,
            true => 0,
            false => self.early - self.left[1].len(),
        };
        send.count_early(written - self.counted);
        self.counted = written;
    }
}

/// Writes the rest of the preamble and reads the answer, which may come before noq has room for all early data.
async fn write_and_read_answer(
    send: &mut SendStream,
    recv: &mut RecvStream,
    preamble: &mut Preamble,
    finish: bool,
) -> Result<Status, RawError> {
    let answer = loop {
        let left = preamble.is_left();
        tokio::select! {
            biased;
            taken = send.write_raw_from(&mut preamble.left), if left => {
                preamble.count(send);
                match taken {
                    Ok(()) if finish && !preamble.is_left() => drop(send.finish()),
                    Ok(()) => {}
                    // If the peer wants none of it, its answer tells why.
                    Err(_) => break read_answer(recv).await,
                }
            }
            answer = read_answer(recv) => break answer,
        }
    };
    // A peer that accepts the stream before it has the whole header still gets the rest of it.
    while matches!(answer, Ok(Status::Accepted { .. })) && !preamble.left[0].is_empty() {
        let taken = send.write_raw_from(&mut preamble.left).await;
        preamble.count(send);
        if taken.is_err() {
            break;
        }
    }
    answer
}

/// Writes the early data that did not travel with the header. Meanwhile the peer's data is read ahead.
///
/// A peer that wants no more of the early data is no error here: the stream reports the reason.
async fn write_rest(send: &mut SendStream, recv: &mut RecvStream, mut rest: Bytes, opening: &Opening) {
    let mut open = true;
    while !rest.is_empty() {
        let room = recv.buffer().is_ok_and(|buffer| buffer.len() <= opening.read_ahead);
        if opening.finish && !(open && room) {
            // The response is complete, or over its limit, or none will come. The peer needs no more of the request.
            return;
        }
        tokio::select! {
            biased;
            written = send.write_from(&mut rest) => if written.is_err() {
                return;
            },
            filled = recv.fill(), if open && room => open = matches!(filled, Ok(true)),
        }
    }
    if opening.finish {
        let _ = send.finish();
    }
}

/// Opens a QUIC stream once the peer allows one more.
async fn free_stream(link: &Link, patience: Option<Within>) -> Result<(QuicSend, QuicRecv), OpenError> {
    let opening = link.carrier.connection.open_bi();
    let opened = match patience {
        None => opening.await,
        Some(Within { left, after }) => match timeout(left, opening).await {
            Ok(opened) => opened,
            Err(_) => return Err(GetStreamError::TooManyStreams { max: link.max_lanes(), after }.into()),
        },
    };
    opened.map_err(|error| lost(link, error).into())
}

/// Takes the right to open a data lane once one is free.
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

/// Returns the error for a connection that takes no more streams: it drains, or is lost.
fn gone(link: &Link) -> OpenError {
    match link.carrier.connection.close_reason() {
        // A drained connection was replaced by another one. Its end is no loss: a caller retries only once after a
        // loss.
        Some(error) if !link.carrier.is_draining() => lost(link, error).into(),
        _ => OpenError::Draining,
    }
}

impl From<GetStreamError> for OpenError {
    fn from(error: GetStreamError) -> Self {
        Self::Failed(error)
    }
}
