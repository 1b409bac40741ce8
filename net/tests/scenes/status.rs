//! What an endpoint reports about its reachability.

use std::{net::Ipv4Addr, time::Duration};

use twolane::{Builder, Endpoint, Obstacle, Reach};

use crate::{
    relay::Relay,
    stage::{PATIENCE, endpoint, limits},
};

#[tokio::test]
async fn an_endpoint_on_loopback_is_reached_from_this_machine_alone_and_says_so() {
    let status = endpoint().await.settled(PATIENCE).await;
    assert_eq!(status.reach, Reach::ThisMachine);
    assert_eq!(status.obstacles, [Obstacle::NoRelay, Obstacle::LoopbackOnly]);
    assert!(!status.is_online() && !status.is_direct_capable());
    assert!(
        status
            .obstacles
            .iter()
            .all(|obstacle| obstacle.to_string().contains("Builder::relay") || obstacle.to_string().contains("bind"))
    );
}

#[tokio::test]
async fn a_relay_that_answers_makes_an_endpoint_reachable_and_one_that_does_not_is_named() {
    let relay = Relay::start().await;
    let endpoint = relay.builder(limits()).bind().await.unwrap();
    let status = endpoint.settled(PATIENCE).await;
    assert_eq!((status.reach, status.is_online()), (Reach::RelayOnly, true), "{status:?}");
    assert_eq!(status.obstacles, [Obstacle::LoopbackOnly]);
    assert!(status.relays[0].home && status.relays[0].connected && status.relays[0].latency.is_some(), "{status:?}");

    let hidden = relay.builder(limits()).relay_only().bind().await.unwrap();
    let status = hidden.settled(PATIENCE).await;
    assert_eq!((status.reach, &status.obstacles[..]), (Reach::RelayOnly, &[Obstacle::DirectOff][..]));

    drop(relay);
    let lost = on_loopback().relay("http://127.0.0.1:9").bind().await.unwrap();
    let status = lost.settled(PATIENCE).await;
    assert_eq!((status.reach, status.is_online()), (Reach::ThisMachine, false), "{status:?}");
    assert!(matches!(status.obstacles[0], Obstacle::RelayUnreachable { .. }), "{status:?}");
}

/// Returns the builder of an endpoint that has nothing but loopback and the relays that are added.
fn on_loopback() -> Builder {
    Endpoint::builder().limits(limits()).n0(false).bind_addr((Ipv4Addr::LOCALHOST, 0).into())
}

#[tokio::test]
async fn a_status_that_is_not_known_in_time_is_told_as_such() {
    // A relay that accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = format!("http://{}", silent.local_addr().unwrap());
    let endpoint = on_loopback().relay(relay).bind().await.unwrap();
    let status = endpoint.settled(Duration::ZERO).await;
    assert_eq!(status.reach, Reach::Unknown);
    assert!(status.obstacles.is_empty() && status.network.is_none());
}
