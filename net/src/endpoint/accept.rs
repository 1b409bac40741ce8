//! Connections that peers dial.

use std::sync::Arc;

use iroh::endpoint::{Incoming, VarInt};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    key,
    peer::{Link, Peers},
    wire::codes::connection as codes,
};

/// Accepts connections until the endpoint is closed. A handshake that takes long holds up no other.
pub(super) async fn accept_connections(iroh: iroh::Endpoint, peers: Arc<Peers>) {
    let slots = Arc::new(Semaphore::new(peers.shared.limits.handshakes.min(Semaphore::MAX_PERMITS)));
    while let Some(incoming) = iroh.accept().await {
        // Said at once, a dialler need not find out by waiting.
        if peers.closing.is_cancelled() {
            incoming.refuse();
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::debug!("as many handshakes as allowed are under way");
            incoming.refuse();
            continue;
        };
        let peers = Arc::clone(&peers);
        peers.shared.tasks.clone().spawn(async move {
            let closing = peers.closing.clone();
            tokio::select! {
                () = handshake(incoming, &peers) => {}
                () = closing.cancelled() => {}
            }
            drop(slot);
        });
    }
}

/// The bound on the peer's first words holds for the handshake too.
async fn handshake(incoming: Incoming, peers: &Arc<Peers>) {
    let bound = peers.shared.limits.hello_timeout;
    let connection = match timeout(bound, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
        Err(_) => return tracing::debug!("a handshake took longer than {bound:?}"),
    };
    // The handshake proves the key. One of small order proves nothing: anybody can sign for it.
    let Some(peer) = key::from_iroh(&connection.remote_id()) else {
        return tracing::debug!("a peer with a key of small order was turned away");
    };
    if peers.is_full(&peer) {
        return connection.close(VarInt::from_u32(codes::BUSY as u32), b"as many peers as allowed are connected");
    }
    match Link::accepted(connection, peer, peers.next_generation(), &peers.shared).await {
        Ok((prepared, nonce)) => peers.accepted(prepared, nonce),
        Err(error) => tracing::debug!(%peer, %error, "a connection ended before its HELLO"),
    }
}
