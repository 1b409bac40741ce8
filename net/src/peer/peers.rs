//! The table of peers. `carry_out` carries out the decisions of its rows.

mod carry_out;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, Release},
        },
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use super::{
    announced::Announced,
    entry::{EarlyWish, Peer, View},
    guard::Standings,
    heard::Memory,
    info::PeerInfo,
    kept::{Kept, KeptPeers},
    link::{Link, Notice, Prepared, Shared},
    path::Probes,
    table::{Generation, Input, OwnDial},
};
use crate::{
    error::{ConnectionLost, DialError},
    events::EventSource,
    wire::{codes::connection as codes, control::Nonce},
};

/// Maximum time to wait for the other connection after the peer has said that it keeps another connection. The
/// handshake of that connection is complete at the peer, so only one flight of packets is missing. With two losses
/// in a row that takes under 2 s.
const TWIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of path changes that are remembered before the peer counts as connected. They are reported once it
/// does. Usual are two: over a relay, then directly.
const MAX_FIRST_PATHS: usize = 8;
/// Number of rows from which on rows without a connection are dropped. Below it they are kept for their backoff.
const MAX_IDLE_ROWS: usize = 4096;
/// Number of peers whose instance is remembered without a row, at 64 bytes each: the limit of each half of
/// [`Memory`].
const REMEMBERED: usize = 4096;

/// The connection that a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The connection for new streams.
    Current,
    /// The same, once the peer has said HELLO on it.
    Known,
    /// The connection for new streams, or one whose handshake is under way and on which requests may be sent.
    Early,
}

impl Wanted {
    fn of(self, view: &View) -> Option<&Arc<Link>> {
        let current = view.current.as_ref();
        match self {
            Self::Current => current,
            Self::Known => current.filter(|_| view.known),
            Self::Early => current.or(view.early.as_ref()),
        }
    }

    fn is_in(self, view: &View) -> bool {
        self.of(view).is_some()
    }
}

/// The peers of one endpoint.
pub(crate) struct Peers {
    pub(super) endpoint: iroh::Endpoint,
    us: PublicKey,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSource,
    /// Cancelled when the endpoint shuts down. From then on nothing is dialled or accepted.
    pub(crate) closing: CancellationToken,
    rows: Mutex<HashMap<PublicKey, Arc<Peer>>>,
    /// The number of rows whose view says that the peer is connected.
    connected: AtomicUsize,
    generations: AtomicU64,
    /// The number of this instance's first dial. It is drawn at random, so that it equals no number of another
    /// instance.
    first_dial: u64,
    /// The number of the next dial of this instance.
    next_dial: AtomicU64,
    memory: Mutex<Memory>,
    /// Cancelled when nothing can arrive from a peer any more. Until then the access rules are enforced.
    pub(crate) closed: CancellationToken,
    kept: Arc<KeptPeers>,
    /// The probes that peers hold here: see `peer/path/probe.rs`.
    pub(super) probes: Probes,
    /// Held while an inbound peer is counted and added, so that the limit is never exceeded.
    admission: Mutex<()>,
    announced: Announced,
    /// Connections for the guard to check: a certificate came into use, or the rules that admitted the connection
    /// have changed since.
    pub(super) standings: Standings,
}

impl Peers {
    pub(crate) fn new(
        endpoint: iroh::Endpoint,
        us: PublicKey,
        shared: Arc<Shared>,
        closing: CancellationToken,
    ) -> Arc<Self> {
        let events = EventSource::new(shared.limits.events);
        // Without randomness the number is 1, the number of an instance that draws none.
        let first_dial = (getrandom::u64().unwrap_or(0) >> 3) + 1;
        Arc::new(Self {
            endpoint,
            us,
            shared,
            events,
            closing,
            rows: Mutex::default(),
            connected: AtomicUsize::new(0),
            generations: AtomicU64::new(1),
            first_dial,
            next_dial: AtomicU64::new(first_dial),
            memory: Mutex::new(Memory::new(REMEMBERED)),
            closed: CancellationToken::new(),
            kept: Arc::default(),
            probes: Probes::default(),
            admission: Mutex::default(),
            announced: Announced::default(),
            standings: Standings::default(),
        })
    }

    /// Returns the connection for a new stream to `id`: the existing connection, or a new one.
    ///
    /// Cancel-safe: the dial goes on, since other callers may wait for it.
    pub(crate) async fn link(self: &Arc<Self>, id: PublicKey, within: Duration) -> Result<Arc<Link>, DialError> {
        if id == self.us {
            return Err(DialError::OwnKey);
        }
        if self.closing.is_cancelled() {
            return Err(DialError::ShuttingDown);
        }
        if let Some(link) = self.current(&id) {
            return Ok(link);
        }
        let waiting = self.wait_for_link(id, Wanted::Current);
        let found = timeout(within, waiting).await.unwrap_or(Err(DialError::TimedOut { after: within }));
        found.map(|(link, _)| link)
    }

    /// Returns the connection for a repeatable request to `id`: the existing connection, or a new one, whose handshake
    /// may be under way. Also returns the number of dials that had failed, for [`Peers::outcome`].
    ///
    /// Cancel-safe: the dial goes on, since other callers may wait for it.
    pub(crate) async fn early_link(
        self: &Arc<Self>,
        id: PublicKey,
        within: Duration,
    ) -> Result<(Arc<Link>, u64), DialError> {
        if id == self.us {
            return Err(DialError::OwnKey);
        }
        let waiting = self.wait_for_link(id, Wanted::Early);
        timeout(within, waiting).await.unwrap_or(Err(DialError::TimedOut { after: within }))
    }

    /// Waits for the end of a dial, on whose connection something was sent before the handshake was done. Fails if more
    /// than `failed` dials have failed.
    ///
    /// Cancel-safe.
    pub(crate) async fn outcome(&self, id: &PublicKey, failed: u64) -> Result<(), DialError> {
        let Some(mut view) = self.watch(id) else { return Ok(()) };
        let ended = view.wait_for(|view| view.current.is_some() || view.failed > failed || view.absent);
        let seen = tokio::select! {
            // An error means that the peer has been forgotten.
            seen = ended => seen.map(|view| view.clone()).unwrap_or_default(),
            () = self.closing.cancelled() => return Err(DialError::ShuttingDown),
        };
        match seen.cause {
            Some(cause) if seen.current.is_none() && seen.failed > failed => Err(cause),
            _ => Ok(()),
        }
    }

    /// Returns the connection to `id` once the peer has said HELLO on it. The peer does so when its rules have let
    /// this endpoint in.
    ///
    /// Cancel-safe.
    pub(crate) async fn known_link(self: &Arc<Self>, id: PublicKey, within: Duration) -> Result<Arc<Link>, DialError> {
        if id == self.us {
            return Err(DialError::OwnKey);
        }
        let waiting = self.wait_for_link(id, Wanted::Known);
        let found = timeout(within, waiting).await.unwrap_or(Err(DialError::TimedOut { after: within }));
        found.map(|(link, _)| link)
    }

    /// Waits for a connection. Also returns the number of dials that had failed before.
    async fn wait_for_link(self: &Arc<Self>, id: PublicKey, wanted: Wanted) -> Result<(Arc<Link>, u64), DialError> {
        loop {
            let peer = self.row(id);
            // Before the dial begins, which looks at it.
            let _wish = (wanted == Wanted::Early).then(|| EarlyWish::new(&peer));
            let mut view = peer.view.subscribe();
            let failed = view.borrow().failed;
            if self.closing.is_cancelled() {
                return Err(DialError::ShuttingDown);
            }
            if !self.apply(&peer, Input::Want) {
                continue;
            }
            let changed = view.wait_for(|view| wanted.is_in(view) || view.failed > failed || view.absent);
            let seen = tokio::select! {
                seen = changed => seen.map(|view| view.clone()).unwrap_or_default(),
                () = self.closing.cancelled() => return Err(DialError::ShuttingDown),
            };
            if let Some(link) = wanted.of(&seen) {
                return Ok((Arc::clone(link), failed));
            }
            if seen.failed > failed
                && let Some(cause) = seen.cause
            {
                return Err(cause);
            }
        }
    }

    /// Returns the connection to `id` that carries new streams, if there is one.
    pub(crate) fn current(&self, id: &PublicKey) -> Option<Arc<Link>> {
        self.lock_rows().get(id)?.view.borrow().current.clone()
    }

    /// Watches one peer. The sender is dropped once the peer has been forgotten.
    pub(crate) fn watch(&self, id: &PublicKey) -> Option<watch::Receiver<View>> {
        self.lock_rows().get(id).map(|peer| peer.view.subscribe())
    }

    /// Ends the backoff of dials to this peer: its address has become known, so a dial may succeed now.
    pub(crate) fn forget_failures(&self, id: &PublicKey) {
        if let Some(peer) = self.lock_rows().get(id).cloned() {
            peer.lock().row.forget_failures();
            peer.hurry.notify_waiters();
        }
    }

    /// Closes every connection to `id`. A dial that began before the close would lose against one of these
    /// connections at the peer, which does not know yet that the connection is closed. The dial therefore begins
    /// anew, with a number that the peer takes for a later dial.
    pub(crate) fn close(&self, id: &PublicKey, reason: &str) {
        let Some(peer) = self.lock_rows().get(id).cloned() else {
            return;
        };
        let (links, entering) = peer.connections();
        if links.is_empty() {
            return;
        }
        for link in links.iter().chain(&entering) {
            link.cut(ConnectionLost::Closed, codes::CLOSED, reason);
        }
        peer.hurry.notify_waiters();
    }

    /// Closes every connection, including those that are still being entered, and ends the tasks that look after
    /// connections. No connection is added afterwards.
    pub(crate) fn close_all(&self, reason: &str) {
        debug_assert!(self.closing.is_cancelled(), "connections may still come");
        let rows: Vec<_> = self.lock_rows().values().cloned().collect();
        for peer in rows {
            let (links, entering) = peer.connections();
            for link in links.iter().chain(&entering) {
                link.cut(ConnectionLost::Closed, codes::DONE, reason);
            }
        }
        self.closed.cancel();
    }

    /// Adds a connection that the peer dialled and whose HELLO has been read. `version` is the version of the rules
    /// that admitted it.
    pub(crate) fn accepted(self: &Arc<Self>, prepared: Prepared, version: (u64, u64)) {
        let link = Arc::clone(prepared.link());
        let id = link.carrier.peer;
        if self.closing.is_cancelled() {
            return link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint is shutting down");
        }
        let _admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_full(&id) {
            self.shared.metrics.peers_busy.inc();
            return link.cut(ConnectionLost::Closed, codes::BUSY, "the limit of connected peers is reached");
        }
        if let Some((nonce, mut dial)) = prepared.hello() {
            // The number may belong to an instance that is gone.
            if !(self.first_dial..self.next_dial.load(Relaxed)).contains(&dial.knows) {
                dial.knows = 0;
            }
            self.register(prepared, &[Input::Accepted(link.generation, nonce, dial)]);
            self.look_again(&link, version);
        }
    }

    /// Begins a dial, which gets the next number.
    pub(super) fn begin_dial(&self, peer: &Peer) -> OwnDial {
        peer.lock().row.begin_dial(self.next_dial.fetch_add(1, Relaxed))
    }

    /// Has the connection checked again: at once if the rules have changed since `version`, or later if it was
    /// admitted with a certificate, which holds for a limited time.
    pub(super) fn look_again(&self, link: &Arc<Link>, version: (u64, u64)) {
        if version != self.shared.gate.version() {
            link.doubtful.store(true, Release);
        } else if link.carrier.identity().delegation.is_none() {
            return;
        }
        self.standings.look_at([link]);
    }

    /// Returns whether the limit leaves no room for `id`. A peer that is connected already has its room.
    pub(crate) fn is_full(&self, id: &PublicKey) -> bool {
        let known = self.lock_rows().get(id).is_some_and(|peer| peer.view.borrow().connected);
        !known && self.connected.load(Relaxed) >= self.shared.limits.peers
    }

    pub(crate) fn next_generation(&self) -> Generation {
        self.generations.fetch_add(1, Relaxed)
    }

    /// Returns information about every connected peer.
    pub(crate) fn infos(&self) -> Vec<PeerInfo> {
        let rows: Vec<_> = self.lock_rows().values().cloned().collect();
        let mut infos: Vec<_> = rows.iter().filter_map(|peer| peer.info()).collect();
        infos.sort_by_key(|info| info.id);
        infos
    }

    pub(crate) fn info(&self, id: &PublicKey) -> Option<PeerInfo> {
        let peer = self.lock_rows().get(id).cloned()?;
        peer.info()
    }

    /// Removes a connection that a stream has found lost before the connection's own tasks have.
    pub(crate) fn evict(self: &Arc<Self>, link: &Arc<Link>, lost: &ConnectionLost) {
        let peer = self.lock_rows().get(&link.carrier.peer).cloned();
        if let Some(peer) = peer {
            self.on_notice(&peer, link.generation, Notice::Closed(lost.clone()));
        }
    }

    /// Applies what was observed on a connection.
    pub(super) fn on_seen(self: &Arc<Self>, link: &Link, input: Input) {
        let peer = self.lock_rows().get(&link.carrier.peer).cloned();
        if let Some(peer) = peer {
            self.apply(&peer, input);
        }
    }

    /// Handles the answer of a peer that was asked because of `link`. `said` is the instance that the peer named, if
    /// it named one.
    pub(super) fn on_answer(self: &Arc<Self>, link: &Link, said: Option<(Generation, Nonce)>) {
        let peer = self.lock_rows().get(&link.carrier.peer).cloned();
        if let (Some(peer), Some((generation, nonce))) = (peer, said) {
            self.apply(&peer, Input::Seen(generation, nonce));
        }
        // If the connection is still open, the peer's instance is the one at the other end of it, or is not known.
        link.is_there.store(true, Release);
        link.carrier.poke();
    }

    /// Returns whether the program keeps the peer connected (`Endpoint::keep`).
    pub(super) fn is_kept(&self, id: &PublicKey) -> bool {
        self.kept.contains(id)
    }

    /// Marks the peer as kept until the returned value is dropped. Its connections are watched for silence also
    /// while no stream is open.
    pub(crate) fn keep(self: &Arc<Self>, id: PublicKey) -> Kept {
        let kept = self.kept.keep(id);
        for link in self.links(Some(&id)) {
            self.shared.lookout.stir(Arc::downgrade(&link));
        }
        kept
    }

    /// Returns all connections, or only those to `of`.
    pub(crate) fn links(&self, of: Option<&PublicKey>) -> Vec<Arc<Link>> {
        let rows: Vec<_> =
            self.lock_rows().values().filter(|peer| of.is_none_or(|id| *id == peer.id)).cloned().collect();
        rows.iter().flat_map(|peer| peer.lock().links.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Returns the next peer that has connected since this function last returned it.
    ///
    /// Cancel-safe.
    pub(crate) async fn next_connected(&self) -> Option<PublicKey> {
        self.announced.next(&self.closing).await
    }

    fn lock_rows(&self) -> MutexGuard<'_, HashMap<PublicKey, Arc<Peer>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, id: PublicKey) -> Arc<Peer> {
        let mut rows = self.lock_rows();
        if rows.len() >= MAX_IDLE_ROWS && !rows.contains_key(&id) {
            rows.retain(|_, peer| !self.leave_if_idle(peer));
        }
        let new = || Arc::new(Peer::new(self.us, id, self.lock_memory().get(&id)));
        Arc::clone(rows.entry(id).or_insert_with(new))
    }

    fn lock_memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks an idle peer as gone from the table, and remembers what is needed when the peer returns. Returns
    /// whether the peer was idle.
    fn leave_if_idle(&self, peer: &Peer) -> bool {
        let mut state = peer.lock();
        // A peer with hooks still to call stays: a second row would call them at the same time.
        state.gone = state.row.is_idle() && state.pairing.is_quiet();
        if state.gone
            && let Some(heard) = state.row.heard()
        {
            self.lock_memory().put(peer.id, heard);
        }
        state.gone
    }

    /// Adds a connection and then starts its tasks. In this order the first notice finds the connection in the
    /// table.
    pub(super) fn register(self: &Arc<Self>, prepared: Prepared, inputs: &[Input]) {
        let link = Arc::clone(prepared.link());
        let id = link.carrier.peer;
        let metrics = &self.shared.metrics;
        match inputs.first() {
            Some(Input::Dialled(..)) => metrics.connections_dialled.inc(),
            _ => metrics.connections_accepted.inc(),
        };
        if link.carrier.connection.key_exchange().is_some_and(|exchange| exchange.is_post_quantum()) {
            metrics.connections_post_quantum.inc();
        }
        let peer = loop {
            let peer = self.row(id);
            // The first input adds a connection to the row. From then on the row stays in the table.
            let mut applied = inputs.iter().map(|input| self.apply_with(&peer, *input, Some(&link)));
            if applied.next().unwrap_or(true) {
                applied.for_each(drop);
                break peer;
            }
        };
        // The certificate in HELLO may have been replaced before the connection could be found here.
        link.present_delegation();
        // A shutdown that began before the connection could be found here has not drained it, and does not wait for
        // it.
        if self.closing.is_cancelled() {
            link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint is shutting down");
        }
        if self.is_kept(&id) {
            self.shared.lookout.stir(Arc::downgrade(&link));
        }
        let peers = Arc::downgrade(self);
        let generation = link.generation;
        prepared.start(move |notice| {
            if let Some(peers) = peers.upgrade() {
                peers.on_notice(&peer, generation, notice);
            }
        });
    }
}
