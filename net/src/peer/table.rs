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
//!
//! Which connections go:
//!
//! 1. Those of an instance of the peer that is gone are cut, whatever is under way on them: nothing comes of it any more.
//!    The instance whose handshake was completed last is the one that is there; a peer that is silent is asked for it.
//! 2. Of those that carry new streams one stays (`glare.rs`), and the others are drained.
//! 3. Over [`MAX_CONNECTIONS`], those go that drain and carry no stream. If all carry some, a connection that the peer has
//!    just dialled is refused: a stream is not cut for a newcomer.

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

/// Number of a connection, in the order in which handshakes were completed here, never used twice in a process. (noq's ids
/// are addresses, which are.)
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

/// Connections to one peer, those that drain included, beyond which the peer cannot add any. Both sides dialling at once
/// makes two, and a restart in the middle of that a third. A peer that connects again and again while it keeps streams open
/// on what it leaves behind would have any number. This side's own dials are not counted: one is made at a time, and only
/// when there is no connection or a silent one.
pub(crate) const MAX_CONNECTIONS: usize = 4;

/// A dial of this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OwnDial {
    pub(crate) number: u64,
    /// The peer's instance and the largest number of its dials, as they were known when this dial began.
    pub(crate) knows: Option<(Nonce, u64)>,
}

impl OwnDial {
    /// What HELLO says.
    pub(crate) fn said(&self) -> Dial {
        Dial { number: self.number, knows: self.knows.map_or(0, |(_, dial)| dial) }
    }

    /// What counts of it where another instance than the one that was known has answered: the peer sees as well that the
    /// number is none of its own.
    fn counts(&self, answered: Nonce) -> Dial {
        let knows = self.knows.filter(|(nonce, _)| *nonce == answered).map_or(0, |(_, dial)| dial);
        Dial { number: self.number, knows }
    }
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// Somebody wants a stream.
    Want,
    /// Our dial succeeded. The peer's HELLO is still to come.
    Dialled(Generation, OwnDial),
    /// Our dial failed.
    DialFailed,
    /// Our dial was given up, since the peer has dialled in the meantime.
    DialDropped,
    /// The peer dialled, and said HELLO. Its KNOWS is 0 if it is no number of this instance.
    Accepted(Generation, Nonce, Dial),
    /// The peer's HELLO on a connection that we dialled.
    Hello(Generation, Nonce),
    /// The peer wants no more streams on it.
    Goaway(Generation, /* duplicate */ bool),
    /// The peer answers elsewhere and not on this connection, and somebody waits for something.
    Silent(Generation),
    /// Nobody uses it.
    Unused(Generation),
    /// The peer has said which instance of it is there, on a connection for nothing else.
    Seen(Generation, Nonce),
    /// The twin did not show up.
    TwinTimeout,
    /// The connection is gone.
    Closed(Generation),
}

impl Input {
    /// The connection that it is about.
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

/// What the driver does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Dial, after the backoff for so many failures in a row.
    Dial(/* failures */ u32),
    /// Tell everybody who waits that the dial failed, or that the connection it led to ended before the peer's HELLO.
    FailWaiters,
    /// Open nothing more on it, say GOAWAY, and close it once both sides have drained.
    Drain(Generation),
    /// The same, since nobody uses it.
    LetGo(Generation),
    /// Close it now: its peer's instance is gone.
    Cut(Generation),
    /// Close it now: it drains, nothing is under way on it, and there are too many.
    Shed(Generation),
    /// Close it now: it is one too many.
    Refuse(Generation),
    /// Come back with [`Input::TwinTimeout`] if the twin does not show up.
    AwaitTwin,
    /// The peer is connected, and was not: it has said HELLO, so it has let us in.
    Connected,
    /// The peer was connected, and is not.
    Disconnected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialler {
    Us(OwnDial),
    Peer(Dial),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// New streams may be opened on it.
    Live,
    Draining,
    /// It was closed here, and is about to be gone.
    Cut,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    generation: Generation,
    dialler: Dialler,
    /// The peer's instance, once its HELLO is there.
    nonce: Option<Nonce>,
    standing: Standing,
    /// Streams are under way on it, by [`Row::note_streams`].
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
    /// `Connected` was said, and `Disconnected` was not.
    connected: bool,
    heard: Option<Heard>,
}

impl Row {
    /// `heard` is what [`Row::heard`] said of the same peer before.
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

    /// The connection for new streams: of two live ones that whose HELLO has come, since both sides know it.
    pub(crate) fn current(&self) -> Option<Generation> {
        let live = || self.connections.iter().rev().filter(|connection| connection.standing == Standing::Live);
        live().find(|connection| connection.nonce.is_some()).or_else(|| live().next()).map(|found| found.generation)
    }

    /// Whether the peer has said HELLO on the current connection.
    pub(crate) fn is_current_known(&self) -> bool {
        let current = self.current();
        self.connections.iter().any(|connection| Some(connection.generation) == current && connection.nonce.is_some())
    }

    /// Whether the peer counts as connected. Between two connections of which one replaces the other it does.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// No connection is left, and none is on its way.
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

    /// The peer's instance as it was last heard of, to be remembered when the row is not.
    pub(crate) fn heard(&self) -> Option<Heard> {
        self.heard
    }

    /// A dial that begins now.
    pub(crate) fn begin_dial(&self, number: u64) -> OwnDial {
        let knows = self.heard.filter(|heard| heard.dial > 0).map(|heard| (heard.nonce, heard.dial));
        OwnDial { number, knows }
    }

    /// To be called before a connection is added: which connections carry streams now.
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
            // A peer that has lost the connection without a word gets another one, which shows whether it has.
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
                // A peer that takes the handshake and no more was not reached.
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

    /// What holds after each input.
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

    /// A peer whose connections replace each other stays connected all the while: one side may judge, on the HELLO
    /// of the successor, and drain the last one, before the other has seen it.
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

    /// Rule 1 above.
    fn cut_the_gone(&mut self, actions: &mut Vec<Action>) {
        let there = self.heard.map(|heard| heard.nonce);
        for connection in &mut self.connections {
            if connection.standing != Standing::Cut && connection.nonce.is_some() && connection.nonce != there {
                connection.standing = Standing::Cut;
                actions.push(Action::Cut(connection.generation));
            }
        }
    }

    /// Rule 2 above.
    fn judge(&mut self, actions: &mut Vec<Action>) {
        let (us, peer) = (self.us, self.peer);
        let candidates = self.connections.iter().filter(|connection| connection.standing == Standing::Live);
        let candidates = candidates.filter_map(|connection| connection.candidate(us, peer));
        let Some(stays) = candidates.max_by(glare::compare) else {
            return;
        };
        for connection in &mut self.connections {
            // One on which the peer has not said HELLO yet goes if it can be no better: this side has dialled again since.
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

    /// Rule 3 above: those go that have drained for longest. Whether there is room for one more.
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
    /// `None` before the peer's HELLO.
    fn candidate(&self, us: PublicKey, peer: PublicKey) -> Option<Candidate> {
        let nonce = self.nonce?;
        let (dialler, dial) = match self.dialler {
            Dialler::Us(dial) => (us, dial.counts(nonce)),
            Dialler::Peer(dial) => (peer, dial),
        };
        Some(Candidate { dialler, dial, generation: self.generation })
    }
}
