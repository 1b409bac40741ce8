//! The table of peers, and the code that carries out its decisions: dials, drains, announcements.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use super::{
    announced::Announced,
    dial::dial,
    entry::{Peer, State, View},
    guard::Standings,
    heard::Memory,
    hooks::run_hooks,
    info::PeerInfo,
    kept::{Kept, KeptPeers},
    link::{Link, Notice, Prepared, Shared},
    path::{Probes, probe},
    table::{Action, Generation, Input, OwnDial, Phase},
};
use crate::{
    access::Identity,
    error::{ConnectionLost, DialError},
    events::{Event, EventSource},
    wire::{
        codes::connection as codes,
        control::{GoawayReason, Nonce},
    },
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
        let waiting = self.wait_for_link(id, |view| view.current.is_some());
        timeout(within, waiting).await.unwrap_or(Err(DialError::TimedOut { after: within }))
    }

    /// Returns the connection to `id` once the peer has said HELLO on it. The peer does so when its rules have let
    /// this endpoint in.
    ///
    /// Cancel-safe.
    pub(crate) async fn known_link(self: &Arc<Self>, id: PublicKey, within: Duration) -> Result<Arc<Link>, DialError> {
        if id == self.us {
            return Err(DialError::OwnKey);
        }
        let waiting = self.wait_for_link(id, |view| view.known);
        timeout(within, waiting).await.unwrap_or(Err(DialError::TimedOut { after: within }))
    }

    async fn wait_for_link(self: &Arc<Self>, id: PublicKey, found: fn(&View) -> bool) -> Result<Arc<Link>, DialError> {
        loop {
            let peer = self.row(id);
            let mut view = peer.view.subscribe();
            let failed = view.borrow().failed;
            if self.closing.is_cancelled() {
                return Err(DialError::ShuttingDown);
            }
            if !self.apply(&peer, Input::Want) {
                continue;
            }
            let changed = view.wait_for(|view| found(view) || view.failed > failed || view.absent);
            let seen = tokio::select! {
                seen = changed => seen.map(|view| view.clone()).unwrap_or_default(),
                () = self.closing.cancelled() => return Err(DialError::ShuttingDown),
            };
            if found(&seen)
                && let Some(link) = seen.current
            {
                return Ok(link);
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

    fn on_notice(self: &Arc<Self>, peer: &Arc<Peer>, generation: Generation, notice: Notice) {
        match notice {
            Notice::Hello(nonce) => {
                self.apply(peer, Input::Hello(generation, nonce));
                // The HELLO may have contained a certificate, which holds until some time.
                let link = peer.link(generation).filter(|link| link.carrier.identity().delegation.is_some());
                self.standings.look_at(&link);
            }
            Notice::Delegated => {
                let link = peer.link(generation);
                link.iter().for_each(|link| link.doubtful.store(true, Release));
                self.standings.look_at(&link);
            }
            Notice::Goaway { duplicate } => {
                self.apply(peer, Input::Goaway(generation, duplicate));
            }
            Notice::LookForDirect => {
                if let Some(link) = peer.link(generation) {
                    self.shared.tasks.spawn(probe::look(Arc::clone(self), link));
                }
            }
            Notice::Path(path) => {
                let mut state = peer.lock();
                // Paths are reported after `Connected`, and not at all for a connection that is never used.
                if state.row.is_connected() {
                    self.events.emit(Event::PathChanged { peer: peer.id, path });
                } else {
                    if state.first_paths.len() < MAX_FIRST_PATHS && state.first_paths.last() != Some(&path) {
                        state.first_paths.push(path);
                    }
                }
            }
            Notice::Closed(lost) => {
                let mut state = peer.lock();
                if state.links.remove(&generation).is_some() {
                    self.shared.metrics.connections_closed.inc();
                }
                if lost != ConnectionLost::PeerDone {
                    state.last_error = Some(lost.to_string());
                }
                state.last_lost = Some(lost);
                drop(state);
                self.apply_with(peer, Input::Closed(generation), None);
            }
        }
    }

    /// Runs an input through the peer's row and carries out the resulting actions. Returns false if the row is gone
    /// from the table.
    pub(super) fn apply(self: &Arc<Self>, peer: &Arc<Peer>, input: Input) -> bool {
        self.apply_with(peer, input, None)
    }

    fn apply_with(self: &Arc<Self>, peer: &Arc<Peer>, input: Input, link: Option<&Arc<Link>>) -> bool {
        let mut state = peer.lock();
        if state.gone {
            return false;
        }
        if let Some(link) = link {
            let State { row, links, .. } = &mut *state;
            row.note_streams(|generation| links.get(&generation).is_some_and(|link| link.carrier.live() > 0));
            links.insert(link.generation, Arc::clone(link));
            state.since.get_or_insert_with(Instant::now);
        }
        let actions = state.row.on(input);
        let (mut failed, mut lost) = (None, None);
        for action in &actions {
            match action {
                Action::Drain(generation) => {
                    if let Some(link) = state.links.get(generation) {
                        link.start_drain(GoawayReason::Duplicate);
                    }
                }
                Action::LetGo(generation) => {
                    if let Some(link) = state.links.get(generation) {
                        link.start_drain(GoawayReason::Unused);
                    }
                }
                Action::Cut(generation) => {
                    if let Some(link) = state.links.get(generation) {
                        link.cut(
                            ConnectionLost::PeerRestarted,
                            codes::REPLACED,
                            "a newer instance of the peer has connected",
                        );
                        // Set before the connection's own tasks report its end: it may have been the last
                        // connection.
                        lost = Some(ConnectionLost::PeerRestarted);
                    }
                }
                Action::Shed(generation) => {
                    if let Some(link) = state.links.get(generation) {
                        link.cut(ConnectionLost::PeerDone, codes::DONE, "another connection to this peer is kept");
                    }
                }
                Action::Refuse(generation) => {
                    if let Some(link) = state.links.get(generation) {
                        self.shared.metrics.peers_busy.inc();
                        link.cut(
                            ConnectionLost::Closed,
                            codes::BUSY,
                            "the limit of connections of one peer is reached",
                        );
                    }
                }
                Action::Dial(_) => {
                    self.shared.tasks.spawn(dial(Arc::clone(self), Arc::clone(peer)));
                }
                Action::AwaitTwin => {
                    self.shared.tasks.spawn(await_twin(Arc::clone(self), Arc::clone(peer)));
                }
                Action::Connected => {
                    self.shared.metrics.peers_connected.inc();
                    let link = input.generation().and_then(|generation| state.links.get(&generation));
                    state.identity = link.map_or_else(|| Identity::new(peer.id), |link| link.carrier.identity());
                    self.events.emit(Event::Connected { peer: peer.id });
                    for path in std::mem::take(&mut state.first_paths) {
                        self.events.emit(Event::PathChanged { peer: peer.id, path });
                    }
                    self.call_hooks(peer, &mut state, true);
                }
                Action::Disconnected => {
                    self.announced.retract(&peer.id);
                    self.shared.metrics.peers_disconnected.inc();
                    let cause = lost.take().or_else(|| state.last_lost.take()).unwrap_or(ConnectionLost::Closed);
                    let cause = Arc::new(cause);
                    state.ended = Arc::clone(&cause);
                    self.events.emit(Event::Disconnected { peer: peer.id, cause });
                    self.call_hooks(peer, &mut state, false);
                }
                // A dial that failed has reported its cause before. This dial led to a connection, which ended
                // before the peer's HELLO.
                Action::FailWaiters if matches!(input, Input::Closed(_)) => {
                    let lost = state.last_lost.clone().unwrap_or(ConnectionLost::Closed);
                    failed = Some(DialError::Lost(lost.clone()));
                    state.failed_at = Some(Instant::now());
                    self.shared.metrics.dials_failed.inc();
                    self.events.emit(Event::DialFailed { peer: peer.id, cause: Arc::new(DialError::Lost(lost)) });
                }
                Action::FailWaiters => {}
            }
        }
        if state.links.is_empty() && !state.row.is_connected() {
            (state.since, state.first_paths) = (None, Vec::new());
        }
        peer.view.send_modify(|view| {
            if failed.is_some() {
                view.cause = failed;
            }
            view.current = state.row.current().and_then(|generation| state.links.get(&generation).cloned());
            view.known = view.current.is_some() && state.row.is_current_known();
            match (std::mem::replace(&mut view.connected, state.row.is_connected()), view.connected) {
                (false, true) => self.connected.fetch_add(1, Relaxed),
                (true, false) => self.connected.fetch_sub(1, Relaxed),
                _ => 0,
            };
            view.connections = state.links.len();
            if actions.contains(&Action::Disconnected) {
                view.lost = Some(ConnectionLost::clone(&state.ended));
            }
            view.absent = state.row.phase() == Phase::Absent;
            if actions.contains(&Action::FailWaiters) {
                view.failed += 1;
            }
        });
        // Announced after the view is updated, so that a caller that learns of the peer here finds it connected.
        if actions.contains(&Action::Connected) && state.row.is_connected() {
            self.announced.announce(peer.id);
        }
        // The row of a peer that could not be reached stays for its backoff.
        let forget = state.row.is_idle() && state.row.failures() == 0;
        drop(state);
        if forget {
            self.forget(peer);
        }
        true
    }

    /// Removes a row that holds nothing to remember.
    pub(super) fn forget(&self, peer: &Arc<Peer>) {
        let mut rows = self.lock_rows();
        if rows.get(&peer.id).is_some_and(|row| Arc::ptr_eq(row, peer)) && self.leave_if_idle(peer) {
            rows.remove(&peer.id);
        }
    }

    /// Has the hooks called by a task of the peer, which makes one call after the other.
    fn call_hooks(self: &Arc<Self>, peer: &Arc<Peer>, state: &mut State, connected: bool) {
        if self.shared.gate.has_hooks() && state.pairing.set(connected) {
            self.shared.tasks.spawn(run_hooks(Arc::clone(self), Arc::clone(peer)));
        }
    }

    pub(super) fn dial_failed(self: &Arc<Self>, peer: &Arc<Peer>, cause: DialError) {
        {
            let mut state = peer.lock();
            state.last_error = Some(cause.to_string());
            state.failed_at = Some(Instant::now());
        }
        self.shared.metrics.dials_failed.inc();
        peer.view.send_modify(|view| view.cause = Some(cause.clone()));
        self.events.emit(Event::DialFailed { peer: peer.id, cause: Arc::new(cause) });
        self.apply(peer, Input::DialFailed);
    }
}

async fn await_twin(peers: Arc<Peers>, peer: Arc<Peer>) {
    let mut view = peer.view.subscribe();
    tokio::select! {
        () = sleep(TWIN_TIMEOUT) => {}
        _ = view.wait_for(|view| view.current.is_some()) => {}
        () = peers.closing.cancelled() => {}
    }
    peers.apply(&peer, Input::TwinTimeout);
}
