//! The paths that data takes, and those that it may take.

use std::time::Duration;

use twolane::{
    ConnectionLost, DialError, Endpoint, Event, GetStreamError, Limits, PathKind, PathPolicy, ReadError, Reason,
};

use crate::{
    mortal::Mortal,
    relay::Relay,
    stage::{BRIEF, CHAT, ECHO, echo, endpoint, limits, raw, raw_at, raw_ticket, serve_echo, soon},
};

const PROBE: &[u8] = b"twolane-probe/1";

/// Binds two endpoints that are connected by the relay only.
async fn relayed_pair(relay: &Relay, limits: Limits) -> (Endpoint, Endpoint) {
    let server = relay.builder(limits.clone()).relay_only().bind().await.unwrap();
    let client = relay.builder(limits).bind().await.unwrap();
    assert!(server.online(crate::stage::PATIENCE).await && client.online(crate::stage::PATIENCE).await);
    serve_echo(&server);
    client.add_peer(relay.ticket(&server));
    (client, server)
}

#[tokio::test]
async fn direct_only_refuses_a_peer_that_only_a_relay_reaches_and_says_what_to_do() {
    let relay = Relay::start().await;
    // The first connection must exist by then.
    const WAIT: Duration = Duration::from_secs(10);
    let (client, server) = relayed_pair(&relay, Limits { connect_timeout: WAIT, ..limits() }).await;
    client.set_path_policy(&server.id(), PathPolicy::DirectOnly);

    let error = soon(client.get_stream(server.id(), ECHO)).await.unwrap_err();
    let GetStreamError::Dial { source: DialError::OnlyRelay { policy, after }, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((*policy, *after), (PathPolicy::DirectOnly, WAIT));
    let GetStreamError::Dial { source, .. } = &error else { unreachable!() };
    assert!(source.to_string().contains("PathPolicy::RelayAllowed"), "{source}");
    assert!(error.is_retryable());
    assert_eq!(client.peer(&server.id()).unwrap().path, Some(PathKind::Relay));

    client.set_path_policy(&server.id(), PathPolicy::RelayAllowed);
    let mut stream = soon(client.get_stream(server.id(), ECHO)).await.unwrap();
    stream.write_all(b"by relay").await.unwrap();
    stream.finish().unwrap();
    assert_eq!(soon(stream.read_to_end(100)).await.unwrap(), b"by relay"[..]);
}

#[tokio::test]
async fn the_wait_for_a_direct_path_is_the_policys_own() {
    let relay = Relay::start().await;
    let (client, server) = relayed_pair(&relay, limits()).await;
    let within = Duration::from_millis(300);
    client.set_path_policy(&server.id(), PathPolicy::DirectWithin(within));
    let error = soon(client.connect(server.id())).await.unwrap_err();
    assert!(matches!(error, DialError::OnlyRelay { after, .. } if after == within), "{error:?}");
}

#[tokio::test]
async fn a_stream_of_a_peer_that_is_to_be_direct_waits_and_is_refused_over_a_relay() {
    let relay = Relay::start().await;
    let (client, server) = relayed_pair(&relay, limits()).await;
    server.set_path_policy(&client.id(), PathPolicy::DirectWithin(Duration::from_millis(300)));
    let error = soon(client.get_stream(server.id(), ECHO)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Refused), "{error:?}");
    // The connection is not affected.
    server.set_path_policy(&client.id(), PathPolicy::RelayAllowed);
    soon(client.get_stream(server.id(), ECHO)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_waits_for_a_direct_path_is_refused_before_its_opener_gives_up() {
    let relay = Relay::start().await;
    // The policy's own wait is the timeout for a dial, an hour in scenes.
    let (client, server) =
        relayed_pair(&relay, Limits { accept_timeout: Duration::from_millis(300), ..limits() }).await;
    server.set_path_policy(&client.id(), PathPolicy::DirectOnly);
    let error = soon(client.get_stream(server.id(), ECHO)).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Refused), "{error:?}");
}

#[tokio::test]
async fn a_policy_that_comes_while_data_is_relayed_ends_the_connection_and_both_are_told() {
    let relay = Relay::start().await;
    let (client, server) = relayed_pair(&relay, limits()).await;
    let mut events = client.events();
    let (mut ours, theirs) =
        soon(async { tokio::join!(client.get_stream(server.id(), CHAT), server.accept_bi(&[CHAT])) }).await;
    let (ours, (_, theirs)) = (ours.as_mut().unwrap(), &mut theirs.unwrap());

    client.set_path_policy(&server.id(), PathPolicy::DirectOnly);
    let lost = |error: ReadError| match error {
        ReadError::Lost(lost) => lost,
        other => panic!("{other:?}"),
    };
    let here = lost(soon(ours.read(&mut [0])).await.unwrap_err());
    assert!(matches!(here, ConnectionLost::OnlyRelay { policy: PathPolicy::DirectOnly }), "{here:?}");
    let there = lost(soon(theirs.read(&mut [0])).await.unwrap_err());
    assert!(matches!(&there, ConnectionLost::PeerClosed { reason, .. } if reason.contains("direct only")), "{there:?}");
    assert!(here.is_retryable() && there.is_retryable());
    loop {
        if let Event::Disconnected { cause, .. } = soon(events.next()).await.unwrap() {
            break assert!(matches!(*cause, ConnectionLost::OnlyRelay { .. }), "{cause:?}");
        }
    }
}

#[tokio::test]
async fn direct_only_is_no_hindrance_where_the_path_is_direct() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    client.set_path_policy(&server.id(), PathPolicy::DirectOnly);
    server.set_path_policy(&client.id(), PathPolicy::DirectOnly);
    soon(echo(&client, &server, b"direct")).await;
}

#[tokio::test]
async fn a_stream_that_waits_for_a_direct_path_gets_the_one_that_the_relay_helps_to_find() {
    let relay = Relay::start().await;
    let server = relay.builder(limits()).path_policy(PathPolicy::DirectOnly).bind().await.unwrap();
    let client = relay.builder(limits()).path_policy(PathPolicy::DirectOnly).bind().await.unwrap();
    assert!(server.online(crate::stage::PATIENCE).await);
    serve_echo(&server);
    let mut stream = soon(client.get_stream(relay.ticket(&server), ECHO)).await.unwrap();
    assert_eq!(client.peer(&server.id()).unwrap().path, Some(PathKind::Direct));
    stream.write_all(b"found").await.unwrap();
    stream.finish().unwrap();
    assert_eq!(soon(stream.read_to_end(100)).await.unwrap(), b"found"[..]);
}

/// iroh may have begun to look for a direct path with this connection, and does not begin again with the next one.
#[tokio::test]
async fn the_connection_by_which_a_restart_was_learnt_stays_while_the_peer_is_dialled_anew() {
    let (key, client) = (twolane::SecretKey::generate(), endpoint().await);
    let first = Mortal::new(&key);
    let socket = first.socket();
    let mut opened = soon(client.get_stream(first.ticket.clone(), CHAT)).await.unwrap();
    first.kill();
    // The address is free once the runtime of the first endpoint has ended.
    let free = async {
        loop {
            match raw_at(&key, iroh::endpoint::QuicTransportConfig::builder().build(), socket).await {
                Ok(endpoint) => break endpoint,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let back = soon(Box::pin(free)).await;
    back.set_alpns(vec![twolane::ALPN.to_vec(), PROBE.to_vec()]);

    opened.write_all(b"is anybody there?").await.unwrap();
    let probe = soon(soon(back.accept()).await.unwrap().into_future()).await.unwrap();
    assert_eq!(probe.alpn(), PROBE);
    let mut nonce = soon(probe.open_uni()).await.unwrap();
    nonce.write_all(&[7; 16]).await.unwrap();
    nonce.finish().unwrap();
    let error = soon(opened.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error:?}");

    let anew = tokio::spawn({
        let (client, ticket) = (client.clone(), raw_ticket(&back));
        async move { client.get_stream(ticket, CHAT).await }
    });
    let main = soon(soon(back.accept()).await.unwrap().into_future()).await.unwrap();
    assert_eq!(main.alpn(), twolane::ALPN);
    assert_eq!(probe.close_reason(), None);
    // A shutdown does not wait for the probe.
    drop(main);
    soon(client.shutdown(Duration::ZERO)).await;
    let closed = soon(probe.closed()).await;
    assert!(closed.to_string().contains("asked which instance"), "{closed}");
    soon(anew).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_connection_that_only_looks_for_paths_is_no_peer_and_learns_which_instance_is_there() {
    let (server, key) = (endpoint().await, twolane::SecretKey::generate());
    let stranger = raw(&key).await;
    let addr = server.iroh().addr();
    let instance = async |probe: &iroh::endpoint::Connection| {
        let mut said = soon(probe.accept_uni()).await.unwrap();
        soon(said.read_to_end(100)).await.unwrap()
    };
    let probe = soon(stranger.connect(addr.clone(), PROBE)).await.unwrap();
    let there = instance(&probe).await;
    assert_eq!(there.len(), 16);
    let closed = soon(probe.closed()).await;
    assert!(closed.to_string().contains("not connected"), "{closed}");

    // If the peers are connected, the probe is held until the dialler closes it, and does not count as a
    // connection.
    let connection = tokio::spawn({
        let (server, ticket) = (server.clone(), raw_ticket(&stranger));
        async move { server.connect(ticket).await }
    });
    let incoming = soon(stranger.accept()).await.unwrap();
    let main = soon(incoming.into_future()).await.unwrap();
    let _control = crate::stage::say_hello(&main, 7).await;
    soon(connection).await.unwrap().unwrap();
    let mut probe = soon(stranger.connect(addr.clone(), PROBE)).await.unwrap();
    // A probe that only asks for the instance, and closes, does not end the other probe.
    assert_eq!(instance(&probe).await, there);
    let asks = soon(stranger.connect(addr.clone(), PROBE)).await.unwrap();
    assert_eq!(instance(&asks).await, there);
    // The end of the probe comes slightly after the acknowledgement of the nonce.
    tokio::time::sleep(Duration::from_millis(200)).await;
    asks.close(0x100u32.into(), b"");
    assert!(tokio::time::timeout(BRIEF, probe.closed()).await.is_err(), "{:?}", probe.close_reason());
    assert_eq!(server.peers()[0].connections, 1);
    // Of each peer the newest probe is held, and the older ones are closed, even if the peer has forgotten them.
    for _ in 0..2 {
        let before = std::mem::replace(&mut probe, soon(stranger.connect(addr.clone(), PROBE)).await.unwrap());
        assert_eq!(instance(&probe).await, there);
        let closed = soon(before.closed()).await;
        assert!(closed.to_string().contains("looked for a direct path"), "{closed}");
    }
    assert!(tokio::time::timeout(BRIEF, probe.closed()).await.is_err(), "{:?}", probe.close_reason());
    probe.close(0x100u32.into(), b"");
    assert!(main.close_reason().is_none());
}
