//! Over a limit there is a typed answer, and nobody else waits.

use std::time::Duration;

use twolane::{GetStreamError, Limits, Reason, SecretKey, StreamOptions};

use crate::stage::{
    BRIEF, ECHO, PATIENCE, echo, endpoint, endpoint_with, limits, raw, raw_with, say_hello, serve_echo, soon, until,
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
    // A peer that does not ask hears it in the answer: 5, too large.
    let raw = raw(&SecretKey::generate()).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x14\x00\x06echo/1\x0b01234567890").await.unwrap();
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
    // A header frees a place.
    let (send, recv) = &mut streams[0];
    send.write_all(b"\x09\x00\x06echo/1\x00quick").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), b"\x00quick");
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x09\x00\x06echo/1\x00again").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), b"\x00again");
}

#[tokio::test]
async fn handshakes_over_the_limit_of_one_address_are_refused_and_the_connected_are_not_disturbed() {
    let limits = Limits { handshakes_per_address: 2, ..limits() };
    let server = endpoint_with(limits).await;
    let client = endpoint().await;
    serve_echo(&server);
    echo(&client, &server, b"first").await;
    // Two that never say HELLO hold the places of this address.
    let mut silent = Vec::new();
    for _ in 0..2 {
        let raw = raw(&SecretKey::generate()).await;
        let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
        silent.push((raw, connection));
    }
    let late = endpoint().await;
    let error = soon(late.connect(server.ticket())).await.unwrap_err();
    assert!(matches!(&error, twolane::DialError::Lost(twolane::ConnectionLost::Refused)), "{error:?}");
    assert!(error.is_retryable());
    assert!(server.metrics().handshakes_refused.get() >= 1);
    assert!(server.metrics().handshakes_retried.get() >= 1, "the address had to prove itself first");
    echo(&client, &server, b"not disturbed").await;
    for (raw, connection) in silent {
        connection.close(0u32.into(), b"enough");
        soon(raw.close()).await;
    }
    // With the places free again, the same dial works.
    soon(async { while late.connect(server.ticket()).await.is_err() {} }).await;
}

#[tokio::test]
async fn an_address_proves_itself_under_pressure_and_is_let_in() {
    // Half of two is one: the second handshake is asked for a proof.
    let limits = Limits { handshakes: 2, ..limits() };
    let server = endpoint_with(limits).await;
    serve_echo(&server);
    let raw = raw(&SecretKey::generate()).await;
    let _silent = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let client = endpoint().await;
    echo(&client, &server, b"I am where I say").await;
    assert_eq!(server.metrics().handshakes_retried.get(), 1);
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
    send.write_all(b"\x01\x08\x00\x05big/1\x00").await.unwrap();
    send.finish().unwrap();
    // It has ended there, whatever is read here: what comes after a pause is a reset with "timed out" (8).
    until(|| server.metrics().streams_ended.get() == 1).await;
    let error = soon(recv.read_to_end(8_000_001)).await.unwrap_err();
    assert!(format!("{error:?}").contains("Reset(8)"), "{error:?}");
}

#[tokio::test]
async fn a_response_that_its_caller_takes_slowly_arrives_whole_however_long_it_takes() {
    let bound = Duration::from_secs(2);
    let server = endpoint_with(Limits { header_timeout: bound, ..limits() }).await;
    server.serve_requests("big/1", |_| async { Ok(vec![7; 300_000].into()) }).unwrap();
    // A peer that gives room for so little that it always has to be waited for.
    let narrow = iroh::endpoint::QuicTransportConfig::builder().stream_receive_window(16_384u32.into()).build();
    let raw = raw_with(&SecretKey::generate(), narrow).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x08\x00\x05big/1\x00").await.unwrap();
    send.finish().unwrap();
    // The pauses are the slowness that this is about: all of them together are more than twice the bound, and each is a
    // tenth of it.
    let (begun, mut read) = (std::time::Instant::now(), 0);
    while let Some(chunk) = soon(recv.read_chunk(8_192)).await.unwrap() {
        read += chunk.len();
        if read > 10_000 {
            tokio::time::sleep(bound.mul_f32(chunk.len() as f32 / 80_000.0)).await;
        }
    }
    assert_eq!(read, 300_001);
    assert!(begun.elapsed() > bound.mul_f32(1.5), "{:?} is not slow", begun.elapsed());
}

#[tokio::test]
async fn a_stream_without_an_answer_is_retryable_and_one_that_is_refused_says_busy() {
    let limits = Limits { streams_waiting: 1, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    // Nobody accepts: the first stream waits, the second one is over the limit.
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
    // It takes the 33 bytes that the server's control stream begins with, and no other byte on any stream.
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
        send.write_all(b"\x01\x09\x00\x06echo/1\x00").await.unwrap();
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
    let go = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let handled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    server
        .serve_requests("slow/1", {
            let (go, handled) = (std::sync::Arc::clone(&go), std::sync::Arc::clone(&handled));
            move |request| {
                handled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let go = std::sync::Arc::clone(&go);
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
    // Two fit, and wait for their handler; a third one is told so while they do.
    until(|| handled.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
    let refused = soon(client.request(&ticket, "slow/1", vec![1; 1_500_000], PATIENCE)).await.unwrap_err();
    assert!(refused.stream_error().unwrap().text().contains("try again"), "{refused:?}");
    go.add_permits(2);
    while let Some(answered) = soon(requests.join_next()).await {
        assert_eq!(answered.unwrap().unwrap(), "1500000");
    }
    // What was answered gives its room back.
    go.add_permits(1);
    assert_eq!(soon(client.request(&ticket, "slow/1", vec![1; 1_500_000], PATIENCE)).await.unwrap(), "1500000");
}
