//! A connection that carries nothing. iroh looks for direct paths to a peer when a connection to it is made, and what it
//! finds serves every connection of the two. That is the only way to have it look that its API offers.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use iroh::endpoint::Connection;
use tokio::time::timeout;
use twolane_id::PublicKey;

use crate::{
    key,
    peer::{link::Link, peers::Peers},
    wire::{PROBE_ALPN, codes::connection as codes},
};

/// For the handshake over the relay. A later one comes if this takes longer.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long the connection is held. noq looks for 4 s, and what it finds is taken over at once.
const HOLD: Duration = Duration::from_secs(5);
/// How long the other side holds it at most: the dialler closes it.
const HOLD_ACCEPTED: Duration = Duration::from_secs(15);

/// Has iroh look for a direct path for `link`, which the peer and this endpoint have.
pub(in crate::peer) async fn look(peers: Arc<Peers>, link: Arc<Link>) {
    let closing = peers.closing.clone();
    tokio::select! {
        () = run(&peers, &link) => {}
        () = closing.cancelled() => {}
        _ = link.connection().closed() => {}
    }
}

async fn run(peers: &Peers, link: &Link) {
    peers.shared.metrics.path_probes.inc();
    let dialling = peers.endpoint.connect(key::to_iroh(&link.peer()), PROBE_ALPN);
    match timeout(HANDSHAKE, dialling).await {
        Ok(Ok(connection)) => {
            let _ = timeout(HOLD, link.becomes_direct()).await;
            connection.close(code(codes::DONE), b"looked for a direct path");
        }
        Ok(Err(error)) => tracing::debug!(%error, "no look for a direct path"),
        Err(_) => tracing::debug!("no look for a direct path within {HANDSHAKE:?}"),
    }
}

/// The other side of it. Only a peer that is connected has something to look for.
pub(crate) async fn hold(peers: &Peers, peer: PublicKey, connection: &Connection) {
    if peers.current(&peer).is_none() {
        return connection.close(code(codes::DONE), b"not connected");
    }
    let Some(_held) = Held::new(peers, peer) else {
        return connection.close(code(codes::DONE), b"looking already");
    };
    if timeout(HOLD_ACCEPTED, connection.closed()).await.is_err() {
        connection.close(code(codes::DONE), b"looked for a direct path");
    }
}

/// One for each peer.
struct Held<'a> {
    peers: &'a Peers,
    peer: PublicKey,
}

impl<'a> Held<'a> {
    fn new(peers: &'a Peers, peer: PublicKey) -> Option<Self> {
        let new = peers.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        new.then_some(Self { peers, peer })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.peers.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

fn code(code: u64) -> iroh::endpoint::VarInt {
    iroh::endpoint::VarInt::from_u32(u32::try_from(code).unwrap_or(u32::MAX))
}
