//! Several connections between the same two peers: restarts, second dials, simultaneous dials; and connections that
//! are turned away.

use twolane::{Endpoint, Limits, SecretKey, StreamOptions};

use crate::{
    errors::{arrives, stream},
    peer::{Known, NONCE, Socket, Stranger, close_code, connected, endpoint_with, greeting},
    reader::soon,
    server::{self, ask, outcome},
    wire::{close, frame, goaway, header, numbers},
};

/// Lets a connection go because another connection stays.
async fn let_go(mut stranger: Stranger) {
    stranger.hears(frame::GOAWAY, &[goaway::DUPLICATE]).await;
    stranger.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;
    let drained = vec![stranger.accepted, stranger.opened];
    stranger.hears(frame::DRAINED, &drained).await;
    stranger.say_drained().await;
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
}

#[tokio::test]
async fn a_new_nonce_replaces_the_connection_of_the_old_instance() {
    let (endpoint, old) = connected().await;
    let mut new = Socket::new(7).dial(&endpoint, *b"a stranger's two").await;
    assert_eq!(close_code(&old.connection).await, close::REPLACED);
    new.round_trip().await;
    assert_eq!(endpoint.peers().len(), 1);
}

#[tokio::test]
async fn a_second_dial_by_the_same_instance_drains_the_first() {
    let (endpoint, mut old) = connected().await;
    let (mut on_old, send, _recv) = stream(&endpoint, &mut old).await;
    let mut new = Stranger::of(&endpoint).await;
    new.round_trip().await;
    old.hears(frame::GOAWAY, &[goaway::DUPLICATE]).await;
    old.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;

    // What was open there is not cut.
    arrives("to the end", send, &mut on_old).await;
    drop(on_old);
    old.hears(frame::DRAINED, &[0, 1]).await;
    old.say_drained().await;
    assert_eq!(close_code(&old.connection).await, close::DONE);
    new.round_trip().await;
}

#[tokio::test]
async fn of_two_that_dialled_each_other_the_dial_of_the_smaller_key_stays() {
    for (ours, theirs) in [(1, 2), (2, 1)] {
        let socket = Socket::new(theirs);
        let bound = Endpoint::builder().offline().secret_key(SecretKey::from_bytes(&[ours; 32])).bind().await;
        let endpoint = bound.expect("an endpoint on loopback");
        let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
        let mut by_endpoint = socket.accept(NONCE).await;
        let _lane = by_endpoint.take().await;
        drop(outcome(asked).await.expect("a stream"));
        by_endpoint.round_trip().await;
        let mut by_stranger = socket.dial(&endpoint, NONCE).await;

        let (mut stays, goes) = if endpoint.id() < socket.id() {
            (by_endpoint, by_stranger)
        } else {
            by_stranger.round_trip().await;
            (by_stranger, by_endpoint)
        };
        let_go(goes).await;
        // New streams use the other connection.
        server::stream(&endpoint, &socket, &mut stays).await;
    }
}

#[tokio::test]
async fn one_peer_too_many_is_told_so() {
    let limits = Limits { peers: 1, ..Limits::default() };
    let endpoint = endpoint_with(limits).await;
    let mut first = Stranger::of(&endpoint).await;
    let connection = Socket::new(8).connect(&endpoint).await;
    // The connection may be closed before HELLO is written.
    if let Ok(mut control) = soon("a stream", connection.open_uni()).await {
        let _ = control.write_all(&greeting(NONCE)).await;
    }
    assert_eq!(close_code(&connection).await, close::BUSY);
    first.round_trip().await;
}

#[tokio::test]
async fn a_connection_that_the_user_closes_says_so() {
    let (endpoint, mut stranger) = connected().await;
    let connected = soon("a connection", endpoint.accept()).await.expect("a connection");
    stranger.open(&header("work/1", b"")).await;
    connected.close("enough");
    assert_eq!(close_code(&stranger.connection).await, close::CLOSED);
}
