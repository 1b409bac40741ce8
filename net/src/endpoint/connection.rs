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

/// A connected peer; returned by [`Endpoint::accept`] or [`Endpoint::connect`].
///
/// It stands for the peer, not for one QUIC connection: it stays valid when two connections that were dialled at
/// the same time become one. Cheap to clone. Dropping it closes nothing. While it is held, the endpoint is not
/// dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    endpoint: Endpoint,
    peer: PublicKey,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, peer: PublicKey) -> Self {
        Self { endpoint, peer }
    }

    /// Returns the peer's key, which the handshake has proved.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// Returns the peer's id52.
    pub fn get_remote_id52(&self) -> String {
        self.peer.to_string()
    }

    /// Waits for the next stream that this peer opens for one of `protocols`; see [`Endpoint::accept_bi`].
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`AcceptError::Disconnected`] once the peer is not connected any more. A stream for another protocol is
    /// answered, and causes no error here.
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

    /// Opens a stream to this peer; see [`Endpoint::get_stream`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for [`Endpoint::get_stream`].
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
            // An error means that the peer has been forgotten, which happens after its last connection has ended.
            let _ = view.wait_for(|view| !view.connected).await;
        }
    }

    /// Returns what is known about the peer. `None` once it is not connected any more.
    pub fn info(&self) -> Option<PeerInfo> {
        self.endpoint.peer(&self.peer)
    }

    /// Closes every connection to the peer at once, with a reason that the peer can read (at most 1,000 bytes; a
    /// longer reason is cut). Open streams are cut. A dial to the peer that is under way begins anew.
    pub fn close(&self, reason: &str) {
        self.endpoint.inner().peers.close(&self.peer, reason);
    }
}
