//! Carries out the decisions of the rows: dials, drains, announcements.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
    time::Instant,
};

use tokio::time::sleep;

use super::{MAX_FIRST_PATHS, Peers, TWIN_TIMEOUT};
use crate::{
    access::Identity,
    error::{ConnectionLost, DialError},
    events::Event,
    peer::{
        dial::dial,
        entry::{Peer, State},
        hooks::run_hooks,
        link::{Link, Notice},
        path::probe,
        table::{Action, Generation, Input, Phase},
    },
    wire::{codes::connection as codes, control::GoawayReason},
};

impl Peers {
    pub(super) fn on_notice(self: &Arc<Self>, peer: &Arc<Peer>, generation: Generation, notice: Notice) {
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
    pub(in crate::peer) fn apply(self: &Arc<Self>, peer: &Arc<Peer>, input: Input) -> bool {
        self.apply_with(peer, input, None)
    }

    pub(super) fn apply_with(self: &Arc<Self>, peer: &Arc<Peer>, input: Input, link: Option<&Arc<Link>>) -> bool {
        let mut state = peer.lock();
        if state.gone {
            return false;
        }
        if let Some(link) = link {
            let State { row, links, entering, .. } = &mut *state;
            row.note_streams(|generation| links.get(&generation).is_some_and(|link| link.carrier.live() > 0));
            links.insert(link.generation, Arc::clone(link));
            // In the same turn at the lock, so that `Peers::close` finds the connection in one of the two places.
            entering.take_if(|entering| entering.generation == link.generation);
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
                    let key_exchange = link.and_then(|link| link.carrier.connection.key_exchange());
                    state.identity = link.map_or_else(|| Identity::new(peer.id), |link| link.carrier.identity());
                    self.events.emit(Event::Connected { peer: peer.id, key_exchange });
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
    pub(in crate::peer) fn forget(&self, peer: &Arc<Peer>) {
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

    pub(in crate::peer) fn dial_failed(self: &Arc<Self>, peer: &Arc<Peer>, cause: DialError) {
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
