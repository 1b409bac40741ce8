//! The common parts of the scenes: endpoints on loopback, and a timeout on every wait.

use std::{future::Future, time::Duration};

use twolane::{Connection, Endpoint, Limits, Protocol, SecretKey, Ticket, XStream};

pub(crate) const ECHO: Protocol = Protocol::from_static("echo/1");
pub(crate) const CHAT: Protocol = Protocol::from_static("chat/1");

/// Maximum time for any wait of a scene. A scene that waits longer has failed. With all scenes on one core, and
/// four busy processes at the same time, the longest wait takes more than 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A timeout that a scene lets expire. The steps before it take milliseconds, and more than 0.3 s on that core.
pub(crate) const BRIEF: Duration = Duration::from_secs(3);

/// Returns the limits of a scene's endpoints. No timeout expires before [`PATIENCE`], so every event in a scene has
/// another cause, even on a slow machine. A scene about a timeout sets it.
pub(crate) fn limits() -> Limits {
    let never = Duration::from_secs(3600);
    Limits {
        connect_timeout: never,
        hello_timeout: never,
        header_timeout: never,
        access_timeout: never,
        open_timeout: never,
        accept_timeout: never,
        linger: never,
        error_timeout: never,
        idle_timeout: never,
        path_timeout: never,
        ..Limits::default()
    }
}

pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("it took longer than any scene may")
}

pub(crate) async fn endpoint() -> Endpoint {
    endpoint_with(limits()).await
}

pub(crate) async fn endpoint_with(limits: Limits) -> Endpoint {
    Endpoint::builder().offline().limits(limits).bind().await.unwrap()
}

/// Returns two keys in order.
pub(crate) fn ordered_keys() -> (SecretKey, SecretKey) {
    let (a, b) = (SecretKey::generate(), SecretKey::generate());
    if a.public_key() < b.public_key() { (a, b) } else { (b, a) }
}

pub(crate) async fn with_key(key: &SecretKey) -> Endpoint {
    Endpoint::builder().offline().limits(limits()).secret_key(key.clone()).bind().await.unwrap()
}

/// Opens a stream from `client` to `server`, and returns both ends.
pub(crate) async fn stream(client: &Endpoint, server: &Endpoint) -> (XStream, XStream) {
    let opening = client.get_stream(server.ticket(), CHAT);
    let accepting = server.accept_bi(&[CHAT]);
    let (opened, accepted) = soon(async { tokio::join!(opening, accepting) }).await;
    (opened.unwrap(), accepted.unwrap().1)
}

/// Returns two endpoints and a stream between them.
pub(crate) async fn pair() -> (Endpoint, Endpoint, XStream, XStream) {
    let (client, server) = (endpoint().await, endpoint().await);
    let (opened, accepted) = stream(&client, &server).await;
    (client, server, opened, accepted)
}

pub(crate) fn serve_echo(endpoint: &Endpoint) {
    endpoint
        .serve(ECHO, |mut stream| async move {
            while let Ok(chunk) = stream.read_chunk(usize::MAX).await {
                let Some(chunk) = chunk else {
                    return drop(stream.finish());
                };
                if stream.write_chunk(chunk).await.is_err() {
                    return;
                }
            }
        })
        .unwrap();
}

/// Sends a message there and back on a stream of its own.
pub(crate) async fn echo(client: &Endpoint, server: &Endpoint, message: &[u8]) {
    let mut stream = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(soon(stream.read_to_end(message.len())).await.unwrap(), message);
}

/// Connects the endpoints. Afterwards both sides know each other, and nothing is in progress.
pub(crate) async fn connect(client: &Endpoint, server: &Endpoint) -> Connection {
    soon(client.connect(server.ticket())).await.unwrap()
}

/// Waits until `what` holds, which an event of the endpoint announces.
pub(crate) async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn futures_pending<T>(task: &mut tokio::task::JoinHandle<T>) -> bool {
    tokio::task::yield_now().await;
    !task.is_finished()
}

/// Makes a peer on raw iroh, which can do what the library never does.
pub(crate) async fn raw(key: &SecretKey) -> iroh::Endpoint {
    raw_with(key, iroh::endpoint::QuicTransportConfig::builder().build()).await
}

pub(crate) async fn raw_with(key: &SecretKey, transport: iroh::endpoint::QuicTransportConfig) -> iroh::Endpoint {
    raw_at(key, transport, "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Binds a peer on raw iroh at this address, if it is free.
pub(crate) async fn raw_at(
    key: &SecretKey,
    transport: iroh::endpoint::QuicTransportConfig,
    at: std::net::SocketAddr,
) -> Result<iroh::Endpoint, iroh::endpoint::BindError> {
    iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .secret_key(iroh::SecretKey::from_bytes(&key.to_bytes()))
        .relay_mode(iroh::RelayMode::Disabled)
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(at)
        .unwrap()
        .alpns(vec![twolane::ALPN.to_vec()])
        .transport_config(transport)
        .bind()
        .await
}

pub(crate) fn raw_ticket(raw: &iroh::Endpoint) -> Ticket {
    let addrs = raw.bound_sockets().into_iter().map(iroh::TransportAddr::Ip);
    Ticket::from_addr(iroh::EndpointAddr::from_parts(raw.id(), addrs)).unwrap()
}

/// Opens the control stream and sends HELLO: kind 0, frame 0, a nonce, nine data lanes, 100 bytes of metadata.
pub(crate) async fn say_hello(connection: &iroh::endpoint::Connection, nonce: u8) -> iroh::endpoint::SendStream {
    let mut control = connection.open_uni().await.unwrap();
    let mut hello = vec![0, 0, 23];
    hello.extend_from_slice(&[nonce; 16]);
    hello.extend_from_slice(&[2, 1, 9, 4, 2, 0x40, 100]);
    control.write_all(&hello).await.unwrap();
    control
}

/// The header of a data lane for [`CHAT`], without metadata: kind 1, and a header of eight bytes.
pub(crate) const OPEN_CHAT: &[u8] = &[1, 8, 6, b'c', b'h', b'a', b't', b'/', b'1', 0];

/// Reads an answer of code 0, up to the first data after it.
pub(crate) async fn read_yes(recv: &mut iroh::endpoint::RecvStream) {
    let mut start = [0; 2];
    soon(recv.read_exact(&mut start)).await.unwrap();
    assert!(start[0] == 0 && start[1] < 64, "{start:?}");
    soon(recv.read_exact(&mut vec![0; usize::from(start[1])])).await.unwrap();
}

/// Returns the types and bodies of the frames in `bytes`, which are the first bytes of a control stream.
pub(crate) fn control_frames(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let first = *bytes.first()?;
        let (taken, rest) = bytes.split_at_checked(1 << (first >> 6))?;
        *bytes = rest;
        Some(taken[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
    }
    fn frame(bytes: &mut &[u8]) -> Option<(u64, Vec<u8>)> {
        let (kind, len) = (varint(bytes)?, varint(bytes)?);
        let (body, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
        *bytes = rest;
        Some((kind, body.to_vec()))
    }
    // The kind of the stream comes before the frames.
    let mut rest = &bytes[bytes.len().min(1)..];
    std::iter::from_fn(|| frame(&mut rest)).collect()
}

/// Returns the data after an answer of code 0, whose parameters are short.
pub(crate) fn accepted(bytes: &[u8]) -> &[u8] {
    assert_eq!(bytes[0], 0, "{bytes:?}");
    &bytes[2 + usize::from(bytes[1])..]
}
