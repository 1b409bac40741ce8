//! Requests: one message to the peer, and one message back.

use std::{future::Future, pin::pin, time::Duration};

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

/// A request, as it is given to a handler of [`Endpoint::serve_requests`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The peer that sent the request. The handshake has proved its key.
    pub peer: PublicKey,
    /// The identity of the peer: its key, and the owner that it acted for when the request had arrived.
    pub identity: Identity,
    /// The protocol that the request asks for.
    pub protocol: Protocol,
    /// The metadata in the stream's header.
    pub metadata: Bytes,
    /// The body of the request.
    pub body: Bytes,
}

/// Options of a request; see [`Endpoint::request_with`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// Metadata for the handler, which it gets beside the body ([`Request::metadata`]); at most 16 KiB. Default:
    /// empty.
    pub metadata: Bytes,
    /// Timeout for the whole call. Default: 30 seconds.
    pub timeout: Duration,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { metadata: Bytes::new(), timeout: Duration::from_secs(30) }
    }
}

impl Endpoint {
    /// Sends `body` to a peer's handler for `protocol` and returns the handler's response. This takes one round
    /// trip when the peer is connected, because the request travels with the header. `deadline` is the timeout for
    /// the whole call.
    ///
    /// Cancel-safe: dropping the call resets the stream, and the handler's future at the other side is dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says how far the request got, and whether the peer may have handled it.
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
    pub fn request<P>(
        &self,
        peer: impl Into<Ticket>,
        protocol: P,
        body: impl Into<Bytes>,
        deadline: Duration,
    ) -> impl Future<Output = Result<Bytes, RequestError>>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        // Returned and not awaited: an awaited future is copied into each future around it.
        self.request_with(peer, protocol, body, RequestOptions { metadata: Bytes::new(), timeout: deadline })
    }

    /// Like [`request`](Endpoint::request), with metadata for the handler.
    ///
    /// Cancel-safe in the same way.
    ///
    /// # Errors
    ///
    /// The same as for `request`, and [`GetStreamError::MetadataTooLarge`] as its cause.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Endpoint, RequestOptions};
    ///
    /// let server = Endpoint::builder().offline().bind().await?;
    /// server.serve_requests("trace/1", |request| async move { Ok(request.metadata) })?;
    ///
    /// let client = Endpoint::builder().offline().bind().await?;
    /// let options = RequestOptions { metadata: "span 7".into(), ..RequestOptions::default() };
    /// assert_eq!(client.request_with(server.ticket(), "trace/1", "", options).await?, "span 7");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_with<P>(
        &self,
        peer: impl Into<Ticket>,
        protocol: P,
        body: impl Into<Bytes>,
        options: RequestOptions,
    ) -> Result<Bytes, RequestError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let deadline = options.timeout;
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
            metadata: options.metadata,
            early: body.into(),
            finish: true,
            read_ahead: self.inner().limits.request_bytes,
        };
        // Pinned in one place: an awaited future is copied into each future around it.
        let exchanged = {
            let exchange = pin!(self.exchange(&peer, &opening, &mut phase));
            timeout(deadline, exchange).await
        };
        let cause = match exchanged {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(cause)) => cause,
            Err(_) => RequestFailure::TimedOut { after: deadline },
        };
        Err(RequestError { protocol, phase, cause })
    }

    async fn exchange(&self, peer: &Ticket, opening: &Opening, phase: &mut Phase) -> Result<Bytes, RequestFailure> {
        let inner = self.inner();
        // The stream has no timeout of its own, because a handler may take its time with the answer. `deadline`
        // covers the stream.
        let mut stream = None;
        inner.open(peer, opening, |_| None, phase, &mut stream).await?;
        *phase = Phase::Response;
        // After `Ok` there is a stream.
        let stream = stream.as_mut().ok_or(GetStreamError::Lost(ConnectionLost::Closed))?;
        stream.read_to_end(inner.limits.request_bytes).await.map_err(|error| match error {
            NextError::Read(error) => RequestFailure::Read(error),
            NextError::TooLong { max } => RequestFailure::TooLarge { max },
            // `read_to_end` accepts any bytes and any end of data.
            NextError::Ended { .. } | NextError::Text | NextError::Json(_) => {
                RequestFailure::Read(ReadError::Reset { code: 0 })
            }
        })
    }
}

/// Stands in an error for a name that is not valid.
const INVALID: Protocol = Protocol::from_static("(invalid)");
