use std::{
    sync::{OnceLock, mpsc},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, advance, pause};
use twolane_id::{
    SecretKey,
    delegation::{Delegation, Pattern},
};

use crate::{
    Builder, Endpoint, Limits,
    access::{Clock, ShowTo},
    events::Event,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The machine's clock, which advances with tokio's.
fn now() -> SystemTime {
    static BEGUN: OnceLock<(SystemTime, Instant)> = OnceLock::new();
    let (then, begun) = BEGUN.get_or_init(|| (SystemTime::now(), Instant::now()));
    *then + begun.elapsed()
}

/// Waits until `what` holds. Tokio's clock stands still meanwhile, and the machine's clock goes on.
async fn until(what: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(100), "it never comes to that");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_certificate_that_expires_ends_the_standing_and_one_that_is_renewed_does_not() {
    let (owner, node_key) = (SecretKey::generate(), SecretKey::generate());
    let lasting = |lasts: Duration| {
        let delegation = Delegation::build(node_key.public_key()).scope("*".parse::<Pattern>().unwrap());
        delegation.expires(now() + lasts).sign(&owner).unwrap()
    };
    let limits = || Limits { clock_skew: Duration::ZERO, ..Limits::default() };
    let server = Endpoint::builder().offline().limits(limits()).clock(Clock(now)).bind().await.unwrap();
    let node = Endpoint::builder().offline().limits(limits()).secret_key(node_key.clone());
    let node = node.delegation(lasting(HOUR)).bind().await.unwrap();
    let mut events = server.events();
    node.connect(server.ticket()).await.unwrap();
    let owner_there = || server.peer(&node.id()).and_then(|peer| peer.owner_unscoped);
    until(|| owner_there() == Some(owner.public_key())).await;

    // From here on the clock advances only when it is told to. Tokio advances a paused clock when all tasks wait,
    // but not while a blocking call is under way.
    pause();
    let (_hold, held) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    let renewed = lasting(2 * HOUR);
    node.set_delegations(vec![renewed.clone()]).unwrap();
    let shown = || server.inner().peers.links(None)[0].carrier.identity().delegation;
    until(|| shown().is_some_and(|shown| *shown == renewed)).await;

    // The first certificate expires, which has no effect.
    advance(HOUR + Duration::from_secs(60)).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert_eq!(owner_there(), Some(owner.public_key()));
    }
    advance(HOUR).await;
    until(|| owner_there().is_none()).await;
    while !matches!(events.next().await.unwrap(), Event::DelegationEnded { .. }) {}
    // The node stays connected, and acts for itself.
    assert!(server.peer(&node.id()).is_some());
    assert_eq!(node.metrics().connections_dialled.get(), 1);
}

/// A certificate of an hour, and the key of its node.
fn of_an_hour(owner: &SecretKey) -> (SecretKey, Delegation) {
    let node = SecretKey::generate();
    let delegation = Delegation::build(node.public_key()).scope("*".parse::<Pattern>().unwrap());
    (node, delegation.expires(now() + HOUR).sign(owner).unwrap())
}

async fn bound(key: SecretKey, delegations: &[Delegation]) -> Endpoint {
    let limits = Limits { clock_skew: Duration::ZERO, ..Limits::default() };
    let builder = Endpoint::builder().offline().limits(limits).clock(Clock(now)).secret_key(key);
    let builder = builder.show_delegations(ShowTo::everybody());
    delegations.iter().cloned().fold(builder, Builder::delegation).bind().await.unwrap()
}

/// Waits until `node` acts for `owner` at `endpoint`, and then, with an hour gone, until it does not.
async fn ends_after_an_hour(endpoint: &Endpoint, node: &Endpoint, owner: &SecretKey) {
    let owner_there = || endpoint.peer(&node.id()).and_then(|peer| peer.owner_unscoped);
    until(|| owner_there() == Some(owner.public_key())).await;
    pause();
    let (_hold, held) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    advance(HOUR + Duration::from_secs(60)).await;
    until(|| owner_there().is_none()).await;
    assert!(endpoint.peer(&node.id()).is_some(), "it stays connected, as itself");
}

#[tokio::test]
async fn a_certificate_in_the_hello_of_a_peer_that_was_dialled_ends_in_time() {
    let owner = SecretKey::generate();
    let (key, delegation) = of_an_hour(&owner);
    let (dialler, node) = (bound(SecretKey::generate(), &[]).await, bound(key, &[delegation]).await);
    dialler.connect(node.ticket()).await.unwrap();
    ends_after_an_hour(&dialler, &node, &owner).await;
}

#[tokio::test]
async fn a_certificate_that_is_shown_on_an_open_connection_ends_in_time() {
    let owner = SecretKey::generate();
    let (key, delegation) = of_an_hour(&owner);
    let (server, node) = (bound(SecretKey::generate(), &[]).await, bound(key, &[]).await);
    node.connect(server.ticket()).await.unwrap();
    node.set_delegations(vec![delegation]).unwrap();
    ends_after_an_hour(&server, &node, &owner).await;
}
