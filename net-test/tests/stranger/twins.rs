//! Several connections between the same two peers: restarts, second dials and simultaneous dials. Also connections
//! that are turned away.

use twolane::{ConnectionLost, Endpoint, Limits, ReadError, SecretKey, StreamOptions};

use crate::{
    errors::{arrives, stream},
    peer::{Known, NONCE, Socket, Stranger, close_code, connected, endpoint, endpoint_with, greeting},
    reader::{code, soon},
    server::{self, ask, outcome},
    wire::{self, bound, close, frame, goaway, header, numbers, parameter},
};

/// Ends a connection in order, because another connection stays.
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
async fn a_new_nonce_ends_what_still_drains_of_the_old_instance() {
    let (endpoint, mut old) = connected().await;
    let (mut on_old, _send, _recv) = stream(&endpoint, &mut old).await;
    let mut second = Stranger::of(&endpoint).await;
    second.round_trip().await;
    old.hears(frame::GOAWAY, &[goaway::DUPLICATE]).await;

    let mut new = Socket::new(7).dial(&endpoint, *b"a stranger's two").await;
    new.round_trip().await;
    for gone in [&second, &old] {
        assert_eq!(close_code(&gone.connection).await, close::REPLACED);
    }
    let error = soon("an error", on_old.read(&mut [0])).await.expect_err("its instance is gone");
    assert!(matches!(error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error}");
}

#[tokio::test]
async fn a_second_dial_by_the_same_instance_drains_the_first() {
    let (endpoint, mut old) = connected().await;
    let (mut on_old, send, _recv) = stream(&endpoint, &mut old).await;
    let mut new = Stranger::of(&endpoint).await;
    new.round_trip().await;
    old.hears(frame::GOAWAY, &[goaway::DUPLICATE]).await;
    old.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;

    // The stream that was open on the old connection is not cut.
    arrives("to the end", send, &mut on_old).await;
    drop(on_old);
    old.hears(frame::DRAINED, &[0, 1]).await;
    old.say_drained().await;
    assert_eq!(close_code(&old.connection).await, close::DONE);
    new.round_trip().await;
}

const DIAL: u64 = parameter::DIAL;
const KNOWS: u64 = parameter::KNOWS;

/// Returns a HELLO with the given parameters of a dial.
fn dialling(dial: &[(u64, u64)]) -> Vec<u8> {
    wire::greeting(NONCE, &[&[(parameter::DATA_LANES, 100), (parameter::METADATA, bound::METADATA)], dial].concat())
}

/// Returns the value of a parameter of a dial, from the endpoint's HELLO.
fn said(stranger: &Stranger, id: u64) -> Option<u64> {
    stranger.hello.numbers.iter().find(|(said, _)| *said == id).map(|(_, value)| *value)
}

/// Returns an endpoint that has dialled the stranger and has received its HELLO.
async fn dialled(ours: u8, socket: &Socket) -> (Endpoint, Stranger) {
    let bound = Endpoint::builder().offline().secret_key(SecretKey::from_bytes(&[ours; 32])).bind().await;
    let endpoint = bound.expect("an endpoint on loopback");
    let asked = ask(&endpoint, socket, "work/1", StreamOptions::default());
    let mut by_endpoint = socket.accept(NONCE).await;
    let _lane = by_endpoint.take().await;
    drop(outcome(asked).await.expect("a stream"));
    by_endpoint.round_trip().await;
    (endpoint, by_endpoint)
}

#[tokio::test]
async fn of_two_dials_that_overlapped_the_one_of_the_smaller_key_stays() {
    for (ours, theirs) in [(1, 2), (2, 1)] {
        // The dial knew no other dial, or its KNOWS is not a number of this instance.
        for known in [None, Some(-1), Some(1)] {
            let socket = Socket::new(theirs);
            let (endpoint, by_endpoint) = dialled(ours, &socket).await;
            let number = said(&by_endpoint, DIAL).expect("its dials have numbers");
            assert_eq!(said(&by_endpoint, KNOWS), None);
            let knows = known.map(|by| (KNOWS, number.checked_add_signed(by).expect("a number")));
            let dial: Vec<_> = [(DIAL, 1)].into_iter().chain(knows).collect();
            let mut by_stranger = socket.dial_with(&endpoint, &dialling(&dial)).await;
            assert_eq!((said(&by_stranger, DIAL), said(&by_stranger, KNOWS)), (None, None));

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
}

#[tokio::test]
async fn a_dial_that_was_begun_when_the_other_one_was_known_stays_whoever_has_the_smaller_key() {
    for (ours, theirs) in [(1, 2), (2, 1)] {
        let socket = Socket::new(theirs);
        let (endpoint, by_endpoint) = dialled(ours, &socket).await;
        let number = said(&by_endpoint, DIAL).expect("its dials have numbers");
        let mut by_stranger = socket.dial_with(&endpoint, &dialling(&[(DIAL, 1), (KNOWS, number)])).await;
        by_stranger.round_trip().await;
        let_go(by_endpoint).await;
        server::stream(&endpoint, &socket, &mut by_stranger).await;
    }
}

#[tokio::test]
async fn of_two_dials_of_one_side_the_later_stays_in_whatever_order_they_arrive() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let mut second = socket.dial_with(&endpoint, &dialling(&[(DIAL, 9)])).await;
    second.round_trip().await;
    let first = socket.dial_with(&endpoint, &dialling(&[(DIAL, 8)])).await;
    let_go(first).await;
    server::stream(&endpoint, &socket, &mut second).await;
}

/// Waits until the endpoint knows that its connections have ended.
async fn is_alone(endpoint: &Endpoint) {
    soon("the end of its connections", async {
        while !endpoint.peers().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_says_which_dial_of_the_peers_it_knew_when_it_dialled() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let mut first = socket.dial_with(&endpoint, &dialling(&[(DIAL, 9)])).await;
    first.round_trip().await;
    first.connection.close(code(close::DONE), b"");
    is_alone(&endpoint).await;
    // The stranger may have lost the first connection by accident, and may not know which dial the endpoint knows.
    // KNOWS tells it.
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
        let mut by_endpoint = socket.accept(NONCE).await;
        let _lane = by_endpoint.take().await;
        drop(outcome(asked).await.expect("a stream"));
        by_endpoint.round_trip().await;
        assert_eq!(said(&by_endpoint, KNOWS), Some(9));
        numbers.extend(said(&by_endpoint, DIAL));
        by_endpoint.connection.close(code(close::DONE), b"");
        is_alone(&endpoint).await;
    }
    assert!(numbers.len() == 2 && numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
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
