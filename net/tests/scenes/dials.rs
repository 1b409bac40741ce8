//! Dials: the calls that wait for them, how they end, and their errors (invariants 6 to 9).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};
use twolane::{
    Access, AccessList, ConnectionLost, DialError, Endpoint, Event, GetStreamError, Hooks, Identity, Limits, PublicKey,
    SecretKey, Ticket, Verdict, XStream,
};

use crate::{
    access::guarded,
    clock::at_its_bound,
    stage::{BRIEF, CHAT, ECHO, echo, endpoint, endpoint_with, limits, serve_echo, soon, until, with_key},
};

#[tokio::test]
async fn one_dial_serves_everybody_who_asks_at_the_same_time() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let mut events = server.events();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (client, ticket) = (client.clone(), server.ticket());
            tokio::spawn(async move { client.get_stream(ticket, ECHO).await })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(client.metrics().connections_dialled.get(), 1);
    assert_eq!(server.metrics().connections_accepted.get(), 1);
    assert_eq!(client.peers()[0].connections, 1);
    assert!(matches!(soon(events.next()).await, Some(Event::Connected { .. })));
}

/// Rules and hooks that answer about the first connection when the scene says so, and about any later one at once.
#[derive(Clone, Default)]
pub(crate) struct SlowOnce {
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) go: Arc<Notify>,
}

impl Access for SlowOnce {
    async fn connection(&self, _: &Identity) -> Verdict {
        if self.asked.fetch_add(1, SeqCst) == 0 {
            self.go.notified().await;
        }
        Verdict::Allow
    }
}

impl Hooks for SlowOnce {
    async fn before_dial(&self, _: PublicKey) -> Verdict {
        if self.asked.fetch_add(1, SeqCst) == 0 {
            self.go.notified().await;
        }
        Verdict::Allow
    }
}

#[tokio::test]
async fn a_dial_under_way_when_the_connection_of_the_peer_is_closed_begins_anew() {
    let hook = SlowOnce::default();
    let (client, server) =
        (Endpoint::builder().offline().limits(limits()).hooks(hook.clone()).bind().await.unwrap(), endpoint().await);
    serve_echo(&server);
    let asking = {
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.connect(ticket).await.map(drop) }
    };
    let asking = tokio::spawn(asking);
    until(|| hook.asked.load(SeqCst) == 1).await;
    soon(server.connect(client.ticket())).await.unwrap();
    soon(asking).await.unwrap().unwrap();
    soon(client.connect(server.ticket())).await.unwrap().close("once more");
    until(|| client.metrics().connections_dialled.get() == 1).await;
    assert_eq!(hook.asked.load(SeqCst), 2);
    echo(&client, &server, b"on the new connection").await;
}

/// Lets `client` dial `server` and wait for the rules of `client`. Meanwhile `server` opens a stream on this
/// connection.
async fn used_before_the_dialler_lets_it_in(
    client: &Endpoint,
    server: &Endpoint,
    rule: &SlowOnce,
) -> (JoinHandle<Result<(), DialError>>, JoinHandle<Result<XStream, GetStreamError>>) {
    let dialling = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.connect(ticket).await.map(drop) }
    });
    until(|| rule.asked.load(SeqCst) == 1).await;
    let opening = tokio::spawn({
        let (server, ticket) = (server.clone(), client.ticket());
        async move { server.get_stream(ticket, CHAT).await }
    });
    until(|| server.peer(&client.id()).is_some_and(|info| info.streams == 1)).await;
    (dialling, opening)
}

#[tokio::test]
async fn an_address_that_becomes_known_after_the_handshake_does_not_cost_the_peer_its_connection() {
    let rule = SlowOnce::default();
    let (client, server) = (guarded(rule.clone()).await, endpoint().await);
    let (dialling, opening) = used_before_the_dialler_lets_it_in(&client, &server, &rule).await;
    let elsewhere = iroh::TransportAddr::Ip("127.0.0.1:9".parse().unwrap());
    let key = iroh::PublicKey::from_bytes(&server.id().to_bytes()).unwrap();
    let ticket = Ticket::from_addr(iroh::EndpointAddr::from_parts(key, [elsewhere])).unwrap();
    let mut beside = Box::pin(client.connect(ticket));
    tokio::select! {
        biased;
        _ = &mut beside => panic!("the rules have not answered yet"),
        () = std::future::ready(()) => {}
    }
    // The dial learns of the address before the rules answer, because all tasks of a scene take turns on one
    // thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    rule.go.notify_one();
    soon(client.accept_bi(&[CHAT])).await.unwrap();
    soon(opening).await.unwrap().unwrap();
    soon(dialling).await.unwrap().unwrap();
    soon(beside).await.unwrap();
    assert_eq!((client.metrics().connections_dialled.get(), rule.asked.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_dial_that_the_peer_uses_already_is_closed_with_the_words_of_those_that_it_was_closed_with() {
    let (rule, hook) = (SlowOnce::default(), SlowOnce::default());
    let server = Endpoint::builder().offline().limits(limits()).hooks(hook.clone()).bind().await.unwrap();
    let client = guarded(rule.clone()).await;
    let other_way = tokio::spawn({
        let (server, ticket) = (server.clone(), client.ticket());
        async move { server.connect(ticket).await.map(drop) }
    });
    until(|| hook.asked.load(SeqCst) == 1).await;
    let (dialling, opening) = used_before_the_dialler_lets_it_in(&client, &server, &rule).await;
    hook.go.notify_one();
    let connection = soon(client.accept()).await.unwrap();
    connection.close("once more");
    let error = soon(opening).await.unwrap().unwrap_err();
    let GetStreamError::Lost(ConnectionLost::PeerClosed { reason, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(reason, "once more");
    soon(other_way).await.unwrap().unwrap();
    soon(dialling).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_a_shutdown_ends_is_no_fault_to_the_peer_that_uses_it() {
    // noq sends on a thread of its own, so the packets that are sent differ from run to run.
    for _ in 0..20 {
        let rule = SlowOnce::default();
        let (client, server) = (guarded(rule.clone()).await, endpoint().await);
        let mut events = server.events();
        let (dialling, opening) = used_before_the_dialler_lets_it_in(&client, &server, &rule).await;
        soon(client.shutdown(Duration::ZERO)).await;
        let cause = loop {
            if let Some(Event::Disconnected { cause, .. }) = soon(events.next()).await {
                break cause;
            }
        };
        assert_eq!(*cause, ConnectionLost::PeerDone);
        assert!(matches!(soon(dialling).await.unwrap(), Err(DialError::ShuttingDown)));
        // A stream whose header was not sent yet is opened again, but the peer is gone.
        opening.abort();
    }
}

#[tokio::test]
async fn an_address_where_another_endpoint_answers_is_told_as_that() {
    let (client, other) = (endpoint().await, endpoint().await);
    let at = other.ticket().to_addr().ip_addrs().next().copied().unwrap();
    let moved = Ticket::new(SecretKey::generate().public_key()).with_addr(at).unwrap();
    let error = soon(client.connect(moved)).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::Lost(ConnectionLost::OtherKey)), "{error:?}");
}

#[tokio::test]
async fn a_dial_that_the_peer_turns_away_is_an_error_of_connect_and_no_connection() {
    let (client, server) = (endpoint().await, guarded(AccessList::nobody()).await);
    let mut events = client.events();
    let error = soon(client.connect(server.ticket())).await.map(drop).unwrap_err();
    assert!(matches!(&error, DialError::Lost(ConnectionLost::Forbidden { .. })), "{error:?}");
    soon(async {
        loop {
            match events.next().await.unwrap() {
                Event::PathChanged { .. } => {}
                Event::DialFailed { peer, cause } => {
                    assert_eq!(peer, server.id());
                    assert!(matches!(&*cause, DialError::Lost(ConnectionLost::Forbidden { .. })), "{cause:?}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    until(|| client.peers().is_empty()).await;
    assert_eq!(client.metrics().peers_connected.get(), 0);
}

#[tokio::test]
async fn every_waiter_gets_the_cause_of_a_dial_that_failed() {
    let limits = Limits { connect_timeout: BRIEF, ..limits() };
    let client = endpoint_with(limits).await;
    // A socket that is bound and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let ticket = Ticket::new(SecretKey::generate().public_key()).with_addr(silent.local_addr().unwrap()).unwrap();
    let calls = async {
        let calls = (0..10).map(|_| {
            let (client, ticket) = (client.clone(), ticket.clone());
            tokio::spawn(async move { client.get_stream(ticket, CHAT).await.map(drop) })
        });
        for call in calls.collect::<Vec<_>>() {
            let error = call.await.unwrap().unwrap_err();
            let GetStreamError::Dial { source: DialError::TimedOut { after }, .. } = error else { panic!("{error:?}") };
            assert_eq!(after, BRIEF);
        }
    };
    at_its_bound(BRIEF, until(|| silent.recv(&mut [0; 2000]).is_ok()), calls).await;
}

#[tokio::test]
async fn a_peer_without_any_address_is_said_to_be_unknown() {
    let client = endpoint().await;
    let nobody = SecretKey::generate().public_key();
    let error = soon(client.get_stream(nobody, CHAT)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::Dial { source: DialError::NoAddress(_), .. }), "{error:?}");
    assert!(error.to_string().contains(&nobody.to_string()));
}

#[tokio::test]
async fn dialling_oneself_is_the_callers_error() {
    let endpoint = endpoint().await;
    let error = soon(endpoint.get_stream(endpoint.ticket(), CHAT)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::Dial { source: DialError::OwnKey, .. }), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_dial_to_an_old_address_does_not_hold_up_a_call_that_knows_the_new_one() {
    let (key, client) = (SecretKey::generate(), endpoint().await);
    let old = with_key(&key).await;
    let stale = old.ticket();
    soon(old.shutdown(Duration::ZERO)).await;
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.connect(stale).await.map(drop) }
    });
    // Nothing answers at the old address. The dial goes on, and has no timeout in these scenes.
    let new = with_key(&key).await;
    soon(client.connect(new.ticket())).await.unwrap();
    // Both calls used the same dial, so the first caller is served too.
    soon(dialling).await.unwrap().unwrap();
    assert_eq!(client.metrics().connections_dialled.get(), 1);
}

#[tokio::test]
async fn a_dial_without_a_bound_is_a_dial() {
    let server = endpoint().await;
    let client = endpoint_with(Limits { connect_timeout: Duration::MAX, ..limits() }).await;
    soon(client.connect(server.ticket())).await.unwrap();
}
