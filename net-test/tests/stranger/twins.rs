//! Several connections between the same two peers: restarts, second dials, simultaneous dials; and connections that
//! are turned away.

use twolane::{Endpoint, Limits, SecretKey};

use crate::{
    errors::stream,
    peer::{NONCE, Socket, Stranger, close_code, endpoint, greeting, write},
    reader::soon,
    wire::{accepted, close, frame, goaway, header, numbers},
};

/// The part of a peer that has been told that another connection stays.
async fn let_go(mut stranger: Stranger) {
    let said = stranger.frames.frame().await;
    assert_eq!(said, (frame::GOAWAY, vec![goaway::DUPLICATE]));
    stranger.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;
    let drained = vec![stranger.accepted, stranger.opened];
    assert_eq!(stranger.frames.frame().await, (frame::DRAINED, drained));
    stranger.say_drained().await;
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
}

#[tokio::test]
async fn a_new_nonce_replaces_the_connection_of_the_old_instance() {
    let endpoint = endpoint().await;
    let old = Stranger::of(&endpoint).await;
    let mut new = Socket::new(7).dial(&endpoint, *b"a stranger's two").await;
    assert_eq!(close_code(&old.connection).await, close::REPLACED);
    new.round_trip().await;
    assert_eq!(endpoint.peers().len(), 1);
}

#[tokio::test]
async fn a_second_dial_by_the_same_instance_drains_the_first() {
    let endpoint = endpoint().await;
    let mut old = Stranger::of(&endpoint).await;
    let (mut on_old, mut send, _recv) = stream(&endpoint, &mut old).await;
    let mut new = Stranger::of(&endpoint).await;
    new.round_trip().await;
    let said = old.frames.frame().await;
    assert_eq!(said, (frame::GOAWAY, vec![goaway::DUPLICATE]));
    old.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;

    // What was open there is not cut.
    write(&mut send, b"to the end").await;
    send.finish().expect("the lane is open");
    let data = soon("the data", on_old.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "to the end");
    drop(on_old);
    assert_eq!(old.frames.frame().await, (frame::DRAINED, vec![0, 1]));
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
        let (dialler, ticket) = (endpoint.clone(), socket.ticket());
        let asked = tokio::spawn(async move { dialler.get_stream(ticket, "work/1").await });
        let mut by_endpoint = socket.accept(NONCE).await;
        let (mut send, mut recv) = by_endpoint.accept().await;
        recv.header().await;
        write(&mut send, &accepted()).await;
        drop(soon("get_stream", asked).await.expect("no panic").expect("a stream"));
        by_endpoint.round_trip().await;
        let mut by_stranger = socket.dial(&endpoint, NONCE).await;

        let (mut stays, goes) = if endpoint.id() < socket.id() {
            (by_endpoint, by_stranger)
        } else {
            by_stranger.round_trip().await;
            (by_stranger, by_endpoint)
        };
        let_go(goes).await;
        // New streams use the other one.
        let (dialler, ticket) = (endpoint.clone(), socket.ticket());
        let asked = tokio::spawn(async move { dialler.get_stream(ticket, "work/1").await });
        let (mut send, mut recv) = stays.accept().await;
        recv.header().await;
        write(&mut send, &accepted()).await;
        soon("get_stream", asked).await.expect("no panic").expect("a stream");
    }
}

#[tokio::test]
async fn one_peer_too_many_is_told_so() {
    let limits = Limits { peers: 1, ..Limits::default() };
    let endpoint = Endpoint::builder().offline().limits(limits).bind().await.expect("an endpoint on loopback");
    let mut first = Stranger::of(&endpoint).await;
    let connection = Socket::new(8).connect(&endpoint).await;
    // It may be told before it has said a word.
    if let Ok(mut control) = soon("a stream", connection.open_uni()).await {
        let _ = control.write_all(&greeting(NONCE)).await;
        assert_eq!(close_code(&connection).await, close::BUSY);
    } else {
        assert_eq!(close_code(&connection).await, close::BUSY);
    }
    first.round_trip().await;
}

#[tokio::test]
async fn a_connection_that_the_user_closes_says_so() {
    let endpoint = endpoint().await;
    let mut stranger = Stranger::of(&endpoint).await;
    let connected = soon("a connection", endpoint.accept()).await.expect("a connection");
    stranger.open(&header("work/1", b"")).await;
    connected.close("enough");
    assert_eq!(close_code(&stranger.connection).await, close::CLOSED);
}
