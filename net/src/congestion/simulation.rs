//! A sender and a receiver of noq's, and a link between them, in virtual time: what the corrections and BBR make of a link
//! together. A minute on a link of 10 Mbit/s takes a second or two.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use iroh::endpoint::ControllerFactory;
use noq_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, FourTuple, ServerConfig,
    StreamId, Transmit, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

/// Tokio's timers fire at the next full millisecond.
const TICK: Duration = Duration::from_millis(1);
/// As many packets as noq's driver asks for in one go.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(10).unwrap();
/// Bytes of a request, and of its answer.
const REQUEST: usize = 64;
/// Headers of IP and UDP.
const HEADERS: u64 = 28;

/// A link, the same in both directions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) round_trip: Duration,
    /// Bits a second.
    pub(super) rate: u64,
    /// The share of packets that get lost, in each direction.
    pub(super) loss: f64,
    /// What waits in front of it at most.
    pub(super) queue: Duration,
    /// For so long the ends do nothing, after one in so many looks at what there is to do: a machine with other things to do.
    pub(super) held_up: (Duration, u32),
}

/// A connection over a link, and what goes over it.
pub(super) struct Simulation {
    begun: Instant,
    now: Instant,
    client: End,
    server: End,
    there: Wire,
    back: Wire,
    bulk: Option<StreamId>,
    bulk_back: Option<StreamId>,
    received: u64,
    received_back: u64,
    asked: Vec<(StreamId, Instant)>,
    answered: Vec<Duration>,
}

impl Simulation {
    /// Connected, by a sender with this congestion control. All that noq and the link draw follows from the seed, but for
    /// the waits of BBR, whose seed cannot be set from outside of noq.
    pub(super) fn new(link: Link, seed: u64, factory: Arc<dyn ControllerFactory + Send + Sync>) -> Self {
        let now = Instant::now();
        let (client, server) = ends(now, seed, factory);
        let mut simulation = Self {
            begun: now,
            now,
            client,
            server,
            there: Wire::new(link, now, seed),
            back: Wire::new(link, now, seed + 1),
            bulk: None,
            bulk_back: None,
            received: 0,
            received_back: 0,
            asked: Vec::new(),
            answered: Vec::new(),
        };
        // One lost packet of the handshake costs a second.
        for _ in 0..10 {
            simulation.run(Duration::from_secs(1));
            if !simulation.client.connection().is_handshaking() {
                return simulation;
            }
        }
        panic!("TWOLANE_SEED={seed}: no connection after ten seconds")
    }

    /// Requests, one after the other, for so long: how long each took.
    pub(super) fn requests(&mut self, lasting: Duration) -> Vec<Duration> {
        let end = self.now + lasting;
        while self.now < end {
            self.ask();
            while !self.asked.is_empty() {
                self.step(self.now + lasting);
            }
        }
        std::mem::take(&mut self.answered)
    }

    /// Bulk on one stream for so long, with a request every so often: the bytes that arrived within it, and how long the
    /// requests of its last three quarters took.
    pub(super) fn bulk(&mut self, lasting: Duration, every: Option<Duration>) -> (u64, Vec<Duration>) {
        let (before, end) = (self.received, self.now + lasting);
        let mut next = every.map(|_| self.now + lasting / 4);
        self.bulk = self.client.connection().streams().open(Dir::Uni);
        while self.now < end {
            if let (Some(at), Some(every)) = (next, every)
                && at <= self.now
            {
                self.ask();
                next = Some(at + every);
            }
            self.step(next.unwrap_or(end).min(end));
        }
        let received = self.received - before;
        if let Some(id) = self.bulk.take() {
            self.client.connection().send_stream(id).reset(VarInt::from_u32(0)).expect("bulk is open");
        }
        while !self.asked.is_empty() {
            self.step(self.now + lasting);
        }
        (received, std::mem::take(&mut self.answered))
    }

    /// Bulk both ways for so long: the bytes that arrived, there and back.
    pub(super) fn both_ways(&mut self, lasting: Duration) -> (u64, u64) {
        let before = (self.received, self.received_back);
        self.bulk = self.client.connection().streams().open(Dir::Uni);
        self.bulk_back = self.server.connection().streams().open(Dir::Uni);
        self.run(lasting);
        (self.received - before.0, self.received_back - before.1)
    }

    fn ask(&mut self) {
        let id = self.client.connection().streams().open(Dir::Bi).expect("there is room for a stream");
        let mut stream = self.client.connection().send_stream(id);
        stream.set_priority(1).expect("the stream is open");
        assert_eq!(stream.write(&[7; REQUEST]).expect("it is taken"), REQUEST);
        stream.finish().expect("the stream is open");
        self.asked.push((id, self.now));
    }

    fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.now < end {
            self.step(end);
        }
    }

    /// What happens now, and on to when something happens next, at the latest.
    fn step(&mut self, latest: Instant) {
        if self.server.awake <= self.now {
            while let Some(packet) = self.there.arrived(self.now) {
                self.server.receive(self.now, &packet, &mut self.back);
            }
            if self.server.timer().is_some_and(|at| self.tick(at) <= self.now) {
                self.server.connection().handle_timeout(self.now);
            }
            self.serve();
            fill(&mut self.server, self.bulk_back);
            self.server.send(self.now, &mut self.back);
            self.server.awake = self.there.awake(self.now);
        }
        if self.client.awake <= self.now {
            while let Some(packet) = self.back.arrived(self.now) {
                self.client.receive(self.now, &packet, &mut self.there);
            }
            if self.client.timer().is_some_and(|at| self.tick(at) <= self.now) {
                self.client.connection().handle_timeout(self.now);
            }
            fill(&mut self.client, self.bulk);
            self.read();
            self.client.send(self.now, &mut self.there);
            self.client.awake = self.back.awake(self.now);
        }
        let next = |end: &End, wire: &Wire| {
            let at = end.timer().map(|at| self.tick(at)).into_iter().chain(wire.next()).min();
            at.map(|at| at.max(end.awake))
        };
        let next = next(&self.client, &self.back).into_iter().chain(next(&self.server, &self.there)).min();
        self.now = next.unwrap_or(latest).min(latest).max(self.now);
    }

    /// When a timer for `at` fires.
    fn tick(&self, at: Instant) -> Instant {
        let ticks = at.saturating_duration_since(self.begun).as_nanos().div_ceil(TICK.as_nanos());
        self.begun + TICK * u32::try_from(ticks).expect("a simulation ends within weeks")
    }

    /// The server reads what there is and answers requests.
    fn serve(&mut self) {
        let Some((_, server)) = &mut self.server.connection else { return };
        for dir in [Dir::Uni, Dir::Bi] {
            while let Some(id) = server.streams().accept(dir) {
                self.server.open.push(id);
            }
        }
        let mut open = std::mem::take(&mut self.server.open);
        open.retain(|id| {
            let (bytes, ended) = read(server, *id);
            self.received += if id.dir() == Dir::Uni { bytes } else { 0 };
            if ended && id.dir() == Dir::Bi {
                let mut stream = server.send_stream(*id);
                assert_eq!(stream.write(&[9; REQUEST]).expect("it is taken"), REQUEST);
                stream.finish().expect("the stream is open");
            }
            !ended
        });
        self.server.open = open;
    }

    /// The client reads what there is.
    fn read(&mut self) {
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
        let (now, client, answered) = (self.now, &mut self.client, &mut self.answered);
        self.asked.retain(|(id, asked)| {
            let (_, ended) = read(client.connection(), *id);
            if ended {
                answered.push(now - *asked);
            }
            !ended
        });
    }
}

/// One direction of a link.
struct Wire {
    link: Link,
    free: Instant,
    random: u64,
    number: u64,
    on_the_way: BTreeMap<(Instant, u64), Vec<u8>>,
}

impl Wire {
    fn new(link: Link, now: Instant, seed: u64) -> Self {
        Self { link, free: now, random: seed, number: 0, on_the_way: BTreeMap::new() }
    }

    fn send(&mut self, now: Instant, packet: &[u8]) {
        self.free = self.free.max(now);
        if self.free - now > self.link.queue {
            return;
        }
        let bits = (packet.len() as u64 + HEADERS) * 8;
        self.free += Duration::from_nanos(bits * 1_000_000_000 / self.link.rate);
        if self.random() < self.link.loss {
            return;
        }
        self.number += 1;
        self.on_the_way.insert((self.free + self.link.round_trip / 2, self.number), packet.to_vec());
    }

    fn random(&mut self) -> f64 {
        // Knuth's linear congruential generator.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((self.random >> 32) as u32) / f64::from(u32::MAX)
    }

    /// When the end that reads from here looks again.
    fn awake(&mut self, now: Instant) -> Instant {
        let (most, every) = self.link.held_up;
        if every == 0 || self.random() * f64::from(every) >= 1.0 {
            return now;
        }
        now + most.mul_f64(self.random())
    }

    fn next(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next().filter(|at| *at <= now)?;
        self.on_the_way.pop_first().map(|(_, packet)| packet)
    }
}

/// An end of the connection.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    peer: SocketAddr,
    /// It does nothing until then.
    awake: Instant,
    /// Streams of the peer that are read.
    open: Vec<StreamId>,
}

impl End {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().expect("there is a connection").1
    }

    fn receive(&mut self, now: Instant, packet: &[u8], out: &mut Wire) {
        let (path, mut answer) = (FourTuple::new(self.peer, None), Vec::new());
        match self.endpoint.handle(now, path, None, BytesMut::from(packet), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut answer, None);
                self.connection = Some(accepted.map_err(|error| error.cause).expect("the connection is accepted"));
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.connection().handle_event(event),
            Some(DatagramEvent::Response(transmit)) => put(now, &transmit, &answer, out),
            None => {}
        }
    }

    fn send(&mut self, now: Instant, out: &mut Wire) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut packets = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, AT_ONCE, &mut packets) {
            put(now, &transmit, &packets, out);
            packets.clear();
        }
        while connection.poll().is_some() {}
    }

    fn timer(&self) -> Option<Instant> {
        self.connection.as_ref().and_then(|(_, connection)| connection.poll_timeout())
    }
}

/// Writes as much as there is room for.
fn fill(end: &mut End, bulk: Option<StreamId>) {
    let Some(id) = bulk else { return };
    let mut stream = end.connection().send_stream(id);
    while stream.write(&[0; 64 * 1024]).is_ok() {}
}

fn put(now: Instant, transmit: &Transmit, packets: &[u8], out: &mut Wire) {
    let packets = &packets[..transmit.size];
    for packet in packets.chunks(transmit.segment_size.unwrap_or(transmit.size)) {
        out.send(now, packet);
    }
}

/// How many bytes there were, and whether the stream has ended.
fn read(connection: &mut Connection, id: StreamId) -> (u64, bool) {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return (0, true) };
    let mut bytes = 0;
    let ended = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => bytes += chunk.bytes.len() as u64,
            Ok(None) | Err(noq_proto::ReadError::Reset(_)) => break true,
            Err(noq_proto::ReadError::Blocked) => break false,
        }
    };
    // What it would have sent is sent anyway.
    let _ = chunks.finalize();
    (bytes, ended)
}

/// A client that connects, and its server.
fn ends(now: Instant, seed: u64, factory: Arc<dyn ControllerFactory + Send + Sync>) -> (End, End) {
    // Signatures of these keys have one length: the packets of two runs have the same sizes.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = rcgen::CertificateParams::new(["peer".to_owned()]).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate").der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate with its key");
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(crate::limits::Limits::STREAM_WINDOW))
        .send_window(crate::endpoint::SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(10_000))
        .max_concurrent_uni_streams(VarInt::from_u32(10_000))
        .congestion_controller_factory(factory);
    let transport = Arc::new(transport);
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).expect("a client")));
    client.transport_config(Arc::clone(&transport));
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).expect("a server")));
    server.transport_config(transport);
    let mut config = EndpointConfig::default();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    config.rng_seed(Some(bytes));
    let config = Arc::new(config);
    let addr = |last| SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 1));
    let end = |server, peer| End {
        endpoint: Endpoint::new(Arc::clone(&config), server, true),
        connection: None,
        peer: addr(peer),
        awake: now,
        open: Vec::new(),
    };
    let (mut one, other) = (end(None, 2), end(Some(Arc::new(server)), 1));
    one.connection = Some(one.endpoint.connect(now, client, addr(2), "peer").expect("a connection is begun"));
    (one, other)
}
