//! Strangers, limits and configurations where iroh's `Router`, or an accept loop of the scene, accepts for an endpoint
//! (invariant 23).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use iroh::endpoint::QuicTransportConfig;
use twolane::{AlsoAcceptError, BindError, DialError, Endpoint, Limits, Obstacle, Reach, RouteError, SecretKey};

use crate::{
    attached::{attached, attached_to},
    beside::{Greeter, HELLO, greeted},
    limits::{begin_handshake, over_the_limit_of_one_address, silent_peers_make_room, two_handshakes},
    stage::{BRIEF, echo, endpoint, limits, raw, raw_ticket, serve_echo, soon, until},
};

#[tokio::test]
async fn handshakes_through_a_router_are_limited_for_each_address_which_has_to_prove_itself() {
    over_the_limit_of_one_address(&attached(two_handshakes()).await.endpoint).await;
}

#[tokio::test]
async fn peers_that_say_nothing_make_room_where_a_router_accepts_too() {
    silent_peers_make_room(&attached(Limits { handshakes: 4, ..two_handshakes() }).await.endpoint).await;
}

#[tokio::test]
async fn a_handshake_through_a_router_that_does_not_end_is_given_up_in_time() {
    let attached = attached(Limits { hello_timeout: BRIEF, ..limits() }).await;
    let _under_way = begin_handshake(&attached.endpoint).await;
    until(|| attached.endpoint.metrics().handshakes_failed.get() >= 1).await;
    assert!(!attached.router.is_shutdown());
}

#[tokio::test]
async fn a_peer_learns_through_a_router_which_instance_is_there() {
    let (attached, stranger) = (attached(limits()).await, raw(&SecretKey::generate()).await);
    let probing = stranger.connect(raw_ticket(&attached.iroh).to_addr(), Endpoint::ALPNS[1]);
    let probe = soon(probing).await.unwrap();
    let mut said = soon(probe.accept_uni()).await.unwrap();
    assert_eq!(soon(said.read_to_end(100)).await.unwrap().len(), 16);
    assert!(attached.endpoint.peers().is_empty());
}

#[tokio::test]
async fn a_router_with_another_transport_configuration_lets_nobody_in_and_says_what_to_set() {
    // iroh's own, and that of limits that are wider than those of this endpoint.
    let wide = Endpoint::builder().limits(Limits { unread_bytes: 2 * limits().unread_bytes, ..limits() });
    for transport in [QuicTransportConfig::default(), wide.transport_config(false)] {
        let (attached, server) = (attached_to(Endpoint::builder().limits(limits()), transport).await, endpoint().await);
        let here = &attached.endpoint;
        assert!(!here.status().obstacles.contains(&Obstacle::RouterTransport));
        let error = soon(server.connect(here.ticket())).await.map(drop).unwrap_err();
        assert!(matches!(error, DialError::Lost(_)), "{error:?}");
        let status = here.status();
        assert_eq!((status.reach, &status.obstacles[..]), (Reach::Nobody, &[Obstacle::RouterTransport][..]));
        assert!(status.obstacles[0].to_string().contains("Builder::transport_config"), "{status:?}");
        assert_eq!(here.metrics().handshakes_refused.get(), 1);
        // Other protocols are none of its business, and its own dials have their own configuration.
        greeted(server.iroh(), raw_ticket(&attached.iroh).to_addr()).await;
        serve_echo(&server);
        echo(here, &server, b"out").await;
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_gives_connections_says_so_and_one_that_has_its_own_takes_no_router() {
    let (iroh, server) = (raw(&SecretKey::generate()).await, endpoint().await);
    let here = Endpoint::builder().limits(limits()).attach(&iroh).unwrap();
    let status = here.status();
    assert_eq!((status.reach, status.obstacles), (Reach::Nobody, vec![Obstacle::NotRouted]));
    let error = server.handler().map(drop).unwrap_err();
    assert_eq!(error, RouteError::NotAttached);
    let error = here.also_accept(HELLO, Greeter::default()).unwrap_err();
    assert_eq!(error, AlsoAcceptError::Attached);
}

#[tokio::test]
async fn what_an_iroh_endpoint_decides_is_no_option_of_the_endpoint_that_is_attached_to_it() {
    let iroh = raw(&SecretKey::generate()).await;
    let builder = Endpoint::builder;
    for (builder, name) in [
        (builder().secret_key(SecretKey::generate()), "secret_key"),
        (builder().offline(), "offline"),
        (builder().n0(false), "n0"),
        (builder().mdns(false), "mdns"),
        (builder().port_mapping(false), "port_mapping"),
        (builder().relay("https://relay.example"), "relay"),
        (builder().trust_root(*b"0"), "trust_root"),
        (builder().proxy("http://proxy.example:3128"), "proxy"),
        (builder().proxy_from_env(), "proxy_from_env"),
        (builder().public_resolvers(false), "public_resolvers"),
        (builder().nameserver(([127, 0, 0, 1], 53).into()), "nameserver"),
        (builder().directory("https://dns.example/pkarr", "dns.example"), "directory"),
        (builder().bind_addr(([127, 0, 0, 1], 0).into()), "bind_addr"),
        (builder().relay_only(), "relay_only"),
        (builder().also_accept(HELLO, Greeter::default()), "also_accept"),
    ] {
        let error = builder.attach(&iroh).map(drop).unwrap_err();
        assert!(matches!(error, BindError::Attached { option } if option == name), "{name}: {error:?}");
        assert!(error.to_string().contains(name) && !error.is_retryable(), "{error}");
    }
    soon(iroh.close()).await;
    let error = builder().attach(&iroh).map(drop).unwrap_err();
    assert!(matches!(error, BindError::IrohClosed), "{error:?}");
    let attaching = std::thread::spawn(move || Endpoint::builder().attach(&iroh).map(drop));
    let error = attaching.join().unwrap().unwrap_err();
    assert!(matches!(error, BindError::NoRuntime), "{error:?}");
}

#[tokio::test]
async fn an_accept_loop_of_the_program_gives_an_endpoint_its_connections_and_keeps_the_others() {
    // With iroh's own configuration, which has a hundred streams.
    let iroh = raw(&SecretKey::generate()).await;
    let alpns = Endpoint::ALPNS.into_iter().chain([b"other/1".as_slice()]);
    iroh.set_alpns(alpns.map(<[u8]>::to_vec).collect());
    let here = Endpoint::builder().limits(limits()).attach(&iroh).unwrap();
    let others = Arc::new(AtomicUsize::new(0));
    let accepting = tokio::spawn({
        let (iroh, here, others) = (iroh.clone(), here.clone(), Arc::clone(&others));
        async move {
            while let Some(incoming) = iroh.accept().await {
                if let Some(other) = here.take_incoming(incoming) {
                    others.fetch_add(1, SeqCst);
                    other.refuse();
                }
            }
        }
    });
    serve_echo(&here);
    let client = endpoint().await;
    echo(&client, &here, b"hello").await;
    assert!(!here.status().obstacles.contains(&Obstacle::NotRouted));
    // The connection has this library's configuration.
    let peer = raw(&SecretKey::generate()).await;
    let connection = soon(peer.connect(raw_ticket(&iroh).to_addr(), twolane::ALPN)).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(soon(connection.open_bi()).await.unwrap());
    }
    let other = soon(peer.connect(raw_ticket(&iroh).to_addr(), b"other/1")).await;
    assert!(other.is_err() && others.load(SeqCst) == 1, "{other:?}");
    soon(iroh.close()).await;
    soon(accepting).await.unwrap();
}
