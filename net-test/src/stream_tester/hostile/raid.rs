//! What the attacks are written with: hostile peers on raw iroh, which does not keep to the protocol.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iroh::{
    EndpointAddr,
    endpoint::{
        ConnectError, ConnectingError, Connection, ConnectionError, QuicTransportConfig, ReadError, RecvStream,
        SendStream, WriteError,
    },
};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use twolane::SecretKey;

use super::{
    tally::{self, Tally},
    victim::ECHO,
    wire,
};

/// For whatever has to come from the endpoint under attack for the attack to go on.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long closing may take. A connection that was made is closed in 100 ms; one that was not waits for nothing.
const CLOSE: Duration = Duration::from_millis(500);
/// A write that makes no progress for this long is held up by flow control: on loopback a packet takes under 1 ms.
const STALLED: Duration = Duration::from_millis(300);
/// The answer BUSY (WIRE.md, section 6).
const BUSY: u8 = 3;
/// How often a [`Pace`] lets a bunch through. (The clock of tokio has a resolution of 1 ms.)
const BEAT: Duration = Duration::from_millis(10);

/// An attack: it runs until it is dropped, and ends by itself only with what broke it.
pub(super) type Attack = fn(Arc<Raid>) -> Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// One attack, from its start until it rests.
#[derive(Debug)]
pub(super) struct Raid {
    pub(super) target: EndpointAddr,
    pub(super) tally: Tally,
    /// The attack is as it is to stay.
    pub(super) ready: CancellationToken,
    endpoints: Mutex<Vec<iroh::Endpoint>>,
}

/// What keeps an attack from going on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("a peer cannot be made: {0}")]
    Local(String),
    #[error("no connection")]
    Connect(#[from] Box<ConnectError>),
    #[error("the connection ended")]
    Lost(#[from] ConnectionError),
    #[error("a lane could not be written: {0}")]
    Write(#[from] WriteError),
    #[error("a lane could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("{what} within {within:?}")]
    TimedOut { what: &'static str, within: Duration },
    #[error("{0}")]
    Wrong(String),
}

/// What an attack's steps return: it has no end but trouble.
pub(super) type Going<T> = Result<T, Trouble>;

impl Raid {
    pub(super) fn new(target: EndpointAddr) -> Self {
        Self { target, tally: Tally::default(), ready: CancellationToken::new(), endpoints: Mutex::default() }
    }

    /// A hostile peer with a key of its own.
    pub(super) async fn peer(&self) -> Going<iroh::Endpoint> {
        self.peer_with(SecretKey::generate(), QuicTransportConfig::builder().build()).await
    }

    pub(super) async fn peer_with(&self, key: SecretKey, transport: QuicTransportConfig) -> Going<iroh::Endpoint> {
        let endpoint = bind("127.0.0.1:0", key, transport).await?;
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).push(endpoint.clone());
        Ok(endpoint)
    }

    /// A connection on which nothing has been said.
    pub(super) async fn connect(&self, peer: &iroh::Endpoint) -> Going<Connection> {
        let connecting = timeout(PATIENCE, peer.connect(self.target.clone(), twolane::ALPN)).await;
        Ok(soon(connecting, "no connection was made")?.map_err(Box::new)?)
    }

    /// A connection on which HELLO was said. The stream is its control stream.
    pub(super) async fn greet(&self, peer: &iroh::Endpoint) -> Going<(Connection, SendStream)> {
        let connection = self.connect(peer).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&wire::greeting(&[])).await?;
        Ok((connection, control))
    }

    /// Waits for the other side to close a connection, and counts with what.
    pub(super) async fn closed(&self, connection: &Connection) -> Going<()> {
        let closed = soon(timeout(PATIENCE, connection.closed()).await, "the connection was not closed")?;
        self.tally.one(tally::closed(&closed));
        Ok(())
    }

    /// The same, with this and nothing else.
    pub(super) async fn closed_with(&self, connection: &Connection, what: &str, expected: &'static str) -> Going<()> {
        let closed = soon(timeout(PATIENCE, connection.closed()).await, "the connection was not closed")?;
        self.ended_with(&closed, what, expected)
    }

    pub(super) fn ended_with(&self, end: &ConnectionError, what: &str, expected: &'static str) -> Going<()> {
        let found = tally::closed(end);
        self.tally.one(found);
        if found == expected { Ok(()) } else { Err(Trouble::Wrong(format!("{what}: {found} in place of {expected}"))) }
    }

    /// Counts a connection that was not made because the other side closed it; anything else is trouble.
    pub(super) fn turned_away(&self, trouble: Trouble) -> Going<()> {
        match trouble.connection_error() {
            Some(error) => {
                self.tally.one(tally::closed(error));
                Ok(())
            }
            None => Err(trouble),
        }
    }

    /// One byte there and back, on a stream of its own: the connection is served as any other.
    pub(super) async fn is_served(&self, connection: &Connection) -> Going<()> {
        let asking = async {
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(&[wire::header(ECHO), vec![0x61]].concat()).await?;
            let _ = send.finish();
            read_exactly(&mut recv, &[0, 0x61]).await
        };
        soon(timeout(PATIENCE, asking).await, "a stream was not served")??;
        self.tally.one("served");
        Ok(())
    }

    /// Opens lanes on one connection at the given rate, each with `bytes` of its number, and counts what each is told.
    /// After every 100, a stream has to be served.
    pub(super) async fn flood(
        self: &Arc<Self>,
        connection: &Connection,
        per_second: u32,
        bytes: impl Fn(u64) -> Vec<u8>,
    ) -> Going<()> {
        let (mut pace, mut under_way) = (Pace::per_second(per_second), JoinSet::new());
        for n in 0.. {
            pace.turn().await;
            if n % 100 == 99 {
                self.is_served(connection).await?;
            }
            let (mut send, mut recv) = soon(timeout(PATIENCE, connection.open_bi()).await, "no lane was free")??;
            let (raid, bytes) = (Arc::clone(self), bytes(n));
            self.tally.add("bytes", bytes.len() as u64);
            under_way.spawn(async move {
                // It may be stopped before it is written.
                let _ = send.write_all(&bytes).await;
                raid.tally.one(told(&mut recv).await);
            });
            while under_way.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Opens so many lanes at once, waits until each has been told something, and does so again. What the lanes of a round
    /// are told has to be what is expected, no more and no less. Those of a round that took longer to open than `within`
    /// were told part of it by the clock, and are not compared.
    pub(super) async fn rounds(
        self: &Arc<Self>,
        connection: &Connection,
        bytes: &[u8],
        within: Duration,
        expected: &[(&'static str, u64)],
    ) -> Going<Infallible> {
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        loop {
            let (started, mut lanes) = (Instant::now(), JoinSet::new());
            for _ in 0..expected.values().sum() {
                let (mut send, mut recv) = soon(timeout(PATIENCE, connection.open_bi()).await, "no lane was free")??;
                send.write_all(bytes).await?;
                // The half that is written stays open until the other is over.
                lanes.spawn(async move { (told(&mut recv).await, send) });
            }
            let late = started.elapsed() > within;
            self.ready.cancel();
            let mut found = BTreeMap::new();
            while let Some(lane) = soon(timeout(PATIENCE, lanes.join_next()).await, "a lane was told nothing")? {
                let (told, _send) = lane.map_err(|broke| Trouble::Wrong(broke.to_string()))?;
                *found.entry(told).or_default() += 1;
            }
            if late {
                self.tally.one("rounds_late");
                continue;
            }
            if found != expected {
                return Err(Trouble::Wrong(format!("lanes were told {found:?} in place of {expected:?}")));
            }
            found.iter().for_each(|(told, count)| self.tally.add(told, *count));
        }
    }

    /// Writes until flow control has it wait. The answer is how many bytes went.
    pub(super) async fn fill(&self, send: &mut SendStream) -> Going<u64> {
        let (piece, mut taken) = (vec![0x61; 64 * 1024], 0);
        loop {
            match timeout(STALLED, send.write(&piece)).await {
                Ok(written) => taken += written? as u64,
                Err(_) => {
                    self.tally.one("lane_stalled");
                    return Ok(taken);
                }
            }
        }
    }

    /// Ends it all: every connection is closed.
    pub(super) async fn close(&self) {
        let endpoints = std::mem::take(&mut *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closing = JoinSet::new();
        for endpoint in endpoints {
            closing.spawn(async move { timeout(CLOSE, endpoint.close()).await });
        }
        while closing.join_next().await.is_some() {}
    }
}

/// An endpoint of iroh alone, on loopback.
pub(super) async fn bind(addr: &str, key: SecretKey, transport: QuicTransportConfig) -> Going<iroh::Endpoint> {
    let local = |error: &dyn std::error::Error| Trouble::Local(error.to_string());
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .secret_key(iroh::SecretKey::from_bytes(&key.to_bytes()))
        .relay_mode(iroh::RelayMode::Disabled)
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr(addr)
        .map_err(|error| local(&error))?;
    builder.alpns(vec![twolane::ALPN.to_vec()]).bind().await.map_err(|error| local(&error))
}

impl Trouble {
    /// How the connection ended, if that is the trouble.
    pub(super) fn connection_error(&self) -> Option<&ConnectionError> {
        match self {
            Self::Lost(error)
            | Self::Write(WriteError::ConnectionLost(error))
            | Self::Read(ReadError::ConnectionLost(error)) => Some(error),
            Self::Connect(error) => match &**error {
                ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. }
                | ConnectError::Connection { source, .. } => Some(source),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a lane is told: the code of the answer, or that of its reset.
pub(super) async fn told(recv: &mut RecvStream) -> &'static str {
    let mut first = [0];
    match recv.read(&mut first).await {
        Ok(Some(_)) if first[0] == BUSY => {
            // The text says at which limit.
            let text = recv.read_to_end(2_048).await.unwrap_or_default();
            tally::busy(&String::from_utf8_lossy(&text))
        }
        Ok(Some(_)) => tally::answer(first[0]),
        Ok(None) => "lane_finished",
        Err(ReadError::Reset(code)) => tally::lane(code.into_inner()),
        Err(_) => "lane_lost",
    }
}

/// Reads these bytes, and no others.
pub(super) async fn read_exactly(recv: &mut RecvStream, expected: &[u8]) -> Going<()> {
    let mut found = Vec::new();
    while found.len() < expected.len() {
        match recv.read_chunk(expected.len() - found.len()).await? {
            Some(chunk) => found.extend_from_slice(&chunk),
            None => break,
        }
    }
    if found == expected { Ok(()) } else { Err(Trouble::Wrong(format!("{found:?} was read in place of {expected:?}"))) }
}

/// What came of a wait for at most [`PATIENCE`].
pub(super) fn soon<T>(waited: Result<T, tokio::time::error::Elapsed>, what: &'static str) -> Going<T> {
    waited.map_err(|_| Trouble::TimedOut { what, within: PATIENCE })
}

/// So many turns a second. What was missed is not made up for: the rate is a maximum.
#[derive(Debug)]
pub(super) struct Pace {
    beat: Interval,
    each: u32,
    left: u32,
}

impl Pace {
    /// A multiple of 100.
    pub(super) fn per_second(turns: u32) -> Self {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { beat, each: (turns / 100).max(1), left: 0 }
    }

    pub(super) async fn turn(&mut self) {
        if self.left == 0 {
            self.beat.tick().await;
            self.left = self.each;
        }
        self.left -= 1;
    }
}
