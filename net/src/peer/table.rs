//! One peer's row in the table of peers: which connections exist, which of them carries new streams, and what to do
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
//! AwaitingTwin: the peer says that another connection between the two endpoints stays, and this side has not seen
//! that connection yet. It is on its way (the peer has had its HELLO answered), so nothing is dialled.
//!
//! Which connections go:
//!
//! 1. Connections to an instance of the peer that is gone are cut, even with streams open on them: that instance
//!    sends nothing any more. The instance whose handshake was completed last is the current one. A silent peer is
//!    asked for its instance.
//! 2. Of the connections that carry new streams one stays (`glare.rs`). The others are drained.
//! 3. Over [`MAX_CONNECTIONS`], connections that drain and carry no stream are closed. If all of them carry streams,
//!    a connection that the peer has just dialled is refused: no stream is cut for a newcomer.

use twolane_id::PublicKey;

use super::{
    glare::{self, Candidate},
    heard::Heard,
};
use crate::wire::control::{Dial, Nonce};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_rows;

/// A connection's number, in the order in which handshakes were completed here. No number is used twice in a
/// process. (noq's ids are addresses, which are used again.)
pub(crate) type Generation = u64;

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// No connection exists, and none is on its way.
    Absent,
    /// A dial is under way, or waits for its backoff.
    Dialling,
    /// A connection carries new streams.
    Connected,
    /// The peer holds a connection that is still to show up here.
    AwaitingTwin,
}

/// Number of connections to one peer, draining ones included, beyond which the peer cannot add any. Two result if
/// both sides dial at once, and a third from a restart in the middle of that. Without the limit, a peer that
/// connects again and again, and keeps streams open on its older connections, would have any number. The limit does
/// not refuse this side's own dials: one is made at a time, and only when there is no connection or a silent one.
pub(crate) const MAX_CONNECTIONS: usize = 4;

/// A dial of this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OwnDial {
    pub(crate) number: u64,
    /// The peer's instance and the largest number of its dials that were known when this dial began.
    pub(crate) knows: Option<(Nonce, u64)>,
}

impl OwnDial {
    /// Returns the numbers for HELLO.
    pub(crate) fn said(&self) -> Dial {
        Dial { number: self.number, knows: self.knows.map_or(0, |(_, dial)| dial) }
    }

    /// Returns the numbers that count if `answered` is the instance that answered. If another instance was known
    /// when the dial began, KNOWS does not count. The peer sees that as well, since the number is none of its own.
    fn counts(&self, answered: Nonce) -> Dial {
        let knows = self.knows.filter(|(nonce, _)| *nonce == answered).map_or(0, |(_, dial)| dial);
        Dial { number: self.number, knows }
    }
}

/// An event that a row reacts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// A caller wants a stream.
    Want,
    /// This side's dial succeeded. The peer's HELLO is still to come.
    Dialled(Generation, OwnDial),
    /// This side's dial failed.
    DialFailed,
    /// This side's dial was given up, since the peer has dialled in the meantime or the endpoint shuts down.
    DialDropped,
    /// The peer dialled, and said HELLO. Its KNOWS is 0 if it is no number of this instance.
    Accepted(Generation, Nonce, Dial),
    /// The peer's HELLO on a connection that this side dialled.
    Hello(Generation, Nonce),
    /// The peer wants no more streams on the connection.
    Goaway(Generation, /* duplicate */ bool),
    /// The peer answers elsewhere and not on this connection, while a stream is open or the peer is kept.
    Silent(Generation),
    /// The connection is not in use.
    Unused(Generation),
    /// The peer has said which instance of it is there, on a connection made only for that question.
    Seen(Generation, Nonce),
    /// The wait for the twin is over.
    TwinTimeout,
    /// The connection is gone.
    Closed(Generation),
}

impl Input {
    /// Returns the connection that the input is about.
    pub(crate) fn generation(&self) -> Option<Generation> {
        match self {
            Self::Dialled(generation, _)
            | Self::Accepted(generation, ..)
            | Self::Hello(generation, _)
            | Self::Goaway(generation, _)
            | Self::Silent(generation)
            | Self::Unused(generation)
            | Self::Closed(generation) => Some(*generation),
            Self::Want | Self::DialFailed | Self::DialDropped | Self::Seen(..) | Self::TwinTimeout => None,
        }
    }
}

/// What the driver does in response to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Dial, after the backoff for this number of failed dials in a row.
    Dial(/* failures */ u32),
    /// Tell all waiting callers that the dial failed, or that the connection it led to ended before the peer's
    /// HELLO.
    FailWaiters,
    /// Open no more streams on the connection, send GOAWAY, and close it once both sides have drained.
    Drain(Generation),
    /// As [`Action::Drain`], since the connection is not in use.
    LetGo(Generation),
    /// Close the connection now: the peer's instance is gone.
    Cut(Generation),
    /// Close the connection now: it drains, carries no stream, and there are too many connections.
    Shed(Generation),
    /// Close the connection now: it is one more than allowed.
    Refuse(Generation),
    /// Wait for the twin, and come back with [`Input::TwinTimeout`].
    AwaitTwin,
    /// The peer has become connected: it has said HELLO, so it has let this side in.
    Connected,
    /// The peer was connected, and no longer is.
    Disconnected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialler {
    Us(OwnDial),
    Peer(Dial),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// New streams may be opened on the connection.
    Live,
    Draining,
    /// The connection was closed here, and [`Input::Closed`] is still to come.
    Cut,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    generation: Generation,
    dialler: Dialler,
    /// The nonce of the peer's instance, once its HELLO has come.
    nonce: Option<Nonce>,
    standing: Standing,
    /// Whether the connection carries streams, as of [`Row::note_streams`].
    busy: bool,
}

/// The row of one peer.
#[derive(Debug)]
pub(crate) struct Row {
    us: PublicKey,
    peer: PublicKey,
    /// In the order in which they were registered.
    connections: Vec<Connection>,
    dialling: bool,
    awaiting_twin: bool,
    failures: u32,
    /// Whether `Connected` was reported, and `Disconnected` was not since.
    connected: bool,
    heard: Option<Heard>,
}

impl Row {
    /// Creates a row. `heard` is what [`Row::heard`] returned for the same peer before.
    pub(crate) fn new(us: PublicKey, peer: PublicKey, heard: Option<Heard>) -> Self {
        let connections = Vec::new();
        Self { us, peer, connections, dialling: false, awaiting_twin: false, failures: 0, connected: false, heard }
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

    /// Returns the connection for new streams. Of two live connections it is the one whose HELLO has come, since
    /// both sides know that one.
    pub(crate) fn current(&self) -> Option<Generation> {
        let live = || self.connections.iter().rev().filter(|connection| connection.standing == Standing::Live);
        live().find(|connection| connection.nonce.is_some()).or_else(|| live().next()).map(|found| found.generation)
    }

    /// Returns whether the peer has said HELLO on the current connection.
    pub(crate) fn is_current_known(&self) -> bool {
        let current = self.current();
        self.connections.iter().any(|connection| Some(connection.generation) == current && connection.nonce.is_some())
    }

    /// Returns whether the peer counts as connected. It does while one connection replaces another.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Returns whether no connection is left, and none is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.is_empty() && !self.dialling && !self.awaiting_twin
    }

    /// Returns the number of failed dials in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Ends the backoff: a new address is worth a dial without waiting.
    pub(crate) fn forget_failures(&mut self) {
        self.failures = 0;
    }

    /// Returns the last known instance of the peer, to be remembered when the row is dropped.
    pub(crate) fn heard(&self) -> Option<Heard> {
        self.heard
    }

    /// Begins a dial, and returns its numbers.
    pub(crate) fn begin_dial(&self, number: u64) -> OwnDial {
        let knows = self.heard.filter(|heard| heard.dial > 0).map(|heard| (heard.nonce, heard.dial));
        OwnDial { number, knows }
    }

    /// Notes which connections carry streams now. To be called before a connection is added.
    pub(crate) fn note_streams(&mut self, carries: impl Fn(Generation) -> bool) {
        for connection in &mut self.connections {
            connection.busy = carries(connection.generation);
        }
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
            Input::Dialled(generation, dial) => {
                self.dialling = false;
                self.awaiting_twin = false;
                self.make_room(&mut actions);
                self.add(generation, Dialler::Us(dial), None, Standing::Live);
            }
            Input::DialFailed => {
                self.dialling = false;
                self.failures = self.failures.saturating_add(1);
                if self.current().is_none() {
                    actions.push(Action::FailWaiters);
                }
            }
            Input::DialDropped => self.dialling = false,
            Input::Accepted(generation, nonce, dial) => {
                let news = Heard { nonce, generation, dial: dial.number };
                if !Heard::hear(&mut self.heard, news) {
                    self.add(generation, Dialler::Peer(dial), Some(nonce), Standing::Cut);
                    actions.push(Action::Cut(generation));
                } else {
                    self.cut_the_gone(&mut actions);
                    if self.make_room(&mut actions) {
                        self.awaiting_twin = false;
                        self.failures = 0;
                        self.add(generation, Dialler::Peer(dial), Some(nonce), Standing::Live);
                        self.judge(&mut actions);
                    } else {
                        self.add(generation, Dialler::Peer(dial), Some(nonce), Standing::Cut);
                        actions.push(Action::Refuse(generation));
                    }
                }
            }
            Input::Hello(generation, nonce) => {
                if let Some(connection) = self.find(generation)
                    && connection.nonce.is_none()
                {
                    connection.nonce = Some(nonce);
                    if Heard::hear(&mut self.heard, Heard { nonce, generation, dial: 0 }) {
                        self.failures = 0;
                    }
                    self.cut_the_gone(&mut actions);
                    self.judge(&mut actions);
                }
            }
            Input::Goaway(generation, duplicate) => {
                let had_current = self.current().is_some();
                if let Some(connection) = self.find(generation)
                    && connection.standing == Standing::Live
                {
                    connection.standing = Standing::Draining;
                    actions.push(Action::Drain(generation));
                    if duplicate && had_current && self.current().is_none() && !self.dialling {
                        self.awaiting_twin = true;
                        actions.push(Action::AwaitTwin);
                    }
                }
            }
            // If the peer has lost the connection without a word, another dial shows it.
            Input::Silent(generation) => {
                if self.current() == Some(generation) && !self.dialling {
                    self.dialling = true;
                    actions.push(Action::Dial(self.failures));
                }
            }
            Input::Unused(generation) => {
                if let Some(connection) = self.find(generation)
                    && connection.standing == Standing::Live
                    && connection.nonce.is_some()
                {
                    connection.standing = Standing::Draining;
                    actions.push(Action::LetGo(generation));
                }
            }
            Input::Seen(generation, nonce) => {
                Heard::hear(&mut self.heard, Heard { nonce, generation, dial: 0 });
                self.cut_the_gone(&mut actions);
            }
            Input::TwinTimeout => self.awaiting_twin = false,
            Input::Closed(generation) => {
                let Some(at) = self.connections.iter().position(|connection| connection.generation == generation)
                else {
                    return actions;
                };
                // A peer that completes the handshake and sends no HELLO was not reached.
                if self.connections.remove(at).nonce.is_none() {
                    self.failures = self.failures.saturating_add(1);
                    if self.phase() == Phase::Absent {
                        actions.push(Action::FailWaiters);
                    }
                }
            }
        }
        self.announce(&mut actions);
        self.validate(input);
        actions
    }

    /// Checks, in debug builds, what has to hold after each input.
    fn validate(&self, input: Input) {
        if !cfg!(debug_assertions) {
            return;
        }
        let there = || self.connections.iter().filter(|connection| connection.standing != Standing::Cut);
        let generations: std::collections::BTreeSet<_> =
            self.connections.iter().map(|found| found.generation).collect();
        assert_eq!(generations.len(), self.connections.len(), "a generation is used once: {input:?}, {self:?}");
        let live = |connection: &&Connection| connection.standing == Standing::Live && connection.nonce.is_some();
        assert!(
            there().filter(live).count() <= 1,
            "of live connections whose HELLO has come one stays: {input:?}, {self:?}"
        );
        let instance = self.heard.map(|heard| heard.nonce);
        let gone = there().any(|connection| connection.nonce.is_some() && connection.nonce != instance);
        assert!(!gone, "a connection of an instance that has gone was not cut: {input:?}, {self:?}");
        let theirs = there().filter(|connection| matches!(connection.dialler, Dialler::Peer(_))).count();
        assert!(theirs <= MAX_CONNECTIONS, "the peer has {theirs} connections: {input:?}, {self:?}");
        assert!(!self.awaiting_twin || self.current().is_none(), "a twin is awaited beside one: {input:?}, {self:?}");
    }

    /// Reports that the peer has become connected or disconnected. While its connections replace each other it stays
    /// connected: one side may judge on the HELLO of the successor, and drain the last connection before the other
    /// side has seen the successor.
    fn announce(&mut self, actions: &mut Vec<Action>) {
        let mut left = self.connections.iter().filter(|connection| connection.standing != Standing::Cut).peekable();
        let gone = left.peek().is_none() && !self.dialling && !self.awaiting_twin;
        if !self.connected && left.any(|connection| connection.nonce.is_some()) {
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

    fn add(&mut self, generation: Generation, dialler: Dialler, nonce: Option<Nonce>, standing: Standing) {
        self.connections.push(Connection { generation, dialler, nonce, standing, busy: false });
    }

    /// Applies rule 1 above.
    fn cut_the_gone(&mut self, actions: &mut Vec<Action>) {
        let there = self.heard.map(|heard| heard.nonce);
        for connection in &mut self.connections {
            if connection.standing != Standing::Cut && connection.nonce.is_some() && connection.nonce != there {
                connection.standing = Standing::Cut;
                actions.push(Action::Cut(connection.generation));
            }
        }
    }

    /// Applies rule 2 above.
    fn judge(&mut self, actions: &mut Vec<Action>) {
        let (us, peer) = (self.us, self.peer);
        let candidates = self.connections.iter().filter(|connection| connection.standing == Standing::Live);
        let candidates = candidates.filter_map(|connection| connection.candidate(us, peer));
        let Some(stays) = candidates.max_by(glare::compare) else {
            return;
        };
        for connection in &mut self.connections {
            // A connection without the peer's HELLO goes if this side has dialled again since: it cannot be the
            // better one.
            let goes = match (connection.nonce, connection.dialler) {
                (Some(_), _) => connection.generation != stays.generation,
                (None, Dialler::Us(dial)) => stays.dialler == us && dial.number < stays.dial.number,
                (None, Dialler::Peer(_)) => false,
            };
            if goes && connection.standing == Standing::Live {
                connection.standing = Standing::Draining;
                actions.push(Action::Drain(connection.generation));
            }
        }
    }

    /// Applies rule 3 above to the oldest connections first. Returns whether there is room for one more.
    fn make_room(&mut self, actions: &mut Vec<Action>) -> bool {
        let there = self.connections.iter().filter(|connection| connection.standing != Standing::Cut).count();
        let mut too_many = (there + 1).saturating_sub(MAX_CONNECTIONS);
        for connection in &mut self.connections {
            if too_many > 0 && connection.standing == Standing::Draining && !connection.busy {
                connection.standing = Standing::Cut;
                actions.push(Action::Shed(connection.generation));
                too_many -= 1;
            }
        }
        too_many == 0
    }
}

impl Connection {
    /// Returns the connection as a candidate to stay. `None` before the peer's HELLO.
    fn candidate(&self, us: PublicKey, peer: PublicKey) -> Option<Candidate> {
        let nonce = self.nonce?;
        let (dialler, dial) = match self.dialler {
            Dialler::Us(dial) => (us, dial.counts(nonce)),
            Dialler::Peer(dial) => (peer, dial),
        };
        Some(Candidate { dialler, dial, generation: self.generation })
    }
}
