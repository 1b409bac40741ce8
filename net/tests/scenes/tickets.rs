//! What an endpoint remembers of the addresses in tickets.

use std::{net::UdpSocket, time::Duration};

use n0_future::StreamExt;
use twolane::{DialError, Endpoint, KeepState, Limits, PublicKey, SecretKey, Ticket};

use crate::stage::{BRIEF, CHAT, connect, endpoint, endpoint_with, limits, pair, soon, until};

/// Returns a ticket of a peer that nobody dials.
fn nowhere(port: u16) -> Ticket {
    Ticket::new(SecretKey::generate().public_key()).with_addr(([127, 0, 0, 1], port).into()).unwrap()
}

/// Returns whether a dial of the peer would be told an address.
async fn knows(endpoint: &Endpoint, peer: &PublicKey) -> bool {
    let lookups = endpoint.iroh().address_lookup().unwrap();
    let mut found = Box::pin(lookups.resolve(twolane::key::to_iroh(peer)));
    matches!(found.next().await, Some(Ok(Ok(_))))
}

#[tokio::test]
async fn a_peer_that_was_forgotten_is_not_dialled_at_its_old_address() {
    let (client, server) = (endpoint().await, endpoint().await);
    let ticket = server.ticket();
    client.add_peer(&ticket);
    assert!(knows(&client, &server.id()).await);
    assert!(client.forget_peer(&server.id()));
    assert!(!client.forget_peer(&server.id()), "nothing is left to forget");
    let error = soon(client.connect(server.id())).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::NoAddress(_)), "{error:?}");
    // The ticket is as good as before, although this endpoint has seen it before.
    soon(client.connect(&ticket)).await.unwrap();
}

#[tokio::test]
async fn a_connection_and_its_streams_outlive_the_addresses_of_the_peer() {
    let (client, server, mut opened, mut accepted) = pair().await;
    assert!(client.forget_peer(&server.id()));
    assert!(!server.forget_peer(&client.id()), "it was dialled, and has seen no ticket");
    opened.send_string("still here").await.unwrap();
    assert_eq!(soon(accepted.next_string()).await.unwrap(), "still here");
    // A new stream uses the connection.
    let (opening, accepting) = (client.get_stream(server.id(), CHAT), server.accept_bi(&[CHAT]));
    let (again, and_again) = soon(async { tokio::join!(opening, accepting) }).await;
    again.unwrap();
    and_again.unwrap();
    assert_eq!(client.metrics().connections_dialled.get(), 1);
    assert!(client.peer(&server.id()).is_some());
}

#[tokio::test]
async fn a_kept_peer_stays_kept_when_its_addresses_are_forgotten() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut keep = client.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    assert!(client.forget_peer(&server.id()));
    assert!(matches!(keep.state(), KeepState::Connected), "{:?}", keep.state());
    server.disconnect(&client.id(), "once");
    until(|| client.metrics().peers_disconnected.get() > 0).await;
    // It is dialled where a later ticket says.
    client.add_peer(server.ticket());
    until(|| client.metrics().connections_dialled.get() > 1).await;
    assert!(soon(keep.connected()).await);
}

#[tokio::test]
async fn the_addresses_of_connected_and_of_kept_peers_are_not_forgotten_to_make_room() {
    let client = endpoint_with(Limits { known_peers: 3, ..limits() }).await;
    let connected = endpoint().await;
    connect(&client, &connected).await;
    // A peer that is dialled, because it is kept, and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let kept = nowhere(silent.local_addr().unwrap().port());
    let _keep = client.keep(&kept);
    until(|| silent.recv(&mut [0; 2000]).is_ok()).await;
    let others: Vec<_> = (1..20).map(nowhere).collect();
    for other in &others {
        client.add_peer(other);
    }
    assert!(knows(&client, &connected.id()).await && knows(&client, &kept.peer()).await);
    let left: Vec<_> = others.iter().filter(|other| client.forget_peer(&other.peer())).collect();
    assert_eq!(left, [&others[18]], "there is one place besides, and the last one has it");
}

#[tokio::test]
async fn what_tickets_told_is_forgotten_in_time_and_what_the_builder_was_given_is_not() {
    let limits = Limits { address_lifetime: BRIEF, ..limits() };
    let (told, fixed) = (nowhere(1), nowhere(2));
    let client = Endpoint::builder().offline().limits(limits).peer(&fixed).bind().await.unwrap();
    client.add_peer(&told);
    assert!(knows(&client, &told.peer()).await);
    soon(async {
        while knows(&client, &told.peer()).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(knows(&client, &fixed.peer()).await);
    assert!(client.forget_peer(&fixed.peer()));
    assert!(!knows(&client, &fixed.peer()).await);
}

#[tokio::test]
async fn an_endpoint_shows_a_ticket_that_every_endpoint_reads() {
    let ticket = endpoint().await.ticket();
    assert!(!ticket.addrs().is_empty() && ticket.addrs().len() <= Ticket::MAX_ADDRS);
    assert_eq!(ticket.to_string().parse::<Ticket>(), Ok(ticket));
}

#[tokio::test]
async fn limits_of_nothing_are_raised_to_what_works() {
    let limits = Limits { known_peers: 0, address_lifetime: Duration::ZERO, ..limits() };
    let (client, server) = (endpoint_with(limits).await, endpoint().await);
    assert_eq!((client.limits().known_peers, client.limits().address_lifetime), (1, Duration::from_secs(1)));
    soon(client.connect(server.ticket())).await.unwrap();
}
