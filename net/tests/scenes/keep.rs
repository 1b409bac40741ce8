//! A peer that is being kept is connected whenever it can be.

use std::time::Duration;

use twolane::{AccessList, ConnectionLost, DialError, KeepState, Limits, SecretKey};

use crate::{
    access::guarded,
    stage::{BRIEF, connect, endpoint, endpoint_with, limits, soon, until, with_key},
};

#[tokio::test]
async fn a_kept_peer_is_connected_again_after_every_loss() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut keep = client.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    for n in 1..=3 {
        until(|| server.peer(&client.id()).is_some()).await;
        connect(&server, &client).await.close("go away");
        until(|| client.metrics().peers_disconnected.get() == n).await;
        assert!(soon(keep.connected()).await);
        until(|| client.metrics().peers_connected.get() == n + 1).await;
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_with_a_new_process_is_found_again() {
    let limits = Limits { connect_timeout: BRIEF, ..limits() };
    let (key, client) = (SecretKey::generate(), endpoint_with(limits).await);
    let server = with_key(&key).await;
    let mut keep = client.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    server.shutdown(Duration::ZERO).await;
    soon(async {
        loop {
            if let KeepState::Waiting { failures, wait, .. } = keep.changed().await
                && failures >= 2
            {
                assert!(wait <= Duration::from_secs(10));
                break;
            }
        }
    })
    .await;
    let again = with_key(&key).await;
    client.add_peer(again.ticket());
    assert!(soon(keep.connected()).await);
}

#[tokio::test]
async fn a_peer_that_refuses_is_asked_more_and_more_rarely_and_reached_when_it_allows() {
    let list = AccessList::nobody();
    let (client, server) = (endpoint().await, guarded(list.clone()).await);
    let mut keep = client.keep(server.ticket());
    soon(async {
        loop {
            if let KeepState::Waiting { failures: 4.., cause, .. } = keep.changed().await {
                let refused = matches!(&*cause, DialError::Lost(ConnectionLost::Forbidden { .. }));
                assert!(refused, "{cause:?}");
                break;
            }
        }
    })
    .await;
    list.allow(client.id());
    until(|| server.peer(&client.id()).is_some()).await;
    assert!(soon(keep.connected()).await);
}

#[tokio::test]
async fn a_dropped_keep_lets_the_peer_be_and_a_shutdown_ends_it() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut keep = client.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    drop(keep);
    until(|| server.peer(&client.id()).is_some()).await;
    connect(&server, &client).await.close("");
    until(|| client.metrics().peers_disconnected.get() == 1).await;
    let mut keep = client.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    assert_eq!(client.metrics().connections_dialled.get(), 2, "nobody dialled in between");
    soon(client.shutdown(Duration::ZERO)).await;
    soon(async { while !matches!(keep.changed().await, KeepState::Ended) {} }).await;
    assert!(!soon(keep.connected()).await);
}
