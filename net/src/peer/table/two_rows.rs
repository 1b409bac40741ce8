//! Two rows, one on each side, fed with the messages of the other side. Messages arrive late, in order on each
//! connection, and in any order across connections. Both rows have to keep the same connection.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{tests::keys, *};

/// A message that one side of a connection has sent and the other side has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Hello,
    Goaway { duplicate: bool },
    Close,
}

/// One side's end of a connection.
#[derive(Debug, Default)]
struct End {
    /// The instance whose end it is. Another instance does not know the connection.
    instance: usize,
    /// The connection's number, once the handshake is done here.
    generation: Option<Generation>,
    /// Whether the connection was given to the row, and `Closed` was not.
    registered: bool,
    /// Whether the connection was closed here or by the peer. Nothing more is read from it.
    closed: bool,
    said_goaway: bool,
    heard_goaway: bool,
    inbox: VecDeque<Word>,
}

/// A connection.
#[derive(Debug)]
struct Way {
    dialler: usize,
    dial: OwnDial,
    /// Whether the dialler's handshake is done, or the dial has come to nothing.
    answered: bool,
    /// Whether both sides have received the other's HELLO.
    known: bool,
    ends: [End; 2],
}

#[derive(Debug)]
struct Side {
    row: Row,
    /// Grows with each restart, and gives the nonce.
    instance: usize,
    generation: Generation,
    dials: u64,
    awaits_twin: bool,
    /// Answers on their way: the instance of the other side, with the number of the handshake that has shown it.
    seen: VecDeque<(Generation, Nonce)>,
}

#[derive(Debug)]
struct World {
    keys: [PublicKey; 2],
    sides: [Side; 2],
    ways: Vec<Way>,
    /// Whether a connection has ended without being drained since the last restart. There may be no connection in
    /// the end.
    lossy: bool,
}

/// Events beside the actions of the rows and the messages that arrive.
#[derive(Debug, Clone, Copy)]
struct Weather {
    restarts: bool,
    losses: bool,
}

impl Side {
    fn new(us: PublicKey, peer: PublicKey, instance: usize) -> Self {
        Self {
            row: Row::new(us, peer, None),
            instance,
            generation: 0,
            dials: 0,
            awaits_twin: false,
            seen: VecDeque::new(),
        }
    }

    fn nonce(instance: usize) -> Nonce {
        [u8::try_from(instance % 250).unwrap_or(0); 16]
    }

    /// Returns the number of a dial. No two instances have a number in common.
    fn number(&self, n: u64) -> u64 {
        self.instance as u64 * 1000 + n
    }
}

impl World {
    fn new(swapped: bool) -> Self {
        let (small, large) = keys();
        let keys = if swapped { [large, small] } else { [small, large] };
        let sides = [Side::new(keys[0], keys[1], 1), Side::new(keys[1], keys[0], 2)];
        Self { keys, sides, ways: Vec::new(), lossy: false }
    }

    fn input(&mut self, at: usize, input: Input) {
        for action in self.sides[at].row.on(input) {
            self.act(at, action);
        }
        let row = &self.sides[at].row;
        let live = row.connections.iter().filter(|connection| connection.standing == Standing::Live);
        assert!(live.filter(|connection| connection.nonce.is_some()).count() <= 1, "two connections stay: {self:#?}");
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Dial(_) => {
                let side = &mut self.sides[at];
                side.dials += 1;
                let dial = side.row.begin_dial(side.number(side.dials));
                let mut ends = [End::default(), End::default()];
                ends[at].instance = side.instance;
                self.ways.push(Way { dialler: at, dial, answered: false, known: false, ends });
            }
            Action::Drain(generation) => self.goaway(at, generation, true),
            Action::LetGo(generation) => self.goaway(at, generation, false),
            Action::Cut(generation) | Action::Shed(generation) | Action::Refuse(generation) => {
                self.lossy |= matches!(action, Action::Refuse(_));
                if let Some(way) = self.find(at, generation) {
                    self.ways[way].ends[at].closed = true;
                    self.ways[way].ends[1 - at].inbox.push_back(Word::Close);
                }
            }
            Action::AwaitTwin => self.sides[at].awaits_twin = true,
            Action::FailWaiters | Action::Connected | Action::Disconnected => {}
        }
    }

    fn find(&self, at: usize, generation: Generation) -> Option<usize> {
        let instance = self.sides[at].instance;
        self.ways.iter().position(|way| {
            let end = &way.ends[at];
            end.generation == Some(generation) && end.instance == instance
        })
    }

    fn goaway(&mut self, at: usize, generation: Generation, duplicate: bool) {
        if let Some(way) = self.find(at, generation)
            && !std::mem::replace(&mut self.ways[way].ends[at].said_goaway, true)
        {
            self.ways[way].ends[1 - at].inbox.push_back(Word::Goaway { duplicate });
        }
    }

    fn next_generation(&mut self, at: usize) -> Generation {
        self.sides[at].generation += 1;
        self.sides[at].generation
    }

    /// Completes the dialler's handshake. The acceptor has answered, and does not know yet that its answer has
    /// arrived.
    fn answer(&mut self, way: usize) -> bool {
        let dialler = self.ways[way].dialler;
        if self.ways[way].answered || self.ways[way].ends[dialler].instance != self.sides[dialler].instance {
            return false;
        }
        self.ways[way].answered = true;
        let generation = self.next_generation(dialler);
        self.ways[way].ends[1 - dialler].instance = self.sides[1 - dialler].instance;
        self.ways[way].ends[1 - dialler].inbox.push_back(Word::Hello);
        let end = &mut self.ways[way].ends[dialler];
        (end.generation, end.registered) = (Some(generation), true);
        let dial = self.ways[way].dial;
        self.input(dialler, Input::Dialled(generation, dial));
        true
    }

    /// Completes the acceptor's handshake. No packet is on its way for longer than a process takes to restart, so
    /// the handshakes of an instance come before those of the next instance.
    fn arrive(&mut self, way: usize) -> bool {
        let dialler = self.ways[way].dialler;
        let acceptor = 1 - dialler;
        if self.ways[way].ends[dialler].instance != self.sides[dialler].instance {
            return false;
        }
        let end = &self.ways[way].ends[acceptor];
        if !self.ways[way].answered || end.generation.is_some() || end.instance != self.sides[acceptor].instance {
            return false;
        }
        let generation = self.next_generation(acceptor);
        self.ways[way].ends[acceptor].generation = Some(generation);
        true
    }

    /// Reads the next message on a connection.
    fn read(&mut self, way: usize, at: usize) -> bool {
        let accepts = self.ways[way].dialler != at;
        let other_nonce = Side::nonce(self.ways[way].ends[1 - at].instance);
        let end = &mut self.ways[way].ends[at];
        let Some(generation) = end.generation.filter(|_| end.instance == self.sides[at].instance && !end.closed) else {
            return false;
        };
        match end.inbox.pop_front() {
            Some(Word::Close) => {
                end.closed = true;
                return true;
            }
            // A connection that was closed while the rules were asked is never admitted.
            Some(Word::Hello) if accepts && end.inbox.contains(&Word::Close) => {
                end.closed = true;
            }
            Some(Word::Hello) if accepts => {
                end.registered = true;
                self.ways[way].ends[1 - at].inbox.push_back(Word::Hello);
                let side = &self.sides[at];
                let mut dial = self.ways[way].dial.said();
                if dial.knows <= side.number(0) || dial.knows > side.number(side.dials) {
                    dial.knows = 0;
                }
                self.input(at, Input::Accepted(generation, other_nonce, dial));
            }
            Some(Word::Hello) => {
                self.ways[way].known = true;
                self.input(at, Input::Hello(generation, other_nonce));
            }
            Some(Word::Goaway { duplicate }) => {
                end.heard_goaway = true;
                self.goaway(at, generation, duplicate);
                self.input(at, Input::Goaway(generation, duplicate));
            }
            None => return false,
        }
        true
    }

    /// Ends a connection at one side: it was closed, has drained, or its other end is not there.
    fn lose(&mut self, way: usize, at: usize, vanishes: bool) -> bool {
        let (end, other) = (&self.ways[way].ends[at], &self.ways[way].ends[1 - at]);
        if !end.registered || end.instance != self.sides[at].instance {
            return false;
        }
        let there = other.instance == self.sides[1 - at].instance && !other.closed;
        let drained = end.said_goaway && end.heard_goaway && other.said_goaway && other.heard_goaway;
        if !end.closed && there && !drained && !vanishes {
            return false;
        }
        self.lossy |= vanishes && !drained;
        let end = &mut self.ways[way].ends[at];
        (end.registered, end.closed) = (false, true);
        if let Some(generation) = end.generation {
            self.input(at, Input::Closed(generation));
        }
        true
    }

    /// Asks the other side which instance of it is there.
    fn ask(&mut self, at: usize) {
        let (generation, nonce) = (self.next_generation(at), Side::nonce(self.sides[1 - at].instance));
        self.sides[at].seen.push_back((generation, nonce));
    }

    /// Receives the other side's answer.
    fn see(&mut self, at: usize) -> bool {
        let Some((generation, nonce)) = self.sides[at].seen.pop_front() else { return false };
        self.input(at, Input::Seen(generation, nonce));
        true
    }

    /// Kills a process and starts it again. The other side is not told.
    fn restart(&mut self, at: usize) {
        let instance = self.sides.iter().map(|side| side.instance).max().unwrap_or_default() + 1;
        self.sides[at] = Side::new(self.keys[at], self.keys[1 - at], instance);
        self.lossy = false;
    }

    /// Returns whether the two current instances have had a connection.
    fn have_met(&self) -> bool {
        let there = |way: &Way| (0..2).all(|at| way.ends[at].instance == self.sides[at].instance);
        self.ways.iter().any(|way| way.known && there(way))
    }

    fn step(&mut self, what: u8, which: u8, weather: Weather) {
        // Nothing more comes of connections that have ended long ago.
        let (at, back) = (usize::from(which % 2), usize::from(which / 2) % self.ways.len().clamp(1, 5));
        let way = self.ways.len().saturating_sub(1 + back);
        match what % 28 {
            27 => {
                if let Some(current) = self.sides[at].row.current() {
                    // There may be no connection in the end.
                    self.lossy = true;
                    self.input(at, Input::Unused(current));
                }
            }
            24 => self.ask(at),
            25 | 26 => drop(self.see(at)),
            0 | 1 => self.input(at, Input::Want),
            2 if weather.restarts => self.restart(at),
            3 if weather.losses && !self.ways.is_empty() => drop(self.lose(way, at, true)),
            2..=4 => {
                if let Some(current) = self.sides[at].row.current() {
                    self.input(at, Input::Silent(current));
                }
            }
            _ if self.ways.is_empty() => {}
            5..=9 => drop(self.answer(way)),
            10..=14 => drop(self.arrive(way)),
            15..=20 => drop(self.read(way, at)),
            _ => drop(self.lose(way, at, false)),
        }
    }

    /// Lets everything under way arrive, and ends the waits for what does not arrive.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for way in 0..self.ways.len() {
                moved |= self.answer(way) | self.arrive(way);
                for at in 0..2 {
                    moved |= self.see(at);
                    moved |= self.read(way, at) | self.lose(way, at, false);
                }
            }
            if moved {
                continue;
            }
            let Some(at) = (0..2).find(|at| std::mem::take(&mut self.sides[*at].awaits_twin)) else {
                return;
            };
            self.input(at, Input::TwinTimeout);
        }
        panic!("they come to no end: {self:#?}");
    }

    /// Returns the connection that each side is left with.
    fn left(&self) -> [Option<usize>; 2] {
        [0, 1].map(|at| {
            let row = &self.sides[at].row;
            assert!(row.connections.len() <= 1, "{self:#?}");
            row.current().and_then(|generation| self.find(at, generation))
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_sides_keep_the_same_connection(
        swapped in any::<bool>(),
        (restarts, losses) in any::<(bool, bool)>(),
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..120),
    ) {
        let mut world = World::new(swapped);
        for (what, which) in steps {
            world.step(what, which, Weather { restarts, losses });
        }
        world.settle();
        let [one, other] = world.left();
        prop_assert_eq!(one, other, "{:#?}", &world);
        prop_assert!(one.is_some() || !world.have_met() || world.lossy, "none was left: {:#?}", &world);
    }
}

/// One side has lost the connection, or receives nothing on it, and dials. The other side still has the connection.
#[test]
fn a_dial_anew_is_what_both_sides_keep_whoever_dialled_before_and_whoever_has_the_smaller_key() {
    for swapped in [false, true] {
        for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for vanishes in [false, true] {
                let mut world = World::new(swapped);
                world.input(first, Input::Want);
                world.settle();
                assert_eq!(world.left(), [Some(0); 2]);
                if vanishes {
                    assert!(world.lose(0, second, true));
                    world.input(second, Input::Want);
                } else {
                    let current = world.sides[second].row.current().expect("it is connected");
                    world.input(second, Input::Silent(current));
                }
                // The other side keeps its end of the first connection until a message tells it.
                for way_moves in [World::answer, World::arrive] {
                    assert!(way_moves(&mut world, 1));
                }
                assert!(world.read(1, 1 - second) && world.read(1, second));
                let current = [0, 1].map(|at| {
                    let side = &world.sides[at];
                    side.row.current().and_then(|generation| world.find(at, generation))
                });
                assert_eq!(current, [Some(1); 2], "{first} dialled, {second} anew, vanishes: {vanishes}");
            }
        }
    }
}
