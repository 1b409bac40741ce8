//! One connection for each peer (invariants 6 to 9).

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::Barrier;
use twolane::{
    BindError, ConnectionLost, DialError, Endpoint, Event, GetStreamError, Limits, ReadError, SecretKey, Ticket,
};

use crate::{
    access::guarded,
    clock::{at_its_bound, at_once},
    dials::SlowOnce,
    mortal::Mortal,
    relay::Relay,
    seed::Keys,
    stage::{
        BRIEF, CHAT, ECHO, PATIENCE, connect, control_frames, echo, endpoint, endpoint_with, futures_pending, limits,
        ordered_keys, raw, raw_ticket, say_hello, serve_echo, soon, stream, until, with_key,
    },
};

#[tokio::test]
async fn every_protocol_and_both_directions_share_one_connection() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&client);
    serve_echo(&server);
    echo(&client, &server, b"there").await;
    echo(&server, &client, b"and back").await;
    let (_opened, _accepted) = stream(&client, &server).await;
    assert_eq!(client.peers()[0].connections, 1);
    assert_eq!(server.peers()[0].connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simultaneous_dial_ends_with_one_connection_and_no_stream_fails() {
    // `TWOLANE_GLARE_ROUNDS=1000` runs the long form.
    let rounds = std::env::var("TWOLANE_GLARE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(50);
    // The keys decide which side's connection stays.
    let mut keys = Keys::new();
    for round in 0..rounds {
        let (a, b) = (with_key(&keys.next()).await, with_key(&keys.next()).await);
        let mut events = a.events();
        serve_echo(&a);
        serve_echo(&b);
        let start = Arc::new(Barrier::new(2));
        let go = |from: Endpoint, to: Ticket| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                start.wait().await;
                let mut stream = from.get_stream(to, ECHO).await?;
                stream.write_all(b"both at once").await.unwrap();
                stream.finish().unwrap();
                assert_eq!(stream.read_to_end(100).await.unwrap(), "both at once");
                Ok::<_, GetStreamError>(())
            })
        };
        let (one, other) = (go(a.clone(), b.ticket()), go(b.clone(), a.ticket()));
        soon(one).await.unwrap().unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        soon(other).await.unwrap().unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        echo(&a, &b, b"after").await;
        echo(&b, &a, b"after").await;
        // The dial that arrived second may still be in progress. It drains, and one connection is left.
        let connections = |at: &Endpoint, to: &Endpoint| at.peer(&to.id()).map_or(0, |info| info.connections);
        until(|| (connections(&a, &b), connections(&b, &a)) == (1, 1)).await;
        let report = soon(a.shutdown(PATIENCE)).await;
        // Two, if that dial arrived at this moment.
        assert!(report.drained >= 1 && report.cut == 0, "round {round}: {report:?}");
        let report = soon(b.shutdown(PATIENCE)).await;
        assert_eq!(report.cut, 0, "round {round}");
        // One of the two connections stayed, so no side had to dial a third time.
        drop(a);
        let mut disconnected = 0;
        while let Some(event) = soon(events.next()).await {
            disconnected += usize::from(matches!(event, Event::Disconnected { .. }));
        }
        assert_eq!(disconnected, 1, "round {round}");
    }
}

#[tokio::test]
async fn streams_on_the_losing_connection_run_to_their_end() {
    let (small, large) = ordered_keys();
    let (raw, endpoint) = (raw(&small).await, with_key(&large).await);
    // The library dials, and has a stream open on that connection.
    let opening = tokio::spawn({
        let (endpoint, ticket) = (endpoint.clone(), raw_ticket(&raw));
        async move { endpoint.get_stream(ticket, CHAT).await.unwrap() }
    });
    let first = soon(async { raw.accept().await.unwrap().await.unwrap() }).await;
    let mut first_control = say_hello(&first, 7).await;
    let (mut send, mut recv) = soon(first.accept_bi()).await.unwrap();
    send.write_all(&[0, 0]).await.unwrap();
    let mut opened = soon(opening).await.unwrap();
    let mut theirs = soon(first.accept_uni()).await.unwrap();

    // The same instance of the smaller key dials too, and its connection stays.
    let second = soon(raw.connect(endpoint.ticket().to_addr(), twolane::ALPN)).await.unwrap();
    let _second_control = say_hello(&second, 7).await;
    // GOAWAY (1) with the reason duplicate (0), with any parameters.
    let mut control = Vec::new();
    soon(async {
        while !control_frames(&control).iter().any(|(kind, body)| (*kind, body[..].first()) == (1, Some(&0))) {
            control.extend_from_slice(&theirs.read_chunk(1000).await.unwrap().unwrap());
        }
    })
    .await;

    // The stream on the first connection goes on to its end.
    opened.write_all(b"to its end").await.unwrap();
    opened.finish().unwrap();
    let data = soon(recv.read_to_end(1000)).await.unwrap();
    // A kind, and a header of fewer than 64 bytes.
    let header = 2 + usize::from(data[1]);
    assert_eq!(&data[header..], b"to its end");
    send.write_all(b"as it wants").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "as it wants");
    assert!(first.close_reason().is_none(), "it was closed before its peer had drained");
    drop(opened);
    // DRAINED (2) of the endpoint: one opened, none accepted. This side sends GOAWAY, and DRAINED with none opened
    // and one accepted.
    first_control.write_all(&[1, 1, 0]).await.unwrap();
    soon(async {
        while !control_frames(&control).iter().any(|(kind, body)| *kind == 2 && body.starts_with(&[1, 0])) {
            control.extend_from_slice(&theirs.read_chunk(1000).await.unwrap().unwrap());
        }
    })
    .await;
    first_control.write_all(&[2, 2, 0, 1]).await.unwrap();
    let closed = soon(first.closed()).await;
    let iroh::endpoint::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code.into_inner(), 0x100);
    assert!(second.close_reason().is_none());
    until(|| endpoint.peers()[0].connections == 1).await;
    raw.close().await;
}

#[tokio::test]
async fn a_restarted_peer_replaces_its_old_connection_at_once() {
    let (server, key) = (endpoint().await, SecretKey::generate());
    serve_echo(&server);
    let first = Mortal::new(&key);
    let mut to_first = soon(server.get_stream(first.ticket.clone(), CHAT)).await.unwrap();
    // The peer is killed without closing the connection. Nothing tells the server, which would wait longer than the
    // scene's timeout.
    first.kill();
    let second = with_key(&key).await;
    // The clock runs during the dial. iroh can drop and reorder datagrams of a handshake, and QUIC repeats them by
    // a timer.
    echo(&second, &server, b"back again").await;
    let error = at_once(to_first.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error}");
    until(|| server.peers()[0].connections == 1).await;
}

/// One place takes one peer, with the connections of all its instances.
#[tokio::test]
async fn a_restarted_peer_is_taken_where_its_place_is_the_last() {
    let (key, server) = (SecretKey::generate(), endpoint_with(Limits { peers: 1, ..limits() }).await);
    let first = raw(&key).await;
    let old = soon(first.connect(server.ticket().to_addr(), twolane::ALPN)).await.unwrap();
    let _control = say_hello(&old, 5).await;
    until(|| server.peers().len() == 1).await;
    let second = raw(&key).await;
    let new = soon(second.connect(server.ticket().to_addr(), twolane::ALPN)).await.unwrap();
    let _control = say_hello(&new, 6).await;
    // The old connection is replaced, and the new one stays.
    soon(old.closed()).await;
    assert_eq!(new.close_reason(), None);
    assert_eq!(server.peers().len(), 1);
}

#[tokio::test]
async fn an_instance_that_died_while_the_rules_were_asked_about_it_does_not_push_out_its_successor() {
    let rule = SlowOnce::default();
    let (server, key) = (guarded(rule.clone()).await, SecretKey::generate());
    serve_echo(&server);
    let (ticket, same_key) = (server.ticket(), key.clone());
    let first = Mortal::bound(async move {
        let endpoint = with_key(&same_key).await;
        let dialling = endpoint.clone();
        tokio::spawn(async move { dialling.get_stream(ticket, ECHO).await.map(drop) });
        endpoint
    });
    until(|| rule.asked.load(SeqCst) == 1).await;
    first.kill();
    let second = with_key(&key).await;
    let mut stream = soon(second.get_stream(server.ticket(), ECHO)).await.unwrap();
    rule.go.notify_one();
    // One of the two connections is closed now: that of the instance that is gone.
    until(|| server.metrics().connections_closed.get() == 1).await;
    stream.write_all(b"still here").await.unwrap();
    stream.finish().unwrap();
    assert_eq!(soon(stream.read_to_end(100)).await.unwrap(), "still here");
    echo(&second, &server, b"on the same connection").await;
    assert_eq!(second.metrics().connections_dialled.get(), 1);
}

#[tokio::test]
async fn a_peer_counts_as_connected_once_it_has_let_us_in_and_not_before() {
    let rule = SlowOnce::default();
    let (client, server) = (endpoint().await, guarded(rule.clone()).await);
    serve_echo(&server);
    let mut events = client.events();
    let connecting = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.connect(ticket).await.map(drop) }
    });
    until(|| rule.asked.load(SeqCst) == 1 && client.metrics().connections_dialled.get() == 1).await;
    // A stream need not wait for the peer's HELLO: its header is sent before.
    let mut opening = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.get_stream(ticket, ECHO).await.map(drop) }
    });
    assert!(futures_pending(&mut opening).await);
    assert!(!connecting.is_finished());
    assert_eq!(client.metrics().peers_connected.get(), 0);
    rule.go.notify_one();
    soon(connecting).await.unwrap().unwrap();
    soon(opening).await.unwrap().unwrap();
    assert_eq!(client.metrics().connections_dialled.get(), 1);
    assert!(matches!(soon(events.next()).await, Some(Event::PathChanged { .. } | Event::Connected { .. })));
    assert_eq!(client.metrics().peers_connected.get(), 1);
}

#[tokio::test]
async fn the_older_of_two_endpoints_with_one_key_is_told_so() {
    let (server, key) = (endpoint().await, SecretKey::generate());
    let (first, second) = (with_key(&key).await, with_key(&key).await);
    let (mut opened, _accepted) = stream(&first, &server).await;
    let (_opened, _accepted) = stream(&second, &server).await;
    let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(ConnectionLost::KeyUsedTwice)), "{error}");
}

#[tokio::test]
async fn a_peer_that_vanished_is_found_within_the_idle_timeout() {
    // The other endpoints would wait longer than the scene's timeout.
    let limits = Limits { idle_timeout: BRIEF, ..limits() };
    let (client, server) = (endpoint_with(limits).await, endpoint().await);
    let (mut opened, _accepted) = stream(&client, &server).await;
    let mut events = client.events();
    let mortal = Mortal::new(&SecretKey::generate());
    let mut to_mortal = soon(client.get_stream(mortal.ticket.clone(), CHAT)).await.unwrap();
    mortal.kill();
    let error = soon(to_mortal.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(ConnectionLost::TimedOut)), "{error}");
    soon(async {
        loop {
            if let Some(Event::Disconnected { cause, .. }) = events.next().await {
                assert_eq!(*cause, ConnectionLost::TimedOut);
                break;
            }
        }
    })
    .await;
    // The other peer is not disturbed.
    opened.write_all(b"x").await.unwrap();
}

/// The restarted peer knows nothing of the old connection, and cannot end it. The relay needs a thread of its own
/// while this thread waits for the mortal peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_switched_off_and_is_back_elsewhere_is_found_long_before_the_idle_timeout() {
    let relay = Relay::start().await;
    let limits = Limits { path_timeout: Duration::from_secs(1), ..limits() };
    let client = relay.builder(limits.clone()).bind().await.unwrap();
    let key = SecretKey::generate();
    let bind = || relay.builder(limits.clone()).relay_only().secret_key(key.clone()).bind();
    let binding = bind();
    let mortal = Mortal::bound(async move {
        let endpoint = binding.await.unwrap();
        assert!(endpoint.online(PATIENCE).await);
        endpoint
    });
    let mut old = soon(client.get_stream(mortal.ticket.clone(), CHAT)).await.unwrap();
    mortal.kill();

    let back = bind().await.unwrap();
    assert!(back.online(PATIENCE).await);
    let both = async { tokio::join!(client.get_stream(key.public_key(), CHAT), back.accept_bi(&[CHAT])) };
    let (opened, accepted) = soon(both).await;
    assert!(opened.is_ok() && accepted.is_ok(), "{opened:?} {accepted:?}");
    let error = soon(old.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error}");
}

#[tokio::test]
async fn a_peer_that_was_killed_and_is_back_at_its_address_is_found_without_waiting_for_any_timeout() {
    let (key, client) = (SecretKey::generate(), endpoint().await);
    let first = Mortal::new(&key);
    let socket = first.socket();
    let mut opened = soon(client.get_stream(first.ticket.clone(), CHAT)).await.unwrap();
    first.kill();
    let second = Mortal::back_at(&key, socket);
    // The written data is lost, and no timeout of the endpoint expires before the scene's timeout.
    opened.write_all(b"is anybody there?").await.unwrap();
    let error = soon(opened.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error:?}");
    soon(client.get_stream(second.ticket.clone(), CHAT)).await.unwrap();
    assert_eq!(client.metrics().dials_failed.get(), 0);
    assert_eq!(client.metrics().connections_dialled.get(), 2);
    second.kill();
}

/// An end of data has to be acknowledged like data. One thread of this scene waits for the mortal peer, and another
/// one serves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_that_was_killed_and_is_back_is_found_by_an_end_of_data_alone() {
    let (key, server) = (SecretKey::generate(), endpoint().await);
    let accepting = tokio::spawn({
        let server = server.clone();
        async move { server.accept_bi(&[CHAT]).await }
    });
    let (dialler, ticket) = (key.clone(), server.ticket());
    let first = Mortal::bound(async move {
        let endpoint = with_key(&dialler).await;
        let opened = endpoint.get_stream(ticket, CHAT).await.unwrap();
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(opened);
        });
        endpoint
    });
    let (_, mut accepted) = soon(accepting).await.unwrap().unwrap();
    let socket = first.socket();
    // Nothing is in flight, and the connection is not watched any more.
    tokio::time::sleep(BRIEF).await;
    first.kill();
    let second = Mortal::back_at(&key, socket);
    accepted.finish().unwrap();
    let error = soon(accepted.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::PeerRestarted)), "{error:?}");
    second.kill();
}

#[tokio::test]
async fn a_kept_peer_that_was_killed_and_is_back_is_found_by_the_packets_that_keep_it_alive() {
    let (key, limits) = (SecretKey::generate(), Limits { idle_timeout: 20 * BRIEF, ..limits() });
    let client = endpoint_with(limits).await;
    let first = Mortal::new(&key);
    let socket = first.socket();
    let mut keep = client.keep(first.ticket.clone());
    assert!(soon(keep.connected()).await);
    let mut events = client.events();
    first.kill();
    let second = Mortal::back_at(&key, socket);
    let lost = soon(async {
        loop {
            if let Some(Event::Disconnected { cause, .. }) = events.next().await {
                break cause;
            }
        }
    })
    .await;
    assert_eq!(*lost, ConnectionLost::PeerRestarted);
    assert!(soon(keep.connected()).await);
    second.kill();
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_let_go_of_by_its_dialler_and_comes_back_with_the_next_stream() {
    let limits = Limits { unused_timeout: Duration::from_secs(1), ..limits() };
    let (user, keeper, idler) =
        (endpoint_with(limits.clone()).await, endpoint_with(limits.clone()).await, endpoint_with(limits).await);
    let server = endpoint().await;
    serve_echo(&server);
    let (opened, accepted) = stream(&user, &server).await;
    let mut keep = keeper.keep(server.ticket());
    assert!(soon(keep.connected()).await);
    // The connection comes and goes three times. Meanwhile an open stream keeps its connection, and a keeper keeps
    // its own.
    for dials in 1..=3 {
        echo(&idler, &server, b"once more").await;
        assert_eq!(idler.metrics().connections_dialled.get(), dials);
        until(|| idler.peers().is_empty() && server.peers().len() == 2).await;
        assert_eq!([user.peers().len(), keeper.peers().len()], [1, 1]);
    }
    drop((opened, accepted));
    until(|| user.peers().is_empty()).await;
    assert_eq!(keeper.metrics().connections_dialled.get(), 1);
    // The other side also finds the peer again.
    serve_echo(&user);
    echo(&server, &user, b"from the other side").await;
}

#[tokio::test]
async fn a_dead_connection_is_replaced_once_without_the_caller_noticing() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    echo(&client, &server, b"first").await;
    // The connection was closed just now, and the peer table has not been told yet.
    for _ in 0..20 {
        connect(&client, &server).await.close("cut");
        echo(&client, &server, b"second").await;
    }
}

#[tokio::test]
async fn one_peer_too_many_is_told_busy_and_the_others_stay() {
    let limits = Limits { peers: 1, ..limits() };
    let (one, other, server) = (endpoint().await, endpoint().await, endpoint_with(limits).await);
    serve_echo(&server);
    echo(&one, &server, b"first come").await;
    let error = soon(other.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    let busy = match &error {
        GetStreamError::Lost(lost) | GetStreamError::Dial { source: DialError::Lost(lost), .. } => {
            *lost == ConnectionLost::PeerBusy
        }
        _ => false,
    };
    assert!(busy, "{error:?}");
    echo(&one, &server, b"still served").await;
}

#[tokio::test]
async fn a_twin_that_does_not_show_up_is_replaced_by_a_dial() {
    let (raw, client) = (raw(&SecretKey::generate()).await, endpoint().await);
    let ticket = raw_ticket(&raw);
    let accept = || async {
        let connection = raw.accept().await.unwrap().await.unwrap();
        let control = say_hello(&connection, 1).await;
        let (mut send, recv) = connection.accept_bi().await.unwrap();
        send.write_all(&[0, 0]).await.unwrap();
        (connection, control, send, recv)
    };
    let (held, mut first) = soon(async { tokio::join!(client.get_stream(&ticket, CHAT), accept()) }).await;
    let held = held.unwrap();
    // "Another connection stays", while a stream is open on this connection, and no other connection comes.
    first.1.write_all(&[1, 1, 0]).await.unwrap();
    // Until the endpoint has answered, the first connection takes streams, which nobody accepts.
    let mut theirs = soon(first.0.accept_uni()).await.unwrap();
    let mut control = Vec::new();
    soon(async {
        // GOAWAY (1) with the same reason, with any parameters.
        while !control_frames(&control).iter().any(|(kind, body)| (*kind, body[..].first()) == (1, Some(&0))) {
            control.extend_from_slice(&theirs.read_chunk(1000).await.unwrap().unwrap());
        }
    })
    .await;
    let (second, _held) = soon(async { tokio::join!(client.get_stream(&ticket, CHAT), accept()) }).await;
    second.unwrap();
    drop(held);
}

#[tokio::test]
async fn binding_waits_for_no_network() {
    // Neither this relay nor a name server answers, so only a call that waits for neither can end.
    let builder = Endpoint::builder().relay("https://relay.invalid").mdns(false);
    let endpoint = at_once(builder.bind()).await.unwrap();
    assert!(!at_its_bound(BRIEF, std::future::ready(()), endpoint.online(BRIEF)).await);
    assert!(endpoint.status().relays.iter().all(|relay| !relay.connected));
    soon(endpoint.shutdown(Duration::ZERO)).await;
}

#[tokio::test]
async fn what_an_endpoint_cannot_use_is_said_when_it_is_bound() {
    let builder = || Endpoint::builder().offline();
    let relay = builder().relay("no url").bind().await;
    assert!(matches!(&relay, Err(BindError::RelayUrl(url)) if url == "no url"), "{relay:?}");
    let directory = builder().directory("no url", "dns.example").bind().await;
    assert!(matches!(&directory, Err(BindError::DirectoryUrl(url)) if url == "no url"), "{directory:?}");
    let root = builder().trust_root(*b"no certificate").bind().await;
    assert!(matches!(&root, Err(BindError::Root { at: 0 })), "{root:?}");
    let fine = builder().directory("https://dns.example/pkarr", "dns.example").bind().await.unwrap();
    fine.shutdown(Duration::ZERO).await;
}
