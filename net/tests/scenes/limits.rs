//! A call over a limit gets a typed answer, and no other call waits.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, sync::Semaphore, task::JoinHandle};
use twolane::{
    Access, Endpoint, GetStreamError, Identity, Limits, PublicKey, Reason, SecretKey, StreamOptions, Verdict,
};

use crate::stage::{
    BRIEF, ECHO, PATIENCE, accepted, echo, endpoint, endpoint_with, limits, raw, raw_with, say_hello, serve_echo, soon,
    until,
};

#[tokio::test]
async fn metadata_over_the_peers_own_limit_is_found_here_and_refused_there() {
    let server = endpoint_with(Limits { metadata: 10, ..limits() }).await;
    let client = endpoint().await;
    serve_echo(&server);
    echo(&client, &server, b"hello").await;
    let options = StreamOptions { metadata: vec![0; 11].into(), ..StreamOptions::default() };
    let error = soon(client.get_stream_with(server.ticket(), ECHO, options)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::MetadataTooLarge { len: 11, max: 10 }), "{error:?}");
    // A peer that ignores the limit is told in the answer: 5, too large.
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x13\x06echo/1\x0b01234567890").await.unwrap();
    let answer = soon(recv.read_to_end(1000)).await.unwrap();
    assert_eq!(answer[0], 5, "{answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("11 bytes, and the limit is 10"), "{answer:?}");
}

#[tokio::test]
async fn streams_without_a_header_over_the_limit_are_told_busy_at_once() {
    let limits = Limits { streams_without_header: 4, ..limits() };
    let server = endpoint_with(limits).await;
    let client = endpoint().await;
    serve_echo(&server);
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        streams.push((send, recv));
    }
    let (_, fifth) = &mut streams[4];
    let answer = soon(fifth.read_to_end(1000)).await.unwrap();
    assert_eq!(answer[0], 3, "busy: {answer:?}");
    echo(&client, &server, b"nobody else noticed").await;
    // A header makes room.
    let (send, recv) = &mut streams[0];
    send.write_all(b"\x08\x06echo/1\x00quick").await.unwrap();
    send.finish().unwrap();
    assert_eq!(accepted(&soon(recv.read_to_end(100)).await.unwrap()), b"quick");
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x08\x06echo/1\x00again").await.unwrap();
    send.finish().unwrap();
    assert_eq!(accepted(&soon(recv.read_to_end(100)).await.unwrap()), b"again");
}

/// A path to a server on which the client receives only Retry packets, which ask it to prove its address.
/// Handshakes over this path begin and never end.
async fn deaf_way(server: &Endpoint) -> SocketAddr {
    let (front, back) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    back.connect(server.status().sockets[0]).await.unwrap();
    let addr = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut back_again, mut client) = ([0; 2000], [0; 2000], None);
        loop {
            tokio::select! {
                Ok((len, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    back.send(&there[..len]).await.unwrap();
                }
                Ok(len) = back.recv(&mut back_again) => {
                    // Retry: a long header of type 3 (RFC 9000 section 17.2.5).
                    if let Some(client) = client.filter(|_| back_again[0] & 0xf0 == 0xf0) {
                        front.send_to(&back_again[..len], client).await.unwrap();
                    }
                }
            }
        }
    });
    addr
}

/// Begins a handshake with a server that never ends.
pub(crate) async fn begin_handshake(server: &Endpoint) -> (iroh::Endpoint, JoinHandle<()>) {
    let (raw, way) = (raw(&SecretKey::generate()).await, deaf_way(server).await);
    let ways = [iroh::TransportAddr::Ip(way)];
    let addr = iroh::EndpointAddr::from_parts(server.ticket().to_addr().id, ways);
    let dialling = tokio::spawn({
        let raw = raw.clone();
        async move { drop(raw.connect(addr, twolane::ALPN).await) }
    });
    (raw, dialling)
}

#[tokio::test]
async fn handshakes_over_the_limit_of_one_address_are_refused_and_the_connected_are_not_disturbed() {
    over_the_limit_of_one_address(&endpoint_with(two_handshakes()).await).await;
}

/// Limits under which one address has two places for handshakes.
pub(crate) fn two_handshakes() -> Limits {
    Limits { handshakes_per_address: 2, ..limits() }
}

/// Fills the places of an address at a server that has [`two_handshakes`], and frees them.
pub(crate) async fn over_the_limit_of_one_address(server: &Endpoint) {
    let client = endpoint().await;
    serve_echo(server);
    echo(&client, server, b"first").await;
    // Two handshakes in progress hold the places of this address.
    let mut under_way = Vec::new();
    for _ in 0..2 {
        under_way.push(begin_handshake(server).await);
    }
    let late = endpoint().await;
    let error = soon(async {
        loop {
            match late.connect(server.ticket()).await {
                // The handshakes had not arrived yet.
                Ok(connection) => connection.close("again"),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(&error, twolane::DialError::Lost(twolane::ConnectionLost::Refused)), "{error:?}");
    assert!(error.is_retryable());
    assert!(server.metrics().handshakes_refused.get() >= 1);
    assert!(server.metrics().handshakes_retried.get() >= 1, "the address had to prove itself first");
    echo(&client, server, b"not disturbed").await;
    for (raw, dialling) in under_way {
        dialling.abort();
        soon(raw.close()).await;
    }
    // When the places are free again, the same dial works.
    soon(async { while late.connect(server.ticket()).await.is_err() {} }).await;
}

#[tokio::test]
async fn peers_that_say_nothing_make_room_for_those_that_come_after_them() {
    silent_peers_make_room(&endpoint_with(Limits { handshakes: 4, ..two_handshakes() }).await).await;
}

/// Fills the places of connections that have said nothing, at a server that has [`two_handshakes`].
pub(crate) async fn silent_peers_make_room(server: &Endpoint) {
    serve_echo(server);
    let mut silent = Vec::new();
    for _ in 0..2 {
        let raw = raw(&SecretKey::generate()).await;
        let connection = soon(raw.connect(server.ticket().to_addr(), twolane::ALPN)).await.unwrap();
        silent.push((raw, connection));
    }
    let client = endpoint().await;
    echo(&client, server, b"I have something to say").await;
    assert_eq!(client.metrics().dials_failed.get(), 0);
    // The connection that had been silent for longest has lost its place, and is told so.
    let closed = soon(silent[0].1.closed()).await;
    let iroh::endpoint::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code.into_inner(), 0x106);
    assert!(silent[1].1.close_reason().is_none());
    assert_eq!(server.metrics().handshakes_refused.get(), 1);
}

/// Rules that answer about only one peer until the scene says so.
struct Slow(PublicKey, Arc<Semaphore>, Arc<AtomicUsize>);

impl Access for Slow {
    async fn connection(&self, identity: &Identity) -> Verdict {
        if identity.peer != self.0 {
            self.2.fetch_add(1, SeqCst);
            drop(self.1.acquire().await);
        }
        Verdict::Allow
    }
}

#[tokio::test]
async fn peers_that_wait_for_the_rules_are_not_pushed_out_by_those_that_come_after_them() {
    let (go, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (one, two, late) = (endpoint().await, endpoint().await, endpoint().await);
    let limits = Limits { handshakes_per_address: 2, ..limits() };
    let rules = Slow(late.id(), Arc::clone(&go), Arc::clone(&asked));
    let server = Endpoint::builder().offline().limits(limits).access(rules).bind().await.unwrap();
    let mut connecting = Vec::new();
    for (n, client) in [&one, &two].into_iter().enumerate() {
        let (client, ticket) = (client.clone(), server.ticket());
        connecting.push(tokio::spawn(async move { client.connect(ticket).await.map(drop) }));
        until(|| asked.load(SeqCst) == n + 1).await;
    }
    let error = soon(late.connect(server.ticket())).await.map(drop).unwrap_err();
    assert!(matches!(&error, twolane::DialError::Lost(twolane::ConnectionLost::PeerBusy)), "{error:?}");
    go.add_permits(2);
    for connecting in connecting {
        soon(connecting).await.unwrap().unwrap();
    }
    soon(async { while late.connect(server.ticket()).await.is_err() {} }).await;
}

#[tokio::test]
async fn an_address_proves_itself_under_pressure_and_is_let_in() {
    // Half of two is one: beside a handshake in progress, another one has to prove its address.
    let limits = Limits { handshakes: 2, ..limits() };
    let server = endpoint_with(limits).await;
    serve_echo(&server);
    let _under_way = begin_handshake(&server).await;
    soon(Box::pin(async {
        while server.metrics().handshakes_retried.get() == 0 {
            let client = endpoint().await;
            echo(&client, &server, b"I am where I say").await;
        }
    }))
    .await;
    assert_eq!(server.metrics().handshakes_refused.get(), 0);
}

#[tokio::test]
async fn a_response_that_its_caller_does_not_take_is_given_up_in_time() {
    let limits = Limits { header_timeout: BRIEF, ..limits() };
    let server = endpoint_with(limits).await;
    server.serve_requests("big/1", |_| async { Ok(vec![0; 8_000_000].into()) }).unwrap();
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x07\x05big/1\x00").await.unwrap();
    send.finish().unwrap();
    // The stream has ended at the server, however much is read here. The data ends in a reset with "timed out" (8).
    until(|| server.metrics().streams_ended.get() == 1).await;
    let error = soon(recv.read_to_end(8_000_001)).await.unwrap_err();
    assert!(format!("{error:?}").contains("Reset(8)"), "{error:?}");
}

#[tokio::test]
async fn a_response_that_its_caller_takes_slowly_arrives_whole_however_long_it_takes() {
    let bound = Duration::from_secs(2);
    let server = endpoint_with(Limits { header_timeout: bound, ..limits() }).await;
    server.serve_requests("big/1", |_| async { Ok(vec![7; 300_000].into()) }).unwrap();
    // A peer whose window is so small that the server always has to wait for it.
    let narrow = iroh::endpoint::QuicTransportConfig::builder().stream_receive_window(16_384u32.into()).build();
    let raw = raw_with(&SecretKey::generate(), narrow).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x07\x05big/1\x00").await.unwrap();
    send.finish().unwrap();
    // The pauses are the slowness that this test needs. All pauses together are more than twice the timeout, and
    // each one is a tenth of it.
    let (begun, mut read) = (std::time::Instant::now(), 0);
    while let Some(chunk) = soon(recv.read_chunk(8_192)).await.unwrap() {
        read += chunk.len();
        if read > 10_000 {
            tokio::time::sleep(bound.mul_f32(chunk.len() as f32 / 80_000.0)).await;
        }
    }
    // A few bytes of the answer come before the data.
    assert!((300_002..300_100).contains(&read), "{read} bytes");
    assert!(begun.elapsed() > bound.mul_f32(1.5), "{:?} is not slow", begun.elapsed());
}

#[tokio::test]
async fn a_stream_without_an_answer_is_retryable_and_one_that_is_refused_says_busy() {
    let limits = Limits { streams_waiting: 1, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    // Nobody accepts. The first stream waits, and the second one exceeds the limit.
    let ticket = server.ticket();
    let first = tokio::spawn({
        let (client, ticket) = (client.clone(), ticket.clone());
        async move { client.get_stream(ticket, ECHO).await }
    });
    let error = soon(async {
        loop {
            if let Err(error @ GetStreamError::Rejected { .. }) = client.get_stream(&ticket, ECHO).await {
                break error;
            }
        }
    })
    .await;
    assert_eq!(error.rejection(), Some(Reason::Busy));
    assert!(error.is_retryable());
    first.abort();
}

#[tokio::test]
async fn an_opener_that_leaves_no_room_for_the_answer_holds_up_nobody_who_accepts() {
    let server = endpoint().await;
    let client = endpoint().await;
    // The peer takes the 33 bytes with which the server's control stream begins, and no other byte on any stream.
    let narrow = iroh::endpoint::QuicTransportConfig::builder().receive_window(33u32.into()).build();
    let raw = raw(&SecretKey::generate()).await;
    let options = iroh::endpoint::ConnectOptions::new().with_transport_config(narrow);
    let connecting = raw.connect_with_opts(server.ticket().to_addr(), twolane::ALPN, options).await.unwrap();
    let connection = soon(connecting).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let mut streams = Vec::new();
    let accepting = tokio::spawn({
        let server = server.clone();
        async move { server.accept_bi(&[ECHO]).await.unwrap().1 }
    });
    for _ in 0..3 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(b"\x01\x08\x06echo/1\x00").await.unwrap();
        streams.push((send, recv));
    }
    let _opened = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    assert_eq!(soon(accepting).await.unwrap().peer(), client.id());
}

#[tokio::test]
async fn requests_of_one_peer_that_are_being_handled_are_bounded_all_together() {
    let limits = Limits { unread_bytes: 4 << 20, request_bytes: 2 << 20, ..limits() };
    let server = endpoint_with(limits).await;
    let client = endpoint().await;
    let go = Arc::new(Semaphore::new(0));
    let handled = Arc::new(AtomicUsize::new(0));
    server
        .serve_requests("slow/1", {
            let (go, handled) = (Arc::clone(&go), Arc::clone(&handled));
            move |request| {
                handled.fetch_add(1, SeqCst);
                let go = Arc::clone(&go);
                async move {
                    let _ = go.acquire().await;
                    Ok(request.body.len().to_string().into())
                }
            }
        })
        .unwrap();
    let ticket = server.ticket();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (client, ticket) = (client.clone(), ticket.clone());
        requests.spawn(async move { client.request(ticket, "slow/1", vec![1; 1_500_000], PATIENCE).await });
    }
    // Two requests fit, and wait for their handler. A third one is refused while they wait.
    until(|| handled.load(SeqCst) == 2).await;
    let refused = soon(client.request(&ticket, "slow/1", vec![1; 1_500_000], PATIENCE)).await.unwrap_err();
    assert!(refused.stream_error().unwrap().text().contains("try again"), "{refused:?}");
    go.add_permits(2);
    while let Some(answered) = soon(requests.join_next()).await {
        assert_eq!(answered.unwrap().unwrap(), "1500000");
    }
    // The requests that were answered give their room back.
    go.add_permits(1);
    assert_eq!(soon(client.request(&ticket, "slow/1", vec![1; 1_500_000], PATIENCE)).await.unwrap(), "1500000");
}
