//! An endpoint on an iroh endpoint of the scene (invariant 23).

use std::pin::pin;

use iroh::{
    endpoint::QuicTransportConfig,
    protocol::{Router, RouterBuilder},
};
use n0_future::StreamExt;
use twolane::{
    AcceptError, Builder, ConnectionLost, DialError, Endpoint, GetStreamError, Limits, ReadError, Reason, SecretKey,
    StreamError, Ticket,
};

use crate::{
    beside::{Greeter, HELLO, greeted},
    stage::{
        CHAT, ECHO, PATIENCE, echo, endpoint, futures_pending, limits, raw, raw_ticket, raw_with, serve_echo, soon,
        stream, until,
    },
};

/// An endpoint, the iroh endpoint that it is attached to, and the `Router` that accepts there.
pub(crate) struct Attached {
    pub(crate) iroh: iroh::Endpoint,
    pub(crate) router: Router,
    pub(crate) endpoint: Endpoint,
}

/// Attaches an endpoint to an iroh endpoint that also has another protocol.
pub(crate) async fn attached(limits: Limits) -> Attached {
    let builder = Endpoint::builder().limits(limits);
    let transport = builder.transport_config(false);
    attached_to(builder, transport).await
}

pub(crate) async fn attached_to(builder: Builder, transport: QuicTransportConfig) -> Attached {
    let iroh = raw_with(&SecretKey::generate(), transport).await;
    let endpoint = builder.attach(&iroh).unwrap();
    let router = Router::builder(iroh.clone()).accept(HELLO, Greeter::default());
    let router = endpoint.route(router).unwrap().spawn();
    Attached { iroh, router, endpoint }
}

/// Attaches an endpoint that only dials.
fn dialler(iroh: &iroh::Endpoint) -> Endpoint {
    Endpoint::builder().limits(limits()).attach(iroh).unwrap()
}

#[tokio::test]
async fn an_attached_endpoint_dials_and_accepts_with_one_connection_to_each_peer_beside_another_protocol() {
    let (attached, bound) = (attached(limits()).await, endpoint().await);
    let here = &attached.endpoint;
    assert_eq!(here.id().as_bytes(), attached.iroh.id().as_bytes());
    serve_echo(here);
    serve_echo(&bound);
    echo(here, &bound, b"there").await;
    echo(&bound, here, b"and back").await;
    assert_eq!((here.peers()[0].connections, bound.peers()[0].connections), (1, 1));
    assert_eq!(here.metrics().connections_dialled.get(), 1);
    greeted(bound.iroh(), raw_ticket(&attached.iroh).to_addr()).await;

    let late = endpoint().await;
    echo(&late, here, b"through the Router").await;
    let (mut opened, mut accepted) = stream(&late, here).await;
    accepted.fail(StreamError::new(28, "the disk is full")).await.unwrap();
    let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Failed(error) if error.code() == 28), "{error:?}");
    assert_eq!(here.metrics().connections_accepted.get(), 1);
    assert_eq!(here.peers().len(), 2);
}

#[tokio::test]
async fn a_peer_that_comes_through_a_router_has_all_its_streams_and_their_errors() {
    // The configuration is that of a program whose peers have few streams. This endpoint's have 256 data lanes, with
    // errors on each.
    let few = Endpoint::builder().limits(Limits { streams_per_peer: 20, ..limits() });
    let builder = Endpoint::builder().limits(limits());
    let attached = attached_to(builder, few.transport_config(false)).await;
    let client = endpoint().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let (mut opened, accepted) = stream(&client, &attached.endpoint).await;
        opened.warn(StreamError::new(1, "")).await.unwrap();
        assert!(soon(accepted.errors().next()).await.is_some());
        streams.push((opened, accepted));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_attached_anew_is_a_restarted_peer() {
    let (iroh, server) = (raw(&SecretKey::generate()).await, endpoint().await);
    serve_echo(&server);
    let first = dialler(&iroh);
    let (mut opened, _accepted) = stream(&first, &server).await;
    let second = dialler(&iroh);
    echo(&second, &server, b"again").await;
    let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(ConnectionLost::KeyUsedTwice)), "{error}");
    until(|| server.peers()[0].connections == 1).await;
}

#[tokio::test]
async fn a_shutdown_of_an_attached_endpoint_waits_for_its_streams_and_leaves_the_iroh_endpoint_open() {
    let (attached, client) = (attached(limits()).await, endpoint().await);
    let here = &attached.endpoint;
    let (mut opened, mut accepted) = stream(&client, here).await;
    let mut shutting_down = tokio::spawn({
        let here = here.clone();
        async move { here.shutdown(PATIENCE).await }
    });
    assert!(futures_pending(&mut shutting_down).await, "the shutdown did not wait");
    let error = soon(client.get_stream(here.ticket(), CHAT)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::ShuttingDown), "{error:?}");
    accepted.write_all(&[1; 500_000]).await.unwrap();
    accepted.finish().unwrap();
    drop(accepted);
    assert_eq!(soon(opened.read_to_end(500_000)).await.unwrap().len(), 500_000);
    drop(opened);
    let report = soon(shutting_down).await.unwrap();
    assert_eq!((report.drained, report.cut, report.streams_cut, report.tasks_left), (1, 0, 0, 0), "{report:?}");

    assert!(!attached.iroh.is_closed());
    greeted(client.iroh(), raw_ticket(&attached.iroh).to_addr()).await;
    // The Router goes on, and turns away who comes for this endpoint.
    let error = soon(client.connect(here.ticket())).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::Lost(ConnectionLost::Refused)), "{error:?}");
}

#[tokio::test]
async fn dropping_the_last_handle_of_an_attached_endpoint_leaves_its_iroh_endpoint_and_no_address_there() {
    let (iroh, server) = (raw(&SecretKey::generate()).await, endpoint().await);
    serve_echo(&server);
    let here = dialler(&iroh);
    let is_known = async || {
        let mut found = pin!(iroh.address_lookup().unwrap().resolve(server.iroh().id()));
        matches!(found.next().await, Some(Ok(Ok(_))))
    };
    assert!(!is_known().await);
    echo(&here, &server, b"hello").await;
    assert!(is_known().await, "other protocols find the peers of a ticket too");
    drop(here);
    until(|| server.peers().is_empty()).await;
    soon(async {
        while is_known().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!iroh.is_closed());
}

#[tokio::test]
async fn shutting_a_router_down_ends_its_endpoint_in_order_and_then_closes_iroh() {
    let builder = Endpoint::builder().limits(limits());
    let iroh = raw_with(&SecretKey::generate(), builder.transport_config(false)).await;
    let (here, client) = (builder.attach(&iroh).unwrap(), endpoint().await);
    let handler = here.handler().unwrap().drain(PATIENCE);
    let router = Router::builder(iroh.clone()).incoming_filter(handler.incoming_filter());
    let add = |router: RouterBuilder, alpn: &'static [u8]| router.accept(alpn, handler.clone());
    let router = Endpoint::ALPNS.into_iter().fold(router, add).spawn();

    let (mut opened, mut accepted) = stream(&client, &here).await;
    let shutting_down = tokio::spawn(async move { router.shutdown().await });
    // The endpoint takes nothing new, and its streams go on.
    soon(async { while here.accept().await.is_some() {} }).await;
    assert!(!iroh.is_closed() && !shutting_down.is_finished());
    accepted.write_all(b"to its end").await.unwrap();
    accepted.finish().unwrap();
    drop(accepted);
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "to its end");
    drop(opened);
    soon(shutting_down).await.unwrap().unwrap();
    assert!(iroh.is_closed());
    let error = soon(here.connect(client.ticket())).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::ShuttingDown), "{error:?}");
    until(|| client.peers().is_empty()).await;
}

#[tokio::test]
async fn closing_the_iroh_endpoint_ends_an_attached_endpoint_and_every_wait() {
    let (attached, client) = (attached(limits()).await, endpoint().await);
    let here = attached.endpoint.clone();
    let (_opened, _accepted) = stream(&client, &here).await;
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = Ticket::new(SecretKey::generate().public_key()).with_addr(deaf.local_addr().unwrap()).unwrap();
    let waits = [
        tokio::spawn({
            let here = here.clone();
            async move { assert!(matches!(here.accept_bi(&[CHAT]).await, Err(AcceptError::ShuttingDown))) }
        }),
        tokio::spawn({
            let here = here.clone();
            async move { while here.accept().await.is_some() {} }
        }),
        tokio::spawn({
            let here = here.clone();
            async move { assert!(matches!(here.get_stream(silent, ECHO).await, Err(GetStreamError::Dial { .. }))) }
        }),
    ];
    soon(attached.iroh.close()).await;
    for wait in waits {
        soon(wait).await.unwrap();
    }
    let error = soon(here.connect(client.ticket())).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::ShuttingDown), "{error:?}");
    until(|| client.peers().is_empty()).await;
    let report = soon(here.shutdown(PATIENCE)).await;
    assert_eq!(report.tasks_left, 0, "{report:?}");
}
