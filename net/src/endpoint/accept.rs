//! Connections that peers dial.

use std::sync::{Arc, Mutex, PoisonError};

use iroh::endpoint::{Incoming, IncomingAddr, VarInt};
use tokio::time::timeout;

use super::admission::{Admission, Decision, Source};
use crate::{
    key,
    peer::{Link, Peers, probe},
    wire::{PROBE_ALPN, codes::connection as codes},
};

/// Accepts connections until the endpoint is closed. A handshake that takes long holds up no other.
pub(super) async fn accept_connections(iroh: iroh::Endpoint, peers: Arc<Peers>) {
    let limits = &peers.shared.limits;
    let admission = Arc::new(Mutex::new(Admission::new(limits.handshakes, limits.handshakes_per_address)));
    let metrics = &peers.shared.metrics;
    while let Some(incoming) = iroh.accept().await {
        // Said at once, a dialler need not find out by waiting.
        if peers.closing.is_cancelled() {
            incoming.refuse();
            continue;
        }
        let source = match incoming.remote_addr() {
            IncomingAddr::Ip(addr) => Source::ip(addr.ip()),
            IncomingAddr::Relay { endpoint_id, .. } => Source::Relayed(endpoint_id),
            _ => Source::Other,
        };
        let validated = incoming.remote_addr_validated() || !matches!(source, Source::Ip(_));
        let decision = admission.lock().unwrap_or_else(PoisonError::into_inner).decide(source, validated);
        match decision {
            Decision::Take => {}
            Decision::Retry => {
                metrics.handshakes_retried.inc();
                // It can fail only for an address that is validated.
                let _ = incoming.retry();
                continue;
            }
            Decision::Refuse => {
                metrics.handshakes_refused.inc();
                tracing::debug!(?source, "as many handshakes as allowed are under way");
                incoming.refuse();
                continue;
            }
        }
        let place = Place { admission: Arc::clone(&admission), source };
        let peers = Arc::clone(&peers);
        peers.shared.tasks.clone().spawn(async move {
            let closing = peers.closing.clone();
            tokio::select! {
                () = handshake(incoming, &peers, place) => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

/// The bound on the peer's first words holds for the handshake too.
async fn handshake(incoming: Incoming, peers: &Arc<Peers>, place: Place) {
    let metrics = &peers.shared.metrics;
    let bound = peers.shared.limits.hello_timeout;
    let connection = match timeout(bound, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            metrics.handshakes_failed.inc();
            return tracing::debug!(%error, "a handshake failed");
        }
        Err(_) => {
            metrics.handshakes_failed.inc();
            return tracing::debug!("a handshake took longer than {bound:?}");
        }
    };
    // The handshake proves the key. One of small order proves nothing: anybody can sign for it.
    let Some(peer) = key::from_iroh(&connection.remote_id()) else {
        metrics.handshakes_failed.inc();
        return tracing::debug!("a peer with a key of small order was turned away");
    };
    if connection.alpn() == PROBE_ALPN {
        // The place is for handshakes. Each peer that is connected has one probe.
        drop(place);
        return probe::hold(peers, peer, &connection).await;
    }
    if peers.is_full(&peer) {
        metrics.peers_busy.inc();
        return connection.close(VarInt::from_u32(codes::BUSY as u32), b"as many peers as allowed are connected");
    }
    let version = peers.shared.gate.version();
    let accepted = Link::accepted(connection, peer, peers.next_generation(), &peers.shared).await;
    // The place is for those that have not said who they are.
    drop(place);
    match accepted {
        Ok(prepared) => peers.accepted(prepared, version),
        Err(error) => {
            metrics.handshakes_failed.inc();
            tracing::debug!(%peer, %error, "a connection was not admitted");
        }
    }
}

/// A handshake's place among those under way; given back when it is dropped.
struct Place {
    admission: Arc<Mutex<Admission>>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner).ended(self.source);
    }
}
