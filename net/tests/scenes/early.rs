//! Repeatable requests of a peer that comes back: they travel with the first packets of the new connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use twolane::{
    AccessList, DialError, Endpoint, GetStreamError, KeyExchange, Limits, PathPolicy, RequestFailure, RequestOptions,
    SecretKey, ServeOptions,
};

use crate::{
    access::guarded,
    mortal::Mortal,
    relay::Relay,
    stage::{BRIEF, ECHO, PATIENCE, echo, endpoint, endpoint_with, limits, serve_echo, soon, until, with_key},
};

const REPEATABLE: RequestOptions = RequestOptions { repeatable: true };

/// Serves `read/1`, whose requests are repeatable, and returns how often its handler has run.
fn serve_reads(endpoint: &Endpoint) -> Arc<AtomicUsize> {
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = {
        let runs = Arc::clone(&runs);
        move |request: twolane::Request| {
            runs.fetch_add(1, SeqCst);
            std::future::ready(Ok([&request.body[..], b" back"].concat().into()))
        }
    };
    endpoint.serve_requests_with("read/1", ServeOptions { repeatable: true }, handler).unwrap();
    runs
}

async fn read(client: &Endpoint, server: &Endpoint) {
    let response = client.request_with(server.ticket(), "read/1", "there", PATIENCE, REPEATABLE).await.unwrap();
    assert_eq!(response, "there back");
}

/// Ends the connection in a way that both sides know of.
async fn part(client: &Endpoint, server: &Endpoint) {
    client.disconnect(&server.id(), "until later");
    until(|| client.peers().is_empty() && server.peers().is_empty()).await;
}

/// Returns the number of requests that were sent early, and how often the peer dropped them.
fn early(client: &Endpoint) -> (u64, u64) {
    (client.metrics().requests_sent_early.get(), client.metrics().early_rejected.get())
}

#[tokio::test]
async fn a_peer_that_comes_back_asks_with_its_first_packets_and_its_request_is_handled_once() {
    let (client, server) = (endpoint().await, endpoint().await);
    let runs = serve_reads(&server);
    read(&client, &server).await;
    assert_eq!(early(&client), (0, 0), "there was no session to resume");
    let mut asked = 1;
    for round in 1..=5 {
        part(&client, &server).await;
        // The first request after the dial flies. The connection is one like any other then.
        for _ in 0..2 {
            read(&client, &server).await;
            asked += 1;
            assert_eq!((early(&client), runs.load(SeqCst)), ((round, 0), asked));
        }
        assert_eq!(client.peers()[0].connections, 1);
    }
    serve_echo(&server);
    echo(&client, &server, b"and streams").await;
    assert_eq!(client.metrics().connections_dialled.get(), 6);
}

#[tokio::test]
async fn what_is_not_repeatable_or_long_waits_for_the_handshake() {
    let (client, server) = (endpoint().await, endpoint().await);
    let runs = serve_reads(&server);
    read(&client, &server).await;
    part(&client, &server).await;
    client.request(server.ticket(), "read/1", "once", PATIENCE).await.unwrap();
    part(&client, &server).await;
    let long = vec![b'x'; 16 * 1024 + 1];
    client.request_with(server.ticket(), "read/1", long, PATIENCE, REPEATABLE).await.unwrap();
    part(&client, &server).await;
    serve_echo(&server);
    echo(&client, &server, b"a stream").await;
    assert_eq!(early(&client), (0, 0));
    assert_eq!(runs.load(SeqCst), 3);
}

#[tokio::test]
async fn an_endpoint_that_asks_its_rules_or_wants_a_direct_path_sends_nothing_early() {
    let server = endpoint().await;
    let runs = serve_reads(&server);
    let guarded = guarded(AccessList::everybody()).await;
    let choosy = endpoint().await;
    choosy.set_path_policy(&server.id(), PathPolicy::DirectOnly);
    for client in [&guarded, &choosy] {
        read(client, &server).await;
        part(client, &server).await;
        read(client, &server).await;
        assert_eq!(early(client), (0, 0));
        part(client, &server).await;
    }
    assert_eq!(runs.load(SeqCst), 4);
}

#[tokio::test]
async fn an_acceptor_that_was_started_again_drops_what_comes_early_and_the_caller_notices_nothing() {
    let (client, key) = (endpoint().await, SecretKey::generate());
    let server = with_key(&key).await;
    serve_reads(&server);
    read(&client, &server).await;
    soon(server.shutdown(PATIENCE)).await;
    until(|| client.peers().is_empty()).await;

    let server = with_key(&key).await;
    let runs = serve_reads(&server);
    read(&client, &server).await;
    assert_eq!(early(&client), (1, 1));
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(server.metrics().requests_early.get(), 0);
    // The connection goes on, and its sessions are those of the new instance.
    serve_echo(&server);
    echo(&client, &server, b"once more").await;
    assert_eq!(client.peers()[0].connections, 1);
    part(&client, &server).await;
    read(&client, &server).await;
    assert_eq!(early(&client), (2, 1));
}

#[tokio::test]
async fn many_requests_fly_together_and_come_again_together_where_they_are_dropped() {
    let (client, key) = (endpoint().await, SecretKey::generate());
    let server = with_key(&key).await;
    serve_reads(&server);
    read(&client, &server).await;
    let mut server = server;
    for restarted in [false, true] {
        if restarted {
            soon(server.shutdown(PATIENCE)).await;
            until(|| client.peers().is_empty()).await;
            server = with_key(&key).await;
        } else {
            part(&client, &server).await;
            server.stop_serving("read/1");
        }
        let runs = serve_reads(&server);
        // More than may be open before the peer's HELLO.
        let requests = (0..40).map(|_| {
            let (client, server) = (client.clone(), server.clone());
            tokio::spawn(async move { read(&client, &server).await })
        });
        for request in requests.collect::<Vec<_>>() {
            soon(request).await.unwrap();
        }
        assert_eq!(runs.load(SeqCst), 40);
    }
}

#[tokio::test]
async fn a_connection_on_which_early_data_was_dropped_carries_more_than_its_windows() {
    let limits = Limits { unread_bytes: 1 << 20, ..limits() };
    let (client, key) = (endpoint_with(limits.clone()).await, SecretKey::generate());
    let bind = || Endpoint::builder().offline().limits(limits.clone()).secret_key(key.clone()).bind();
    let server = bind().await.unwrap();
    serve_reads(&server);
    read(&client, &server).await;
    soon(server.shutdown(PATIENCE)).await;
    until(|| client.peers().is_empty()).await;

    let server = bind().await.unwrap();
    serve_reads(&server);
    read(&client, &server).await;
    assert_eq!(early(&client), (1, 1));
    serve_echo(&server);
    let mut stream = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    let (send, recv) = stream.halves();
    // Five times the window of the connection, in both directions.
    let (sent, received) = tokio::join!(
        async {
            for _ in 0..80 {
                send.write_all(&[7; 64 * 1024]).await.unwrap();
            }
            send.finish()
        },
        soon(recv.read_to_end(8 << 20)),
    );
    sent.unwrap();
    assert_eq!(received.unwrap().len(), 80 * 64 * 1024);
}

#[tokio::test]
async fn a_request_to_a_peer_that_is_gone_fails_with_the_cause_of_the_dial() {
    let limits = Limits { connect_timeout: BRIEF, ..limits() };
    let (client, key) = (endpoint_with(limits).await, SecretKey::generate());
    let server = Mortal::bound({
        let key = key.clone();
        async move {
            let server = with_key(&key).await;
            serve_reads(&server);
            server
        }
    });
    let ticket = server.ticket.clone();
    let request = || client.request_with(ticket.clone(), "read/1", "there", PATIENCE, REPEATABLE);
    soon(request()).await.unwrap();
    client.disconnect(&key.public_key(), "until later");
    until(|| client.peers().is_empty()).await;
    server.kill();
    let error = soon(request()).await.unwrap_err();
    let RequestFailure::GetStream(GetStreamError::Dial { source, .. }) = &error.cause else { panic!("{error:?}") };
    assert!(matches!(source, DialError::TimedOut { after: BRIEF }), "{source:?}");
    assert_eq!(early(&client), (1, 0));
    assert!(error.may_have_been_handled(), "it was sent");
}

#[tokio::test]
async fn an_endpoint_that_remembers_no_peers_has_nothing_to_resume() {
    let client = Endpoint::builder().offline().limits(limits()).remembered_peers(0).bind().await.unwrap();
    let server = endpoint().await;
    let runs = serve_reads(&server);
    for _ in 0..2 {
        read(&client, &server).await;
        part(&client, &server).await;
    }
    assert_eq!((early(&client), runs.load(SeqCst)), ((0, 0), 2));
}

#[tokio::test]
async fn a_request_flies_through_a_relay_too() {
    let relay = Relay::start().await;
    let bind = || relay.builder(limits()).relay_only().bind();
    let (client, server) = (bind().await.unwrap(), bind().await.unwrap());
    assert!(client.online(PATIENCE).await && server.online(PATIENCE).await);
    let runs = serve_reads(&server);
    let request = || client.request_with(relay.ticket(&server), "read/1", "there", PATIENCE, REPEATABLE);
    soon(request()).await.unwrap();
    part(&client, &server).await;
    soon(request()).await.unwrap();
    assert_eq!(early(&client).0, 1);
    assert_eq!(runs.load(SeqCst), 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_its_request_flies_leaves_the_dial_to_others() {
    let (client, server) = (endpoint().await, endpoint().await);
    let runs = serve_reads(&server);
    read(&client, &server).await;
    part(&client, &server).await;
    let mut dropped = Box::pin(read(&client, &server));
    // Polled until the request has left, and no further.
    while early(&client) == (0, 0) {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
        assert!(!polled, "the response came before the request had left");
        tokio::task::yield_now().await;
    }
    drop(dropped);
    read(&client, &server).await;
    assert!(runs.load(SeqCst) <= 3);
    assert_eq!(client.metrics().connections_dialled.get(), 2);
}

#[tokio::test]
async fn two_endpoints_say_how_they_have_agreed_on_their_keys() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_reads(&server);
    // The second connection resumes the session of the first one, and agrees on new keys as well.
    for _ in 0..2 {
        read(&client, &server).await;
        until(|| server.peer(&client.id()).is_some()).await;
        for (at, to) in [(&client, &server), (&server, &client)] {
            assert_eq!(at.peer(&to.id()).unwrap().key_exchange, Some(KeyExchange::X25519MlKem768));
        }
        part(&client, &server).await;
    }
    assert_eq!(client.metrics().connections_post_quantum.get(), 2);
}
