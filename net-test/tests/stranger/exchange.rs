//! Key exchanges: the stranger's library has none that is post-quantum.

use twolane::{ConnectionLost, DialError, Endpoint};

use crate::{
    peer::{Known, Socket, close_code, connected, endpoint},
    reader::{code, soon},
    wire::close,
};

async fn demanding() -> Endpoint {
    let bound = Endpoint::builder().offline().require_post_quantum().bind().await;
    bound.expect("an endpoint on loopback")
}

/// Lets an endpoint dial the stranger, which does something with the connection, and returns why the dial failed.
async fn dial_fails(endpoint: &Endpoint, socket: &Socket, then: impl AsyncFnOnce(quinn::Connection)) -> ConnectionLost {
    let (endpoint, ticket) = (endpoint.clone(), socket.ticket());
    let dialled = tokio::spawn(async move { endpoint.connect(ticket).await.map(drop) });
    then(socket.accept_silently().await).await;
    match soon("the end of the dial", dialled).await.expect("no panic") {
        Err(DialError::Lost(lost)) => lost,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_has_no_post_quantum_keys_is_turned_away_where_they_are_required() {
    let endpoint = demanding().await;
    let connection = Socket::new(7).connect(&endpoint).await;
    assert_eq!(close_code(&connection).await, close::NOT_POST_QUANTUM);
    assert!(endpoint.peers().is_empty());
    assert_eq!(endpoint.metrics().connections_refused.get(), 1);
}

#[tokio::test]
async fn an_endpoint_that_requires_post_quantum_keys_says_nothing_to_a_peer_that_it_dials_and_that_has_none() {
    let (endpoint, socket) = (demanding().await, Socket::new(7));
    let lost = dial_fails(&endpoint, &socket, async |connection| {
        let control = soon("the end of the connection", connection.accept_uni()).await;
        assert!(control.is_err(), "HELLO was sent with keys that are not post-quantum");
        assert_eq!(close_code(&connection).await, close::NOT_POST_QUANTUM);
    })
    .await;
    assert!(matches!(lost, ConnectionLost::NotPostQuantum { agreed: Some(_) }), "{lost:?}");
    assert!(!lost.is_retryable());
    assert!(lost.to_string().contains("X25519"), "{lost}");
}

#[tokio::test]
async fn an_endpoint_is_told_that_its_peer_requires_post_quantum_keys() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let lost = dial_fails(&endpoint, &socket, async |connection| {
        connection.close(code(close::NOT_POST_QUANTUM), b"later keys, please");
    })
    .await;
    let ConnectionLost::PostQuantumRequired { reason } = &lost else { panic!("{lost:?}") };
    assert_eq!(reason, "later keys, please");
    assert!(!lost.is_retryable());
}

#[tokio::test]
async fn elsewhere_the_keys_of_a_peer_need_not_be_post_quantum_and_are_told() {
    let (endpoint, mut stranger) = connected().await;
    stranger.round_trip().await;
    let info = endpoint.peers().pop().expect("the stranger is connected");
    assert_eq!(info.key_exchange.map(|agreed| agreed.is_post_quantum()), Some(false));
}
