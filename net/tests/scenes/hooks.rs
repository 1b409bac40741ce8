//! Hooks are called in pairs, and their panics affect nothing else.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;
use twolane::{Access, ConnectionLost, DialError, Endpoint, Hooks, Identity, Limits, PublicKey, Verdict};

use crate::{
    clock::at_its_bound,
    stage::{BRIEF, connect, echo, endpoint, limits, serve_echo, soon, until},
};

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(PublicKey, &'static str)>>>);

impl Diary {
    fn note(&self, peer: PublicKey, what: &'static str) {
        self.0.lock().unwrap().push((peer, what));
    }

    fn of(&self, peer: PublicKey) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().filter(|(noted, _)| *noted == peer).map(|(_, what)| *what).collect()
    }
}

impl Hooks for Diary {
    async fn before_dial(&self, peer: PublicKey) -> Verdict {
        self.note(peer, "before_dial");
        Verdict::Allow
    }

    async fn after_handshake(&self, identity: &Identity) -> Verdict {
        self.note(identity.peer, "after_handshake");
        Verdict::Allow
    }

    async fn on_connect(&self, identity: &Identity) {
        self.note(identity.peer, "on_connect");
    }

    async fn on_disconnect(&self, peer: PublicKey, _: &ConnectionLost) {
        self.note(peer, "on_disconnect");
    }
}

async fn with_hooks(hooks: impl Hooks) -> Endpoint {
    Endpoint::builder().offline().limits(limits()).hooks(hooks).bind().await.unwrap()
}

#[tokio::test]
async fn the_turns_of_a_connections_life_are_told_in_order_on_both_sides() {
    let (ours, theirs) = (Diary::default(), Diary::default());
    let (client, server) = (with_hooks(ours.clone()).await, with_hooks(theirs.clone()).await);
    for _ in 0..3 {
        connect(&client, &server).await;
        until(|| ours.of(server.id()).last() == Some(&"on_connect")).await;
        until(|| theirs.of(client.id()).last() == Some(&"on_connect")).await;
        connect(&client, &server).await.close("enough");
        until(|| ours.of(server.id()).last() == Some(&"on_disconnect")).await;
        until(|| theirs.of(client.id()).last() == Some(&"on_disconnect")).await;
    }
    let dialled = ["before_dial", "after_handshake", "on_connect", "on_disconnect"];
    assert_eq!(ours.of(server.id()), dialled.repeat(3));
    assert_eq!(theirs.of(client.id()), dialled[1..].repeat(3));
}

#[tokio::test]
async fn a_shutdown_tells_the_hooks_before_it_returns() {
    let diary = Diary::default();
    let (client, server) = (endpoint().await, with_hooks(diary.clone()).await);
    connect(&client, &server).await;
    until(|| diary.of(client.id()).last() == Some(&"on_connect")).await;
    soon(server.shutdown(Duration::from_secs(5))).await;
    assert_eq!(diary.of(client.id()).last(), Some(&"on_disconnect"));
}

struct No;

impl Hooks for No {
    async fn before_dial(&self, _: PublicKey) -> Verdict {
        Verdict::refuse("not on sundays")
    }

    async fn after_handshake(&self, _: &Identity) -> Verdict {
        Verdict::refuse("nor on mondays")
    }
}

#[tokio::test]
async fn a_hook_can_refuse_a_dial_and_a_connection() {
    let (client, server) = (endpoint().await, with_hooks(No).await);
    let error = soon(server.connect(client.ticket())).await.unwrap_err();
    assert!(matches!(&error, DialError::NotAllowed { reason } if reason == "not on sundays"), "{error:?}");
    assert_eq!(client.metrics().connections_accepted.get(), 0);
    let error = soon(client.get_stream(server.ticket(), "echo/1")).await.unwrap_err();
    assert!(format!("{error:?}").contains("nor on mondays"), "{error:?}");
}

/// Hooks that panic in each notification.
struct Broken(Arc<Notify>);

impl Hooks for Broken {
    async fn on_connect(&self, _: &Identity) {
        panic!("on purpose, when a peer connects");
    }

    async fn on_disconnect(&self, _: PublicKey, _: &ConnectionLost) {
        self.0.notify_one();
        panic!("on purpose, when a peer disconnects");
    }
}

#[tokio::test]
async fn a_hook_that_panics_twice_costs_nobody_anything_and_keeps_its_pairs() {
    let told = Arc::new(Notify::new());
    let (client, server) = (endpoint().await, with_hooks(Broken(Arc::clone(&told))).await);
    serve_echo(&server);
    for _ in 0..2 {
        echo(&client, &server, b"fine").await;
        connect(&client, &server).await.close("");
        soon(told.notified()).await;
    }
    echo(&client, &server, b"still fine").await;
}

/// Hooks that never return from a notification.
struct Stuck(Diary);

impl Hooks for Stuck {
    async fn on_connect(&self, identity: &Identity) {
        self.0.note(identity.peer, "on_connect");
        std::future::pending().await
    }

    async fn on_disconnect(&self, peer: PublicKey, _: &ConnectionLost) {
        self.0.note(peer, "on_disconnect");
    }
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_its_own_next_call_alone_and_for_a_bounded_time() {
    let diary = Diary::default();
    let limits = Limits { access_timeout: BRIEF, ..limits() };
    let server = Endpoint::builder().offline().limits(limits).hooks(Stuck(diary.clone())).bind().await.unwrap();
    serve_echo(&server);
    let client = endpoint().await;
    let gone = async {
        echo(&client, &server, b"not held up").await;
        until(|| diary.of(client.id()) == ["on_connect"]).await;
        connect(&client, &server).await.close("");
        until(|| server.peers().is_empty()).await;
    };
    at_its_bound(BRIEF, gone, until(|| diary.of(client.id()) == ["on_connect", "on_disconnect"])).await;
}

/// The points at which a connection is checked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Rule,
    BeforeDial,
    AfterHandshake,
}

/// Panics at one point or does not answer there, once.
#[derive(Clone)]
struct Once {
    at: At,
    panics: bool,
    asked: Arc<AtomicUsize>,
}

impl Once {
    async fn answer(&self, at: At) -> Verdict {
        if at != self.at || self.asked.fetch_add(1, SeqCst) > 0 {
            return Verdict::Allow;
        }
        assert!(!self.panics, "on purpose, {at:?}");
        std::future::pending().await
    }
}

impl Access for Once {
    async fn connection(&self, _: &Identity) -> Verdict {
        self.answer(At::Rule).await
    }
}

impl Hooks for Once {
    async fn before_dial(&self, _: PublicKey) -> Verdict {
        self.answer(At::BeforeDial).await
    }

    async fn after_handshake(&self, _: &Identity) -> Verdict {
        self.answer(At::AfterHandshake).await
    }
}

#[tokio::test]
async fn a_rule_or_hook_that_breaks_or_does_not_answer_refuses_that_connection_alone() {
    for at in [At::Rule, At::BeforeDial, At::AfterHandshake] {
        for panics in [true, false] {
            let once = Once { at, panics, asked: Arc::default() };
            let limits = Limits { access_timeout: BRIEF, ..limits() };
            let broken = Endpoint::builder().offline().limits(limits).access(once.clone()).hooks(once.clone());
            let (broken, peer) = (broken.bind().await.unwrap(), endpoint().await);
            // Whichever side dials, the side with the rule or hook refuses.
            let dial = broken.connect(peer.ticket());
            let asked = until(|| once.asked.load(SeqCst) == 1);
            let error = if panics { soon(dial).await } else { at_its_bound(BRIEF, asked, dial).await }.unwrap_err();
            let refused = match &error {
                DialError::NotAllowed { reason } | DialError::Lost(ConnectionLost::NotAllowed { reason }) => {
                    reason.contains(if panics { "panicked" } else { "did not answer within" })
                }
                _ => false,
            };
            assert!(refused, "{at:?}, panics {panics}: {error:?}");
            soon(broken.connect(peer.ticket())).await.unwrap();
            assert_eq!(once.asked.load(SeqCst), 2, "{at:?}, panics {panics}");
        }
    }
}
