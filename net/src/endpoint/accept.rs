//! Takes in the connections that peers dial: from their first packet, within the limits, to the table of peers.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use iroh::{
    TransportAddr,
    endpoint::{Accepting, Connection, Incoming, IncomingAddr, VarInt},
    protocol::{DynProtocolHandler, IncomingFilterOutcome},
};
use tokio::time::timeout;
use twolane_id::PublicKey;

use super::{
    admission::{Admission, Decision},
    by_source::PeersBySource,
    others::Others,
    places::{CountedConnection, HandshakeSlot, Pending, lock},
    reach::Obstacle,
    source::Source,
    transport,
};
use crate::{
    key,
    peer::{Link, Peers, probe},
    wire::{ALPN, PROBE_ALPN, codes::connection as codes},
    words::Shown,
};

/// What the inbound connections of an endpoint have in common: the places, and what is accepted.
///
/// A connection comes in one of three ways. On an iroh endpoint of this library's own, `accept_all` takes it. On an
/// iroh endpoint of the program, the program gives it to `take`, or iroh's `Router` gives it to `shake_hands` and then
/// to `admit_routed`.
pub(super) struct Inbound {
    peers: Arc<Peers>,
    admission: Arc<Mutex<Admission>>,
    pending: Arc<Pending>,
    by_source: Arc<Mutex<PeersBySource>>,
    /// Whether the last connection that came through a `Router` did not have this library's transport configuration.
    pub(super) unfit: AtomicBool,
    pub(super) others: Others,
}

/// A connection, as soon as it is known whose protocol it is for.
enum Arrived {
    /// This library's. Its handshake is done.
    Ours(Connection),
    /// That of a handler, which does the handshake itself.
    Theirs(Accepting, Arc<dyn DynProtocolHandler>),
}

/// The reason why a connection that came through iroh's `Router` was turned away within its handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("the limit of handshakes under way is reached")]
    Full,
    #[error("the handshake took longer than {0:?}")]
    TimedOut(Duration),
    #[error("the handshake failed: {}", Shown(.0))]
    Failed(String),
    #[error("the endpoint is shutting down")]
    Closing,
    #[error("{}", Obstacle::RouterTransport)]
    Transport,
}

impl Inbound {
    pub(super) fn new(peers: Arc<Peers>) -> Arc<Self> {
        let limits = &peers.shared.limits;
        let (max, max_per_source) = (limits.handshakes, limits.handshakes_per_address);
        Arc::new(Self {
            admission: Arc::new(Mutex::new(Admission::new(max, max_per_source))),
            pending: Arc::new(Pending::new(max, max_per_source)),
            by_source: Arc::new(Mutex::new(PeersBySource::new(limits.peers))),
            unfit: AtomicBool::new(false),
            others: Others::new(&peers.underlay),
            peers,
        })
    }

    /// Accepts connections until the iroh endpoint is closed. A slow handshake holds up no other handshake.
    pub(super) async fn accept_all(self: &Arc<Self>) {
        while let Some(incoming) = self.peers.underlay.iroh.accept().await {
            self.take(incoming);
        }
    }

    /// Takes a connection of which only the first packet has come: begins its handshake, has its dialler prove the
    /// address first, or refuses it.
    pub(super) fn take(self: &Arc<Self>, incoming: Incoming) {
        // Refused at once, so that the dialler does not have to wait to find out.
        if self.peers.closing.is_cancelled() {
            return incoming.refuse();
        }
        let (source, validated) = origin(&incoming);
        let place = match self.decide(source, validated) {
            Ok(place) => place,
            // `retry` can fail only for an address that is validated.
            Err(Decision::Retry) => return drop(incoming.retry()),
            Err(_) => return incoming.refuse(),
        };
        let this = Arc::clone(self);
        self.peers.shared.tasks.spawn(async move { this.handshake(incoming, place).await });
    }

    /// Decides about a connection that iroh's `Router` is about to accept, as [`Inbound::take`] would. A connection of
    /// another protocol is the business of others.
    pub(super) fn filter(&self, incoming: &Incoming) -> IncomingFilterOutcome {
        let closing = self.peers.closing.is_cancelled();
        let (source, validated) = origin(incoming);
        let decision = if closing { Decision::Refuse } else { self.lock_admission().weigh(source, validated) };
        if decision == Decision::Take {
            return IncomingFilterOutcome::Accept;
        }
        // The first packet is decrypted only now, because that takes longer.
        match (offers_ours(incoming), decision) {
            // Of a ClientHello in several packets, the first one may not tell. Then the dialler proves its address,
            // whatever its protocol is, since a forged address would take up a place here.
            (Some(true) | None, Decision::Retry) => {
                self.count(Decision::Retry, source);
                IncomingFilterOutcome::Retry
            }
            (Some(true), _) => {
                self.count(Decision::Refuse, source);
                IncomingFilterOutcome::Reject
            }
            _ => IncomingFilterOutcome::Accept,
        }
    }

    /// Takes a place for a handshake, or returns what is done with the handshake instead.
    fn decide(&self, source: Source, validated: bool) -> Result<HandshakeSlot, Decision> {
        let decision = self.lock_admission().decide(source, validated);
        match decision {
            Decision::Take => Ok(HandshakeSlot { admission: Arc::clone(&self.admission), source }),
            other => {
                self.count(other, source);
                Err(other)
            }
        }
    }

    fn count(&self, decision: Decision, source: Source) {
        let metrics = &self.peers.shared.metrics;
        if decision == Decision::Retry {
            metrics.handshakes_retried.inc();
        } else {
            metrics.handshakes_refused.inc();
            tracing::debug!(?source, "as many handshakes as allowed are under way");
        }
    }

    fn lock_admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an inbound handshake, and admits the connection or hands it over.
    async fn handshake(&self, incoming: Incoming, place: HandshakeSlot) {
        let closing = &self.peers.closing;
        let arrived = tokio::select! {
            arrived = self.arrive(incoming) => arrived,
            () = closing.cancelled() => return,
        };
        match arrived {
            Some(Arrived::Ours(connection)) => tokio::select! {
                () = self.admit(connection, place) => {}
                () = closing.cancelled() => {}
            },
            Some(Arrived::Theirs(accepting, handler)) => {
                self.others.hand_over(accepting, &*handler, self.handshake_timeout(), place).await;
            }
            None => {}
        }
    }

    /// The timeout for the peer's HELLO holds for the handshake too.
    fn handshake_timeout(&self) -> Duration {
        self.peers.shared.limits.hello_timeout
    }

    async fn arrive(&self, incoming: Incoming) -> Option<Arrived> {
        let bound = self.handshake_timeout();
        let arriving = async {
            let config = self.others.server_config(self.peers.underlay.has_relay());
            let mut accepting = incoming.accept_with(config)?;
            if let Some(handler) = self.others.handler_of(&mut accepting).await? {
                return Ok(Arrived::Theirs(accepting, handler));
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(Arrived::Ours(accepting.await?))
        };
        match timeout(bound, arriving).await {
            Ok(Ok(arrived)) => return Some(arrived),
            Ok(Err(error)) => tracing::debug!(error = %Shown(error), "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took longer than {bound:?}"),
        }
        self.peers.shared.metrics.handshakes_failed.inc();
        None
    }

    /// Runs the handshake of a connection that iroh's `Router` gives to this endpoint.
    pub(super) async fn shake_hands(&self, accepting: Accepting) -> Result<Connection, TurnedAway> {
        // It is too late for Retry. `filter` has asked for it, if the Router has the filter.
        let place = self.decide(source(accepting.remote_addr()), true).map_err(|_| TurnedAway::Full)?;
        let bound = self.handshake_timeout();
        let shaken = tokio::select! {
            shaken = timeout(bound, accepting) => shaken,
            () = self.peers.closing.cancelled() => return Err(TurnedAway::Closing),
        };
        drop(place);
        let turned_away = match shaken {
            Ok(Ok(connection)) => return self.fitting(connection),
            Ok(Err(error)) => TurnedAway::Failed(error.to_string()),
            Err(_) => TurnedAway::TimedOut(bound),
        };
        self.peers.shared.metrics.handshakes_failed.inc();
        Err(turned_away)
    }

    /// Returns a connection that a `Router` has accepted, if its transport configuration keeps this endpoint's limits.
    fn fitting(&self, connection: Connection) -> Result<Connection, TurnedAway> {
        // A connection that is closed already may say nothing any more.
        if connection.alpn() != ALPN || connection.close_reason().is_some() {
            return Ok(connection);
        }
        if transport::fits(&connection, &self.peers.shared.limits) {
            self.unfit.store(false, Relaxed);
            return Ok(connection);
        }
        self.peers.shared.metrics.handshakes_refused.inc();
        // Once, because strangers can come as often as they like.
        if !self.unfit.swap(true, Relaxed) {
            tracing::error!("a peer was turned away: {}", Obstacle::RouterTransport);
        }
        done(&connection, b"this endpoint does not accept connections");
        Err(TurnedAway::Transport)
    }

    /// Admits a connection that iroh's `Router` has accepted.
    pub(super) async fn admit_routed(&self, connection: Connection) {
        let (limits, source) = (&self.peers.shared.limits, source_of(&connection));
        let admitting = async {
            match connection.alpn() {
                ALPN => {
                    transport::adjust(&connection, limits);
                    self.enter(&connection, source).await;
                }
                PROBE_ALPN => match self.decide(source, true) {
                    Ok(place) => self.probe(&connection, place).await,
                    Err(_) => busy(&connection, b"the limit of handshakes under way is reached"),
                },
                _ => done(&connection, b"the handler does not serve this ALPN"),
            }
        };
        tokio::select! {
            biased;
            () = self.peers.closing.cancelled() => done(&connection, b"the endpoint is shutting down"),
            () = admitting => {}
        }
    }

    /// Admits a connection whose handshake is done.
    async fn admit(&self, connection: Connection, place: HandshakeSlot) {
        match connection.alpn() {
            ALPN => {
                // The place is for handshakes. What comes after a handshake has limits of its own.
                let source = place.source;
                drop(place);
                self.enter(&connection, source).await;
            }
            PROBE_ALPN => self.probe(&connection, place).await,
            // Its handler has ended in the meantime.
            _ => done(&connection, b"the endpoint is shutting down"),
        }
    }

    /// Returns the peer of a connection. The handshake proves its key. A key of small order proves nothing: anybody
    /// can sign for it.
    fn peer(&self, connection: &Connection) -> Option<PublicKey> {
        let peer = key::from_iroh(&connection.remote_id());
        if peer.is_none() {
            self.peers.shared.metrics.handshakes_failed.inc();
            tracing::debug!("a peer with a key of small order was turned away");
        }
        peer
    }

    async fn probe(&self, connection: &Connection, place: HandshakeSlot) {
        if let Some(peer) = self.peer(connection) {
            probe::hold(&self.peers, peer, connection, place).await;
        }
    }

    /// Waits for the peer's HELLO and for the rules, and adds the connection to the table of peers.
    async fn enter(&self, connection: &Connection, source: Source) {
        let Some(peer) = self.peer(connection) else { return };
        let (peers, metrics) = (&self.peers, &self.peers.shared.metrics);
        if peers.is_full(&peer) {
            metrics.peers_busy.inc();
            return busy(connection, b"the limit of connected peers is reached");
        }
        // Checked before this side sends HELLO: with HELLO the peer would be connected for a moment.
        if !lock(&self.by_source).has_room(&peer, source) {
            metrics.peers_busy.inc();
            return busy(connection, FROM_ONE_PLACE);
        }
        let Some(slot) = Pending::enter(&self.pending, source) else {
            metrics.handshakes_refused.inc();
            return busy(connection, b"the limit of connections that wait for admission is reached");
        };
        let (version, generation) = (peers.shared.gate.version(), peers.next_generation());
        let accepted = tokio::select! {
            accepted = Link::accepted(connection.clone(), peer, generation, &peers.shared, || slot.spoke()) => accepted,
            () = slot.given_up.cancelled() => {
                metrics.handshakes_refused.inc();
                tracing::debug!(%peer, "the peer sent no HELLO, and its place was needed for another connection");
                return busy(connection, b"no HELLO came, and the place was given to another connection");
            }
        };
        drop(slot);
        match accepted {
            Ok(prepared) => {
                if !lock(&self.by_source).enter(peer, source) {
                    metrics.peers_busy.inc();
                    return busy(connection, FROM_ONE_PLACE);
                }
                prepared.link().keep(CountedConnection { by_source: Arc::clone(&self.by_source), peer });
                peers.accepted(prepared, version);
            }
            Err(error) => {
                metrics.handshakes_failed.inc();
                tracing::debug!(%peer, %error, "a connection was not admitted");
            }
        }
    }
}

const FROM_ONE_PLACE: &[u8] = b"the limit of peers from one address or relay is reached";

fn busy(connection: &Connection, reason: &[u8]) {
    connection.close(VarInt::from_u32(codes::BUSY as u32), reason);
}

fn done(connection: &Connection, reason: &[u8]) {
    connection.close(VarInt::from_u32(codes::DONE as u32), reason);
}

/// Returns the source of a connection of which only the first packet has come, and whether packets are known to reach
/// it.
fn origin(incoming: &Incoming) -> (Source, bool) {
    let source = source(incoming.remote_addr());
    (source, incoming.remote_addr_validated() || !matches!(source, Source::Ip(_)))
}

fn source(addr: IncomingAddr) -> Source {
    match addr {
        IncomingAddr::Ip(addr) => Source::ip(addr.ip()),
        IncomingAddr::Relay { endpoint_id, .. } => Source::Relayed(endpoint_id),
        _ => Source::Other,
    }
}

/// Returns the source of a connection whose handshake is done: the remote end of its first path.
fn source_of(connection: &Connection) -> Source {
    let first = connection.paths().iter().min_by_key(|path| path.id()).map(|path| path.remote_addr().clone());
    match first {
        Some(TransportAddr::Ip(addr)) => Source::ip(addr.ip()),
        Some(TransportAddr::Relay(_)) => Source::Relayed(connection.remote_id()),
        _ => Source::Other,
    }
}

/// Returns whether the first packet of a connection offers a protocol of this library. `None` if the packet does not
/// tell, because the rest of the ClientHello is in another one.
pub(super) fn offers_ours(incoming: &Incoming) -> Option<bool> {
    let mut alpns = incoming.decrypt()?.alpns()?;
    Some(alpns.any(|alpn| alpn.is_ok_and(|alpn| alpn[..] == *ALPN || alpn[..] == *PROBE_ALPN)))
}
