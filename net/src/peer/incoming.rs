//! Streams that the peer opens, up to the answer to their header.

use std::sync::{Arc, atomic::Ordering::Release};

use bytes::Bytes;
use n0_future::boxed::BoxFuture;
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tracing::{Instrument, Span};
use twolane_id::PublicKey;

use super::{
    early,
    link::{Link, Shared},
    patience,
};
use crate::{
    access::{Identity, Refused, StreamRequest},
    bound::at_once,
    error::{AnswerError, WriteError},
    protocol::Protocol,
    stream::{Carrier, Lanes, RawError, RecvStream, SendStream, XStream, accept_error_lane},
    wire::{
        Malformed,
        codes::lane,
        grease,
        header::{Header, Opening},
        status::{Reason, Rejection, Status},
    },
};

/// A stream that a peer has opened and that is not answered yet, from
/// [`Endpoint::serve_incoming`](crate::Endpoint::serve_incoming).
///
/// The opener waits for the answer, for at most its own [`Limits::open_timeout`](crate::Limits::open_timeout).
///
/// Dropping the value without an answer resets the stream: the opener gets
/// [`GetStreamError::Reset`](crate::GetStreamError::Reset).
#[derive(Debug)]
pub struct IncomingStream {
    pub(crate) protocol: Protocol,
    metadata: Bytes,
    send: SendStream,
    recv: RecvStream,
}

impl IncomingStream {
    /// Returns the peer's key, which the handshake has proved.
    pub fn peer(&self) -> PublicKey {
        self.carrier().peer
    }

    /// Returns the peer's key and the owner that the peer acts for at this moment.
    pub fn identity(&self) -> Identity {
        self.carrier().identity()
    }

    /// Returns the protocol that the peer asks for.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Returns the metadata of the opener's header, at most [`Limits::metadata`](crate::Limits::metadata) bytes.
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// Returns the maximum number of metadata bytes that the opener takes with the answer: its
    /// [`Limits::metadata`](crate::Limits::metadata).
    pub fn max_answer_metadata(&self) -> u64 {
        self.carrier().max_metadata()
    }

    /// Accepts the stream.
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the opener has given up, or if no byte of the answer can be sent for
    /// [`Limits::header_timeout`](crate::Limits::header_timeout), or for thirty times that while the connection
    /// carries other data.
    pub async fn accept(self) -> Result<XStream, WriteError> {
        self.answer(Bytes::from_static(ACCEPTED)).await
    }

    /// Accepts the stream and sends `metadata` with the answer. The opener finds it in [`XStream::answer_metadata`].
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    ///
    /// # Errors
    ///
    /// [`AnswerError::MetadataTooLarge`] if `metadata` is longer than
    /// [`max_answer_metadata`](Self::max_answer_metadata): the stream is then reset. [`AnswerError::Write`] as for
    /// [`accept`](Self::accept).
    pub async fn accept_with(self, metadata: impl Into<Bytes>) -> Result<XStream, AnswerError> {
        let (metadata, max) = (metadata.into(), self.max_answer_metadata());
        if metadata.len() as u64 > max {
            return Err(AnswerError::MetadataTooLarge { len: metadata.len(), max });
        }
        let answer = encode(&Status::Accepted { metadata }, self.send.lanes().id());
        Ok(self.answer(answer).await?)
    }

    /// Refuses the stream. The opener gets [`GetStreamError::Rejected`](crate::GetStreamError::Rejected) with
    /// [`Reason::Refused`] and the first 1,024 bytes of `text`. Only this stream ends.
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    pub async fn refuse(self, text: impl Into<String>) {
        self.reject(Rejection::new(Reason::Refused, text)).await;
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        self.send.carrier()
    }

    /// Records that the stream is handled before the handshake is known to be done.
    pub(super) fn set_early(&self) {
        self.send.lanes().set_early();
    }

    async fn answer(mut self, answer: Bytes) -> Result<XStream, WriteError> {
        let bound = self.carrier().limits.header_timeout;
        self.send.lanes().accept();
        // A peer that gives the answer no room would keep the task for ever. On an error the stream is dropped,
        // which resets it.
        patience::write_raw(&mut self.send, answer, bound).await?;
        self.count();
        Ok(XStream::new(self.send, self.recv, self.protocol, self.metadata))
    }

    /// Accepts the stream and leaves the answer to the caller, who writes [`ACCEPTED`] in front of the first data.
    pub(crate) fn accept_later(self) -> XStream {
        self.send.lanes().accept();
        self.count();
        XStream::new(self.send, self.recv, self.protocol, self.metadata)
    }

    fn count(&self) {
        self.send.lanes().agree();
        self.carrier().metrics.streams_accepted.inc();
    }

    /// Rejects the stream. Only this stream ends.
    pub(crate) async fn reject(mut self, rejection: Rejection) {
        reject(&mut self.send, &mut self.recv, rejection).await;
    }
}

const TRUNCATED: Malformed = Malformed::Truncated { what: "the stream header" };

pub(crate) use crate::wire::status::ACCEPTED;

/// Maximum number of streams that are read before the first of them is handed to its task. Each spawned task may
/// wake another thread, and the two threads then wait for each other at the connection's lock. So all streams that
/// arrived together are read first.
const AT_ONCE: usize = 32;

/// Accepts streams until the connection is gone. Each stream has a task of its own, so that a silent or slow stream
/// holds up no other. noq's stream limit bounds the number of streams, and `Limits::streams_without_header` the
/// number of those without a header.
pub(super) async fn accept_streams(link: Arc<Link>, shared: Arc<Shared>) {
    let carrier = &link.carrier;
    let without_header = Arc::new(Semaphore::new(shared.limits.streams_without_header.min(Semaphore::MAX_PERMITS)));
    let span = Span::current();
    let mut tasks = Vec::with_capacity(AT_ONCE);
    while let Ok(stream) = carrier.connection.accept_bi().await {
        let mut next = Some(stream);
        while let Some((send, recv)) = next {
            tasks.push(begin(&link, &shared, &without_header, Stage::InUse, send, recv));
            let more = tasks.len() < AT_ONCE;
            next = if more { at_once(carrier.connection.accept_bi()).and_then(Result::ok) } else { None };
        }
        for task in tasks.drain(..) {
            if span.is_disabled() {
                carrier.tasks.spawn(task);
            } else {
                carrier.tasks.spawn(task.instrument(span.clone()));
            }
        }
    }
}

/// The stage of a connection at which a stream is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection is in use.
    InUse,
    /// The handshake is not known to be done, or the peer is not admitted yet.
    Early {
        /// Whether the stream may be handled at this stage, if its opener and the program say so.
        may_run: bool,
    },
}

/// Returns the task for a stream that the peer has opened.
pub(super) fn begin(
    link: &Arc<Link>,
    shared: &Arc<Shared>,
    without_header: &Arc<Semaphore>,
    stage: Stage,
    send: iroh::endpoint::SendStream,
    recv: iroh::endpoint::RecvStream,
) -> BoxFuture<()> {
    // Registered before anything is read, so that an error lane finds the stream however the packets were reordered.
    let lanes = Lanes::accepted(&link.carrier, send.id().into());
    link.carrier.accepted.fetch_add(1, Release);
    let (mut send, mut recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
    // The packet that opens a stream nearly always holds its header. Then nothing waits, and the task is the
    // handler's.
    if let Some(opened) = at_once(recv.read_raw(TRUNCATED, Opening::decode)) {
        return take(link, shared, stage, send, recv, Ok(opened));
    }
    let Ok(place) = Arc::clone(without_header).try_acquire_owned() else {
        let max = shared.limits.streams_without_header;
        let busy = Rejection::new(Reason::Busy, format!("the limit of {max} streams without a header is reached"));
        return Box::pin(async move { reject(&mut send, &mut recv, busy).await });
    };
    let (link, shared) = (Arc::clone(link), Arc::clone(shared));
    Box::pin(async move {
        let bound = shared.limits.header_timeout;
        let opened = timeout(bound, recv.read_raw(TRUNCATED, Opening::decode)).await;
        drop(place);
        take(&link, &shared, stage, send, recv, opened).await;
    })
}

/// Returns the task for a stream whose opening was read, or was not read in time. Each rare case boxes a future of
/// its own.
fn take(
    link: &Arc<Link>,
    shared: &Arc<Shared>,
    stage: Stage,
    send: SendStream,
    recv: RecvStream,
    opened: Result<Result<Opening, RawError>, Elapsed>,
) -> BoxFuture<()> {
    let carrier = &link.carrier;
    if carrier.is_cut() {
        // QUIC still delivers what had arrived before the connection was cut. No handler is called for it.
        return Box::pin(async move { drop((send, recv)) });
    }
    if matches!(&opened, Ok(Ok(Opening::Data(_)))) && !send.lanes().count_data_lane() {
        let max = carrier.limits.streams_per_peer;
        let (mut send, mut recv) = (send, recv);
        let busy = Rejection::new(Reason::Busy, format!("the limit of {max} open data lanes is exceeded"));
        return Box::pin(async move { reject(&mut send, &mut recv, busy).await });
    }
    let (stream, is_early) = match opened {
        Ok(Ok(Opening::Data(Header { protocol, metadata, early }))) if metadata.len() <= carrier.limits.metadata => {
            (IncomingStream { protocol, metadata, send, recv }, early)
        }
        other => return Box::pin(end_opening(Arc::clone(carrier), send, recv, other)),
    };
    match stage {
        Stage::InUse => hand_over(link, shared, stream),
        Stage::Early { may_run } => early::take(link, shared, stream, may_run && is_early),
    }
}

/// Returns the task for a stream on a connection that is in use.
pub(super) fn hand_over(link: &Arc<Link>, shared: &Arc<Shared>, stream: IncomingStream) -> BoxFuture<()> {
    if !shared.gate.decides_streams() && !shared.policies.get(&stream.peer()).wants_direct() {
        return (shared.on_stream)(stream);
    }
    let (link, shared) = (Arc::clone(link), Arc::clone(shared));
    Box::pin(async move {
        if let Some(stream) = admitted(stream, &link, &shared).await {
            (shared.on_stream)(stream).await;
        }
    })
}

/// Asks the rules about a stream, and waits for a direct path if the path policy asks for one. `None` if the stream
/// was rejected, or is over.
pub(super) async fn admitted(stream: IncomingStream, link: &Link, shared: &Shared) -> Option<IncomingStream> {
    let admitting = async {
        let stream = ask(stream, shared).await?;
        wait_for_direct(stream, link, shared).await
    };
    let admitted = tokio::select! {
        biased;
        admitted = admitting => admitted,
        // No stream is left to answer, and a shutdown does not wait for the rules.
        _ = link.connection().closed() => None,
    };
    // A stream that its opener has aborted meanwhile is over, and so is a stream whose connection was cut.
    admitted.filter(|stream| !stream.send.lanes().is_aborted() && !link.carrier.is_cut())
}

/// Asks the rules about a stream, and rejects it if they refuse.
async fn ask(stream: IncomingStream, shared: &Shared) -> Option<IncomingStream> {
    let gate = &shared.gate;
    if !gate.decides_streams() {
        return Some(stream);
    }
    let lanes = stream.send.lanes();
    // From now on a change of the rules checks this stream as well.
    let _ = lanes.admitted.set((stream.protocol.clone(), stream.metadata.clone()));
    loop {
        let version = gate.version();
        let request = StreamRequest {
            identity: stream.carrier().identity(),
            protocol: stream.protocol.clone(),
            metadata: stream.metadata.clone(),
        };
        let answer = gate.stream(request).await;
        if let Err(Refused(reason)) = answer {
            stream.reject(Rejection::new(Reason::Refused, reason)).await;
            return None;
        }
        if version == gate.version() {
            return Some(stream);
        }
    }
}

/// Waits for a direct path if the peer's path policy asks for one. The stream is rejected if none comes up in time.
async fn wait_for_direct(stream: IncomingStream, link: &Link, shared: &Shared) -> Option<IncomingStream> {
    let policy = shared.policies.get(&stream.peer());
    let Some(wait) = policy.wait(shared.limits.connect_timeout) else {
        return Some(stream);
    };
    // Not longer than `accept_timeout`, so that an opener with the default timeout is told the reason, as with
    // `accept_bi`.
    let wait = wait.min(shared.limits.accept_timeout);
    match timeout(wait, link.becomes_direct()).await {
        Ok(true) => Some(stream),
        // The connection is gone.
        Ok(false) => None,
        Err(_) => {
            let reason = format!("the acceptor's path policy is {policy}, and the connection has only a relay path");
            stream.reject(Rejection::new(Reason::Refused, reason)).await;
            None
        }
    }
}

/// Ends a stream that is no acceptable data lane, or takes it as an error lane.
async fn end_opening(
    carrier: Arc<Carrier>,
    mut send: SendStream,
    mut recv: RecvStream,
    opened: Result<Result<Opening, RawError>, Elapsed>,
) {
    let rejection = match opened {
        Ok(Ok(Opening::Data(Header { metadata, .. }))) => {
            let (len, max) = (metadata.len(), carrier.limits.metadata);
            Rejection::new(Reason::TooLarge, format!("the metadata has {len} bytes, and the limit is {max}"))
        }
        Ok(Ok(Opening::Error { data_lane })) => {
            send.lanes().set_not_data_lane();
            if let (Some(send), Some((recv, rest))) = (send.into_quic(), recv.into_quic()) {
                accept_error_lane(&carrier, data_lane, send, recv, rest);
            }
            return;
        }
        Ok(Ok(Opening::Unknown { .. })) => {
            send.lanes().set_not_data_lane();
            send.reset_with(lane::UNKNOWN_KIND);
            recv.stop_with(lane::UNKNOWN_KIND);
            return;
        }
        Ok(Err(RawError::Malformed(malformed))) => Rejection::new(Reason::from(&malformed), malformed.to_string()),
        // The opener has given up.
        Ok(Err(RawError::Read(_))) => return,
        Err(_) => {
            send.reset_with(lane::TIMED_OUT);
            recv.stop_with(lane::TIMED_OUT);
            return;
        }
    };
    reject(&mut send, &mut recv, rejection).await;
}

async fn reject(send: &mut SendStream, recv: &mut RecvStream, rejection: Rejection) {
    send.carrier().metrics.streams_rejected.inc();
    // An opener that has given up needs no answer. An opener that gives the answer no room gets none.
    let bound = send.carrier().limits.header_timeout;
    let answer = encode(&Status::Rejected(rejection), send.lanes().id());
    match patience::write_raw(send, answer, bound).await {
        Err(WriteError::TimedOut { .. }) => send.reset_with(lane::TIMED_OUT),
        _ => drop(send.finish()),
    }
    recv.stop_with(lane::REJECTED);
}

fn encode(status: &Status, lane: u64) -> Bytes {
    let mut bytes = Vec::new();
    status.encode(&mut bytes, &grease::tail(lane));
    bytes.into()
}
