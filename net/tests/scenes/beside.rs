//! Protocols of others on the iroh endpoint of this library's endpoint (invariant 23).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use iroh::{
    EndpointAddr,
    endpoint::{Accepting, Connection},
    protocol::{AcceptError, ProtocolHandler},
};
use twolane::{AlsoAcceptError, BindError, Endpoint, Limits, SecretKey};

use crate::{
    limits::two_handshakes,
    stage::{BRIEF, PATIENCE, echo, endpoint, endpoint_with, limits, raw, raw_ticket, serve_echo, soon, until},
};

/// The ALPN of [`Greeter`].
pub(crate) const HELLO: &[u8] = b"hello/1";

/// A protocol of others: says hello on every connection, and keeps it until the peer closes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeter {
    pub(crate) ended: Arc<AtomicUsize>,
}

impl ProtocolHandler for Greeter {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let mut stream = connection.open_uni().await?;
        stream.write_all(b"hello").await.map_err(AcceptError::from_err)?;
        stream.finish()?;
        connection.closed().await;
        Ok(())
    }

    async fn shutdown(&self) {
        self.ended.fetch_add(1, SeqCst);
    }
}

/// Returns a connection on which a [`Greeter`] has said hello.
pub(crate) async fn greeted(from: &iroh::Endpoint, to: EndpointAddr) -> Connection {
    let connection = soon(from.connect(to, HELLO)).await.unwrap();
    let mut stream = soon(connection.accept_uni()).await.unwrap();
    assert_eq!(soon(stream.read_to_end(100)).await.unwrap(), b"hello");
    connection
}

#[tokio::test]
async fn another_protocol_is_accepted_beside_this_one_and_both_have_one_key_and_one_socket() {
    let early = Endpoint::builder().offline().limits(limits()).also_accept(HELLO, Greeter::default());
    for server in [early.bind().await.unwrap(), endpoint().await] {
        // At the second one it is added later.
        let added = server.also_accept(HELLO, Greeter::default());
        assert!(matches!(added, Ok(()) | Err(AlsoAcceptError::Taken { .. })), "{added:?}");
        serve_echo(&server);
        let client = endpoint().await;
        echo(&client, &server, b"this one").await;
        let connection = greeted(client.iroh(), server.ticket().to_addr()).await;
        echo(&client, &server, b"this one").await;
        assert_eq!(connection.remote_id().as_bytes(), server.id().as_bytes());
        assert_eq!((server.peers().len(), server.peers()[0].connections), (1, 1));
        assert_eq!(server.iroh().bound_sockets().len(), 1);
    }
}

#[tokio::test]
async fn a_protocol_that_cannot_be_accepted_is_an_error_that_says_why() {
    let server = endpoint().await;
    let add = |alpn: &[u8]| server.also_accept(alpn, Greeter::default()).unwrap_err();
    let taken = |alpn: &str| AlsoAcceptError::Taken { alpn: alpn.into() };
    for alpn in Endpoint::ALPNS {
        assert_eq!(add(alpn), taken(str::from_utf8(alpn).unwrap()));
    }
    server.also_accept(HELLO, Greeter::default()).unwrap();
    assert_eq!(add(HELLO), taken("hello/1"));
    assert_eq!(add(b""), AlsoAcceptError::Length { len: 0 });
    assert_eq!(add(&[1; 256]), AlsoAcceptError::Length { len: 256 });
    soon(server.shutdown(PATIENCE)).await;
    assert_eq!(add(b"late/1"), AlsoAcceptError::ShuttingDown);
    let twice = Endpoint::builder().offline().also_accept(HELLO, Greeter::default());
    let twice = twice.also_accept(HELLO, Greeter::default()).bind().await;
    assert!(matches!(&twice, Err(BindError::AlsoAccept(AlsoAcceptError::Taken { .. }))), "{twice:?}");
}

#[tokio::test]
async fn handlers_of_other_protocols_are_told_once_that_the_endpoint_ends_and_their_connections_end_with_it() {
    let greeter = Greeter::default();
    let (server, client) = (endpoint().await, endpoint().await);
    server.also_accept(HELLO, greeter.clone()).unwrap();
    let connection = greeted(client.iroh(), server.ticket().to_addr()).await;
    let report = soon(server.shutdown(PATIENCE)).await;
    assert_eq!((greeter.ended.load(SeqCst), report.tasks_left), (1, 0), "{report:?}");
    soon(connection.closed()).await;
    // Closing the iroh endpoint ends them as well, and so does dropping the last handle.
    let server = endpoint().await;
    server.also_accept(HELLO, greeter.clone()).unwrap();
    soon(server.iroh().close()).await;
    until(|| greeter.ended.load(SeqCst) == 2).await;
    let server = endpoint().await;
    server.also_accept(HELLO, greeter.clone()).unwrap();
    drop(server);
    until(|| greeter.ended.load(SeqCst) == 3).await;
}

/// Opens streams to the other side of a connection, more than this library allows its own peers.
async fn open_streams(connection: &Connection) {
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(soon(connection.open_uni()).await.unwrap());
    }
}

#[tokio::test]
async fn a_peer_of_another_protocol_may_open_as_many_streams_as_iroh_allows() {
    let (server, client) = (endpoint().await, endpoint().await);
    server.also_accept(HELLO, Greeter::default()).unwrap();
    open_streams(&greeted(client.iroh(), server.ticket().to_addr()).await).await;
    // The same holds where this side dials.
    let stranger = raw(&SecretKey::generate()).await;
    let dialling = client.iroh().connect(raw_ticket(&stranger).to_addr(), twolane::ALPN);
    let accepting = async { stranger.accept().await.unwrap().await.unwrap() };
    let (dialled, accepted) = soon(async { tokio::join!(dialling, accepting) }).await;
    open_streams(&accepted).await;
    drop(dialled);
}

/// A handler with a fault.
#[derive(Debug)]
struct Faulty;

impl ProtocolHandler for Faulty {
    async fn accept(&self, _: Connection) -> Result<(), AcceptError> {
        panic!("this handler has a fault");
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_of_another_protocol_costs_its_connection_alone() {
    let (server, client) = (endpoint().await, endpoint().await);
    server.also_accept(b"faulty/1", Faulty).unwrap();
    server.also_accept(HELLO, Greeter::default()).unwrap();
    serve_echo(&server);
    echo(&client, &server, b"before").await;
    let connection = soon(client.iroh().connect(server.ticket().to_addr(), b"faulty/1")).await.unwrap();
    soon(connection.closed()).await;
    echo(&client, &server, b"after").await;
    greeted(client.iroh(), server.ticket().to_addr()).await;
}

/// A handler that does everything within the handshake, which iroh allows, and never ends.
#[derive(Debug)]
struct Endless;

impl ProtocolHandler for Endless {
    async fn on_accepting(&self, accepting: Accepting) -> Result<Connection, AcceptError> {
        let connection = accepting.await?;
        connection.closed().await;
        Ok(connection)
    }

    async fn accept(&self, _: Connection) -> Result<(), AcceptError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_stays_in_the_handshake_gives_its_place_back_in_time() {
    let limits = Limits { hello_timeout: BRIEF, ..two_handshakes() };
    let (server, client) = (endpoint_with(limits).await, endpoint().await);
    server.also_accept(b"endless/1", Endless).unwrap();
    serve_echo(&server);
    let mut connections = Vec::new();
    for _ in 0..2 {
        let connecting = client.iroh().connect(server.ticket().to_addr(), b"endless/1");
        connections.push(soon(connecting).await.unwrap());
    }
    // Both places of this address are taken, until the timeout of a handshake.
    let late = endpoint().await;
    soon(async { while late.connect(server.ticket()).await.is_err() {} }).await;
    assert!(connections.iter().all(|connection| connection.close_reason().is_none()), "a handler was cut");
}
