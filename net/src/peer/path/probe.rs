//! A connection that carries no streams of the library. iroh looks for direct paths to a peer when a connection to it is made, and what it
//! finds serves every connection of the two. That is the only way to have it look that its API offers. On the way it is told
//! which instance of the peer is there: one that was killed and started again does not know the connections of the one before.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use iroh::endpoint::{ConnectError, ConnectingError, Connection, ConnectionError};
use tokio::time::timeout;
use twolane_id::PublicKey;

use crate::{
    key,
    peer::{link::Link, peers::Peers, table::Generation},
    wire::{PROBE_ALPN, codes::connection as codes, control::Nonce},
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

/// Asks the peer which instance of it is there, for `link`, on which no answer has come.
pub(in crate::peer) async fn ask(peers: Arc<Peers>, link: Arc<Link>) {
    let Ok(_asks) = peers.shared.lookout.asks.try_acquire() else {
        // It is its turn the next time, which is later.
        return;
    };
    peers.shared.metrics.instances_asked.inc();
    let asking = timeout(HANDSHAKE, instance(&peers, link.peer()));
    let answer = tokio::select! {
        answer = asking => answer,
        () = peers.closed.cancelled() => return,
        _ = link.connection().closed() => return,
    };
    match answer {
        Ok(Some(said)) => peers.on_answer(&link, said),
        Ok(None) => tracing::debug!("the peer could not be asked"),
        Err(_) => tracing::debug!("no answer within {HANDSHAKE:?}"),
    }
}

/// `None`: nothing came from it. `Some(None)`: it did not say which instance it is. One without this ALPN refuses the handshake.
async fn instance(peers: &Peers, peer: PublicKey) -> Option<Option<(Generation, Nonce)>> {
    let connection = match peers.endpoint.connect(key::to_iroh(&peer), PROBE_ALPN).await {
        Ok(connection) => connection,
        Err(ConnectError::Connecting {
            source:
                ConnectingError::ConnectionError {
                    source: ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_),
                    ..
                },
            ..
        }) => return Some(None),
        Err(_) => return None,
    };
    let generation = peers.next_generation();
    let mut nonce = Nonce::default();
    let said = async { connection.accept_uni().await.ok()?.read_exact(&mut nonce).await.ok() }.await;
    connection.close(code(codes::DONE), b"asked which instance is there");
    Some(said.map(|()| (generation, nonce)))
}

/// The other side of both. A peer that is not connected may ask, and has nothing to look for. `place` is that of its handshake: so
/// many ask from one address as may shake hands.
pub(crate) async fn hold(peers: &Peers, peer: PublicKey, connection: &Connection, place: impl Send) {
    let told = async {
        let mut send = connection.open_uni().await.ok()?;
        send.write_all(&peers.shared.nonce).await.ok()?;
        send.finish().ok()?;
        // Closed before that, it might not arrive.
        send.stopped().await.ok()
    };
    let _ = timeout(HANDSHAKE, told).await;
    drop(place);
    if peers.current(&peer).is_none() {
        return connection.close(code(codes::DONE), b"not connected");
    }
    let Some(_held) = Held::new(peers, peer) else {
        return connection.close(code(codes::BUSY), b"looking already");
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
        new.then(|| Self { peers, peer })
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
