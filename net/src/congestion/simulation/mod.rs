//! Senders and receivers with noq connections, and a link that they share, in virtual time. They show how congestion
//! control uses a link. A minute on a link of 10 Mbit/s takes a second or two.

mod end;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::ControllerFactory;
use noq_proto::{Dir, StreamId, VarInt};

pub(super) use self::wire::{Link, Passed};
use self::{
    end::{End, ends, read},
    wire::Wire,
};

/// Tokio's timers fire at the next full millisecond.
const TICK: Duration = Duration::from_millis(1);
/// The length of a request, and of its answer, in bytes.
const REQUEST: usize = 64;

pub(super) type Factory = Arc<dyn ControllerFactory + Send + Sync>;

/// Connections over one link, and their traffic.
pub(super) struct Simulation {
    begun: Instant,
    now: Instant,
    connections: Vec<Pair>,
    there: Wire,
    back: Wire,
}

/// The two ends of a connection.
struct Pair {
    client: End,
    server: End,
    received: u64,
    received_back: u64,
    asked: Vec<(StreamId, Instant)>,
    answered: Vec<Duration>,
}

/// What has passed the link for a while.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) lasting: Duration,
    pub(super) passed: Vec<Passed>,
    /// The length of the queue every 10 ms.
    pub(super) queues: Vec<Duration>,
}

impl Seen {
    /// Returns the share of the link's rate that the connection with this number had.
    pub(super) fn share(&self, number: usize, link: &Link) -> f64 {
        self.passed[number].bytes as f64 * 8.0 / self.lasting.as_secs_f64() / link.rate as f64
    }

    /// Returns the share of its packets that was dropped.
    pub(super) fn loss(&self, number: usize) -> f64 {
        let passed = &self.passed[number];
        passed.dropped as f64 / passed.packets.max(1) as f64
    }

    /// Returns Jain's index: 1 if all connections have the same rate, and one half if one of two has all.
    pub(super) fn fairness(&self) -> f64 {
        let rates: Vec<f64> = self.passed.iter().map(|passed| passed.bytes as f64).collect();
        let sum: f64 = rates.iter().sum();
        sum * sum / (rates.len() as f64 * rates.iter().map(|rate| rate * rate).sum::<f64>())
    }

    /// Returns the length that the queue does not exceed for this share of the time.
    pub(super) fn queue(&self, share: f64) -> Duration {
        let mut queues = self.queues.clone();
        queues.sort_unstable();
        queues[((queues.len() - 1) as f64 * share) as usize]
    }
}

impl Simulation {
    /// Creates a simulation with one connection.
    pub(super) fn new(link: Link, seed: u64, factory: Factory) -> Self {
        Self::shared(link, seed, &[factory])
    }

    /// Creates a simulation with one connection for each congestion control, and connects them. All random choices
    /// of noq and of the link follow from the seed, except the waits of BBR, whose seed cannot be set from outside
    /// of noq.
    pub(super) fn shared(link: Link, seed: u64, factories: &[Factory]) -> Self {
        let now = Instant::now();
        let connections = factories.iter().enumerate().map(|(number, factory)| {
            let (client, server) = ends(now, number, seed + 1000 * number as u64, Arc::clone(factory));
            Pair { client, server, received: 0, received_back: 0, asked: Vec::new(), answered: Vec::new() }
        });
        let mut simulation = Self {
            begun: now,
            now,
            connections: connections.collect(),
            there: Wire::new(link, now, seed, factories.len()),
            back: Wire::new(link, now, seed + 1, factories.len()),
        };
        // One lost packet of the handshake costs a second.
        for _ in 0..10 {
            simulation.run(Duration::from_secs(1));
            if simulation.connections.iter_mut().all(|pair| !pair.client.connection().is_handshaking()) {
                return simulation;
            }
        }
        panic!("TWOLANE_SEED={seed}: no connection after ten seconds")
    }

    /// Sends requests for this time, one after the other. Returns how long each took.
    pub(super) fn requests(&mut self, lasting: Duration) -> Vec<Duration> {
        let end = self.now + lasting;
        while self.now < end {
            self.connections[0].ask(self.now);
            while !self.connections[0].asked.is_empty() {
                self.step(self.now + lasting);
            }
        }
        std::mem::take(&mut self.connections[0].answered)
    }

    /// Sends bulk data on one stream for this time, with a request at each `every`. Returns the bytes that arrived
    /// within it, and how long the requests of its last three quarters took.
    pub(super) fn bulk(&mut self, lasting: Duration, every: Option<Duration>) -> (u64, Vec<Duration>) {
        let (before, end) = (self.connections[0].received, self.now + lasting);
        let mut next = every.map(|_| self.now + lasting / 4);
        self.start(0);
        while self.now < end {
            if let (Some(at), Some(every)) = (next, every)
                && at <= self.now
            {
                self.connections[0].ask(self.now);
                next = Some(at + every);
            }
            self.step(next.unwrap_or(end).min(end));
        }
        let received = self.connections[0].received - before;
        self.stop(0);
        while !self.connections[0].asked.is_empty() {
            self.step(self.now + lasting);
        }
        (received, std::mem::take(&mut self.connections[0].answered))
    }

    /// Sends bulk data both ways for this time. Returns the bytes that arrived there, and back.
    pub(super) fn both_ways(&mut self, lasting: Duration) -> (u64, u64) {
        let pair = &mut self.connections[0];
        let before = (pair.received, pair.received_back);
        for end in [&mut pair.client, &mut pair.server] {
            end.bulk = end.connection().streams().open(Dir::Uni);
        }
        self.run(lasting);
        let pair = &self.connections[0];
        (pair.received - before.0, pair.received_back - before.1)
    }

    /// Has this connection send all it can.
    pub(super) fn start(&mut self, number: usize) {
        let client = &mut self.connections[number].client;
        client.bulk = client.connection().streams().open(Dir::Uni);
    }

    /// Has this connection send no more bulk data.
    pub(super) fn stop(&mut self, number: usize) {
        let client = &mut self.connections[number].client;
        if let Some(id) = client.bulk.take() {
            client.connection().send_stream(id).reset(VarInt::from_u32(0)).expect("bulk is open");
        }
    }

    /// Changes the link from now on.
    pub(super) fn change(&mut self, link: Link) {
        self.there.change(link);
        self.back.change(link);
    }

    /// Lets nothing leave the link for this time, in both directions.
    pub(super) fn pause(&mut self, lasting: Duration) {
        self.there.pause(self.now, lasting);
        self.back.pause(self.now, lasting);
    }

    /// Runs for this time. Returns what has passed the link on the way there.
    pub(super) fn see(&mut self, lasting: Duration) -> Seen {
        self.there.seen(self.now);
        self.run(lasting);
        let (passed, queues) = self.there.seen(self.now);
        Seen { lasting, passed, queues }
    }

    pub(super) fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.now < end {
            self.step(end);
        }
    }

    /// Does what is due now, and goes on to the next event, but not beyond `latest`.
    fn step(&mut self, latest: Instant) {
        let now = self.now;
        while let Some((number, packet)) = self.there.arrived(now) {
            self.connections[number].server.inbox.push(packet);
        }
        while let Some((number, packet)) = self.back.arrived(now) {
            self.connections[number].client.inbox.push(packet);
        }
        let mut next: Option<Instant> = None;
        for pair in &mut self.connections {
            if pair.server.awake <= now {
                look(now, self.begun, &mut pair.server, &mut self.back, &mut self.there);
                pair.serve();
                pair.server.fill();
                pair.server.send(now, &mut self.back);
            }
            if pair.client.awake <= now {
                look(now, self.begun, &mut pair.client, &mut self.there, &mut self.back);
                pair.client.fill();
                pair.read(now);
                pair.client.send(now, &mut self.there);
            }
            for end in [&pair.client, &pair.server] {
                let timer = end.timer().map(|at| tick(self.begun, at));
                let at = timer.into_iter().chain((!end.inbox.is_empty()).then_some(now)).min();
                next = next.into_iter().chain(at.map(|at| at.max(end.awake))).min();
            }
        }
        let next = next.into_iter().chain(self.there.next()).chain(self.back.next()).min();
        self.now = next.unwrap_or(latest).min(latest).max(now);
    }
}

/// Has an end take what has arrived, and handle its timer if that is due.
fn look(now: Instant, begun: Instant, end: &mut End, out: &mut Wire, into: &mut Wire) {
    end.receive(now, out);
    if end.timer().is_some_and(|at| tick(begun, at) <= now) {
        end.connection().handle_timeout(now);
    }
    end.awake = into.awake(now);
}

/// Returns when a timer for `at` fires.
fn tick(begun: Instant, at: Instant) -> Instant {
    let ticks = at.saturating_duration_since(begun).as_nanos().div_ceil(TICK.as_nanos());
    begun + TICK * u32::try_from(ticks).expect("a simulation ends within weeks")
}

impl Pair {
    fn ask(&mut self, now: Instant) {
        let id = self.client.connection().streams().open(Dir::Bi).expect("there is room for a stream");
        let mut stream = self.client.connection().send_stream(id);
        stream.set_priority(1).expect("the stream is open");
        assert_eq!(stream.write(&[7; REQUEST]).expect("it is taken"), REQUEST);
        stream.finish().expect("the stream is open");
        self.asked.push((id, now));
    }

    /// Has the server read what has arrived, and answer requests.
    fn serve(&mut self) {
        let Some((_, server)) = &mut self.server.connection else { return };
        for dir in [Dir::Uni, Dir::Bi] {
            while let Some(id) = server.streams().accept(dir) {
                self.server.open.push(id);
            }
        }
        let received = &mut self.received;
        self.server.open.retain(|id| {
            let (bytes, ended) = read(server, *id);
            *received += if id.dir() == Dir::Uni { bytes } else { 0 };
            if ended && id.dir() == Dir::Bi {
                let mut stream = server.send_stream(*id);
                assert_eq!(stream.write(&[9; REQUEST]).expect("it is taken"), REQUEST);
                stream.finish().expect("the stream is open");
            }
            !ended
        });
    }

    /// Has the client read what has arrived.
    fn read(&mut self, now: Instant) {
        while let Some(id) = self.client.connection().streams().accept(Dir::Uni) {
            self.client.open.push(id);
        }
        for id in std::mem::take(&mut self.client.open) {
            let (bytes, ended) = read(self.client.connection(), id);
            self.received_back += bytes;
            if !ended {
                self.client.open.push(id);
            }
        }
        let (client, answered) = (&mut self.client, &mut self.answered);
        self.asked.retain(|(id, asked)| {
            let (_, ended) = read(client.connection(), *id);
            if ended {
                answered.push(now - *asked);
            }
            !ended
        });
    }
}
