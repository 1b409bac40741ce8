//! The stranger: a connection to an endpoint, with its control streams and lanes.

use std::net::SocketAddr;

use quinn::{ApplicationClose, ClientConfig, Connecting, Connection, ConnectionError, SendStream, ZeroRttAccepted};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    reader::{Reader, code, soon},
    tls::{DATA_LANES, Identity, peer_of},
};
use crate::wire::{self, Hello, answer, bound, close, frame, parameter};

pub const NONCE: [u8; 16] = *b"a stranger's one";

/// The address and key of a peer that can be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub addr: SocketAddr,
    pub key: [u8; 32],
}

/// A socket that serves both as client and as server.
#[derive(Debug, Clone)]
pub struct Socket {
    pub identity: Identity,
    quic: quinn::Endpoint,
}

/// A connection on which both sides have sent HELLO.
#[derive(Debug)]
pub struct Stranger {
    pub connection: Connection,
    /// The stranger's control stream.
    pub control: SendStream,
    /// The endpoint's control stream.
    pub frames: Reader,
    pub hello: Hello,
    /// The numbers of bidirectional streams that the stranger has opened and accepted.
    pub opened: u64,
    pub accepted: u64,
    /// Keeps the socket open.
    _socket: Socket,
}

impl Socket {
    pub fn new(seed: u8) -> Self {
        Self::of([seed; 32], SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn of(seed: [u8; 32], addr: SocketAddr) -> Self {
        let identity = Identity::new(seed);
        let quic = quinn::Endpoint::server(identity.server(), addr).expect("a socket");
        Self { identity, quic }
    }

    /// Binds a socket with a random key, on an address from which `target` can be reached.
    pub fn fresh(target: Target) -> Self {
        let any = match target.addr.ip() {
            ip if ip.is_loopback() => SocketAddr::new(ip, 0),
            std::net::IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
            std::net::IpAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
        };
        Self::of(rand::random(), any)
    }

    pub fn addr(&self) -> SocketAddr {
        self.quic.local_addr().expect("a bound socket")
    }

    /// Makes a QUIC handshake and sends nothing else.
    pub async fn connect(&self, target: impl Into<Target>) -> Connection {
        let target = target.into();
        let config = self.identity.client(target.key);
        let connecting = self.quic.connect_with(config, target.addr, "unused.invalid");
        let connected = soon("a handshake", connecting.expect("a dial")).await;
        let connection = connected.expect("a connection");
        assert_eq!(peer_of(&connection), target.key);
        connection
    }

    /// Makes a connection, and sends the stranger's HELLO on it.
    pub async fn dial(&self, target: impl Into<Target>, nonce: [u8; 16]) -> Stranger {
        self.dial_with(target, &greeting(nonce)).await
    }

    /// Makes a connection, and sends `greeting` on the stranger's control stream.
    pub async fn dial_with(&self, target: impl Into<Target>, greeting: &[u8]) -> Stranger {
        self.greet(self.connect(target).await, greeting).await
    }

    /// Accepts the next connection that an endpoint dials.
    pub async fn accept(&self, nonce: [u8; 16]) -> Stranger {
        self.accept_with(&greeting(nonce)).await
    }

    /// Accepts the next connection that an endpoint dials, and sends `greeting` on the stranger's control stream.
    pub async fn accept_with(&self, greeting: &[u8]) -> Stranger {
        let connection = self.accept_silently().await;
        self.greet(connection, greeting).await
    }

    /// Accepts the next connection that an endpoint dials, and sends nothing on it.
    pub async fn accept_silently(&self) -> Connection {
        let incoming = soon("a dial", self.quic.accept()).await;
        let incoming = incoming.expect("the socket is open");
        soon("a handshake", incoming.into_future()).await.expect("a connection")
    }

    async fn greet(&self, connection: Connection, greeting: &[u8]) -> Stranger {
        let control = say_first(&connection, greeting).await;
        // A stream of a reserved kind, which has no meaning.
        let _reserved = say_first(&connection, &[wire::varint(wire::grease::id()), vec![0xaa; 3]].concat()).await;
        let frames = soon("a control stream", connection.accept_uni()).await;
        let mut frames = Reader(frames.expect("the control stream comes first"));
        let hello = frames.hello().await;
        Stranger { connection, control, frames, hello, opened: 0, accepted: 0, _socket: self.clone() }
    }
}

/// A client that keeps its sessions.
#[derive(Debug)]
pub struct Returning {
    socket: Socket,
    target: Target,
    config: ClientConfig,
}

/// Returns the first bytes of the control stream of a client that numbers its dials.
pub fn greeting_of(nonce: [u8; 16], dial: u64) -> Vec<u8> {
    let parameters =
        [(parameter::DATA_LANES, DATA_LANES), (parameter::METADATA, bound::METADATA), (parameter::DIAL, dial)];
    wire::greeting(nonce, &parameters)
}

impl Returning {
    /// Makes a client that was connected to `target` before, and has two sessions from that.
    pub async fn to(socket: Socket, target: impl Into<Target>) -> Self {
        let target = target.into();
        let config = socket.identity.returning_client(target.key);
        let returning = Self { socket, target, config };
        let connected = soon("a handshake", returning.connecting(target.addr)).await;
        let mut stranger = returning.socket.greet(connected.expect("a connection"), &greeting(NONCE)).await;
        // The sessions come before the answer.
        stranger.round_trip().await;
        stranger.connection.close(code(close::DONE), b"");
        returning
    }

    /// Dials at `addr`, and returns the connection before the handshake is done: what is sent on it now travels with
    /// the first packets.
    pub fn dial_early(&self, addr: SocketAddr) -> (Connection, ZeroRttAccepted) {
        let connecting = self.connecting(addr);
        connecting.into_0rtt().unwrap_or_else(|_| panic!("no session is left"))
    }

    /// Opens a data lane, writes `bytes` on it and finishes it.
    pub async fn ask(connection: &Connection, bytes: &[u8]) -> Reader {
        let (mut send, recv) = soon("a stream", connection.open_bi()).await.expect("the connection is open");
        write(&mut send, bytes).await;
        send.finish().expect("the lane is open");
        Reader(recv)
    }

    fn connecting(&self, addr: SocketAddr) -> Connecting {
        let config = self.config.clone();
        self.socket.quic.connect_with(config, addr, "unused.invalid").expect("a dial")
    }
}

/// Opens a unidirectional stream, and writes `bytes` on it.
pub async fn say_first(connection: &Connection, bytes: &[u8]) -> SendStream {
    let opened = soon("a unidirectional stream", connection.open_uni()).await;
    let mut control = opened.expect("the connection is open");
    soon("a write", control.write_all(bytes)).await.expect("the connection is open");
    control
}

pub fn greeting(nonce: [u8; 16]) -> Vec<u8> {
    wire::greeting(nonce, &[(parameter::DATA_LANES, DATA_LANES), (parameter::METADATA, bound::METADATA)])
}

/// Waits until the endpoint closes the connection, and returns the code.
pub async fn close_code(connection: &Connection) -> u64 {
    match soon("CONNECTION_CLOSE", connection.closed()).await {
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) => error_code.into_inner(),
        other => panic!("{other} in place of CONNECTION_CLOSE by the application"),
    }
}

impl Stranger {
    /// Dials a peer, and returns the connection.
    pub async fn of(target: impl Into<Target>) -> Self {
        Socket::new(7).dial(target, NONCE).await
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        let bytes = [&wire::grease::frame()[..], bytes].concat();
        soon("a write", self.control.write_all(&bytes)).await.expect("the control stream is open");
    }

    /// Expects that the endpoint's next control frame has this type and these fields.
    pub async fn hears(&mut self, frame_type: u64, fields: &[u64]) {
        assert_eq!(self.frames.frame().await, (frame_type, fields.to_vec()));
    }

    /// Opens a bidirectional stream, and writes `bytes` on it.
    pub async fn open(&mut self, bytes: &[u8]) -> (SendStream, Reader) {
        let opened = soon("a stream", self.connection.open_bi()).await;
        let (mut send, recv) = opened.expect("the connection is open");
        self.opened += 1;
        write(&mut send, bytes).await;
        (send, Reader(recv))
    }

    /// Opens a data lane, and waits until it is accepted.
    pub async fn open_lane(&mut self, protocol: &str) -> (SendStream, Reader) {
        let (send, mut recv) = self.open(&wire::header(protocol, b"")).await;
        recv.accepted().await;
        (send, recv)
    }

    /// Opens a data lane that does what the metadata say (see [`CONFORM`](crate::conform::CONFORM)), and waits
    /// until it is accepted.
    pub async fn conform(&mut self, metadata: &[u8]) -> (SendStream, Reader) {
        let (send, mut recv) = self.open(&wire::header(crate::conform::CONFORM, metadata)).await;
        recv.accepted().await;
        (send, recv)
    }

    /// Opens an error lane, and writes `records` on it.
    pub async fn error_lane(&mut self, data_lane: u64, records: &[u8]) -> (SendStream, Reader) {
        self.open(&[&wire::error_lane(data_lane), records].concat()).await
    }

    /// Accepts the next bidirectional stream that the endpoint opens.
    pub async fn accept(&mut self) -> (SendStream, Reader) {
        let accepted = soon("a stream of the endpoint", self.connection.accept_bi()).await;
        let (send, recv) = accepted.expect("the connection is open");
        self.accepted += 1;
        (send, Reader(recv))
    }

    /// Accepts the endpoint's next stream, which must be a data lane, and answers ACCEPTED.
    pub async fn take(&mut self) -> (SendStream, Reader) {
        let (mut send, mut recv) = self.accept().await;
        recv.header().await;
        write(&mut send, &wire::accepted()).await;
        (send, recv)
    }

    /// Accepts the endpoint's next stream, which must be the error lane of `data_lane`.
    pub async fn accept_error_lane(&mut self, data_lane: &SendStream) -> (SendStream, Reader) {
        let (reverse, mut errors) = self.accept().await;
        assert_eq!(errors.error_lane().await, u64::from(data_lane.id()));
        (reverse, errors)
    }

    /// Waits until the endpoint has seen everything that was sent before, and its answers have arrived. The header
    /// has no protocol, so the endpoint answers it whatever protocols it serves.
    pub async fn round_trip(&mut self) {
        let (_send, mut recv) = self.open(&wire::header("", b"")).await;
        assert_eq!(recv.rejected().await, answer::MALFORMED);
    }

    /// Returns both control streams. A task reads the endpoint's frames as they come.
    pub fn frames_in_background(self) -> (SendStream, UnboundedReceiver<(u64, Vec<u64>)>) {
        let (heard, frames) = unbounded_channel();
        let Self { connection, control, frames: mut reader, .. } = self;
        tokio::spawn(async move {
            while !heard.is_closed() {
                tokio::select! {
                    frame = reader.frame() => drop(heard.send(frame)),
                    _ = connection.closed() => return,
                    () = heard.closed() => return,
                }
            }
        });
        (control, frames)
    }

    /// Sends DRAINED, the last frame before the end of a connection. GOAWAY was sent in both directions before.
    pub async fn say_drained(&mut self) {
        let drained = wire::numbers(frame::DRAINED, &[self.opened, self.accepted]);
        self.say(&drained).await;
    }
}

pub async fn write(send: &mut SendStream, bytes: &[u8]) {
    soon("a write", send.write_all(bytes)).await.expect("the lane is open");
}
