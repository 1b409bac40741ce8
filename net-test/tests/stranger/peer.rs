//! The stranger: one connection to an endpoint, its control streams, and the streams on it.

use std::net::SocketAddr;

use quinn::{ApplicationClose, Connection, ConnectionError, SendStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use twolane::{Endpoint, PublicKey, Ticket};

use crate::{
    reader::{Reader, soon},
    tls::{DATA_LANES, Identity, peer_of},
    wire::{self, Hello, Out, answer, bound, frame, kind, limit},
};

/// The nonce of a stranger that has been started once.
pub(crate) const NONCE: [u8; 16] = *b"a stranger's one";

/// An endpoint on loopback that knows nobody.
pub(crate) async fn endpoint() -> Endpoint {
    let bound = Endpoint::builder().offline().bind().await;
    bound.expect("an endpoint on loopback")
}

/// Where an endpoint listens.
fn address(endpoint: &Endpoint) -> SocketAddr {
    *endpoint.iroh().bound_sockets().first().expect("a socket on loopback")
}

/// The stranger's socket: client and server at once.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) identity: Identity,
    quic: quinn::Endpoint,
}

/// A connection on which both sides have said HELLO.
#[derive(Debug)]
pub(crate) struct Stranger {
    pub(crate) connection: Connection,
    /// What this side says on its control stream.
    pub(crate) control: SendStream,
    /// What the endpoint says on its own.
    pub(crate) frames: Reader,
    pub(crate) hello: Hello,
    /// Bidirectional streams that this side has opened, and accepted.
    pub(crate) opened: u64,
    pub(crate) accepted: u64,
    /// Keeps the socket.
    _socket: Socket,
}

impl Socket {
    pub(crate) fn new(seed: u8) -> Self {
        let identity = Identity::new([seed; 32]);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let quic = quinn::Endpoint::server(identity.server(), loopback).expect("a socket");
        Self { identity, quic }
    }

    pub(crate) fn id(&self) -> PublicKey {
        PublicKey::from_bytes(&self.identity.public()).expect("a key")
    }

    pub(crate) fn ticket(&self) -> Ticket {
        let address = self.quic.local_addr().expect("a bound socket");
        Ticket::new(self.id()).with_addr(address)
    }

    /// The QUIC handshake, and nothing else.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Connection {
        let config = self.identity.client(endpoint.id().to_bytes());
        let connecting = self.quic.connect_with(config, address(endpoint), "unused.invalid");
        let connected = soon("a handshake", connecting.expect("a dial")).await;
        let connection = connected.expect("a connection");
        assert_eq!(peer_of(&connection), endpoint.id().to_bytes());
        connection
    }

    /// A connection with the stranger's HELLO on it.
    pub(crate) async fn dial(&self, endpoint: &Endpoint, nonce: [u8; 16]) -> Stranger {
        self.dial_with(endpoint, &greeting(nonce)).await
    }

    /// The same, with first words of one's own.
    pub(crate) async fn dial_with(&self, endpoint: &Endpoint, greeting: &[u8]) -> Stranger {
        self.greet(self.connect(endpoint).await, greeting).await
    }

    /// The next connection that an endpoint dials.
    pub(crate) async fn accept(&self, nonce: [u8; 16]) -> Stranger {
        self.accept_with(&greeting(nonce)).await
    }

    /// The same, with first words of one's own.
    pub(crate) async fn accept_with(&self, greeting: &[u8]) -> Stranger {
        let incoming = soon("a dial", self.quic.accept()).await;
        let incoming = incoming.expect("the socket is open");
        let connection = soon("a handshake", incoming.into_future()).await.expect("a connection");
        self.greet(connection, greeting).await
    }

    async fn greet(&self, connection: Connection, greeting: &[u8]) -> Stranger {
        let control = say_first(&connection, greeting).await;
        let frames = soon("a control stream", connection.accept_uni()).await;
        let mut frames = Reader(frames.expect("the control stream comes first"));
        let hello = frames.hello().await;
        Stranger { connection, control, frames, hello, opened: 0, accepted: 0, _socket: self.clone() }
    }
}

/// Opens a unidirectional stream with these bytes on it.
pub(crate) async fn say_first(connection: &Connection, bytes: &[u8]) -> SendStream {
    let opened = soon("a unidirectional stream", connection.open_uni()).await;
    let mut control = opened.expect("the connection is open");
    soon("a write", control.write_all(bytes)).await.expect("the connection is open");
    control
}

/// The first bytes of the stranger's control stream.
pub(crate) fn greeting(nonce: [u8; 16]) -> Vec<u8> {
    let limits = [(limit::DATA_LANES, DATA_LANES), (limit::METADATA, bound::METADATA)];
    let hello = wire::hello(wire::VERSION, nonce, &limits);
    Out::default().varint(kind::CONTROL).raw(&hello).0
}

/// How the endpoint closed the connection.
pub(crate) async fn close_code(connection: &Connection) -> u64 {
    match soon("CONNECTION_CLOSE", connection.closed()).await {
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) => error_code.into_inner(),
        other => panic!("{other} in place of CONNECTION_CLOSE by the application"),
    }
}

impl Stranger {
    /// A stranger that has dialled an endpoint.
    pub(crate) async fn of(endpoint: &Endpoint) -> Self {
        Socket::new(7).dial(endpoint, NONCE).await
    }

    /// Writes to the control stream.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        soon("a write", self.control.write_all(bytes)).await.expect("the control stream is open");
    }

    /// Opens a bidirectional stream with these bytes on it.
    pub(crate) async fn open(&mut self, bytes: &[u8]) -> (SendStream, Reader) {
        let opened = soon("a stream", self.connection.open_bi()).await;
        let (mut send, recv) = opened.expect("the connection is open");
        self.opened += 1;
        write(&mut send, bytes).await;
        (send, Reader(recv))
    }

    /// Opens a data lane, and waits until it is accepted.
    pub(crate) async fn open_lane(&mut self, protocol: &str) -> (SendStream, Reader) {
        let (send, mut recv) = self.open(&wire::header(protocol, b"")).await;
        recv.accepted().await;
        (send, recv)
    }

    /// The next bidirectional stream that the endpoint opens.
    pub(crate) async fn accept(&mut self) -> (SendStream, Reader) {
        let accepted = soon("a stream of the endpoint", self.connection.accept_bi()).await;
        let (send, recv) = accepted.expect("the connection is open");
        self.accepted += 1;
        (send, Reader(recv))
    }

    /// Waits until everything that was sent before has been seen by the endpoint, and what it sent until then is here.
    /// (A header without a protocol is answered whatever the endpoint serves.)
    pub(crate) async fn round_trip(&mut self) {
        let (_send, mut recv) = self.open(&wire::header("", b"")).await;
        assert_eq!(recv.rejected().await, answer::MALFORMED);
    }

    /// Both control streams; what the endpoint says is read as it comes.
    pub(crate) fn frames_in_background(self) -> (SendStream, UnboundedReceiver<(u64, Vec<u64>)>) {
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

    /// The stranger's part in the end of a connection: GOAWAY is answered with GOAWAY, and DRAINED follows.
    pub(crate) async fn say_drained(&mut self) {
        let drained = wire::numbers(frame::DRAINED, &[self.opened, self.accepted]);
        self.say(&drained).await;
    }
}

/// Writes to a lane.
pub(crate) async fn write(send: &mut SendStream, bytes: &[u8]) {
    soon("a write", send.write_all(bytes)).await.expect("the lane is open");
}
