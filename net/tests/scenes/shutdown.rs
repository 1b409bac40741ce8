//! The end of an endpoint (invariant 12).

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use twolane::{
    AcceptError, Access, ConnectionLost, DialError, Endpoint, GetStreamError, Limits, ReadError, Reason, SecretKey,
    StreamError, StreamRequest, Ticket, Verdict,
};

use crate::{
    mortal::Mortal,
    stage::{
        BRIEF, CHAT, ECHO, PATIENCE, connect, echo, endpoint, endpoint_with, futures_pending, limits, serve_echo, soon,
        stream, until,
    },
};

#[tokio::test]
async fn a_shutdown_waits_for_the_streams_that_are_open() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    let mut shutting_down = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(PATIENCE).await }
    });
    assert!(futures_pending(&mut shutting_down).await, "the shutdown did not wait");
    // No new stream is accepted, and the opener is told why.
    let error = soon(client.get_stream(server.ticket(), CHAT)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::ShuttingDown), "{error:?}");
    accepted.write_all(&[1; 500_000]).await.unwrap();
    accepted.finish().unwrap();
    drop(accepted);
    assert!(futures_pending(&mut shutting_down).await, "the shutdown did not wait");
    assert_eq!(soon(opened.read_to_end(500_000)).await.unwrap().len(), 500_000);
    drop(opened);
    let report = soon(shutting_down).await.unwrap();
    assert_eq!((report.cut, report.streams_cut), (0, 0), "{report:?}");
    assert_eq!(report.drained, 1);
}

#[tokio::test]
async fn a_shutdown_cuts_what_is_left_at_the_deadline_and_says_so() {
    let (_client, server) = {
        let (client, server) = (endpoint().await, endpoint().await);
        (client, server)
    };
    let (mut opened, accepted) = stream(&_client, &server).await;
    let report = soon(server.shutdown(Duration::from_millis(100))).await;
    assert_eq!((report.cut, report.streams_cut), (1, 1), "{report:?}");
    assert!(matches!(soon(opened.read(&mut [0; 1])).await, Err(ReadError::Lost(ConnectionLost::PeerDone))));
    drop(accepted);
    assert!(soon(server.accept_bi(&[CHAT])).await.is_err());
}

#[tokio::test]
async fn closing_the_iroh_endpoint_closes_this_endpoint_and_ends_every_wait() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (_opened, _accepted) = stream(&client, &server).await;
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = Ticket::new(SecretKey::generate().public_key()).with_addr(deaf.local_addr().unwrap()).unwrap();
    let waits = [
        tokio::spawn({
            let server = server.clone();
            async move { assert!(matches!(server.accept_bi(&[CHAT]).await, Err(AcceptError::ShuttingDown))) }
        }),
        tokio::spawn({
            let server = server.clone();
            async move { while server.accept().await.is_some() {} }
        }),
        tokio::spawn({
            let server = server.clone();
            async move { assert!(matches!(server.get_stream(silent, ECHO).await, Err(GetStreamError::Dial { .. }))) }
        }),
    ];
    soon(server.iroh().close()).await;
    for wait in waits {
        soon(wait).await.unwrap();
    }
    let error = soon(server.connect(SecretKey::generate().public_key())).await.unwrap_err();
    assert!(matches!(error, DialError::ShuttingDown), "{error:?}");
    soon(server.shutdown(PATIENCE)).await;
}

/// Rules that never answer about a stream, and notify when they are asked.
struct Undecided(Arc<Notify>);

impl Access for Undecided {
    async fn stream(&self, _: &StreamRequest) -> Verdict {
        self.0.notify_one();
        pending().await
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_no_rules() {
    let asked = Arc::new(Notify::new());
    let rules = Undecided(Arc::clone(&asked));
    let server = Endpoint::builder().offline().limits(limits()).access(rules).bind().await.unwrap();
    let client = endpoint().await;
    let opening = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.get_stream(ticket, CHAT).await }
    });
    soon(asked.notified()).await;
    let first = soon(server.shutdown(Duration::ZERO)).await;
    assert_eq!((first.cut, first.streams_cut), (1, 1), "{first:?}");
    // This shutdown has time for the sockets.
    let second = soon(server.shutdown(BRIEF)).await;
    assert_eq!(second.tasks_left, 0, "{second:?}");
    assert!(soon(opening).await.unwrap().is_err());
}

#[tokio::test]
async fn a_shutdown_endpoint_leaves_no_task_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..3 {
        let (client, server) = (endpoint().await, endpoint().await);
        serve_echo(&server);
        echo(&client, &server, b"hello").await;
        let (mut opened, mut accepted) = stream(&client, &server).await;
        accepted.warn(StreamError::new(1, "")).await.unwrap();
        opened.fail(StreamError::new(2, "")).await.unwrap();
        drop((opened, accepted));
        client.shutdown(PATIENCE).await;
        server.shutdown(PATIENCE).await;
        drop((client, server));
        // iroh's tasks end a moment after its `close`.
        until(|| tasks() <= before).await;
    }
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_endpoint_and_leaves_no_task() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    echo(&client, &server, b"hello").await;
    let connection = connect(&client, &server).await;
    let (opened, accepted) = stream(&client, &server).await;
    let socket = server.status().sockets[0];
    drop((accepted, server));
    soon(connection.closed()).await;
    // The socket is free again.
    until(|| std::net::UdpSocket::bind(socket).is_ok()).await;
    drop((opened, connection, client));
    until(|| tasks() <= before).await;
}

#[tokio::test]
async fn handles_may_be_dropped_on_a_thread_without_a_runtime() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    accepted.write_all(b"before").await.unwrap();
    accepted.fail(StreamError::new(1, "")).await.unwrap();
    let connection = connect(&server, &client).await;
    drop(connection);
    std::thread::spawn(move || drop((accepted, server))).join().unwrap();
    // The endpoint closes on the runtime on which it was bound.
    let end = soon(async {
        loop {
            match opened.read(&mut [0; 100]).await {
                Ok(0) => panic!("an end of data"),
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(end, ReadError::Failed(_) | ReadError::Lost(_)), "{end}");
    until(|| client.peers().is_empty()).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_no_goodbye_of_peers_that_are_gone() {
    let client = endpoint().await;
    let gone: Vec<_> = (0..3).map(|_| Mortal::new(&SecretKey::generate())).collect();
    let alive = endpoint().await;
    for peer in &gone {
        let mut stream = soon(client.get_stream(peer.ticket.clone(), CHAT)).await.unwrap();
        stream.finish().unwrap();
        drop(stream);
    }
    serve_echo(&alive);
    echo(&client, &alive, b"hello").await;
    gone.into_iter().for_each(Mortal::kill);
    // No timeout of the endpoint expires before the scene's timeout.
    let report = soon(client.shutdown(2 * PATIENCE)).await;
    assert_eq!((report.drained, report.silent, report.cut, report.streams_cut), (1, 3, 0, 0), "{report:?}");
}

#[tokio::test]
async fn a_shutdown_waits_for_the_streams_of_a_silent_peer_until_it_would_dial_it_anew_and_no_longer() {
    let client = endpoint_with(Limits { path_timeout: BRIEF, ..limits() }).await;
    let gone = Mortal::new(&SecretKey::generate());
    let _stream = soon(client.get_stream(gone.ticket.clone(), CHAT)).await.unwrap();
    gone.kill();
    let report = soon(client.shutdown(2 * PATIENCE)).await;
    assert_eq!((report.silent, report.cut, report.streams_cut), (1, 0, 1), "{report:?}");
}

#[tokio::test]
async fn a_deadline_of_a_shutdown_holds_whatever_handlers_do() {
    let (client, server) = (endpoint().await, endpoint().await);
    let going_on = Arc::new(Notify::new());
    server
        .serve(CHAT, {
            let going_on = Arc::clone(&going_on);
            move |stream| {
                let going_on = Arc::clone(&going_on);
                async move {
                    going_on.notified().await;
                    drop(stream);
                }
            }
        })
        .unwrap();
    let opened = soon(client.get_stream(server.ticket(), CHAT)).await.unwrap();
    let begun = Instant::now();
    let report = soon(server.shutdown(BRIEF)).await;
    // It ends a moment after the deadline. A busy machine may delay that. A shutdown that waits for the handler
    // would take 5 s more.
    assert!(begun.elapsed() < 2 * BRIEF, "{:?}", begun.elapsed());
    assert_eq!((report.cut, report.tasks_left > 0), (1, true), "{report:?}");
    going_on.notify_waiters();
    drop(opened);
}

#[tokio::test]
async fn a_handler_that_is_given_to_an_endpoint_after_its_shutdown_is_not_kept() {
    let endpoint = endpoint().await;
    soon(endpoint.shutdown(Duration::ZERO)).await;
    let (kept, clone) = (Arc::new(()), endpoint.clone());
    let held = Arc::downgrade(&kept);
    endpoint
        .serve(ECHO, move |stream| {
            let (kept, clone) = (Arc::clone(&kept), clone.clone());
            async move { drop((stream, kept, clone)) }
        })
        .unwrap();
    assert!(held.upgrade().is_none());
}
