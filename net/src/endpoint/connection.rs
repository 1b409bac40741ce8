//! A connected peer.

use std::future::Future;

use twolane_id::PublicKey;

use super::{Endpoint, StreamOptions, parse};
use crate::{
    error::{AcceptError, GetStreamError},
    peer::PeerInfo,
    protocol::{InvalidProtocol, Protocol},
    stream::XStream,
};

/// A connected peer, got from [`Endpoint::accept`] or [`Endpoint::connect`].
///
/// This is a name for the peer, not for one QUIC connection: it stays valid when two connections that were dialled
/// at once become one. Cheap to clone. Dropping it closes nothing, and while it is held the endpoint is not dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    endpoint: Endpoint,
    peer: PublicKey,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, peer: PublicKey) -> Self {
        Self { endpoint, peer }
    }

    /// The peer, as the handshake proved it.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The peer's id52.
    pub fn get_remote_id52(&self) -> String {
        self.peer.to_string()
    }

    /// The next stream that this peer opens for one of `protocols`; see [`Endpoint::accept_bi`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`AcceptError::Disconnected`] once the peer is gone. A stream for another protocol is answered, and no error.
    pub fn accept_bi<'a, P>(
        &'a self,
        protocols: &[P],
    ) -> impl Future<Output = Result<(Protocol, XStream), AcceptError>> + Send + use<'a, P>
    where
        P: Clone + TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let protocols = parse(protocols);
        async move {
            let stream = tokio::select! {
                biased;
                stream = self.endpoint.inner().router.accept(Some(self.peer), protocols?) => stream?,
                () = self.closed() => return Err(AcceptError::Disconnected),
            };
            Ok((stream.protocol().clone(), stream))
        }
    }

    /// See [`Endpoint::get_stream`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_stream<P>(&self, protocol: P) -> Result<XStream, GetStreamError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        self.endpoint.get_stream_with(self.peer, protocol, StreamOptions::default()).await
    }

    /// Waits until the peer is not connected any more. Cancel-safe.
    pub async fn closed(&self) {
        if let Some(mut view) = self.endpoint.inner().peers.watch(&self.peer) {
            // An error means that the peer has been forgotten, which comes after its last connection.
            let _ = view.wait_for(|view| !view.connected).await;
        }
    }

    /// What is known of the peer; `None` once it is gone.
    pub fn info(&self) -> Option<PeerInfo> {
        self.endpoint.peer(&self.peer)
    }

    /// Closes every connection to the peer at once, with words that it can read (at most 1,000 bytes; more is cut).
    /// Streams that are open are cut. A dial to the peer that is under way begins anew.
    pub fn close(&self, reason: &str) {
        self.endpoint.inner().peers.close(&self.peer, reason);
    }
}
