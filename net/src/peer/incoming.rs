//! Streams that the peer opens, up to the answer to their header.

use std::sync::{Arc, atomic::Ordering::Release};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tracing::Instrument;
use twolane_id::PublicKey;

use super::link::{Link, Shared};
use crate::{
    access::{Refused, StreamRequest},
    error::WriteError,
    protocol::Protocol,
    stream::{Carrier, Lanes, RawError, RecvStream, SendStream, XStream, accept_error_lane},
    wire::{
        Malformed,
        codes::lane,
        header::{Header, Opening},
        status::{Reason, Rejection, Status},
    },
};

/// A stream whose header has been read and not answered. Dropped, it is reset.
#[derive(Debug)]
pub(crate) struct IncomingStream {
    pub(crate) protocol: Protocol,
    metadata: Bytes,
    send: SendStream,
    recv: RecvStream,
}

impl IncomingStream {
    pub(crate) fn peer(&self) -> PublicKey {
        self.carrier().peer
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        self.send.carrier()
    }

    /// Answers yes.
    pub(crate) async fn accept(mut self) -> Result<XStream, WriteError> {
        let bound = self.carrier().limits.header_timeout;
        // A peer that gives the answer no room would keep the task for ever. Dropped, the stream is reset.
        let answered = timeout(bound, self.send.write_raw(encode(&Status::Accepted))).await;
        answered.unwrap_or(Err(WriteError::Stopped { code: lane::TIMED_OUT }))?;
        self.count();
        Ok(XStream::new(self.send, self.recv, self.protocol, self.metadata))
    }

    /// The answer is the caller's to write: [`ACCEPTED`], in front of the first data.
    pub(crate) fn accept_later(self) -> XStream {
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

/// The answer "accepted", as bytes.
pub(crate) const ACCEPTED: &[u8] = &[0];

/// Accepts streams until the connection is gone. Each gets a task of its own, so that a silent or slow one holds up
/// no other; their number is bounded by the transport, and that of those without a header by the limits.
pub(super) async fn accept_streams(link: Arc<Link>, shared: Arc<Shared>) {
    let without_header = Arc::new(Semaphore::new(shared.limits.streams_without_header.min(Semaphore::MAX_PERMITS)));
    while let Ok((send, recv)) = link.carrier.connection.accept_bi().await {
        let carrier = Arc::clone(&link.carrier);
        // Registered before anything is read: an error lane finds it however the packets were reordered.
        let lanes = Lanes::new(Arc::clone(&carrier), send.id().into(), None);
        carrier.accepted.fetch_add(1, Release);
        let (mut send, mut recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
        let place = Arc::clone(&without_header).try_acquire_owned();
        let (shared, link, tasks) = (Arc::clone(&shared), Arc::clone(&link), &link.carrier.tasks);
        let task = async move {
            let Ok(place) = place else {
                let max = shared.limits.streams_without_header;
                let busy = Rejection::new(Reason::Busy, format!("{max} streams wait for their header already"));
                return Box::pin(async move { reject(&mut send, &mut recv, busy).await }).await;
            };
            let opened = timeout(carrier.limits.header_timeout, recv.read_raw(TRUNCATED, Opening::decode)).await;
            drop(place);
            // What is rare is boxed where it happens: this future is moved several times for each stream.
            let stream = match opened {
                Ok(Ok(Opening::Data(Header { protocol, metadata }))) if metadata.len() <= carrier.limits.metadata => {
                    IncomingStream { protocol, metadata, send, recv }
                }
                other => return Box::pin(end_opening(carrier, send, recv, other)).await,
            };
            if !shared.gate.decides_streams() && !shared.policies.get(&carrier.peer).wants_direct() {
                return (shared.on_stream)(stream).await;
            }
            let asking = async move {
                let stream = ask(stream, &shared).await?;
                let stream = wait_for_direct(stream, &link, &shared).await?;
                (shared.on_stream)(stream).await;
                Some(())
            };
            Box::pin(asking).await;
        };
        tasks.spawn(task.in_current_span());
    }
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
            if let (Some(send), Some((recv, rest))) = (send.into_quic(), recv.into_quic()) {
                accept_error_lane(&carrier, data_lane, send, recv, rest).await;
            }
            return;
        }
        Ok(Ok(Opening::Unknown { .. })) => {
            send.reset_with(lane::UNKNOWN_KIND);
            recv.stop_with(lane::UNKNOWN_KIND);
            return;
        }
        Ok(Err(RawError::Malformed(malformed))) => {
            let too_long = matches!(malformed, Malformed::TooLong { .. });
            Rejection::new(if too_long { Reason::TooLarge } else { Reason::Malformed }, malformed.to_string())
        }
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
    match timeout(bound, send.write_raw(encode(&Status::Rejected(rejection)))).await {
        Ok(_) => drop(send.finish()),
        Err(_) => send.reset_with(lane::TIMED_OUT),
    }
    recv.stop_with(lane::REJECTED);
}

fn encode(status: &Status) -> Bytes {
    let mut bytes = Vec::new();
    status.encode(&mut bytes);
    bytes.into()
}
