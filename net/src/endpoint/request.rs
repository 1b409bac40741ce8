//! One message there, one message back.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use twolane_id::PublicKey;

use super::Endpoint;
use crate::{
    access::Identity,
    error::{ConnectionLost, GetStreamError, NextError, Phase, ReadError, RequestError, RequestFailure},
    peer::Opening,
    protocol::{InvalidProtocol, Protocol},
    ticket::Ticket,
};

/// A request, as a handler given to [`Endpoint::serve_requests`] gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// Who asks, as the handshake proved it.
    pub peer: PublicKey,
    /// The same, with the owner that it acted for when the request had come.
    pub identity: Identity,
    /// What for.
    pub protocol: Protocol,
    /// What came in the header.
    pub metadata: Bytes,
    /// The request.
    pub body: Bytes,
}

impl Endpoint {
    /// Sends `body` to a peer's handler for `protocol` and returns its response: one round trip when the peer is
    /// connected, since the request travels with the header. `deadline` covers all of it.
    ///
    /// Cancel-safe: dropped, it resets the stream, and the handler at the other side is dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says how far the request came, and whether the peer may have handled it.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use twolane::Endpoint;
    ///
    /// let server = Endpoint::builder().offline().bind().await?;
    /// server.serve_requests("upper/1", |request| async move {
    ///     Ok(request.body.to_ascii_uppercase().into())
    /// })?;
    ///
    /// let client = Endpoint::builder().offline().bind().await?;
    /// let response = client.request(server.ticket(), "upper/1", "quiet", Duration::from_secs(5)).await?;
    /// assert_eq!(response, "QUIET");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request<P>(
        &self,
        peer: impl Into<Ticket>,
        protocol: P,
        body: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, RequestError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let protocol = match protocol.try_into() {
            Ok(protocol) => protocol,
            Err(error) => {
                let cause = RequestFailure::GetStream(GetStreamError::Protocol(error.into()));
                return Err(RequestError { protocol: INVALID, phase: Phase::Dial, cause });
            }
        };
        let mut phase = Phase::Dial;
        let peer = peer.into();
        let opening = Opening {
            protocol: protocol.clone(),
            metadata: Bytes::new(),
            early: body.into(),
            finish: true,
            read_ahead: self.inner().limits.request_bytes,
        };
        // In one place, whoever polls it: what is awaited is copied into each future around it.
        let exchanged = {
            let exchange = pin!(self.exchange(&peer, &opening, &mut phase));
            timeout(deadline, exchange).await
        };
        let cause = match exchanged {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(cause)) => cause,
            Err(_) => RequestFailure::Deadline(deadline),
        };
        Err(RequestError { protocol, phase, cause })
    }

    async fn exchange(&self, peer: &Ticket, opening: &Opening, phase: &mut Phase) -> Result<Bytes, RequestFailure> {
        let inner = self.inner();
        // The deadline bounds the stream, since a handler may take its time with the answer.
        let mut stream = None;
        inner.open(peer, opening, |_| None, phase, &mut stream).await?;
        *phase = Phase::Response;
        // With `Ok` there is one.
        let stream = stream.as_mut().ok_or(GetStreamError::Lost(ConnectionLost::Closed))?;
        stream.read_to_end(inner.limits.request_bytes).await.map_err(|error| match error {
            NextError::Read(error) => RequestFailure::Read(error),
            NextError::TooLong { max } => RequestFailure::TooLarge { max },
            // `read_to_end` takes any bytes and any end.
            NextError::Ended { .. } | NextError::Text | NextError::Json(_) => {
                RequestFailure::Read(ReadError::Reset { code: 0 })
            }
        })
    }
}

/// Stands in an error for a name that is none.
const INVALID: Protocol = Protocol::from_static("(invalid)");
