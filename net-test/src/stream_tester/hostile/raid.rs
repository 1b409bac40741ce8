//! The tools of the attacks: hostile peers on raw iroh, which do not keep to the protocol.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iroh::{
    EndpointAddr,
    endpoint::{
        ConnectError, ConnectingError, Connection, ConnectionError, QuicTransportConfig, ReadError, ReadToEndError,
        RecvStream, ResetError, SendStream, VarInt, WriteError,
    },
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use twolane::SecretKey;

use super::{
    tally::{self, Tally},
    victim::ECHO,
};
use crate::wire::{self, bound, parameter};

/// Maximum time to wait for anything that an attack needs from the endpoint under attack.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum time to close an endpoint. An established connection is closed in 100 ms. There is nothing to wait for
/// on a connection that was not established.
const CLOSE: Duration = Duration::from_millis(500);
/// A write that makes no progress for this long is held up by flow control. On loopback a packet takes under 1 ms.
pub const STALLED: Duration = Duration::from_millis(300);
/// The period of a [`Pace`]. tokio's clock has a resolution of 1 ms.
const BEAT: Duration = Duration::from_millis(10);
/// The limits in the HELLO of a hostile peer.
pub const LIMITS: [(u64, u64); 2] = [(parameter::DATA_LANES, 256), (parameter::METADATA, bound::METADATA)];

/// An attack. It runs until it is dropped, or until it cannot go on.
pub type Attack = fn(Arc<Raid>) -> Pin<Box<dyn Future<Output = Going<Infallible>> + Send>>;

pub type Lane = (SendStream, RecvStream);

/// The state of one attack, from its start to its end.
#[derive(Debug)]
pub struct Raid {
    pub target: EndpointAddr,
    pub tally: Tally,
    /// Cancelled when the attack has reached its full strength.
    pub ready: CancellationToken,
    endpoints: Mutex<Vec<iroh::Endpoint>>,
}

/// The reason why an attack cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("a peer cannot be made: {0}")]
    Local(String),
    #[error("a socket cannot be used")]
    Socket(#[from] io::Error),
    #[error("no connection")]
    Connect(#[from] Box<ConnectError>),
    #[error("the connection ended")]
    Lost(#[from] ConnectionError),
    #[error("a lane could not be written")]
    Write(#[from] WriteError),
    #[error("a lane could not be read")]
    Read(#[from] ReadError),
    #[error("a lane did not end as it should")]
    End(#[from] ReadToEndError),
    #[error("a lane was not reset")]
    Reset(#[from] ResetError),
    #[error("a task broke off")]
    Task(#[from] JoinError),
    #[error("{what} within {PATIENCE:?}")]
    TimedOut { what: &'static str },
    #[error("{0}")]
    Wrong(String),
}

pub type Going<T> = Result<T, Trouble>;

impl Raid {
    pub fn new(target: EndpointAddr) -> Self {
        Self { target, tally: Tally::default(), ready: CancellationToken::new(), endpoints: Mutex::default() }
    }

    /// Makes a hostile peer with a key of its own.
    pub async fn peer(&self) -> Going<iroh::Endpoint> {
        self.peer_with(SecretKey::generate(), None).await
    }

    /// Makes a hostile peer. `window` is the receive window of its streams in bytes.
    pub async fn peer_with(&self, key: SecretKey, window: Option<u32>) -> Going<iroh::Endpoint> {
        self.peer_at("127.0.0.1:0", key, window).await
    }

    /// Makes a hostile peer at the given address of this machine.
    pub async fn peer_at(&self, addr: &str, key: SecretKey, window: Option<u32>) -> Going<iroh::Endpoint> {
        let endpoint = bind(addr, key, window).await?;
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).push(endpoint.clone());
        Ok(endpoint)
    }

    /// Makes a connection, and sends nothing on it.
    pub async fn connect(&self, peer: &iroh::Endpoint) -> Going<Connection> {
        let connecting = peer.connect(self.target.clone(), twolane::ALPN);
        Ok(soon(connecting, "no connection was made").await?.map_err(Box::new)?)
    }

    /// Makes a connection of a new peer, and sends HELLO on its control stream.
    pub async fn greeted(&self) -> Going<(Connection, SendStream)> {
        self.greet(&self.peer().await?).await
    }

    pub async fn greet(&self, peer: &iroh::Endpoint) -> Going<(Connection, SendStream)> {
        let connection = self.connect(peer).await?;
        let control = say_hello(&connection, rand::random()).await?;
        Ok((connection, control))
    }

    /// Waits until the other side closes a connection, and counts its code.
    pub async fn closed(&self, connection: &Connection) -> Going<()> {
        let closed = soon(connection.closed(), "the connection was not closed").await?;
        self.tally.one(&tally::closed(&closed));
        Ok(())
    }

    /// Counts a connection that the other side closed. Any other trouble is returned.
    pub fn turned_away(&self, trouble: Trouble) -> Going<()> {
        self.tally.one(&tally::closed(&trouble.into_end()?));
        Ok(())
    }

    /// Checks that the connection is served like any other: one byte is echoed on a stream of its own.
    pub async fn is_served(&self, connection: &Connection) -> Going<()> {
        let (mut send, _recv) = served(open(connection).await?, b"a").await?;
        let _ = send.finish();
        self.tally.one("served");
        Ok(())
    }

    /// Opens lanes on one connection at the given rate, writes `bytes` of the lane's number on each, and counts the
    /// answers. After every 100 lanes, checks that a stream is served.
    pub async fn flood(
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
            let (mut send, mut recv) = open(connection).await?;
            let (raid, bytes) = (Arc::clone(self), bytes(n));
            self.tally.add("bytes", bytes.len() as u64);
            under_way.spawn(async move {
                // The lane may be stopped before all bytes are written.
                let _ = send.write_all(&bytes).await;
                raid.tally.one(&told(&mut recv).await);
            });
            while under_way.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Opens as many lanes as `expected` has answers, waits for the answer of each, and compares the counts.
    /// Repeats this without an end. A round whose lanes took longer to open than `within` is not compared, because
    /// timeouts have answered a part of it.
    pub async fn rounds(
        self: &Arc<Self>,
        connection: &Connection,
        bytes: &[u8],
        within: Duration,
        expected: &[(&str, u64)],
    ) -> Going<Infallible> {
        let expected: BTreeMap<_, _> = expected.iter().map(|(told, count)| ((*told).to_owned(), *count)).collect();
        loop {
            let (started, mut lanes) = (Instant::now(), JoinSet::new());
            for _ in 0..expected.values().sum() {
                let (mut send, mut recv) = open(connection).await?;
                send.write_all(bytes).await?;
                // The writing half stays open until the other half has ended.
                lanes.spawn(async move { (told(&mut recv).await, send) });
            }
            let late = started.elapsed() > within;
            self.ready.cancel();
            let mut found = BTreeMap::new();
            while let Some(lane) = soon(lanes.join_next(), "a lane was told nothing").await? {
                let (told, _send) = lane?;
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

    /// Writes until flow control stops it, and returns the number of bytes.
    pub async fn fill(&self, send: &mut SendStream) -> Going<u64> {
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

    /// Closes every connection.
    pub async fn close(&self) {
        let endpoints = std::mem::take(&mut *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closing = JoinSet::new();
        for endpoint in endpoints {
            closing.spawn(async move { timeout(CLOSE, endpoint.close()).await });
        }
        while closing.join_next().await.is_some() {}
    }
}

/// Binds an endpoint of raw iroh on `addr`, without relays. `window` is the receive window of its streams in bytes.
pub async fn bind(addr: &str, key: SecretKey, window: Option<u32>) -> Going<iroh::Endpoint> {
    let local = |error: &dyn std::error::Error| Trouble::Local(error.to_string());
    let mut transport = QuicTransportConfig::builder();
    if let Some(window) = window {
        transport = transport.stream_receive_window(VarInt::from_u32(window));
    }
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .secret_key(iroh::SecretKey::from_bytes(&key.to_bytes()))
        .relay_mode(iroh::RelayMode::Disabled)
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .transport_config(transport.build())
        .clear_ip_transports()
        .bind_addr(addr)
        .map_err(|error| local(&error))?;
    builder.alpns(vec![twolane::ALPN.to_vec()]).bind().await.map_err(|error| local(&error))
}

impl Trouble {
    /// Returns the error that ended the connection, if that is the trouble.
    pub fn connection_error(&self) -> Option<&ConnectionError> {
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

    pub fn into_end(self) -> Going<ConnectionError> {
        self.connection_error().cloned().ok_or(self)
    }
}

/// Opens the control stream, and sends HELLO on it.
pub async fn say_hello(connection: &Connection, nonce: [u8; 16]) -> Going<SendStream> {
    let mut control = connection.open_uni().await?;
    control.write_all(&wire::greeting(nonce, &LIMITS)).await?;
    Ok(control)
}

pub async fn open(connection: &Connection) -> Going<Lane> {
    Ok(soon(connection.open_bi(), "no lane was free").await??)
}

/// Has a new lane accepted by [`ECHO`], writes `body`, and reads it back.
pub async fn served((mut send, mut recv): Lane, body: &[u8]) -> Going<Lane> {
    let asking = async {
        send.write_all(&[&wire::header(ECHO, b"")[..], body].concat()).await?;
        accepted(&mut recv).await?;
        read_exactly(&mut recv, body).await
    };
    soon(asking, "a stream was not served").await??;
    Ok((send, recv))
}

/// Returns the name of the answer on a lane, or of the code with which the lane was reset.
pub async fn told(recv: &mut RecvStream) -> String {
    let mut first = [0];
    match recv.read(&mut first).await {
        Ok(Some(_)) if u64::from(first[0]) == wire::answer::BUSY => {
            // The text names the limit.
            let text = recv.read_to_end(2_048).await.unwrap_or_default();
            tally::busy(&String::from_utf8_lossy(&text)).to_owned()
        }
        Ok(Some(_)) => tally::answer(first[0].into()),
        Ok(None) => "lane_finished".to_owned(),
        Err(ReadError::Reset(code)) => tally::lane(code),
        Err(_) => "lane_lost".to_owned(),
    }
}

/// Reads an answer of code 0, with any parameters.
pub async fn accepted(recv: &mut RecvStream) -> Going<()> {
    let mut first = [0; 2];
    recv.read_exact(&mut first).await.map_err(|error| Trouble::Wrong(format!("no answer: {error}")))?;
    // The length has one byte, because the parameters of the endpoint's answer are short.
    let [code, len @ 0..0x40] = first else {
        return Err(Trouble::Wrong(format!("{first:?} in place of an answer")));
    };
    let mut parameters = vec![0; len.into()];
    recv.read_exact(&mut parameters).await.map_err(|error| Trouble::Wrong(format!("half an answer: {error}")))?;
    if u64::from(code) == wire::answer::ACCEPTED { Ok(()) } else { Err(Trouble::Wrong(format!("answer {code}"))) }
}

/// Reads as many bytes as expected, and compares them.
pub async fn read_exactly(recv: &mut RecvStream, expected: &[u8]) -> Going<()> {
    let mut found = Vec::new();
    while found.len() < expected.len() {
        match recv.read_chunk(expected.len() - found.len()).await? {
            Some(chunk) => found.extend_from_slice(&chunk),
            None => break,
        }
    }
    if found == expected { Ok(()) } else { Err(Trouble::Wrong(format!("{found:?} was read in place of {expected:?}"))) }
}

/// Waits for at most [`PATIENCE`].
pub async fn soon<F: Future>(future: F, what: &'static str) -> Going<F::Output> {
    timeout(PATIENCE, future).await.map_err(|_| Trouble::TimedOut { what })
}

/// A rate in turns a second. Missed turns are not made up for, so the rate is a maximum.
#[derive(Debug)]
pub struct Pace {
    beat: Interval,
    each: u32,
    left: u32,
}

impl Pace {
    /// Makes a pace. `turns` is a multiple of 100.
    pub fn per_second(turns: u32) -> Self {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { beat, each: (turns / 100).max(1), left: 0 }
    }

    pub async fn turn(&mut self) {
        if self.left == 0 {
            self.beat.tick().await;
            self.left = self.each;
        }
        self.left -= 1;
    }
}
