//! The row of one peer in the table of peers (`peer/table.rs`), compared with a model of the peer's connections.

use std::{collections::BTreeMap, sync::LazyLock};

use twolane_id::{PublicKey, SecretKey};

use super::{Events, MAX_EVENTS};
use crate::{
    peer::{
        backoff,
        table::{Action, Generation, Input, MAX_CONNECTIONS, Phase, Row},
    },
    wire::control::Dial,
};

/// Generated once, because a key takes longer than the rest of a run.
static KEYS: LazyLock<[PublicKey; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]).public_key()));

pub(super) fn run(mut events: Events<'_>) {
    // Some decisions depend on which endpoint has the smaller key.
    let swapped = events.next().is_some_and(|(first, _)| first % 2 == 1);
    let (us, peer) = if swapped { (KEYS[1], KEYS[0]) } else { (KEYS[0], KEYS[1]) };
    let mut model = Model::new(Row::new(us, peer, None));
    for (what, which) in events.take(MAX_EVENTS) {
        if let Some(input) = model.input(what, which) {
            model.carries = what / 10;
            model.on(input);
        }
        if what == 0xff {
            model.row.forget_failures();
        }
    }
}

/// A connection that exists, and its state.
#[derive(Debug, Clone, Copy)]
struct Known {
    nonce: Option<[u8; 16]>,
    /// New streams may be opened on it.
    live: bool,
    ours: bool,
}

#[derive(Debug)]
struct Model {
    row: Row,
    connections: BTreeMap<Generation, Known>,
    last: Generation,
    dialling: bool,
    connected: bool,
    /// Connections that are to be closed, which the driver does at once.
    cut: Vec<Generation>,
    /// The peer's instance with the latest handshake among those whose HELLO has arrived.
    there: Option<([u8; 16], Generation)>,
    /// A bit set of the connections that carry streams.
    carries: u8,
}

impl Model {
    fn new(row: Row) -> Self {
        let (connections, cut) = (BTreeMap::new(), Vec::new());
        Self { row, connections, last: 0, dialling: false, connected: false, cut, there: None, carries: 0 }
    }

    /// Returns an input that is possible at this point. A generation appears once, by a dial of this side or of the
    /// peer, and only a dial that is under way ends. Any input is possible about a connection that is gone, or that
    /// never existed.
    fn input(&self, what: u8, which: u8) -> Option<Input> {
        let next = self.last + 1;
        let some = u64::from(which) % (next + 1);
        let nonce = [which % 3; 16];
        let dial = Dial { number: u64::from(which / 3 % 8), knows: u64::from(which / 32) };
        Some(match what % 10 {
            0 => Input::Want,
            1 => Input::Accepted(next, nonce, dial),
            2 => Input::Hello(some, nonce),
            3 => Input::Goaway(some, which >= 128),
            4 => Input::TwinTimeout,
            5 => Input::Closed(some),
            9 if which >= 192 => Input::Seen(next, nonce),
            9 if which >= 160 => Input::Unused(some),
            9 => Input::Silent(some),
            _ if !self.dialling => return None,
            6 => Input::Dialled(next, self.row.begin_dial(next)),
            7 => Input::DialFailed,
            _ => Input::DialDropped,
        })
    }

    fn on(&mut self, input: Input) {
        self.before(input);
        let absent = self.row.phase() == Phase::Absent;
        for action in self.row.on(input) {
            self.act(action, input, absent);
        }
        while let Some(generation) = self.cut.pop() {
            self.on(Input::Closed(generation));
        }
        self.check();
        // A caller that wants a stream now must find a connection, or a dial that is under way.
        for action in self.row.on(Input::Want) {
            assert!(matches!(action, Action::Dial(_)), "{action:?}");
            self.act(action, Input::Want, true);
        }
        assert_ne!(self.row.phase(), Phase::Absent);
        self.check();
    }

    fn before(&mut self, input: Input) {
        match input {
            Input::Dialled(generation, _) => {
                self.dialling = false;
                self.last = generation;
                self.note_streams();
                self.connections.insert(generation, Known { nonce: None, live: true, ours: true });
            }
            Input::Accepted(generation, nonce, _) => {
                self.last = generation;
                self.note_streams();
                self.connections.insert(generation, Known { nonce: Some(nonce), live: true, ours: false });
                self.hear(generation, nonce);
            }
            Input::Hello(generation, nonce) => {
                if let Some(known) = self.connections.get_mut(&generation)
                    && known.nonce.is_none()
                {
                    known.nonce = Some(nonce);
                    self.hear(generation, nonce);
                }
            }
            Input::Seen(generation, nonce) => {
                self.last = generation;
                self.hear(generation, nonce);
            }
            Input::Closed(generation) => drop(self.connections.remove(&generation)),
            Input::DialFailed | Input::DialDropped => self.dialling = false,
            Input::Want | Input::Goaway(..) | Input::Silent(_) | Input::Unused(_) | Input::TwinTimeout => {}
        }
    }

    fn hear(&mut self, generation: Generation, nonce: [u8; 16]) {
        self.there = match self.there {
            Some((there, last)) if there != nonce && last > generation => Some((there, last)),
            Some((there, last)) if there == nonce => Some((there, last.max(generation))),
            _ => Some((nonce, generation)),
        };
    }

    fn note_streams(&mut self) {
        let carries = self.carries;
        self.row.note_streams(|generation| carries >> (generation % 4) & 1 == 1);
    }

    fn act(&mut self, action: Action, input: Input, absent: bool) {
        match action {
            Action::Dial(failures) => {
                let silent = matches!(input, Input::Silent(generation) if self.connections[&generation].live);
                let wanted = silent || (input == Input::Want && absent);
                assert!(wanted && !self.dialling, "one dial serves everybody who waits");
                assert!(backoff::delay(failures, u32::MAX) <= backoff::CAP);
                self.dialling = true;
            }
            Action::FailWaiters => assert!(matches!(input, Input::DialFailed | Input::Closed(_)), "{input:?}"),
            Action::Drain(generation) => self.give_up(generation),
            Action::LetGo(generation) => {
                assert_eq!(input, Input::Unused(generation));
                self.give_up(generation);
            }
            Action::Cut(generation) => {
                let known = self.connections[&generation];
                assert_ne!(known.nonce, self.there.map(|(nonce, _)| nonce), "{generation} is cut: {self:?}");
                self.connections.insert(generation, Known { live: false, ..known });
                self.cut.push(generation);
            }
            Action::Shed(generation) => {
                assert!(!self.connections[&generation].live, "{generation} is shed, and does not drain");
                assert_eq!(self.carries >> (generation % 4) & 1, 0, "{generation} is shed, and carries streams");
                self.cut.push(generation);
            }
            Action::Refuse(generation) => {
                assert!(matches!(input, Input::Accepted(accepted, ..) if accepted == generation), "{input:?}");
                self.give_up(generation);
                self.cut.push(generation);
            }
            Action::AwaitTwin => assert!(matches!(input, Input::Goaway(_, true)) && !self.dialling),
            Action::Connected => assert!(!std::mem::replace(&mut self.connected, true), "said twice"),
            Action::Disconnected => assert!(std::mem::replace(&mut self.connected, false), "said twice"),
        }
    }

    fn give_up(&mut self, generation: Generation) {
        let known = self.connections.get_mut(&generation).expect("a connection that is there");
        assert!(std::mem::replace(&mut known.live, false), "{generation} is given up twice");
    }

    fn check(&self) {
        let Self { row, connections, dialling, connected, cut, .. } = self;
        assert_eq!(row.is_connected(), *connected);
        let there = self.there.map(|(nonce, _)| nonce);
        let left = || connections.iter().filter(|(generation, _)| !cut.contains(generation)).map(|(_, known)| known);
        let gone = |known: &Known| known.nonce.is_some() && known.nonce != there;
        assert!(!left().any(gone), "an instance that is gone has a connection: {self:?}");
        assert!(*connected || left().all(|known| known.nonce.is_none()), "{self:?}");
        // This side dials one connection at a time, and only if there is no connection, or the connection is silent.
        let theirs = left().filter(|known| !known.ours).count();
        assert!(theirs <= MAX_CONNECTIONS, "{self:?}");
        let live = || connections.iter().filter(|(_, known)| known.live);
        let settled = || live().filter(|(_, known)| known.nonce.is_some());
        assert!(settled().count() <= 1, "two connections stay: {self:?}");
        match row.current() {
            // Of two connections, the current one is the one whose HELLO has arrived.
            Some(current) => {
                assert!(connections[&current].live);
                assert!(settled().all(|(generation, _)| *generation == current), "{self:?}");
            }
            None => assert_eq!(live().count(), 0),
        }
        match row.phase() {
            Phase::Connected => assert!(row.current().is_some()),
            Phase::Dialling => assert!(*dialling),
            Phase::AwaitingTwin => assert!(!*dialling),
            Phase::Absent => assert!(!*dialling),
        }
        let idle = connections.is_empty() && matches!(row.phase(), Phase::Absent);
        assert_eq!(row.is_idle(), idle, "{self:?}");
        assert!(!idle || !*connected, "nothing is left, and the peer counts as connected");
    }
}
