//! Bad input of any kind gives a clear error. Nothing is lost, and no other peer or stream is disturbed.

use std::time::Duration;

use tokio::sync::Notify;
use twolane::{GetStreamError, InvalidProtocol, Limits, NextError, Reason, SecretKey, StreamOptions};

use crate::{
    clock::at_its_bound,
    stage::{
        BRIEF, CHAT, PATIENCE, accepted, echo, endpoint, endpoint_with, limits, pair, raw, raw_ticket, raw_with,
        say_hello, serve_echo, soon, until,
    },
};

#[tokio::test]
async fn a_protocol_name_that_is_none_is_found_before_anything_is_dialled() {
    let (client, server) = (endpoint().await, endpoint().await);
    for name in ["", "with space", "caf\u{e9}"] {
        let error = soon(client.get_stream(server.ticket(), name)).await.unwrap_err();
        assert!(matches!(error, GetStreamError::Protocol(_)), "{name:?}: {error:?}");
    }
    assert!(matches!(
        soon(client.get_stream(server.ticket(), "x".repeat(256))).await,
        Err(GetStreamError::Protocol(InvalidProtocol::TooLong { len: 256 }))
    ));
    assert!(client.peers().is_empty());
}

#[tokio::test]
async fn metadata_over_the_limit_is_named_with_the_limit() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let with = |len| StreamOptions { metadata: vec![0; len].into(), ..StreamOptions::default() };
    let error = soon(client.get_stream_with(server.ticket(), "echo/1", with(16 * 1024 + 1))).await.unwrap_err();
    assert!(matches!(error, GetStreamError::MetadataTooLarge { len: 16_385, max: 16_384 }), "{error:?}");
    soon(client.get_stream_with(server.ticket(), "echo/1", with(16 * 1024))).await.unwrap();
}

#[tokio::test]
async fn a_control_stream_that_begins_with_another_frame_is_named_by_that_frame() {
    let server = endpoint().await;
    // DRAINED (2), and a frame of a later version.
    for first in [2, 63] {
        let raw = raw(&SecretKey::generate()).await;
        let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0, first, 2, 0, 0]).await.unwrap();
        let closed = soon(connection.closed()).await;
        let iroh::endpoint::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
        assert_eq!(close.error_code.into_inner(), 0x103);
        let reason = String::from_utf8_lossy(&close.reason).into_owned();
        assert!(reason.contains(&format!("begins with a frame of type {first} ")), "{reason}");
    }
}

#[tokio::test]
async fn garbage_in_place_of_a_header_costs_that_stream_alone() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    echo(&client, &server, b"before").await;
    // Another peer, on raw iroh, sends HELLO and then garbage.
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let cases: [(&[u8], u8); 3] = [
        // A header frame of 2^62 - 1 bytes: too large (5).
        (&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 5),
        // A protocol name with a space: malformed (6).
        (&[1, 5, 3, b'a', b' ', b'b', 0], 6),
        // A frame with half a parameter: malformed (6).
        (&[1, 4, 1, b'a', 0, 0], 6),
    ];
    for (bytes, code) in cases {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        let answer = soon(recv.read_to_end(10_000)).await.unwrap();
        assert_eq!(answer[0], code, "{bytes:?}");
    }
    // The same connection and the other peer go on.
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x08\x06echo/1\x00still fine").await.unwrap();
    send.finish().unwrap();
    assert_eq!(accepted(&soon(recv.read_to_end(100)).await.unwrap()), b"still fine");
    echo(&client, &server, b"after").await;
}

#[tokio::test]
async fn a_peer_that_sends_no_header_blocks_nobody() {
    // No timeout expires here, so anything that waits for the silent peer waits for ever.
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut silent, _answer) = connection.open_bi().await.unwrap();
    silent.write_all(&[1]).await.unwrap();
    // Meanwhile, streams work on the same connection and on another one.
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x08\x06echo/1\x00quick").await.unwrap();
    send.finish().unwrap();
    assert_eq!(accepted(&soon(recv.read_to_end(100)).await.unwrap()), b"quick");
    echo(&client, &server, b"quick too").await;
    // With a timeout, the silent stream is reset with "timed out" (8).
    let server = endpoint_with(Limits { header_timeout: BRIEF, ..limits() }).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut silent, mut answer) = connection.open_bi().await.unwrap();
    silent.write_all(&[1]).await.unwrap();
    let waits = until(|| server.peers().first().is_some_and(|peer| peer.streams == 1));
    let error = at_its_bound(BRIEF, waits, answer.read_to_end(100)).await.unwrap_err();
    assert!(format!("{error:?}").contains("Reset(8)"), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_never_says_hello_is_let_go() {
    let limits = Limits { hello_timeout: BRIEF, ..limits() };
    let server = endpoint_with(limits).await;
    let raw = raw(&SecretKey::generate()).await;
    let connected = Notify::new();
    let heard = async {
        let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
        connected.notify_one();
        connection.closed().await
    };
    let closed = at_its_bound(BRIEF, connected.notified(), heard).await;
    let iroh::endpoint::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code.into_inner(), 0x104);
    assert!(server.peers().is_empty());
}

/// The peer sends nothing except the acknowledgements of the handshake.
#[tokio::test]
async fn a_dialler_waits_longer_for_the_first_words_of_a_peer_whose_network_stands_still() {
    let client = endpoint_with(Limits { hello_timeout: BRIEF, ..limits() }).await;
    let raw = raw(&SecretKey::generate()).await;
    let connecting = tokio::spawn({
        let (client, ticket) = (client.clone(), raw_ticket(&raw));
        async move { client.connect(ticket).await.map(drop) }
    });
    let connection = soon(soon(raw.accept()).await.unwrap().into_future()).await.unwrap();
    tokio::time::sleep(BRIEF * 11 / 10).await;
    let _control = say_hello(&connection, 5).await;
    soon(connecting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_accepts_connections_and_never_answers_is_an_error_within_the_bound() {
    let limits = Limits { open_timeout: BRIEF, ..limits() };
    let client = endpoint_with(limits).await;
    // The peer completes the handshake, and sends HELLO and nothing else.
    let silent = endpoint().await;
    let options = StreamOptions { timeout: Some(PATIENCE), ..StreamOptions::default() };
    let opening = client.get_stream_with(silent.ticket(), CHAT, options);
    let (first, _accepted) = soon(async { tokio::join!(opening, silent.accept_bi(&[CHAT])) }).await;
    let _first = first.unwrap();
    let arrived = until(|| silent.peers()[0].streams == 2);
    let error = at_its_bound(BRIEF, arrived, client.get_stream(silent.ticket(), CHAT)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::TimedOut { after: BRIEF }), "{error:?}");
}

#[tokio::test]
async fn lines_are_bounded_and_what_is_wrong_with_them_is_said() {
    let (_client, _server, mut opened, accepted) = pair().await;
    let (_send, mut recv) = accepted.split();
    opened.send_string("short").await.unwrap();
    opened.write_all(&[b'x'; 1000]).await.unwrap();
    opened.write_all(b"\n\xff\xfe\n{\"a\":}\n{\"a\":1}\nrest").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(recv.next_line(100)).await.unwrap(), "short");
    assert!(matches!(soon(recv.next_line(100)).await, Err(NextError::TooLong { max: 100 })));
    assert_eq!(soon(recv.next_string()).await.unwrap().len(), 1000);
    assert!(matches!(soon(recv.next_string()).await, Err(NextError::Text)));
    assert!(matches!(soon(recv.next_json::<serde_json::Value>()).await, Err(NextError::Json(_))));
    assert_eq!(soon(recv.next_json::<serde_json::Value>()).await.unwrap()["a"], 1);
    assert!(matches!(soon(recv.next_string()).await, Err(NextError::Ended { read: 4 })));
    assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), "rest");
}

#[tokio::test]
async fn an_answer_that_is_garbage_is_the_peers_fault() {
    let client = endpoint().await;
    let raw = raw(&SecretKey::generate()).await;
    let ticket = raw_ticket(&raw);
    let peer = tokio::spawn(async move {
        let connection = raw.accept().await.unwrap().await.unwrap();
        let (mut send, _recv) = connection.accept_bi().await.unwrap();
        // A rejection with a text of 2^62 - 1 bytes.
        send.write_all(&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        connection.closed().await;
        raw.close().await;
    });
    let error = soon(client.get_stream(ticket, CHAT)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::Malformed(_)), "{error:?}");
    assert_eq!(error.fault(), twolane::Fault::Peer);
    assert_eq!(error.rejection(), None::<Reason>);
    client.shutdown(Duration::ZERO).await;
    soon(peer).await.unwrap();
}

#[tokio::test]
async fn a_peer_whose_transport_has_less_room_than_it_says_is_one_with_too_many_streams() {
    let client = endpoint_with(Limits { open_timeout: BRIEF, ..limits() }).await;
    // The peer's HELLO announces nine lanes.
    let transport = iroh::endpoint::QuicTransportConfig::builder().max_concurrent_bidi_streams(1u32.into()).build();
    let narrow = raw_with(&SecretKey::generate(), transport).await;
    let ticket = raw_ticket(&narrow);
    let accept = async {
        let connection = narrow.accept().await.unwrap().await.unwrap();
        let control = say_hello(&connection, 1).await;
        let (mut send, recv) = connection.accept_bi().await.unwrap();
        send.write_all(&[0, 0]).await.unwrap();
        (connection, control, send, recv)
    };
    let (first, _held) = soon(async { tokio::join!(client.get_stream(&ticket, CHAT), accept) }).await;
    let _first = first.unwrap();
    let error = soon(client.get_stream(&ticket, CHAT)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::TooManyStreams { max: 9, after } if after == BRIEF), "{error:?}");
}
