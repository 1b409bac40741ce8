//! Streams that the peer opens, up to the answer to their header.

use std::sync::{Arc, atomic::Ordering::Release};

use bytes::Bytes;
use tokio::time::timeout;
use twolane_id::PublicKey;

use super::link::{Link, Shared};
use crate::{
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
        self.send.write_raw(encode(&Status::Accepted)).await?;
        Ok(XStream::new(self.send, self.recv, self.protocol, self.metadata))
    }

    /// The answer is the caller's to write: [`ACCEPTED`], in front of the first data.
    pub(crate) fn accept_later(self) -> XStream {
        XStream::new(self.send, self.recv, self.protocol, self.metadata)
    }

    /// Answers no. Only this stream ends.
    pub(crate) async fn reject(mut self, rejection: Rejection) {
        reject(&mut self.send, &mut self.recv, rejection).await;
    }
}

/// The answer "accepted", as bytes.
pub(crate) const ACCEPTED: &[u8] = &[0];

/// Accepts streams until the connection is gone. Each gets a task of its own, so that a silent or slow one holds up
/// no other; their number is bounded by the transport.
pub(super) async fn accept_streams(link: Arc<Link>, shared: Arc<Shared>) {
    while let Ok((send, recv)) = link.carrier.connection.accept_bi().await {
        let carrier = Arc::clone(&link.carrier);
        // Registered before anything is read: an error lane finds it however the packets were reordered.
        let lanes = Lanes::new(Arc::clone(&carrier), send.id().into(), None);
        carrier.accepted.fetch_add(1, Release);
        let (send, recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, lanes));
        let shared = Arc::clone(&shared);
        carrier.tasks.clone().spawn(async move {
            if let Some(stream) = read_opening(&carrier, send, recv).await {
                (shared.on_stream)(stream).await;
            }
        });
    }
}

async fn read_opening(carrier: &Arc<Carrier>, mut send: SendStream, mut recv: RecvStream) -> Option<IncomingStream> {
    const TRUNCATED: Malformed = Malformed::Truncated { what: "the stream header" };
    let bound = carrier.limits.hello_timeout;
    let opening = match timeout(bound, recv.read_raw(TRUNCATED, Opening::decode)).await {
        Ok(Ok(opening)) => opening,
        Ok(Err(RawError::Malformed(malformed))) => {
            let reason =
                if matches!(malformed, Malformed::TooLong { .. }) { Reason::TooLarge } else { Reason::Malformed };
            reject(&mut send, &mut recv, Rejection::new(reason, malformed.to_string())).await;
            return None;
        }
        // The opener has given up.
        Ok(Err(RawError::Read(_))) => return None,
        Err(_) => {
            send.reset_with(lane::TIMED_OUT);
            recv.stop_with(lane::TIMED_OUT);
            return None;
        }
    };
    match opening {
        Opening::Data(Header { protocol, metadata }) => Some(IncomingStream { protocol, metadata, send, recv }),
        Opening::Error { data_lane } => {
            if let (Some(send), Some((recv, rest))) = (send.into_quic(), recv.into_quic()) {
                accept_error_lane(carrier, data_lane, send, recv, rest).await;
            }
            None
        }
        Opening::Unknown { .. } => {
            send.reset_with(lane::UNKNOWN_KIND);
            recv.stop_with(lane::UNKNOWN_KIND);
            None
        }
    }
}

async fn reject(send: &mut SendStream, recv: &mut RecvStream, rejection: Rejection) {
    // An opener that has given up needs no answer.
    let _ = send.write_raw(encode(&Status::Rejected(rejection))).await;
    let _ = send.finish();
    recv.stop_with(lane::REJECTED);
}

fn encode(status: &Status) -> Bytes {
    let mut bytes = Vec::new();
    status.encode(&mut bytes);
    bytes.into()
}
