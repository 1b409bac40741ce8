//! An entry of the table of peers: the row with the rules, the connections, and the view for callers that wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use twolane_id::PublicKey;

use super::{
    heard::Heard,
    info::{self, PeerInfo},
    link::Link,
    table::{Generation, Row},
};
use crate::{
    access::{Identity, Pairing},
    error::{ConnectionLost, DialError},
    events::PathKind,
};

/// A peer, with its row and its connections.
pub(crate) struct Peer {
    pub(crate) id: PublicKey,
    state: Mutex<State>,
    pub(super) view: watch::Sender<View>,
    /// Notified when an address has become known, or when the connections were closed here. A dial then stops
    /// waiting for its backoff, and a dial whose handshake is under way begins anew.
    pub(super) hurry: Notify,
    /// The number of callers that wait for a connection, and may send before its handshake is done.
    early: AtomicUsize,
}

pub(super) struct State {
    pub(super) row: Row,
    pub(super) links: HashMap<Generation, Arc<Link>>,
    /// The connection of a dial whose handshake is done, until it has been added to `links`.
    pub(super) entering: Option<Arc<Link>>,
    pub(super) since: Option<Instant>,
    /// The kinds of paths that its data has taken before the peer counts as connected.
    pub(super) first_paths: Vec<PathKind>,
    /// The time of the last failed dial.
    pub(super) failed_at: Option<Instant>,
    /// The reason for the end of the connection that ended last.
    pub(super) last_lost: Option<ConnectionLost>,
    pub(super) last_error: Option<String>,
    /// The hook calls that were made, and those that are due.
    pub(super) pairing: Pairing,
    pub(super) identity: Identity,
    pub(super) ended: Arc<ConnectionLost>,
    /// Whether the row was dropped from the table. If so, the peer has to be looked up again.
    pub(super) gone: bool,
}

/// A caller that waits for a connection, and may send before its handshake is done.
pub(super) struct EarlyWish(Arc<Peer>);

impl EarlyWish {
    pub(super) fn new(peer: &Arc<Peer>) -> Self {
        peer.early.fetch_add(1, Relaxed);
        Self(Arc::clone(peer))
    }
}

impl Drop for EarlyWish {
    fn drop(&mut self) {
        self.0.early.fetch_sub(1, Relaxed);
    }
}

/// Shows the connection of a dial whose handshake is under way to the callers that may send on it, until this value is
/// dropped.
pub(super) struct EarlyView(Arc<Peer>);

impl EarlyView {
    pub(super) fn new(peer: &Arc<Peer>, link: &Arc<Link>) -> Self {
        peer.view.send_modify(|view| view.early = Some(Arc::clone(link)));
        Self(Arc::clone(peer))
    }
}

impl Drop for EarlyView {
    fn drop(&mut self) {
        self.0.view.send_modify(|view| view.early = None);
    }
}

/// The state of a peer, for callers that wait for it.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) current: Option<Arc<Link>>,
    /// The connection of a dial whose handshake is under way, if requests may be sent on it already.
    pub(super) early: Option<Arc<Link>>,
    /// Whether the peer has said HELLO on the current connection.
    pub(super) known: bool,
    /// The number of dials that have failed so far. `cause` is the reason for the last failure.
    pub(super) failed: u64,
    pub(super) cause: Option<DialError>,
    /// Whether a caller has to ask for a connection again: none exists, and none is on its way.
    pub(super) absent: bool,
    /// Whether the peer is connected, as the events report it.
    pub(crate) connected: bool,
    /// The reason for the last disconnection.
    pub(crate) lost: Option<ConnectionLost>,
    /// The number of connections, draining ones included.
    pub(super) connections: usize,
}

impl Peer {
    pub(super) fn new(us: PublicKey, id: PublicKey, heard: Option<Heard>) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                row: Row::new(us, id, heard),
                links: HashMap::new(),
                entering: None,
                since: None,
                first_paths: Vec::new(),
                failed_at: None,
                last_lost: None,
                last_error: None,
                pairing: Pairing::default(),
                identity: Identity::new(id),
                ended: Arc::new(ConnectionLost::Closed),
                gone: false,
            }),
            view: watch::Sender::default(),
            hurry: Notify::new(),
            early: AtomicUsize::new(0),
        }
    }

    /// Returns whether a caller waits that may send before the handshake is done.
    pub(super) fn wants_early(&self) -> bool {
        self.early.load(Relaxed) > 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection of this generation, if it is in the row.
    pub(super) fn link(&self, generation: Generation) -> Option<Arc<Link>> {
        self.lock().links.get(&generation).cloned()
    }

    /// Returns the connections in the row, and the connection whose handshake is done and which is not in the row
    /// yet.
    pub(super) fn connections(&self) -> (Vec<Arc<Link>>, Option<Arc<Link>>) {
        let state = self.lock();
        (state.links.values().cloned().collect(), state.entering.clone())
    }

    /// Returns the time since the last dial failed.
    pub(super) fn failed_for(&self) -> Option<Duration> {
        self.lock().failed_at.map(|failed_at| failed_at.elapsed())
    }

    pub(super) fn info(&self) -> Option<PeerInfo> {
        let (links, since, last_error) = {
            let state = self.lock();
            (state.links.values().cloned().collect::<Vec<_>>(), state.since?, state.last_error.clone())
        };
        let current = self.view.borrow().current.clone().or_else(|| links.first().cloned())?;
        let paths = info::paths(&current);
        let path = current.path();
        let (mut sent, mut received) = (0, 0);
        for link in &links {
            let stats = link.carrier.connection.stats();
            sent += stats.udp_tx.bytes;
            received += stats.udp_rx.bytes;
        }
        Some(PeerInfo {
            id: self.id,
            owner: current.carrier.identity().owner(),
            paths,
            path: path.map(|(kind, _)| kind),
            rtt: path.map(|(_, rtt)| rtt),
            key_exchange: current.carrier.connection.key_exchange(),
            streams: links.iter().map(|link| link.carrier.live()).sum(),
            connections: links.len(),
            since,
            sent,
            received,
            last_error,
        })
    }
}
