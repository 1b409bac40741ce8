//! Requests: one message there, one message back.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;
use twolane::{
    Event, GetStreamError, Limits, Phase, Reason, RequestFailure, RequestOptions, SecretKey, StreamError, StreamOptions,
};

use crate::{
    clock::at_its_bound,
    stage::{BRIEF, ECHO, PATIENCE, endpoint, endpoint_with, limits, raw, raw_ticket, say_hello, serve_echo, soon},
};

#[tokio::test]
async fn a_request_gets_its_response() {
    let (client, server) = (endpoint().await, endpoint().await);
    let expected = client.id();
    server
        .serve_requests("rpc/1", move |request| async move {
            assert_eq!(request.peer, expected);
            Ok([&request.body[..], b" back"].concat().into())
        })
        .unwrap();
    for size in [0, 1, 1000, 5_000_000] {
        let body = vec![b'x'; size];
        let response = client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE).await.unwrap();
        assert_eq!(response.len(), size + 5);
        assert!(response.starts_with(&body) && response.ends_with(b" back"));
    }
}

#[tokio::test]
async fn a_request_carries_metadata_beside_its_body_within_the_peers_limit() {
    let (client, server) = (endpoint().await, endpoint_with(Limits { metadata: 100, ..limits() }).await);
    server
        .serve_requests("rpc/1", |request| async move {
            Ok([&request.metadata[..], b" ", &request.body[..]].concat().into())
        })
        .unwrap();
    // The limit is in the peer's HELLO.
    client.connect(server.ticket()).await.unwrap();
    let options = |len| RequestOptions { metadata: vec![b'm'; len].into(), timeout: PATIENCE };
    let response = client.request_with(server.ticket(), "rpc/1", "body", options(3)).await.unwrap();
    assert_eq!(response, "mmm body");
    assert_eq!(client.request(server.ticket(), "rpc/1", "body", PATIENCE).await.unwrap(), " body");
    let error = client.request_with(server.ticket(), "rpc/1", "body", options(101)).await.unwrap_err();
    let RequestFailure::GetStream(GetStreamError::MetadataTooLarge { len: 101, max: 100 }) = error.cause else {
        panic!("{error:?}")
    };
    assert!(!error.may_have_been_handled());
}

#[tokio::test]
async fn a_handlers_error_arrives_as_an_error() {
    let (client, server) = (endpoint().await, endpoint().await);
    server.serve_requests("rpc/1", |_| async { Err(StreamError::new(404, "no such mailbox")) }).unwrap();
    let error = client.request(server.ticket(), "rpc/1", "who", PATIENCE).await.unwrap_err();
    assert_eq!(error.stream_error().unwrap().text(), "no such mailbox");
    assert!(error.may_have_been_handled());
}

#[tokio::test]
async fn a_rejected_request_was_not_handled() {
    let (client, server) = (endpoint().await, endpoint().await);
    server.serve_requests("rpc/1", |_| async { Ok("".into()) }).unwrap();
    let error = client.request(server.ticket(), "rpc/2", "who", PATIENCE).await.unwrap_err();
    let RequestFailure::GetStream(cause) = &error.cause else { panic!("{error:?}") };
    assert_eq!(cause.rejection(), Some(Reason::UnknownProtocol));
    assert!(!error.may_have_been_handled());
}

#[tokio::test]
async fn the_deadline_covers_a_handler_that_never_answers_and_drops_it() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (called, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    struct OnDrop(Arc<Notify>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    server
        .serve_requests("slow/1", {
            let (called, dropped) = (Arc::clone(&called), Arc::clone(&dropped));
            move |_| {
                called.notify_one();
                let guard = OnDrop(Arc::clone(&dropped));
                async move {
                    let _guard = guard;
                    std::future::pending().await
                }
            }
        })
        .unwrap();
    client.connect(server.ticket()).await.unwrap();
    let request = client.request(server.ticket(), "slow/1", "", BRIEF);
    let error = at_its_bound(BRIEF, called.notified(), request).await.unwrap_err();
    assert!(matches!(error.cause, RequestFailure::TimedOut { after: BRIEF }));
    assert_eq!(error.phase, Phase::Answer);
    soon(dropped.notified()).await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_with_the_limit_in_the_words() {
    let limits = Limits { request_bytes: 1000, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    server.serve_requests("rpc/1", |_| async { Ok("".into()) }).unwrap();
    let error = client.request(server.ticket(), "rpc/1", vec![0; 1001], PATIENCE).await.unwrap_err();
    assert!(error.stream_error().unwrap().text().contains("1000"), "{error:?}");
    client.request(server.ticket(), "rpc/1", vec![0; 1000], PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_response_over_the_callers_limit_is_its_error() {
    let limits = Limits { request_bytes: 1000, ..limits() };
    let (client, server) = (endpoint_with(limits).await, endpoint().await);
    server.serve_requests("rpc/1", |_| async { Ok(vec![0; 100_000].into()) }).unwrap();
    let error = client.request(server.ticket(), "rpc/1", "", PATIENCE).await.unwrap_err();
    assert!(matches!(error.cause, RequestFailure::TooLarge { max: 1000 }));
}

#[tokio::test]
async fn a_panic_in_a_handler_costs_its_stream_alone() {
    let (client, server) = (endpoint().await, endpoint().await);
    let calls = Arc::new(AtomicUsize::new(0));
    server
        .serve_requests("rpc/1", {
            let calls = Arc::clone(&calls);
            move |_| {
                let first = calls.fetch_add(1, SeqCst) == 0;
                async move {
                    assert!(!first, "this panic is part of the scene");
                    Ok("fine".into())
                }
            }
        })
        .unwrap();
    let error = soon(client.request(server.ticket(), "rpc/1", "", PATIENCE)).await.unwrap_err();
    // The code INTERNAL of WIRE.md.
    let RequestFailure::GetStream(GetStreamError::Reset { code: 9 }) = error.cause else { panic!("{error:?}") };
    assert_eq!(soon(client.request(server.ticket(), "rpc/1", "", PATIENCE)).await.unwrap(), "fine");
    assert_eq!(client.peers()[0].connections, 1);
}

#[tokio::test]
async fn many_requests_at_once_share_one_connection() {
    let limits = Limits { streams_per_peer: 16, ..limits() };
    let (client, server) = (endpoint_with(limits.clone()).await, endpoint_with(limits).await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    let requests = (0..200u32).map(|n| {
        let (client, ticket) = (client.clone(), server.ticket());
        tokio::spawn(async move {
            let body = n.to_be_bytes().to_vec();
            assert_eq!(client.request(ticket, "rpc/1", body.clone(), PATIENCE).await.unwrap(), body);
        })
    });
    for request in requests.collect::<Vec<_>>() {
        soon(request).await.unwrap();
    }
    assert_eq!(client.peers()[0].connections, 1);
}

#[tokio::test]
async fn a_large_request_that_is_refused_gets_the_reason_and_keeps_the_connection() {
    let limits = Limits { request_bytes: 100_000, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    let mut events = client.events();
    let error = soon(client.request(server.ticket(), "rpc/1", vec![0; 10_000_000], PATIENCE)).await.unwrap_err();
    assert!(error.stream_error().unwrap().text().contains("100000"), "{error:?}");
    assert_eq!(soon(client.request(server.ticket(), "rpc/1", "small", PATIENCE)).await.unwrap(), "small");
    assert!(matches!(soon(events.next()).await, Some(Event::Connected { .. })));
    client.shutdown(PATIENCE).await;
    drop(client);
    let mut disconnected = 0;
    while let Some(event) = soon(events.next()).await {
        disconnected += usize::from(matches!(event, Event::Disconnected { .. }));
    }
    assert_eq!(disconnected, 1);
}

#[tokio::test]
async fn a_request_that_may_have_been_handled_is_not_sent_again() {
    let (raw, client) = (raw(&SecretKey::generate()).await, endpoint().await);
    let request = client.request(raw_ticket(&raw), "pay/1", "", PATIENCE);
    let peer = async {
        let connection = raw.accept().await.unwrap().await.unwrap();
        let _control = say_hello(&connection, 1).await;
        let (_send, mut recv) = connection.accept_bi().await.unwrap();
        recv.read_to_end(100).await.unwrap();
        connection.close(0u32.into(), b"after the money was moved");
    };
    let error = soon(async { tokio::join!(request, peer) }).await.0.unwrap_err();
    assert!(error.may_have_been_handled(), "{error:?}");
    assert!(matches!(error.cause, RequestFailure::GetStream(GetStreamError::Lost(_))), "{error:?}");
    let mut accepting = Box::pin(raw.accept());
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(accepting.as_mut().poll(cx).is_ready())).await;
    assert!(!polled, "it dialled again");
}

#[tokio::test]
async fn a_stream_that_may_have_been_handled_is_not_opened_again() {
    let (raw, client) = (raw(&SecretKey::generate()).await, endpoint().await);
    let opening = client.get_stream(raw_ticket(&raw), "pay/1");
    let peer = async {
        let connection = raw.accept().await.unwrap().await.unwrap();
        let _control = say_hello(&connection, 1).await;
        let (_send, mut recv) = connection.accept_bi().await.unwrap();
        recv.read_exact(&mut [0; 8]).await.unwrap();
        connection.close(0u32.into(), b"after the money was moved");
    };
    // If the client dialled again, it would wait for the peer, which has gone.
    let error = soon(async { tokio::join!(opening, peer) }).await.0.unwrap_err();
    assert!(matches!(error, GetStreamError::Lost(_)), "{error:?}");
    assert!(error.may_have_been_handled() && error.is_retryable(), "{error:?}");
    let mut accepting = Box::pin(raw.accept());
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(accepting.as_mut().poll(cx).is_ready())).await;
    assert!(!polled, "it dialled again");
}

#[tokio::test]
async fn a_request_and_its_response_may_be_on_their_way_at_the_same_time() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let body = vec![b'x'; 10_000_000];
    let response = client.request(server.ticket(), ECHO, body.clone(), BRIEF * 10).await.unwrap();
    assert!(response == body);
}

#[tokio::test]
async fn a_response_that_ends_before_its_request_is_whole() {
    let (client, server) = (endpoint().await, endpoint().await);
    let held = Arc::new(Notify::new());
    server
        .serve("hasty/1", {
            let held = Arc::clone(&held);
            move |mut stream| {
                let held = Arc::clone(&held);
                async move {
                    stream.write_all(b"no need to read").await.unwrap();
                    stream.finish().unwrap();
                    held.notified().await;
                }
            }
        })
        .unwrap();
    let response = client.request(server.ticket(), "hasty/1", vec![0; 10_000_000], BRIEF * 10).await.unwrap();
    assert_eq!(response, "no need to read");
    held.notify_one();
}

#[tokio::test]
async fn early_data_that_finds_no_room_blocks_no_peer_that_answers_while_it_reads() {
    // With these limits, a lane may have far less than its early data unread at the peer.
    let limits = Limits { unread_bytes: 1 << 20, open_timeout: BRIEF * 10, ..limits() };
    let (client, server) = (endpoint_with(limits.clone()).await, endpoint_with(limits).await);
    serve_echo(&server);
    let early = vec![b'x'; 400 * 1024];
    let options = StreamOptions { early_data: early.clone().into(), ..StreamOptions::default() };
    let mut stream = soon(client.get_stream_with(server.ticket(), ECHO, options)).await.unwrap();
    stream.finish().unwrap();
    assert!(soon(stream.read_to_end(early.len())).await.unwrap() == early);
}

#[tokio::test]
async fn early_data_over_its_bound_is_refused_before_anything_is_sent() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let options = StreamOptions { early_data: vec![0; 400 * 1024 + 1].into(), ..StreamOptions::default() };
    let error = soon(client.get_stream_with(server.ticket(), ECHO, options)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::EarlyDataTooLarge { len: 409_601, max: 409_600 }), "{error:?}");
    assert!(!error.may_have_been_handled() && client.peers().is_empty());
}

#[tokio::test]
async fn a_request_that_drips_is_refused_though_each_byte_comes_in_time() {
    let bound = BRIEF / 5;
    let (client, server) = (endpoint().await, endpoint_with(Limits { header_timeout: bound, ..limits() }).await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    let (mut send, recv) = soon(client.get_stream(server.ticket(), "rpc/1")).await.unwrap().split();
    let reports = recv.errors();
    let dripping = async {
        // The pauses are the slowness that this test needs. Each is a quarter of the allowed time.
        let mut drips = tokio::time::interval(bound / 4);
        loop {
            drips.tick().await;
            if send.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let (report, ()) = soon(async { tokio::join!(reports.next(), dripping) }).await;
    let error = report.unwrap().error;
    assert!(error.text().contains("less than 512 bytes a second"), "{error}");
}
