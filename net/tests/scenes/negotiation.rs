//! The assignment of streams to handlers and calls, and the answers that openers get.

use std::{future::Future, task::Poll, time::Duration};

use twolane::{AcceptError, Limits, Reason, StreamOptions};

use crate::{
    clock::{at_its_bound, at_once},
    stage::{BRIEF, CHAT, ECHO, connect, echo, endpoint, endpoint_with, limits, serve_echo, soon, stream, until},
};

#[tokio::test]
async fn an_unknown_protocol_is_rejected_and_nothing_else_disturbed() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let mut open = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    open.write_all(b"before").await.unwrap();
    let error = soon(client.get_stream(server.ticket(), "mail/7")).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::UnknownProtocol));
    assert!(!error.is_retryable());
    open.finish().unwrap();
    assert_eq!(soon(open.read_to_end(100)).await.unwrap(), "before");
    assert_eq!(server.peers()[0].connections, 1);
}

#[tokio::test]
async fn accept_bi_takes_its_protocols_and_leaves_the_rest() {
    let (client, server) = (endpoint().await, endpoint().await);
    let accepting = tokio::spawn({
        let server = server.clone();
        async move { server.accept_bi(&["mail/1", "chat/1"]).await.unwrap() }
    });
    connect(&client, &server).await;
    let mut opened = soon(client.get_stream(server.ticket(), CHAT)).await.unwrap();
    let (protocol, mut accepted) = soon(accepting).await.unwrap();
    assert_eq!(protocol, CHAT);
    assert_eq!(accepted.get_remote_id52(), client.id52());
    assert_eq!(opened.get_remote_id52(), server.id52());
    accepted.send_string("welcome").await.unwrap();
    assert_eq!(soon(opened.next_string()).await.unwrap(), "welcome");
    let refused = soon(client.get_stream(server.ticket(), "news/1")).await.unwrap_err();
    assert_eq!(refused.rejection(), Some(Reason::UnknownProtocol));
}

#[tokio::test]
async fn of_two_calls_that_wait_each_gets_its_own_protocol() {
    let (client, server) = (endpoint().await, endpoint().await);
    connect(&client, &server).await;
    let (mail, chat, ..) = soon(async {
        tokio::join!(
            server.accept_bi(&["mail/1"]),
            server.accept_bi(&["chat/1"]),
            client.get_stream(server.ticket(), "chat/1"),
            client.get_stream(server.ticket(), "mail/1"),
        )
    })
    .await;
    assert_eq!(mail.unwrap().0.as_str(), "mail/1");
    assert_eq!(chat.unwrap().0.as_str(), "chat/1");
}

#[tokio::test]
async fn a_stream_that_comes_between_two_calls_waits_for_the_next_one() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (_first, _accepted) = stream(&client, &server).await;
    let opening = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.get_stream(ticket, CHAT).await }
    });
    let (_, accepted) = soon(server.accept_bi(&[CHAT])).await.unwrap();
    assert_eq!(accepted.peer(), client.id());
    soon(opening).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_nobody_accepts_is_told_busy_within_the_bound() {
    let limits = Limits { accept_timeout: BRIEF, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    let (_first, _accepted) = stream(&client, &server).await;
    let arrived = until(|| server.peers()[0].streams == 2);
    let error = at_its_bound(BRIEF, arrived, client.get_stream(server.ticket(), CHAT)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Busy));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn more_streams_than_may_wait_are_told_busy_at_once() {
    let limits = Limits { streams_waiting: 2, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    let (_first, _accepted) = stream(&client, &server).await;
    let ticket = server.ticket();
    // Two of three streams wait for longer than the scene's timeout.
    let first = at_once(async {
        let call = || client.get_stream(&ticket, CHAT);
        tokio::select! { first = call() => first, first = call() => first, first = call() => first }
    })
    .await;
    assert_eq!(first.unwrap_err().rejection(), Some(Reason::Busy));
}

#[tokio::test]
async fn a_dropped_accept_bi_loses_no_stream() {
    let (client, server) = (endpoint().await, endpoint().await);
    connect(&client, &server).await;
    for _ in 0..50 {
        let mut opening = tokio::spawn({
            let (client, ticket) = (client.clone(), server.ticket());
            async move { client.get_stream(ticket, CHAT).await }
        });
        // Accepted streams are held until the opener has its answer, because the reset of a dropped stream may
        // overtake the answer.
        let mut held = Vec::new();
        // The call is polled a few times and dropped, at any point of the stream's progress.
        for _ in 0..20 {
            let mut call = Box::pin(server.accept_bi(&[CHAT]));
            let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            if let Poll::Ready(accepted) = polled {
                held.push(accepted.unwrap());
                break;
            }
            tokio::task::yield_now().await;
        }
        let opened = soon(async {
            loop {
                tokio::select! {
                    opened = &mut opening => break opened.unwrap(),
                    accepted = server.accept_bi(&[CHAT]) => held.push(accepted.unwrap()),
                }
            }
        });
        opened.await.expect("the stream was accepted or waits");
    }
}

/// Makes a call that has got a stream and was not polled since. The opener has its answer, but no caller has the
/// stream.
macro_rules! call_with_a_stream {
    ($client:expr, $server:expr, $protocol:expr) => {{
        connect(&$client, &$server).await;
        let mut call = Box::pin($server.accept_bi(&[$protocol]));
        assert!(std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
        (call, soon($client.get_stream($server.ticket(), $protocol)).await.unwrap())
    }};
}

#[tokio::test]
async fn a_stream_whose_call_is_dropped_goes_to_a_handler_that_was_registered_meanwhile() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (call, mut opened) = call_with_a_stream!(client, server, ECHO);
    serve_echo(&server);
    drop(call);
    opened.write_all(b"hello").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_stream_whose_call_is_dropped_is_a_request_to_a_handler_of_requests() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (call, mut opened) = call_with_a_stream!(client, server, "rpc/1");
    server.serve_requests("rpc/1", |request| async move { Ok([&request.body[..], b" back"].concat().into()) }).unwrap();
    drop(call);
    opened.write_all(b"there and").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "there and back", "and no second answer before it");
}

#[tokio::test]
async fn a_stream_whose_call_is_dropped_waits_for_the_next_one_however_many_wait() {
    let limits = Limits { streams_waiting: 1, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    let (call, mut opened) = call_with_a_stream!(client, server, ECHO);
    // The protocol is named once, so a stream of it waits and takes the only place.
    let known =
        std::future::poll_fn(|cx| Poll::Ready(Box::pin(server.accept_bi(&[CHAT])).as_mut().poll(cx).is_pending()));
    assert!(known.await);
    let _waiting = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.get_stream(ticket, CHAT).await }
    });
    soon(until(|| server.peers()[0].streams == 2)).await;
    drop(call);
    // The stream looks for a receiver before the next call is made. In the other order it would find that call at
    // once.
    tokio::task::yield_now().await;
    let (_, mut accepted) = soon(server.accept_bi(&[ECHO])).await.unwrap();
    opened.write_all(b"still there").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(accepted.read_to_end(100)).await.unwrap(), "still there");
}

#[tokio::test]
async fn handlers_come_and_go() {
    let limits = Limits { accept_timeout: Duration::from_millis(100), ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    serve_echo(&server);
    echo(&client, &server, b"hello").await;
    assert!(server.serve(ECHO, |_| async {}).is_err(), "one handler for a protocol");
    assert!(server.stop_serving(ECHO));
    // No protocol has a handler or a call, so the stream first waits for one.
    let error = soon(client.get_stream(server.ticket(), "chat/1")).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::UnknownProtocol));
    server.serve("chat/1", |_| async {}).unwrap();
    let error = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::UnknownProtocol));
    serve_echo(&server);
    echo(&client, &server, b"hello again").await;
}

#[tokio::test]
async fn metadata_and_early_data_travel_with_the_header() {
    let (client, server) = (endpoint().await, endpoint().await);
    let options =
        StreamOptions { metadata: "token".into(), early_data: "first words\n".into(), ..StreamOptions::default() };
    let opening = client.get_stream_with(server.ticket(), CHAT, options);
    let (opened, accepted) = soon(async { tokio::join!(opening, server.accept_bi(&[CHAT])) }).await;
    let (mut opened, (_, mut accepted)) = (opened.unwrap(), accepted.unwrap());
    assert_eq!(accepted.metadata(), "token");
    assert_eq!(soon(accepted.next_string()).await.unwrap(), "first words");
    opened.write_all(b"second").await.unwrap();
    opened.fail(twolane::StreamError::new(1, "")).await.unwrap();
    assert_eq!(soon(accepted.read_chunk(100)).await.unwrap().unwrap(), "second");
    let error = soon(accepted.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.stream_error().unwrap().offset(), 18, "early data counts");
}

#[tokio::test]
async fn a_connection_accepts_from_its_peer_alone_and_ends_with_it() {
    let (one, other, server) = (endpoint().await, endpoint().await, endpoint().await);
    connect(&one, &server).await;
    let from_one = soon(server.accept()).await.unwrap();
    assert_eq!(from_one.get_remote_id52(), one.id52());
    let accepting = tokio::spawn({
        let from_one = from_one.clone();
        async move { from_one.accept_bi(&[CHAT]).await }
    });
    let from_other = tokio::spawn({
        let (other, ticket) = (other.clone(), server.ticket());
        async move { other.get_stream(ticket, CHAT).await }
    });
    let mine = soon(one.get_stream(server.ticket(), CHAT)).await.unwrap();
    let (_, accepted) = soon(accepting).await.unwrap().unwrap();
    assert_eq!(accepted.peer(), one.id());
    let (_, accepted_other) = soon(server.accept_bi(&[CHAT])).await.unwrap();
    assert_eq!(accepted_other.peer(), other.id());
    soon(from_other).await.unwrap().unwrap();
    drop((mine, accepted));
    one.shutdown(Duration::from_secs(5)).await;
    assert!(matches!(soon(from_one.accept_bi(&[CHAT])).await, Err(AcceptError::Disconnected)));
}
