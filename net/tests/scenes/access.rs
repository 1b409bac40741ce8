//! Access rules for connections and streams, and the effect when they change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};
use twolane::{
    AcceptError, Access, AccessList, ConnectionLost, DialError, Endpoint, GetStreamError, Identity, Limits, PublicKey,
    ReadError, Reason, SecretKey, StreamOptions, StreamRequest, Verdict, delegation::Pattern,
};

use crate::{
    clock::{at_its_bound, at_once},
    stage::{BRIEF, CHAT, ECHO, PATIENCE, echo, endpoint, limits, raw, say_hello, serve_echo, soon, stream, until},
};

pub(crate) async fn guarded(access: impl Access) -> Endpoint {
    Endpoint::builder().offline().limits(limits()).access(access).bind().await.unwrap()
}

/// Returns the reason that a peer was given because the rules do not allow it.
fn forbidden(error: &GetStreamError) -> Option<&str> {
    match error {
        GetStreamError::Lost(ConnectionLost::Forbidden { reason })
        | GetStreamError::Dial { source: DialError::Lost(ConnectionLost::Forbidden { reason }), .. } => Some(reason),
        _ => None,
    }
}

#[tokio::test]
async fn who_is_not_on_the_list_is_told_so_and_reaches_no_handler() {
    let list = AccessList::nobody();
    let (friend, stranger, server) = (endpoint().await, endpoint().await, guarded(list.clone()).await);
    list.allow(friend.id());
    let handled = Arc::new(AtomicUsize::new(0));
    server
        .serve("count/1", {
            let handled = Arc::clone(&handled);
            move |mut stream| {
                handled.fetch_add(1, SeqCst);
                async move { stream.finish().unwrap() }
            }
        })
        .unwrap();
    let error = soon(stranger.get_stream(server.ticket(), "count/1")).await.unwrap_err();
    assert_eq!(forbidden(&error), Some("the key is not on the list of keys that may connect"), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(handled.load(SeqCst), 0);
    soon(friend.get_stream(server.ticket(), "count/1")).await.unwrap();
    assert_eq!(server.peers().len(), 1);
    assert_eq!(server.metrics().connections_refused.get(), 1);
}

#[tokio::test]
async fn revoking_closes_the_connection_at_once_with_words_that_the_peer_reads() {
    let list = AccessList::everybody();
    let (client, other, server) = (endpoint().await, endpoint().await, guarded(list.clone()).await);
    serve_echo(&server);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    echo(&other, &server, b"hello").await;
    list.deny(client.id());
    let error = at_once(opened.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::Forbidden { .. })), "{error:?}");
    let error = at_once(accepted.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::NotAllowed { .. })), "{error:?}");
    // The peer cannot connect again, and the other peer was not disturbed.
    let error = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    assert!(forbidden(&error).is_some(), "{error:?}");
    assert_eq!(soon(other.get_stream(server.ticket(), ECHO)).await.unwrap().peer(), server.id());
    assert_eq!(other.metrics().connections_dialled.get(), 1);
    list.forget(&client.id());
    echo(&client, &server, b"welcome back").await;
}

#[tokio::test]
async fn revoking_cuts_off_at_once_while_the_endpoint_shuts_down_too() {
    let list = AccessList::everybody();
    let (client, server) = (endpoint().await, guarded(list.clone()).await);
    let (mut opened, _accepted) = stream(&client, &server).await;
    let shutting_down = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(PATIENCE).await }
    });
    assert!(matches!(soon(server.accept_bi(&[CHAT])).await, Err(AcceptError::ShuttingDown)));
    list.deny(client.id());
    let error = at_once(opened.read(&mut [0])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Lost(ConnectionLost::Forbidden { .. })), "{error:?}");
    let report = soon(shutting_down).await.unwrap();
    assert_eq!((report.cut, report.streams_cut), (1, 1), "{report:?}");
}

#[tokio::test]
async fn a_protocol_with_a_list_of_its_own_is_for_those_on_it() {
    let list = AccessList::everybody();
    let admin: Pattern = "admin/*".parse().unwrap();
    let (one, other, server) = (endpoint().await, endpoint().await, guarded(list.clone()).await);
    list.allow_for(&admin, one.id());
    serve_echo(&server);
    server.serve("admin/1", |mut stream| async move { stream.finish().unwrap() }).unwrap();
    let error = soon(other.get_stream(server.ticket(), "admin/1")).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Refused), "{error:?}");
    soon(one.get_stream(server.ticket(), "admin/1")).await.unwrap();
    // The refusal affected that stream only.
    echo(&other, &server, b"still friends").await;
    assert_eq!(other.metrics().connections_dialled.get(), 1);
}

#[tokio::test]
async fn the_list_of_the_most_specific_pattern_decides_alone() {
    let (list, client) = (AccessList::everybody(), endpoint().await);
    let server = guarded(list.clone()).await;
    for protocol in ["admin/1", "admin/2", "mail/1"] {
        server.serve_requests(protocol, |_| async { Ok("yes".into()) }).unwrap();
    }
    list.restrict(&"admin/*".parse().unwrap());
    list.allow_for(&"admin/2".parse().unwrap(), client.id());
    list.allow_for(&"*".parse().unwrap(), client.id());
    for (protocol, allowed) in [("admin/1", false), ("admin/2", true), ("mail/1", true)] {
        let answer = soon(client.request(server.ticket(), protocol, "", PATIENCE)).await;
        assert_eq!(answer.is_ok(), allowed, "{protocol}: {answer:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_allowed_any_more_is_aborted_and_others_go_on() {
    let list = AccessList::everybody();
    let pattern: Pattern = CHAT.as_str().parse().unwrap();
    let (client, server) = (endpoint().await, guarded(list.clone()).await);
    serve_echo(&server);
    list.allow_for(&pattern, client.id());
    let (mut opened, mut accepted) = stream(&client, &server).await;
    let mut beside = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    list.revoke_for(&pattern, &client.id());
    let error = at_once(opened.read(&mut [0])).await.unwrap_err();
    let ReadError::Aborted(error) = &error else { panic!("{error:?}") };
    assert!(error.text().contains("chat/1"), "{error}");
    assert!(matches!(soon(accepted.read(&mut [0])).await, Err(ReadError::EndedHere(_))));
    beside.write_all(b"on").await.unwrap();
    beside.finish().unwrap();
    assert_eq!(soon(beside.read_to_end(2)).await.unwrap(), "on");
}

#[tokio::test]
async fn a_list_holds_for_dials_of_this_side_too() {
    let list = AccessList::everybody();
    let (server, client) = (endpoint().await, guarded(list.clone()).await);
    list.deny(server.id());
    let error = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    let GetStreamError::Dial { source: DialError::Lost(ConnectionLost::NotAllowed { .. }), .. } = &error else {
        panic!("{error:?}")
    };
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_rule_sees_the_protocol_and_the_metadata_before_anything_is_answered() {
    struct Word;
    impl Access for Word {
        async fn stream(&self, request: &StreamRequest) -> Verdict {
            if request.metadata == "open sesame" { Verdict::Allow } else { Verdict::refuse("say the word") }
        }
    }
    let (client, server) = (endpoint().await, guarded(Word).await);
    serve_echo(&server);
    let error = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    let GetStreamError::Rejected { rejection, .. } = &error else { panic!("{error:?}") };
    assert_eq!((rejection.reason, &rejection.text[..]), (Reason::Refused, "say the word"));
    let options = StreamOptions { metadata: "open sesame".into(), ..StreamOptions::default() };
    soon(client.get_stream_with(server.ticket(), ECHO, options)).await.unwrap();
}

/// Rules that follow the metadata of a stream: they never answer, or panic. They count how often they were asked.
#[derive(Clone, Default)]
struct Moody(Arc<AtomicUsize>);

impl Access for Moody {
    async fn stream(&self, request: &StreamRequest) -> Verdict {
        self.0.fetch_add(1, SeqCst);
        match &request.metadata[..] {
            b"silent" => std::future::pending().await,
            b"broken" => panic!("the rule breaks on purpose"),
            _ => Verdict::Allow,
        }
    }
}

#[tokio::test]
async fn a_rule_that_breaks_or_does_not_answer_refuses_that_stream_alone() {
    let limits = Limits { access_timeout: BRIEF, ..limits() };
    let moody = Moody::default();
    let server = Endpoint::builder().offline().limits(limits).access(moody.clone()).bind().await.unwrap();
    let client = endpoint().await;
    serve_echo(&server);
    for (nth, mood) in ["silent", "broken", "silent"].into_iter().enumerate() {
        let options = StreamOptions { metadata: mood.into(), ..StreamOptions::default() };
        let opening = client.get_stream_with(server.ticket(), ECHO, options);
        let asked = until(|| moody.0.load(SeqCst) == 2 * nth + 1);
        let opened = if mood == "silent" { at_its_bound(BRIEF, asked, opening).await } else { soon(opening).await };
        let error = opened.unwrap_err();
        assert_eq!(error.rejection(), Some(Reason::Refused), "{mood}: {error:?}");
        echo(&client, &server, b"fine").await;
    }
    assert_eq!(moody.0.load(SeqCst), 6, "once for each stream");
    assert_eq!(client.metrics().connections_dialled.get(), 1);
}

/// Rules that wait for permission before they answer about any connection except one.
struct Slow(PublicKey, Arc<Notify>, Arc<AtomicUsize>);

impl Access for Slow {
    async fn connection(&self, identity: &Identity) -> Verdict {
        if identity.peer != self.0 {
            self.2.fetch_add(1, SeqCst);
            self.1.notified().await;
        }
        Verdict::Allow
    }
}

#[tokio::test]
async fn no_stream_of_a_peer_is_looked_at_before_the_rules_have_answered() {
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (client, other) = (endpoint().await, endpoint().await);
    let server = guarded(Slow(other.id(), Arc::clone(&go), Arc::clone(&asked))).await;
    serve_echo(&server);
    let ticket = server.ticket();
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.get_stream(ticket, ECHO).await }
    });
    until(|| asked.load(SeqCst) == 1).await;
    // The stream's header was sent together with HELLO, and arrives long before all these echoes are done.
    const OTHERS: u64 = 20;
    for _ in 0..OTHERS {
        echo(&other, &server, b"let in").await;
    }
    assert!(server.peer(&client.id()).is_none());
    assert_eq!(server.metrics().streams_accepted.get(), OTHERS);
    assert!(!opening.is_finished());
    go.notify_one();
    soon(opening).await.unwrap().unwrap();
    assert_eq!(asked.load(SeqCst), 1, "once for each connection");
}

#[tokio::test]
async fn rules_that_change_while_a_peer_is_being_admitted_hold_for_it() {
    /// A list, and a rule in front of it that lets the scene change the list at the worst moment.
    struct Both(AccessList, Arc<Notify>, Arc<AtomicUsize>);
    impl Access for Both {
        async fn connection(&self, identity: &Identity) -> Verdict {
            let verdict = self.0.connection(identity).await;
            if self.2.fetch_add(1, SeqCst) == 0 {
                self.1.notified().await;
            }
            verdict
        }

        fn changes(&self) -> Option<watch::Receiver<u64>> {
            self.0.changes()
        }
    }
    let (list, go, asked) = (AccessList::everybody(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let server = guarded(Both(list.clone(), Arc::clone(&go), Arc::clone(&asked))).await;
    let client = endpoint().await;
    let connecting = tokio::spawn({
        let (client, ticket) = (client.clone(), server.ticket());
        async move { client.connect(ticket).await }
    });
    until(|| asked.load(SeqCst) == 1).await;
    list.deny(client.id());
    go.notify_one();
    // The peer may have been let in by the answer that came first, but only for a short time.
    match soon(connecting).await.unwrap() {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => assert!(matches!(error, DialError::Lost(ConnectionLost::Forbidden { .. })), "{error:?}"),
    }
    until(|| server.peers().is_empty() && client.peers().is_empty()).await;
}

#[tokio::test]
async fn a_stream_that_was_cut_off_is_never_taken_for_complete_even_if_the_reason_does_not_arrive() {
    let list = AccessList::everybody();
    let server = guarded(list.clone()).await;
    let key = SecretKey::generate();
    list.allow_for(&CHAT.as_str().parse().unwrap(), key.public_key());
    let raw = raw(&key).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let _control = say_hello(&connection, 5).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x01\x08\x06chat/1\x00").await.unwrap();
    let mut accepted = soon(server.accept_bi(&[CHAT])).await.unwrap().1;
    accepted.write_all(b"half of it").await.unwrap();
    list.revoke_for(&CHAT.as_str().parse().unwrap(), &key.public_key());
    // The program still holds the stream and does not use it. Nobody reads the error lane here.
    let error = soon(recv.read_to_end(100)).await.unwrap_err();
    assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    assert!(soon(accepted.read(&mut [0])).await.is_err());
}

/// Rules that can change, that count how many questions they are asked, and that leave some of them unanswered.
#[derive(Default)]
struct Busy {
    version: watch::Sender<u64>,
    asked: AtomicUsize,
    /// The number of questions that are being answered, and the largest such number.
    now: AtomicUsize,
    most: AtomicUsize,
    /// The number of questions from here on that get no answer.
    silent: AtomicUsize,
}

impl Busy {
    fn change(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    async fn answer(&self) -> Verdict {
        self.asked.fetch_add(1, SeqCst);
        if self.silent.fetch_update(SeqCst, SeqCst, |silent| silent.checked_sub(1)).is_ok() {
            std::future::pending::<()>().await;
        }
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        // Long enough for every other question to be asked, if nothing holds it back.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, SeqCst);
        Verdict::Allow
    }
}

/// The scene keeps one handle, and the endpoint has another.
struct Rules(Arc<Busy>);

impl Access for Rules {
    async fn connection(&self, _: &Identity) -> Verdict {
        self.0.answer().await
    }

    async fn stream(&self, _: &StreamRequest) -> Verdict {
        self.0.answer().await
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.version.subscribe())
    }
}

async fn busy(limits: Limits) -> (Arc<Busy>, Endpoint) {
    let busy = Arc::new(Busy::default());
    let rules = Rules(Arc::clone(&busy));
    (busy, Endpoint::builder().offline().limits(limits).access(rules).bind().await.unwrap())
}

#[tokio::test]
async fn a_change_asks_the_rules_only_some_questions_at_a_time() {
    const AT_A_TIME: usize = 3;
    const STREAMS: usize = 10;
    let (busy, server) = busy(Limits { rechecks: AT_A_TIME, ..limits() }).await;
    let clients = [endpoint().await, endpoint().await];
    let mut open = Vec::new();
    for client in &clients {
        for _ in 0..STREAMS {
            open.push(stream(client, &server).await);
        }
    }
    // One for each connection, and one for each stream.
    let all = clients.len() * (1 + STREAMS);
    assert_eq!(busy.asked(), all);
    busy.most.store(0, SeqCst);
    busy.change();
    until(|| busy.asked() == 2 * all).await;
    assert_eq!(busy.most.load(SeqCst), AT_A_TIME);
    for (opened, accepted) in &mut open {
        opened.write_all(b"on").await.unwrap();
        assert_eq!(soon(accepted.read(&mut [0; 2])).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn rules_that_are_slow_after_a_change_throw_nobody_out() {
    let (busy, server) = busy(Limits { access_timeout: BRIEF, recheck_timeout: PATIENCE, ..limits() }).await;
    let client = endpoint().await;
    serve_echo(&server);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    let before = busy.asked();
    busy.silent.store(1, SeqCst);
    busy.change();
    // The connection is asked about twice, and then the stream.
    until(|| busy.asked() == before + 3).await;
    opened.write_all(b"on").await.unwrap();
    assert_eq!(soon(accepted.read(&mut [0; 2])).await.unwrap(), 2);
    echo(&client, &server, b"still here").await;
    assert_eq!(client.metrics().connections_dialled.get(), 1);
}

#[tokio::test]
async fn rules_that_never_answer_after_a_change_end_the_connection_in_time() {
    let (busy, server) = busy(Limits { access_timeout: BRIEF, recheck_timeout: Duration::ZERO, ..limits() }).await;
    let client = endpoint().await;
    let (mut opened, _accepted) = stream(&client, &server).await;
    let before = busy.asked();
    busy.silent.store(usize::MAX, SeqCst);
    let asked = async {
        busy.change();
        until(|| busy.asked() > before).await;
    };
    let error = at_its_bound(BRIEF, asked, opened.read(&mut [0])).await.unwrap_err();
    let ReadError::Lost(ConnectionLost::Forbidden { reason }) = &error else { panic!("{error:?}") };
    assert!(reason.contains("did not answer"), "{reason}");
}
