//! What an endpoint does on the network, and what it leaves alone.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

use iroh_relay::server::{Access, AccessControl, ClientRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use twolane::{BindError, Builder, Endpoint, Obstacle, PathKind, Reach, TransportAddr};

use crate::{
    relay::Relay,
    stage::{PATIENCE, echo, limits, serve_echo},
};

#[tokio::test]
async fn an_endpoint_over_relays_only_shows_no_address_whatever_else_is_set() {
    let relay = Relay::start().await;
    let hidden = relay.builder(limits()).relay_only().mdns(true).port_mapping(true).bind().await.unwrap();
    let peer = relay.builder(limits()).bind().await.unwrap();
    serve_echo(&peer);
    assert!(hidden.online(PATIENCE).await && peer.online(PATIENCE).await);
    echo(&hidden, &peer, b"who am I").await;

    let status = hidden.status();
    assert!(status.sockets.is_empty() && status.addrs.is_empty() && status.local_network.is_none(), "{status:?}");
    let (ticket, published) = (hidden.ticket(), hidden.iroh().addr());
    assert!(ticket.addrs().len() == 1 && ticket.addrs().iter().all(TransportAddr::is_relay), "{ticket:?}");
    assert!(published.addrs.iter().all(TransportAddr::is_relay), "{published:?}");
    let seen = peer.peer(&hidden.id()).unwrap();
    assert!(!seen.paths.is_empty() && seen.paths.iter().all(|path| path.kind == PathKind::Relay), "{seen:?}");
}

#[tokio::test]
async fn what_is_offline_stays_on_this_machine_in_whatever_order_it_is_said() {
    type Order = fn(Builder, &str) -> Builder;
    let orders: [Order; 4] = [
        |builder, relay| builder.relay(relay).offline(),
        |builder, relay| builder.offline().relay(relay),
        |builder, relay| builder.offline().n0(true).mdns(true).port_mapping(true).relay(relay),
        |builder, _| builder.directory("http://127.0.0.1:9/pkarr", "dns.test").offline().proxy("http://127.0.0.1:9"),
    ];
    let relay = Relay::start().await;
    for order in orders {
        let endpoint = order(Endpoint::builder().limits(limits()), &relay.url).bind().await.unwrap();
        let status = endpoint.settled(PATIENCE).await;
        assert_eq!((status.reach, status.is_online()), (Reach::ThisMachine, false), "{status:?}");
        assert_eq!(status.obstacles, [Obstacle::NoRelay, Obstacle::LoopbackOnly]);
        assert!(status.relays.is_empty() && status.local_network.is_none(), "{status:?}");
        assert!(status.sockets.iter().all(|socket| socket.ip().is_loopback()), "{status:?}");
    }
}

#[tokio::test]
async fn an_endpoint_is_bound_to_what_was_said_and_to_nothing_else() {
    let named: SocketAddr = "[::1]:0".parse().unwrap();
    for builder in [
        Endpoint::builder().offline().bind_addr(named),
        Endpoint::builder().bind_addr(named).offline(),
        Endpoint::builder().n0(false).bind_addr(named),
    ] {
        let endpoint = builder.limits(limits()).bind().await.unwrap();
        let status = endpoint.status();
        let ips: Vec<_> = status.sockets.iter().map(SocketAddr::ip).collect();
        assert_eq!(ips, [named.ip()]);
        assert!(status.local_network.is_none(), "multicast goes out on every interface: {status:?}");
    }

    let first = Endpoint::builder().offline().limits(limits()).bind().await.unwrap();
    let taken = first.status().sockets[0];
    let second = Endpoint::builder().offline().bind_addr(taken).bind().await;
    let error = second.err().unwrap();
    assert!(matches!(&error, BindError::Bind { addrs, .. } if *addrs == [taken]), "{error:?}");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

/// A relay that lets in those with a token.
#[derive(Debug)]
struct Doorman(&'static str);

impl AccessControl for Doorman {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        if request.auth_token().as_deref() == Some(self.0) {
            return Access::Allow;
        }
        Access::Deny { reason: Some("no token".to_owned()) }
    }
}

#[tokio::test]
async fn a_relay_that_asks_for_a_token_gets_that_of_its_own() {
    let first = Relay::start_with(|config| config.access = Arc::new(Doorman("first"))).await;
    let second = Relay::start_with(|config| config.access = Arc::new(Doorman("second"))).await;
    let loopback = || Endpoint::builder().limits(limits()).n0(false).bind_addr((Ipv4Addr::LOCALHOST, 0).into());
    let token = |relay: &Relay, token: &str| twolane::Relay::new(&relay.url).token(token);

    let stranger = loopback().relay(&first.url).bind().await.unwrap();
    let status = stranger.settled(PATIENCE).await;
    assert!(
        matches!(&status.obstacles[0], Obstacle::RelayDenied { reason } if reason.contains("no token")),
        "{status:?}"
    );
    let known = loopback().relay(token(&first, "first")).relay(token(&second, "second")).bind().await.unwrap();
    assert!(known.online(PATIENCE).await);
    // It goes to the relay of the peer, which may be another one than its own.
    for (relay, name) in [(&first, "first"), (&second, "second")] {
        let peer = loopback().relay_only().relay(token(relay, name)).bind().await.unwrap();
        serve_echo(&peer);
        assert!(peer.online(PATIENCE).await, "{name}");
        echo(&known, &peer, b"over your relay").await;
    }
}

/// An HTTP proxy that leads to one server, whatever name it is asked for, and keeps what it is asked.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://me:word@{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, server, Arc::clone(&seen)));
            }
        });
        Self { url, asked }
    }
}

async fn lead(mut client: TcpStream, server: SocketAddr, asked: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let tunnel = text.starts_with("connect ");
    asked.lock().unwrap().push(text);
    let mut server = TcpStream::connect(server).await?;
    if tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        server.write_all(&head).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[tokio::test]
async fn relays_are_reached_through_the_proxy_and_not_around_it() {
    // Nobody but the proxy can know where this relay is: the name server never answers.
    const RELAY: &str = "http://relay.test";
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::start().await;
    let proxy = Proxy::to(relay.addr).await;
    let builder = || Endpoint::builder().limits(limits()).relay_only().relay(RELAY);
    let builder = || builder().nameserver(silent.local_addr().unwrap()).proxy(&proxy.url);
    let (client, server) = (builder().bind().await.unwrap(), builder().bind().await.unwrap());
    serve_echo(&server);
    assert!(client.online(PATIENCE).await && server.online(PATIENCE).await);
    echo(&client, &server, b"through two tunnels").await;
    let asked = proxy.asked.lock().unwrap().clone();
    let tunnels: Vec<_> = asked.iter().filter(|head| head.starts_with("connect relay.test:80 ")).collect();
    assert!(tunnels.len() >= 2, "{asked:?}");
    // "me:word" in base64, in lower case.
    assert!(tunnels.iter().any(|head| head.contains("proxy-authorization: basic bwu6d29yza==")), "{tunnels:?}");
}
