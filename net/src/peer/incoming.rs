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

/// A stream that a peer has opened, and that is not answered yet; got from
/// [`Endpoint::serve_incoming`](crate::Endpoint::serve_incoming).
///
/// The opener waits for the answer, at most its own [`Limits::open_timeout`](crate::Limits::open_timeout).
///
/// Dropped without an answer, the stream is reset: the opener gets [`GetStreamError::Reset`](crate::GetStreamError::Reset).
#[derive(Debug)]
pub struct IncomingStream {
    pub(crate) protocol: Protocol,
    metadata: Bytes,
    send: SendStream,
    recv: RecvStream,
}

impl IncomingStream {
    /// The peer, as the handshake proved it.
    pub fn peer(&self) -> PublicKey {
        self.carrier().peer
    }

    /// Who the peer is, and the owner that it acts for at this moment.
    pub fn identity(&self) -> Identity {
        self.carrier().identity()
    }

    /// The protocol that the peer asks for.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// What the opener sent along in the header, at most [`Limits::metadata`](crate::Limits::metadata).
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// Bytes of metadata that the opener takes with the answer: its [`Limits::metadata`](crate::Limits::metadata).
    pub fn max_answer_metadata(&self) -> u64 {
        self.carrier().max_metadata()
    }

    /// Answers yes.
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: the opener has given up, or nothing of the answer can be sent for
    /// [`Limits::header_timeout`](crate::Limits::header_timeout), or for thirty times that while the connection carries other data.
    pub async fn accept(self) -> Result<XStream, WriteError> {
        self.answer(Bytes::from_static(ACCEPTED)).await
    }

    /// Answers yes, and sends `metadata` along: the opener finds it in
    /// [`XStream::answer_metadata`].
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    ///
    /// # Errors
    ///
    /// [`AnswerError::MetadataTooLarge`] if `metadata` is longer than [`max_answer_metadata`](Self::max_answer_metadata), in
    /// which case the stream is reset; [`AnswerError::Write`] as [`accept`](Self::accept).
    pub async fn accept_with(self, metadata: impl Into<Bytes>) -> Result<XStream, AnswerError> {
        let (metadata, max) = (metadata.into(), self.max_answer_metadata());
        if metadata.len() as u64 > max {
            return Err(AnswerError::MetadataTooLarge { len: metadata.len(), max });
        }
        let answer = encode(&Status::Accepted { metadata }, self.send.lanes().id());
        Ok(self.answer(answer).await?)
    }

    /// Answers no: the opener gets [`GetStreamError::Rejected`](crate::GetStreamError::Rejected) with [`Reason::Refused`] and
    /// `text`, of which the first 1,024 bytes are sent. Only this stream ends.
    ///
    /// Not cancel-safe: a dropped call resets the stream.
    pub async fn refuse(self, text: impl Into<String>) {
        self.reject(Rejection::new(Reason::Refused, text)).await;
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        self.send.carrier()
    }

    async fn answer(mut self, answer: Bytes) -> Result<XStream, WriteError> {
        let bound = self.carrier().limits.header_timeout;
        self.send.lanes().accept();
        // A peer that gives the answer no room would keep the task for ever. Dropped, the stream is reset.
        patience::write_raw(&mut self.send, answer, bound).await?;
        self.count();
        Ok(XStream::new(self.send, self.recv, self.protocol, self.metadata))
    }

    /// The answer is the caller's to write: [`ACCEPTED`], in front of the first data.
    pub(crate) fn accept_later(self) -> XStream {
        self.send.lanes().accept();
        self.count();
        XStream::new(self.send, self.recv, self.protocol, self.metadata)
    }

    fn count(&self) {
        self.send.lanes().agree();
        self.carrier().metrics.streams_accepted.inc();
    }

    /// Answers no. Only this stream ends.
    pub(crate) async fn reject(mut self, rejection: Rejection) {
        reject(&mut self.send, &mut self.recv, rejection).await;
    }
}

const TRUNCATED: Malformed = Malformed::Truncated { what: "the stream header" };

pub(crate) use crate::wire::status::ACCEPTED;

/// Streams that are looked at before the first of them is handed to its task. Each task that is spawned may wake another
/// thread, which then waits for the connection's lock, as this one does for it: all that came together is read before.
const AT_ONCE: usize = 32;

/// Accepts streams until the connection is gone. Each gets a task of its own, so that a silent or slow one holds up
/// no other; their number is bounded by the transport, and that of those without a header by the limits.
pub(super) async fn accept_streams(link: Arc<Link>, shared: Arc<Shared>) {
    let carrier = &link.carrier;
    let without_header = Arc::new(Semaphore::new(shared.limits.streams_without_header.min(Semaphore::MAX_PERMITS)));
    let span = Span::current();
    let mut tasks = Vec::with_capacity(AT_ONCE);
    while let Ok(stream) = carrier.connection.accept_bi().await {
        let mut next = Some(stream);
        while let Some((send, recv)) = next {
            tasks.push(begin(&link, &shared, &without_header, send, recv));
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

/// What is to be done with a stream of the peer.
fn begin(
    link: &Arc<Link>,
    shared: &Arc<Shared>,
    without_header: &Arc<Semaphore>,
    send: iroh::endpoint::SendStream,
    recv: iroh::endpoint::RecvStream,
) -> BoxFuture<()> {
    // Registered before anything is read: an error lane finds it however the packets were reordered.
    let lanes = Lanes::accepted(&link.carrier, send.id().into());
    link.carrier.accepted.fetch_add(1, Release);
    let (mut send, mut recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
    // The packet that opens a stream has its header, nearly always: then nothing waits, and the task is the handler's.
    if let Some(opened) = at_once(recv.read_raw(TRUNCATED, Opening::decode)) {
        return take(link, shared, send, recv, Ok(opened));
    }
    let Ok(place) = Arc::clone(without_header).try_acquire_owned() else {
        let max = shared.limits.streams_without_header;
        let busy = Rejection::new(Reason::Busy, format!("{max} streams wait for their header already"));
        return Box::pin(async move { reject(&mut send, &mut recv, busy).await });
    };
    let (link, shared) = (Arc::clone(link), Arc::clone(shared));
    Box::pin(async move {
        let bound = shared.limits.header_timeout;
        let opened = timeout(bound, recv.read_raw(TRUNCATED, Opening::decode)).await;
        drop(place);
        take(&link, &shared, send, recv, opened).await;
    })
}

/// The same once its opening was read, or was not in time. What is rare is boxed where it is made.
fn take(
    link: &Arc<Link>,
    shared: &Arc<Shared>,
    send: SendStream,
    recv: RecvStream,
    opened: Result<Result<Opening, RawError>, Elapsed>,
) -> BoxFuture<()> {
    let carrier = &link.carrier;
    if carrier.is_cut() {
        // QUIC still gives what had come before the connection was cut. No handler is called for it.
        return Box::pin(async move { drop((send, recv)) });
    }
    if matches!(&opened, Ok(Ok(Opening::Data(_)))) && !send.lanes().is_data_lane() {
        let max = carrier.limits.streams_per_peer;
        let (mut send, mut recv) = (send, recv);
        let busy = Rejection::new(Reason::Busy, format!("more than {max} data lanes are open"));
        return Box::pin(async move { reject(&mut send, &mut recv, busy).await });
    }
    let stream = match opened {
        Ok(Ok(Opening::Data(Header { protocol, metadata }))) if metadata.len() <= carrier.limits.metadata => {
            IncomingStream { protocol, metadata, send, recv }
        }
        other => return Box::pin(end_opening(Arc::clone(carrier), send, recv, other)),
    };
    if !shared.gate.decides_streams() && !shared.policies.get(&carrier.peer).wants_direct() {
        return (shared.on_stream)(stream);
    }
    let (link, shared) = (Arc::clone(link), Arc::clone(shared));
    Box::pin(async move {
        let admitting = async {
            let stream = ask(stream, &shared).await?;
            wait_for_direct(stream, &link, &shared).await
        };
        let admitted = tokio::select! {
            biased;
            admitted = admitting => admitted,
            // Nothing is left to answer, and a shutdown waits for no rules.
            _ = link.connection().closed() => None,
        };
        // One that its opener has aborted meanwhile is over, and so is one whose connection was cut.
        if let Some(stream) = admitted
            && !stream.send.lanes().is_aborted()
            && !link.carrier.is_cut()
        {
            (shared.on_stream)(stream).await;
        }
    })
}

/// Asks the rules about a stream; one that they refuse is rejected.
async fn ask(stream: IncomingStream, shared: &Shared) -> Option<IncomingStream> {
    let gate = &shared.gate;
    if !gate.decides_streams() {
        return Some(stream);
    }
    let lanes = stream.send.lanes();
    // From now on a change of the rules looks at this stream as well.
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

/// A stream whose peer is to have a direct path waits for one, and is rejected if none comes up in time.
async fn wait_for_direct(stream: IncomingStream, link: &Link, shared: &Shared) -> Option<IncomingStream> {
    let policy = shared.policies.get(&stream.peer());
    let Some(wait) = policy.wait(shared.limits.connect_timeout) else {
        return Some(stream);
    };
    // The opener is told within its own default bound, as by `accept_bi`.
    let wait = wait.min(shared.limits.accept_timeout);
    match timeout(wait, link.becomes_direct()).await {
        Ok(true) => Some(stream),
        // The connection is gone.
        Ok(false) => None,
        Err(_) => {
            let reason = format!("the path policy here is {policy}, and only a relay connects us");
            stream.reject(Rejection::new(Reason::Refused, reason)).await;
            None
        }
    }
}

/// What is no data lane that can be offered to somebody: it ends here, or is an error lane.
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
            send.lanes().is_no_data_lane();
            if let (Some(send), Some((recv, rest))) = (send.into_quic(), recv.into_quic()) {
                accept_error_lane(&carrier, data_lane, send, recv, rest);
            }
            return;
        }
        Ok(Ok(Opening::Unknown { .. })) => {
            send.lanes().is_no_data_lane();
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
    // An opener that has given up needs no answer, and one that gives it no room gets none.
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
