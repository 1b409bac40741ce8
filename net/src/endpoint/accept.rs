//! Accepts the connections that peers dial.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::endpoint::{ConnectingError, Incoming, IncomingAddr, VarInt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use super::{
    admission::{Admission, Decision},
    by_source::PeersBySource,
    source::Source,
    waiting::{Entry, Waiting, WaitingId},
};
use crate::{
    key,
    peer::{Link, Peers, probe},
    stream::Quic,
    wire::{ALPN, PROBE_ALPN, codes::connection as codes},
    words::Shown,
};

/// Accepts connections until the endpoint is closed. A slow handshake holds up no other handshake.
pub(super) async fn accept_connections(iroh: iroh::Endpoint, peers: Arc<Peers>) {
    let limits = &peers.shared.limits;
    let admission = Arc::new(Mutex::new(Admission::new(limits.handshakes, limits.handshakes_per_address)));
    let pending = Arc::new(Pending::new(limits.handshakes, limits.handshakes_per_address));
    let by_source = Arc::new(Mutex::new(PeersBySource::new(limits.peers)));
    let metrics = &peers.shared.metrics;
    while let Some(incoming) = iroh.accept().await {
        // Refused at once, so that the dialler does not have to wait to find out.
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
                // `retry` can fail only for an address that is validated.
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
        let place = HandshakeSlot { admission: Arc::clone(&admission), source };
        let (peers, pending, by_source) = (Arc::clone(&peers), Arc::clone(&pending), Arc::clone(&by_source));
        peers.shared.tasks.clone().spawn(async move {
            let closing = peers.closing.clone();
            tokio::select! {
                () = handshake(incoming, &peers, place, pending, by_source) => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

/// Runs an inbound handshake, and admits the connection. The timeout for the peer's HELLO holds for the handshake
/// too.
async fn handshake(
    incoming: Incoming,
    peers: &Arc<Peers>,
    place: HandshakeSlot,
    pending: Arc<Pending>,
    by_source: Arc<Mutex<PeersBySource>>,
) {
    let metrics = &peers.shared.metrics;
    let bound = peers.shared.limits.hello_timeout;
    // Boxed, because the future is large and copied into those around it.
    let shaking = Box::pin(shake_hands(incoming, peers.shared.takes_early()));
    let connection = match timeout(bound, shaking).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            metrics.handshakes_failed.inc();
            return tracing::debug!(error = %Shown(error), "a handshake failed");
        }
        Err(_) => {
            metrics.handshakes_failed.inc();
            return tracing::debug!("a handshake took longer than {bound:?}");
        }
    };
    // The handshake proves the key. A key of small order proves nothing: anybody can sign for it.
    let Some(peer) = connection.remote_id().and_then(|id| key::from_iroh(&id)) else {
        metrics.handshakes_failed.inc();
        return tracing::debug!("a peer with a key of small order was turned away");
    };
    let source = place.source;
    if let Some(asking) = connection.established().filter(|connection| connection.alpn() == PROBE_ALPN) {
        return probe::hold(peers, peer, asking, place).await;
    }
    // The place is for handshakes. What comes after a handshake has limits of its own.
    let place = Some(place).filter(|_| connection.established().is_none());
    if peers.is_full(&peer) {
        metrics.peers_busy.inc();
        return busy(&connection, bound, b"the limit of connected peers is reached").await;
    }
    // Checked before this side sends HELLO: with HELLO the peer would be connected for a moment.
    if !lock(&by_source).has_room(&peer, source) {
        metrics.peers_busy.inc();
        return busy(&connection, bound, FROM_ONE_PLACE).await;
    }
    let Some(slot) = Pending::enter(&pending, source) else {
        metrics.handshakes_refused.inc();
        return busy(&connection, bound, b"the limit of connections that wait for admission is reached").await;
    };
    let (version, generation) = (peers.shared.gate.version(), peers.next_generation());
    let accepted = tokio::select! {
        accepted = Link::accepted(connection.clone(), peer, generation, &peers.shared, || slot.spoke()) => accepted,
        () = slot.given_up.cancelled() => {
            metrics.handshakes_refused.inc();
            tracing::debug!(%peer, "the peer sent no HELLO, and its place was needed for another connection");
            return busy(&connection, bound, b"no HELLO came, and the place was given to another connection").await;
        }
    };
    drop((slot, place));
    match accepted {
        Ok(prepared) => {
            if !lock(&by_source).enter(peer, source) {
                metrics.peers_busy.inc();
                return busy(&connection, bound, FROM_ONE_PLACE).await;
            }
            prepared.link().keep(CountedConnection { by_source, peer });
            peers.accepted(prepared, version);
        }
        Err(error) => {
            metrics.handshakes_failed.inc();
            tracing::debug!(%peer, %error, "a connection was not admitted");
        }
    }
}

/// Runs a handshake to its end. With `early`, a handshake that resumes a session is run only to the point where the
/// session names the peer: the peer's first packets may hold requests that are handled before the end.
async fn shake_hands(incoming: Incoming, early: bool) -> Result<Quic, ConnectingError> {
    if !early {
        return Ok(incoming.await?.into());
    }
    let mut accepting = incoming.accept()?;
    // This waits for the whole ClientHello. noq 1.4 wakes no call that waits to open a stream when it comes, so
    // nothing is opened before. If it does not come, the connection has the error.
    let is_ours = accepting.alpn().await.is_ok_and(|alpn| alpn == ALPN);
    if !is_ours {
        return Ok(accepting.await?.into());
    }
    let connection = accepting.into_0rtt();
    // A handshake without a session names the peer at its end only.
    let resumes = connection.peer_identity().is_some();
    if resumes { Ok(Quic::accepted(connection)) } else { Ok(connection.handshake_completed().await?.into()) }
}

const FROM_ONE_PLACE: &[u8] = b"the limit of peers from one address or relay is reached";

/// Turns a peer away. The peer learns why only after the handshake, which is waited for, for at most `bound`.
async fn busy(connection: &Quic, bound: Duration, reason: &[u8]) {
    let _ = timeout(bound, connection.handshake()).await;
    connection.close(VarInt::from_u32(codes::BUSY as u32), reason);
}

/// A connection that counts among those of its source until it is dropped.
struct CountedConnection {
    by_source: Arc<Mutex<PeersBySource>>,
    peer: PublicKey,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        lock(&self.by_source).left(&self.peer);
    }
}

fn lock(by_source: &Mutex<PeersBySource>) -> MutexGuard<'_, PeersBySource> {
    by_source.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connections that wait until they are admitted.
struct Pending(Mutex<(Waiting, HashMap<WaitingId, CancellationToken>)>);

/// The place of a connection among the pending connections. Dropping it gives the place back.
struct PendingSlot {
    pending: Arc<Pending>,
    id: WaitingId,
    /// Cancelled when the place was given to another connection.
    given_up: CancellationToken,
}

impl Pending {
    fn new(max: usize, max_per_source: usize) -> Self {
        Self(Mutex::new((Waiting::new(max, max_per_source), HashMap::new())))
    }

    fn enter(this: &Arc<Self>, source: Source) -> Option<PendingSlot> {
        let mut inside = this.lock();
        let (waiting, slots) = &mut *inside;
        let id = match waiting.enter(source) {
            Entry::Taken(id) => id,
            Entry::InPlaceOf(gone, id) => {
                if let Some(gone) = slots.remove(&gone) {
                    gone.cancel();
                }
                id
            }
            Entry::Refused => return None,
        };
        let given_up = CancellationToken::new();
        slots.insert(id, given_up.clone());
        Some(PendingSlot { pending: Arc::clone(this), id, given_up })
    }

    fn lock(&self) -> MutexGuard<'_, (Waiting, HashMap<WaitingId, CancellationToken>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingSlot {
    fn spoke(&self) {
        self.pending.lock().0.spoke(self.id);
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        let mut inside = self.pending.lock();
        inside.0.left(self.id);
        inside.1.remove(&self.id);
    }
}

/// The place of a handshake among those under way. Dropping it gives the place back.
struct HandshakeSlot {
    admission: Arc<Mutex<Admission>>,
    source: Source,
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner).ended(self.source);
    }
}
