//! An entry of the table of peers: the row of rules, its connections, and what those who wait look at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// One peer.
pub(crate) struct Peer {
    pub(crate) id: PublicKey,
    state: Mutex<State>,
    pub(super) view: watch::Sender<View>,
    /// An address has become known, or the connections were closed here: a dial need not wait for its backoff any more, and
    /// one whose handshake is under way begins anew.
    pub(super) hurry: Notify,
}

pub(super) struct State {
    pub(super) row: Row,
    pub(super) links: HashMap<Generation, Arc<Link>>,
    /// The connection of a dial whose handshake is done, before it is one of `links`.
    pub(super) entering: Option<Arc<Link>>,
    pub(super) since: Option<Instant>,
    /// The ways that its data has taken before the peer counts as connected.
    pub(super) first_paths: Vec<PathKind>,
    /// When the last dial failed.
    pub(super) failed_at: Option<Instant>,
    /// Why the last connection that ended did.
    pub(super) last_lost: Option<ConnectionLost>,
    pub(super) last_error: Option<String>,
    /// What the hooks have been told, and what to tell them.
    pub(super) pairing: Pairing,
    pub(super) identity: Identity,
    pub(super) ended: Arc<ConnectionLost>,
    /// The row was dropped from the table: look the peer up again.
    pub(super) gone: bool,
}

/// What those who wait for a peer look at.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) current: Option<Arc<Link>>,
    /// The peer has said HELLO on that one.
    pub(super) known: bool,
    /// How many dials have failed, ever, and why the last one did.
    pub(super) failed: u64,
    pub(super) cause: Option<DialError>,
    /// Somebody has to ask for a connection again.
    pub(super) absent: bool,
    /// As events say it.
    pub(crate) connected: bool,
    /// Why it is not.
    pub(crate) lost: Option<ConnectionLost>,
    /// Connections, those that drain included.
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
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that are there, and the one whose handshake is done and that has yet to be let in.
    pub(super) fn connections(&self) -> (Vec<Arc<Link>>, Option<Arc<Link>>) {
        let state = self.lock();
        (state.links.values().cloned().collect(), state.entering.clone())
    }

    /// How long ago the last dial failed.
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
            streams: links.iter().map(|link| link.carrier.live()).sum(),
            connections: links.len(),
            since,
            sent,
            received,
            last_error,
        })
    }
}
