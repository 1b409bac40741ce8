//! One peer's row in the table of peers: which connections exist, which one carries new streams, and what to do
//! when that changes. Pure: the driver (`peers.rs`) carries out the actions.
//!
//! ```text
//!            Want                  Dialled
//!   Absent --------> Dialling -----------------> Connected <----+
//!     ^ ^              | DialFailed               |  |          | Accepted, Dialled
//!     | +--------------+            Closed (last) |  | Goaway (only connection, duplicate)
//!     +-------------------------------------------+  v          |
//!     +------------------------------------ AwaitingTwin -------+
//!              TwinTimeout
//! ```
//!
//! AwaitingTwin: the peer says that another connection between us stays, and we have not seen that one yet. It is on
//! its way (the peer has had its HELLO answered), so nothing is dialled.

use twolane_id::PublicKey;

use super::glare::{self, Candidate, Verdict};
use crate::wire::control::Nonce;

/// Number of a connection, never used twice in a process. (The address-based ids of the implementation below are.)
pub(crate) type Generation = u64;

/// Where the row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// No connection, and none on its way.
    Absent,
    /// A dial is under way, or waits for its backoff.
    Dialling,
    /// A connection carries new streams.
    Connected,
    /// The peer holds a connection that has yet to show up here.
    AwaitingTwin,
}

/// Connections to one peer at most, those that drain included. Both sides dialling at once makes two, and a restart in
/// the middle of that a third. A peer that connects again and again while it keeps streams open on what it leaves
/// behind would have any number.
const MAX_CONNECTIONS: usize = 4;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// Somebody wants a stream.
    Want,
    /// Our dial succeeded. The peer's HELLO is still to come.
    Dialled(Generation),
    /// Our dial failed.
    DialFailed,
    /// Our dial was given up, since the peer has dialled in the meantime.
    DialDropped,
    /// The peer dialled, and said HELLO.
    Accepted(Generation, Nonce),
    /// The peer's HELLO on a connection that we dialled.
    Hello(Generation, Nonce),
    /// The peer wants no more streams on it.
    Goaway(Generation, /* duplicate */ bool),
    /// Nothing comes from the peer on this connection, and somebody waits for something.
    Silent(Generation),
    /// The twin did not show up.
    TwinTimeout,
    /// The connection is gone.
    Closed(Generation),
}

/// What the driver does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Dial, after the backoff for so many failures in a row.
    Dial(/* failures */ u32),
    /// Tell everybody who waits that the dial failed.
    FailWaiters,
    /// Open nothing more on it, say GOAWAY, and close it once both sides have drained.
    Drain(Generation),
    /// Close it now: its peer's instance is gone.
    Cut(Generation),
    /// Close it now: it drains, and there are too many that do.
    Shed(Generation),
    /// Come back with [`Input::TwinTimeout`] if the twin does not show up.
    AwaitTwin,
    /// The peer is connected, and was not.
    Connected,
    /// The peer was connected, and is not.
    Disconnected,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    generation: Generation,
    dialler: PublicKey,
    nonce: Option<Nonce>,
    /// New streams may be opened on it.
    live: bool,
}

/// The row of one peer.
#[derive(Debug)]
pub(crate) struct Row {
    us: PublicKey,
    peer: PublicKey,
    /// In the order in which they came.
    connections: Vec<Connection>,
    dialling: bool,
    awaiting_twin: bool,
    failures: u32,
    /// `Connected` was said, and `Disconnected` was not.
    connected: bool,
}

impl Row {
    pub(crate) fn new(us: PublicKey, peer: PublicKey) -> Self {
        Self { us, peer, connections: Vec::new(), dialling: false, awaiting_twin: false, failures: 0, connected: false }
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.current().is_some() {
            Phase::Connected
        } else if self.dialling {
            Phase::Dialling
        } else if self.awaiting_twin {
            Phase::AwaitingTwin
        } else {
            Phase::Absent
        }
    }

    /// The connection for new streams: of two live ones that whose HELLO has come, since both sides know it.
    pub(crate) fn current(&self) -> Option<Generation> {
        let live = || self.connections.iter().rev().filter(|connection| connection.live);
        live().find(|connection| connection.nonce.is_some()).or_else(|| live().next()).map(|found| found.generation)
    }

    /// Whether the peer counts as connected. Between two connections of which one replaces the other it does.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Nothing is left to remember about the peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.is_empty() && !self.dialling && !self.awaiting_twin
    }

    /// Dials in a row that failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A new address is worth a dial without waiting.
    pub(crate) fn forget_failures(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn on(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Want => {
                if self.phase() == Phase::Absent {
                    self.dialling = true;
                    actions.push(Action::Dial(self.failures));
                }
            }
            Input::Dialled(generation) => {
                self.dialling = false;
                self.add(generation, self.us, None);
            }
            Input::DialFailed => {
                self.dialling = false;
                self.failures = self.failures.saturating_add(1);
                if self.current().is_none() {
                    actions.push(Action::FailWaiters);
                }
            }
            Input::DialDropped => self.dialling = false,
            Input::Accepted(generation, nonce) => {
                self.add(generation, self.peer, Some(nonce));
                self.judge(&mut actions);
                self.shed(&mut actions);
            }
            Input::Hello(generation, nonce) => {
                if let Some(connection) = self.find(generation) {
                    connection.nonce = Some(nonce);
                    self.failures = 0;
                    self.judge(&mut actions);
                }
            }
            Input::Goaway(generation, duplicate) => {
                let had_current = self.current().is_some();
                if let Some(connection) = self.find(generation)
                    && connection.live
                {
                    connection.live = false;
                    actions.push(Action::Drain(generation));
                    if duplicate && had_current && self.current().is_none() && !self.dialling {
                        self.awaiting_twin = true;
                        actions.push(Action::AwaitTwin);
                    }
                }
            }
            // A peer that has lost the connection without a word gets another one, which shows whether it has.
            Input::Silent(generation) => {
                if self.current() == Some(generation) && !self.dialling {
                    self.dialling = true;
                    actions.push(Action::Dial(self.failures));
                }
            }
            Input::TwinTimeout => self.awaiting_twin = false,
            Input::Closed(generation) => {
                let Some(at) = self.connections.iter().position(|connection| connection.generation == generation)
                else {
                    return actions;
                };
                // A peer that takes the handshake and no more was not reached.
                if self.connections.remove(at).nonce.is_none() {
                    self.failures = self.failures.saturating_add(1);
                }
            }
        }
        self.announce(&mut actions);
        actions
    }

    /// A peer whose last connection is gone is still connected while its successor is on its way: one side can know
    /// of the successor, and drain the last one, before the other has seen it.
    fn announce(&mut self, actions: &mut Vec<Action>) {
        let gone = self.connections.is_empty() && !self.dialling && !self.awaiting_twin;
        if !self.connected && !self.connections.is_empty() {
            self.connected = true;
            actions.push(Action::Connected);
        } else if self.connected && gone {
            self.connected = false;
            actions.push(Action::Disconnected);
        }
    }

    fn find(&mut self, generation: Generation) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.generation == generation)
    }

    fn add(&mut self, generation: Generation, dialler: PublicKey, nonce: Option<Nonce>) {
        if nonce.is_some() {
            self.failures = 0;
        }
        self.awaiting_twin = false;
        self.connections.push(Connection { generation, dialler, nonce, live: true });
    }

    /// Of too many connections those that have drained for longest go.
    fn shed(&self, actions: &mut Vec<Action>) {
        let too_many = self.connections.len().saturating_sub(MAX_CONNECTIONS);
        let draining = self.connections.iter().filter(|connection| !connection.live);
        actions.extend(draining.take(too_many).map(|connection| Action::Shed(connection.generation)));
    }

    /// Compares the live connections whose peer's instance is known, until one is left.
    fn judge(&mut self, actions: &mut Vec<Action>) {
        loop {
            let known = |connection: &&Connection| connection.live && connection.nonce.is_some();
            let mut live = self.connections.iter().filter(known).copied();
            let (Some(older), Some(newer)) = (live.next(), live.next()) else {
                return;
            };
            let verdict = glare::decide(older.candidate(), newer.candidate());
            let loser = if verdict == Verdict::Older { newer.generation } else { older.generation };
            if let Some(connection) = self.find(loser) {
                connection.live = false;
            }
            actions.push(if verdict == Verdict::Restarted { Action::Cut(loser) } else { Action::Drain(loser) });
        }
    }
}

impl Connection {
    fn candidate(&self) -> Candidate {
        Candidate { dialler: self.dialler, nonce: self.nonce.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use twolane_id::SecretKey;

    use super::*;

    const OLD: Nonce = [1; 16];
    const NEW: Nonce = [2; 16];

    fn keys() -> (PublicKey, PublicKey) {
        let (a, b) = (SecretKey::from_bytes(&[1; 32]).public_key(), SecretKey::from_bytes(&[2; 32]).public_key());
        (a.min(b), a.max(b))
    }

    /// A row as the smaller of the two keys sees it.
    fn row() -> Row {
        let (small, large) = keys();
        Row::new(small, large)
    }

    fn reached(inputs: &[Input]) -> Row {
        let mut row = row();
        for input in inputs {
            row.on(*input);
        }
        row
    }

    #[test]
    fn every_transition_is_the_one_in_the_table() {
        let states: [(&str, &[Input]); 7] = [
            ("Absent", &[]),
            ("Dialling", &[Input::Want]),
            ("Dialled, no HELLO", &[Input::Want, Input::Dialled(1)]),
            ("Dialled, HELLO", &[Input::Want, Input::Dialled(1), Input::Hello(1, OLD)]),
            ("Accepted", &[Input::Accepted(1, OLD)]),
            ("Accepted while dialling", &[Input::Want, Input::Accepted(1, OLD)]),
            ("AwaitingTwin", &[Input::Want, Input::Dialled(1), Input::Goaway(1, true)]),
        ];
        let inputs = [
            Input::Want,
            Input::Dialled(2),
            Input::DialFailed,
            Input::DialDropped,
            Input::Accepted(2, OLD),
            Input::Accepted(2, NEW),
            Input::Hello(1, OLD),
            Input::Goaway(1, true),
            Input::Goaway(1, false),
            Input::Silent(1),
            Input::TwinTimeout,
            Input::Closed(1),
        ];
        let name = |input| match input {
            Input::Accepted(2, OLD) => "Accepted(2, same instance)".into(),
            Input::Accepted(2, _) => "Accepted(2, new instance)".into(),
            Input::Hello(..) => "Hello(1)".into(),
            other => format!("{other:?}"),
        };
        let mut table = String::new();
        for (state, path) in states {
            for input in inputs {
                let mut row = reached(path);
                let actions = row.on(input);
                writeln!(
                    table,
                    "{state} + {} -> {:?}, current {:?}, {actions:?}",
                    name(input),
                    row.phase(),
                    row.current()
                )
                .expect("a string takes it");
            }
        }
        assert_eq!(table, include_str!("table.table"), "the code now says:\n{table}");
    }

    #[test]
    fn a_simultaneous_dial_keeps_the_one_of_the_smaller_key_on_both_sides() {
        let (small, large) = keys();
        // On the small side its own dial is number 1; on the large side number 2 is.
        let mut at_small = Row::new(small, large);
        let mut at_large = Row::new(large, small);
        at_small.on(Input::Want);
        at_large.on(Input::Want);
        at_small.on(Input::Accepted(2, OLD));
        at_small.on(Input::Dialled(1));
        let at_small_actions = at_small.on(Input::Hello(1, OLD));
        at_large.on(Input::Dialled(2));
        at_large.on(Input::Hello(2, NEW));
        let at_large_actions = at_large.on(Input::Accepted(1, NEW));
        assert_eq!((at_small.current(), at_large.current()), (Some(1), Some(1)));
        assert_eq!(at_small_actions, [Action::Drain(2)]);
        assert_eq!(at_large_actions, [Action::Drain(2)]);
    }

    #[test]
    fn a_peer_stays_connected_while_one_connection_gives_way_to_another() {
        // The peer has judged, drained and closed its own dial before ours has come back.
        let mut row = row();
        row.on(Input::Want);
        assert_eq!(row.on(Input::Accepted(1, OLD)), [Action::Connected]);
        assert_eq!(row.on(Input::Goaway(1, true)), [Action::Drain(1)]);
        assert_eq!(row.on(Input::Closed(1)), []);
        assert!(row.is_connected());
        assert_eq!(row.on(Input::Dialled(2)), []);
        assert_eq!(row.on(Input::Closed(2)), [Action::Disconnected]);
    }

    #[test]
    fn one_dial_serves_everybody_who_waits() {
        let mut row = row();
        assert_eq!(row.on(Input::Want), [Action::Dial(0)]);
        assert_eq!(row.on(Input::Want), []);
        assert_eq!(row.on(Input::DialFailed), [Action::FailWaiters]);
        assert_eq!(row.on(Input::Want), [Action::Dial(1)]);
    }

    #[test]
    fn a_peer_that_takes_connections_and_drops_them_is_backed_off_from() {
        let mut row = reached(&[Input::Want, Input::Dialled(1), Input::Closed(1)]);
        assert_eq!(row.on(Input::Want), [Action::Dial(1)]);
        row.on(Input::Dialled(2));
        row.on(Input::Hello(2, OLD));
        row.on(Input::Closed(2));
        assert_eq!(row.on(Input::Want), [Action::Dial(0)]);
    }

    #[test]
    fn an_inbound_connection_is_used_and_nothing_dialled() {
        let mut row = row();
        row.on(Input::Accepted(7, OLD));
        assert_eq!(row.on(Input::Want), []);
        assert_eq!(row.current(), Some(7));
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_connection_at_once() {
        let mut row = reached(&[Input::Accepted(1, OLD)]);
        assert_eq!(row.on(Input::Accepted(2, NEW)), [Action::Cut(1)]);
        assert_eq!(row.current(), Some(2));
        assert_eq!(row.on(Input::Closed(1)), []);
        assert_eq!(row.phase(), Phase::Connected);
    }

    #[test]
    fn a_peer_that_leaves_its_old_connections_open_has_a_bounded_number_of_them() {
        let mut row = row();
        for generation in 1..=10 {
            for action in row.on(Input::Accepted(generation, OLD)) {
                if let Action::Shed(shed) = action {
                    row.on(Input::Closed(shed));
                }
            }
            assert_eq!(row.current(), Some(generation));
            assert!(row.connections.len() <= MAX_CONNECTIONS);
        }
    }

    fn inputs() -> impl Strategy<Value = Input> {
        let generation = 1..6u64;
        let nonce = prop_oneof![Just(OLD), Just(NEW)];
        prop_oneof![
            Just(Input::Want),
            generation.clone().prop_map(Input::Dialled),
            Just(Input::DialFailed),
            Just(Input::DialDropped),
            (generation.clone(), nonce.clone()).prop_map(|(generation, nonce)| Input::Accepted(generation, nonce)),
            (generation.clone(), nonce).prop_map(|(generation, nonce)| Input::Hello(generation, nonce)),
            (generation.clone(), any::<bool>())
                .prop_map(|(generation, duplicate)| Input::Goaway(generation, duplicate)),
            generation.clone().prop_map(Input::Silent),
            Just(Input::TwinTimeout),
            generation.prop_map(Input::Closed),
        ]
    }

    proptest! {
        /// A generation comes once, by our dial or by the peer's, and only a dial that is under way ends.
        #[test]
        fn whatever_happens_one_connection_at_most_is_judged_to_stay(sequence in prop::collection::vec(inputs(), 0..60)) {
            let mut row = row();
            let mut seen = std::collections::HashSet::new();
            let mut connected = false;
            for input in sequence {
                match input {
                    Input::Dialled(_) | Input::DialFailed | Input::DialDropped if !row.dialling => continue,
                    Input::Dialled(generation) | Input::Accepted(generation, _) if !seen.insert(generation) => continue,
                    _ => {}
                }
                for action in row.on(input) {
                    match action {
                        Action::Connected => {
                            prop_assert!(!connected);
                            connected = true;
                        }
                        Action::Disconnected => {
                            prop_assert!(connected);
                            connected = false;
                        }
                        Action::Dial(_) => prop_assert!(row.dialling),
                        _ => {}
                    }
                }
                prop_assert_eq!(connected, row.is_connected());
                prop_assert!(connected || row.connections.is_empty());
                let settled = row.connections.iter().filter(|connection| connection.live && connection.nonce.is_some());
                prop_assert!(settled.count() <= 1, "two connections stay: {row:?}");
                // Whoever wants a stream now has a connection, or one is on its way.
                row.on(Input::Want);
                prop_assert_ne!(row.phase(), Phase::Absent);
            }
        }
    }
}
