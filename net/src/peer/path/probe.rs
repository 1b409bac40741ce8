//! A connection that carries no streams of the library. iroh looks for direct paths to a peer when a connection to
//! the peer is made, and the paths that it finds serve every connection between the two endpoints. Its API offers no
//! other way to make it look. The connection also tells which instance of the peer is there: an instance that was
//! killed and started again does not know the connections of its predecessor.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{ConnectError, ConnectingError, Connection, ConnectionError};
use tokio::time::timeout;
use twolane_id::PublicKey;

use crate::{
    peer::{link::Link, peers::Peers, table::Generation},
    wire::{PROBE_ALPN, codes::connection as codes, control::Nonce},
    words::Shown,
};

/// Timeout for the handshake over the relay. A later probe follows if this one takes longer.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Maximum time for which the dialler holds the connection. noq looks for 4 s, and a path that it finds is taken
/// over at once.
const HOLD: Duration = Duration::from_secs(5);
/// A probe that only asks for the instance is closed within this time, so that it does not end a probe by which iroh
/// looks.
const ASKED: Duration = Duration::from_secs(1);
/// Maximum time for which the other side holds the connection. The dialler closes it earlier.
const HOLD_ACCEPTED: Duration = Duration::from_secs(15);

/// Has iroh look for a direct path between this endpoint and the peer of `link`.
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
    let dialling = peers.underlay.connect(link.peer(), PROBE_ALPN);
    match timeout(HANDSHAKE, dialling).await {
        Ok(Ok(connection)) => {
            let _ = timeout(HOLD, link.becomes_direct()).await;
            connection.close(code(codes::DONE), b"looked for a direct path");
        }
        Ok(Err(error)) => tracing::debug!(error = %Shown(error), "no look for a direct path"),
        Err(_) => tracing::debug!("no look for a direct path within {HANDSHAKE:?}"),
    }
}

/// Asks the peer which instance of it is there, for `link`, on which no answer has come.
pub(in crate::peer) async fn ask(peers: Arc<Peers>, link: Arc<Link>) {
    let Ok(asks) = peers.shared.lookout.asks.try_acquire() else {
        // The peer is asked the next time that it is due, which is later.
        return;
    };
    peers.shared.metrics.instances_asked.inc();
    let asking = timeout(HANDSHAKE, instance(&peers, link.peer()));
    let answer = tokio::select! {
        answer = asking => answer,
        () = peers.closed.cancelled() => return,
        _ = link.connection().closed() => return,
    };
    drop(asks);
    match answer {
        Ok(Answer::Said(connection, generation, nonce)) => {
            peers.on_answer(&link, Some((generation, nonce)));
            let has_ended = link.connection().close_reason().is_some();
            drop(link);
            if has_ended {
                // iroh looks for a path with the client connection that has the lowest address in memory, which may
                // be this one, and does not begin again for 5 s. A close now would leave the connection that is
                // dialled next on the relay for that time.
                tokio::select! {
                    _ = timeout(HOLD, connection.closed()) => {}
                    () = peers.closing.cancelled() => {}
                }
            }
            connection.close(code(codes::DONE), b"asked which instance is there");
        }
        Ok(Answer::Silent) => peers.on_answer(&link, None),
        Ok(Answer::Absent) => tracing::debug!("the peer could not be asked"),
        Err(_) => tracing::debug!("no answer within {HANDSHAKE:?}"),
    }
}

enum Answer {
    /// The instance that is there, as of the handshake with this generation.
    Said(Connection, Generation, Nonce),
    /// A peer is there, and did not say which instance it is. A peer without this ALPN refuses the handshake.
    Silent,
    /// Nothing came from the peer.
    Absent,
}

async fn instance(peers: &Peers, peer: PublicKey) -> Answer {
    let connection = match peers.underlay.connect(peer, PROBE_ALPN).await {
        Ok(connection) => connection,
        Err(ConnectError::Connecting {
            source:
                ConnectingError::ConnectionError {
                    source: ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_),
                    ..
                },
            ..
        }) => return Answer::Silent,
        Err(_) => return Answer::Absent,
    };
    let generation = peers.next_generation();
    let mut nonce = Nonce::default();
    let said = async { connection.accept_uni().await.ok()?.read_exact(&mut nonce).await.ok() }.await;
    if said.is_none() {
        connection.close(code(codes::DONE), b"asked which instance is there");
        return Answer::Silent;
    }
    Answer::Said(connection, generation, nonce)
}

/// Serves a probe of a peer, of either kind. A peer that is not connected may ask, and is given the time for a dial.
/// `place` is the place of the handshake: the limits on handshakes from one address hold for these questions too.
pub(crate) async fn hold(peers: &Peers, peer: PublicKey, connection: &Connection, place: impl Send) {
    let told = async {
        let mut send = connection.open_uni().await.ok()?;
        send.write_all(&peers.shared.nonce).await.ok()?;
        send.finish().ok()?;
        // A close before the acknowledgement may keep the nonce from arriving.
        send.stopped().await.ok()
    };
    let _ = timeout(HANDSHAKE, told).await;
    drop(place);
    let is_connected = || peers.current(&peer).is_some();
    // A probe that only asks is over by now, and replaces no other probe.
    if is_connected() && timeout(ASKED, connection.closed()).await.is_ok() {
        return;
    }
    let not_connected = || connection.close(code(codes::DONE), b"not connected");
    let Some(held) = peers.probes.enter(peer, is_connected()) else { return not_connected() };
    let waits = async |bound| {
        tokio::select! {
            _ = timeout(bound, connection.closed()) => {}
            () = held.replaced() => {}
        }
    };
    if !is_connected() {
        waits(HANDSHAKE).await;
        if !is_connected() {
            return not_connected();
        }
        held.is_connected();
    }
    waits(HOLD_ACCEPTED).await;
    connection.close(code(codes::DONE), b"looked for a direct path");
}

fn code(code: u64) -> iroh::endpoint::VarInt {
    iroh::endpoint::VarInt::from_u32(u32::try_from(code).unwrap_or(u32::MAX))
}
