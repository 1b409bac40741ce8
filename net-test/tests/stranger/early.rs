//! Early lanes: what comes with the first packets of a session that is resumed, and copies of these packets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use quinn::Connection;
use twolane::{AccessList, Endpoint, Limits, ServeOptions};

use crate::{
    peer::{NONCE, Returning, Socket, Target, close_code, greeting_of, say_first, write},
    reader::{Reader, soon},
    tap::{Tap, send_again},
    wire::{close, early, header, header_then},
};

/// How often the handlers of an endpoint have run.
#[derive(Debug, Clone, Default)]
struct Runs {
    repeatable: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl Runs {
    fn of_both(&self) -> (usize, usize) {
        (self.repeatable.load(SeqCst), self.others.load(SeqCst))
    }

    /// Serves `read/1`, which is repeatable, and `pay/1`, which is not. Both tell whether a request was early.
    fn count(&self, endpoint: &Endpoint) {
        for (protocol, repeatable, runs) in [("read/1", true, &self.repeatable), ("pay/1", false, &self.others)] {
            let runs = Arc::clone(runs);
            let handler = move |request: twolane::Request| {
                runs.fetch_add(1, SeqCst);
                std::future::ready(Ok(if request.early { "early" } else { "late" }.into()))
            };
            let served = endpoint.serve_requests_with(protocol, ServeOptions { repeatable }, handler);
            served.expect("nobody serves it");
        }
    }
}

/// Limits that no number of handshakes from this machine exceeds.
fn limits() -> Limits {
    Limits { handshakes: 100_000, handshakes_per_address: 100_000, ..Limits::default() }
}

async fn served() -> (Endpoint, Runs) {
    let endpoint = Endpoint::builder().offline().limits(limits()).bind().await.expect("an endpoint");
    let runs = Runs::default();
    runs.count(&endpoint);
    (endpoint, runs)
}

/// Returns a client that was connected before, and is not any more.
async fn back(endpoint: &Endpoint) -> Returning {
    let returning = Returning::to(Socket::new(7), endpoint).await;
    soon("the end of its connection", async {
        while !endpoint.peers().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    returning
}

/// Waits until the endpoint has seen everything that has been sent so far.
async fn seen_until_now(target: Target) {
    Socket::new(9).dial(target, NONCE).await.round_trip().await;
}

/// Returns the response to a request that was accepted.
async fn response(mut recv: Reader) -> String {
    recv.accepted().await;
    String::from_utf8(recv.rest().await).expect("a word")
}

/// Says HELLO and asks `read/1` with EARLY, both with the first packets.
async fn fly(connection: &Connection, dial: u64) -> (quinn::SendStream, Reader) {
    let control = say_first(connection, &greeting_of(NONCE, dial)).await;
    let asked = Returning::ask(connection, &header_then("read/1", b"", &early())).await;
    (control, asked)
}

#[tokio::test]
async fn only_what_both_sides_call_repeatable_is_handled_before_the_handshake_is_done() {
    let (endpoint, runs) = served().await;
    let target = Target::from(&endpoint);
    let returning = back(&endpoint).await;
    let tap = Tap::to(target.addr).await;
    let (connection, accepted) = returning.dial_early(tap.addr());
    let (_control, repeatable) = fly(&connection, 1).await;
    let unsaid = Returning::ask(&connection, &header("read/1", b"")).await;
    let mut unasked = Returning::ask(&connection, &header_then("pay/1", b"", &early())).await;

    // The endpoint has not seen the end of the handshake: the tap holds it.
    assert_eq!(response(repeatable).await, "early");
    assert!(soon("the handshake", accepted).await, "the endpoint takes early data");
    assert_eq!(runs.of_both(), (1, 0));
    unasked.nothing_has_come().await;
    assert!(endpoint.peers().is_empty(), "nobody is connected before the handshake is done");

    tap.release();
    assert_eq!((response(unsaid).await, response(unasked).await), ("late".into(), "late".into()));
    assert_eq!(runs.of_both(), (2, 1));
    assert_eq!(endpoint.metrics().requests_early.get(), 1);
}

#[tokio::test]
async fn hello_comes_before_the_handshake_is_done_to_whoever_resumes_a_session_and_to_nobody_else() {
    let (endpoint, _) = served().await;
    let target = Target::from(&endpoint);
    let returning = back(&endpoint).await;
    let tap = Tap::to(target.addr).await;
    let (connection, _) = returning.dial_early(tap.addr());
    let (_control, asked) = fly(&connection, 1).await;
    let frames = soon("a control stream", connection.accept_uni()).await;
    Reader(frames.expect("the connection is open")).hello().await;
    assert_eq!(response(asked).await, "early");

    // A client without a session, whose last packets are held up as well.
    let tap = Tap::to(target.addr).await;
    let stranger = Socket::new(8);
    let connection = stranger.connect(Target { addr: tap.addr(), ..target }).await;
    let _control = say_first(&connection, &greeting_of(NONCE, 1)).await;
    let mut accepting = Box::pin(connection.accept_uni());
    seen_until_now(target).await;
    let early = tokio::time::timeout(Duration::ZERO, &mut accepting).await;
    assert!(early.is_err(), "HELLO was sent to a client that has proved no key");
    tap.release();
    let frames = soon("a control stream", accepting).await;
    Reader(frames.expect("the connection is open")).hello().await;
}

#[tokio::test]
async fn a_recorded_flight_that_is_sent_again_and_again_runs_nothing() {
    let (endpoint, runs) = served().await;
    let target = Target::from(&endpoint);
    let returning = back(&endpoint).await;
    let tap = Tap::to(target.addr).await;
    let (connection, _) = returning.dial_early(tap.addr());
    let (_control, asked) = fly(&connection, 1).await;
    let paid = Returning::ask(&connection, &header_then("pay/1", b"", &early())).await;
    assert_eq!(response(asked).await, "early");
    let flight = tap.flight();
    assert!(!flight.is_empty());

    // While the handshake is under way, once it is done, and when the connection is gone.
    let again = async || {
        for _ in 0..400 {
            send_again(&flight, target.addr).await;
        }
        seen_until_now(target).await;
    };
    again().await;
    assert_eq!(runs.of_both(), (1, 0));
    tap.release();
    assert_eq!(response(paid).await, "late");
    again().await;
    connection.close(0u32.into(), b"");
    again().await;
    assert_eq!(runs.of_both(), (1, 1));
    assert_eq!(endpoint.metrics().requests_early.get(), 1);

    // And when the endpoint was started again at its address: it knows no session.
    let restarted = restarted(&endpoint).await;
    let runs = Runs::default();
    runs.count(&restarted);
    again().await;
    assert_eq!(runs.of_both(), (0, 0));
    let peers = restarted.peers();
    assert!(peers.len() <= 1, "a copy is no peer: {peers:?}");
}

/// Ends an endpoint, and starts another one with its key at its address.
async fn restarted(endpoint: &Endpoint) -> Endpoint {
    let (key, addr) = (endpoint.iroh().secret_key().to_bytes(), Target::from(endpoint).addr);
    endpoint.shutdown(Duration::from_secs(5)).await;
    let key = twolane::SecretKey::from_bytes(&key);
    loop {
        let builder = Endpoint::builder().offline().limits(limits()).secret_key(key.clone()).bind_addr(addr);
        match builder.bind().await {
            Ok(endpoint) => return endpoint,
            // The socket of the other one is being closed.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_flight_with_the_numbers_of_another_one_is_handled_when_its_handshake_is_done() {
    let (endpoint, runs) = served().await;
    let target = Target::from(&endpoint);
    // Two connections give four sessions.
    let returning = back(&endpoint).await;
    let mut outcomes = Vec::new();
    for dial in [5, 5, 6, 0] {
        let tap = Tap::to(target.addr).await;
        let (connection, _) = returning.dial_early(tap.addr());
        let (control, mut asked) = fly(&connection, dial).await;
        // A flight that is not handled early has its answer only when the handshake is done.
        let frames = soon("a control stream", connection.accept_uni()).await;
        Reader(frames.expect("the connection is open")).hello().await;
        if outcomes.len() % 2 == 1 {
            asked.nothing_has_come().await;
        }
        tap.release();
        outcomes.push(response(asked).await);
        drop(control);
        connection.close(0u32.into(), b"");
    }
    // A copy, and a dialler that does not number its dials.
    assert_eq!(outcomes, ["early", "late", "early", "late"]);
    assert_eq!(runs.of_both(), (4, 0));
    assert_eq!(endpoint.metrics().flights_repeated.get(), 1);
}

#[tokio::test]
async fn the_rules_are_asked_about_the_key_of_the_session_before_anything_is_handled() {
    let list = AccessList::everybody();
    let builder = Endpoint::builder().offline().limits(limits()).access(list.clone());
    let endpoint = builder.bind().await.expect("an endpoint");
    let runs = Runs::default();
    runs.count(&endpoint);
    let target = Target::from(&endpoint);
    let key = twolane::PublicKey::from_bytes(&Socket::new(7).identity.public()).expect("a key");
    let returning = back(&endpoint).await;
    list.deny(key);

    let tap = Tap::to(target.addr).await;
    let (connection, _) = returning.dial_early(tap.addr());
    let (_control, _asked) = fly(&connection, 1).await;
    tap.release();
    // The code comes when the handshake is done: before that, QUIC sends none.
    assert_eq!(close_code(&connection).await, close::FORBIDDEN);
    assert_eq!(runs.of_both(), (0, 0));
}

#[tokio::test]
async fn the_rest_of_an_early_request_may_come_after_the_handshake() {
    let (endpoint, runs) = served().await;
    let target = Target::from(&endpoint);
    let returning = back(&endpoint).await;
    let tap = Tap::to(target.addr).await;
    let (connection, _) = returning.dial_early(tap.addr());
    let _control = say_first(&connection, &greeting_of(NONCE, 1)).await;
    let (mut send, recv) = soon("a stream", connection.open_bi()).await.expect("the connection is open");
    write(&mut send, &[&header_then("read/1", b"", &early())[..], b"half"].concat()).await;
    let mut recv = Reader(recv);
    // The endpoint answers at once where the request is not whole.
    recv.accepted().await;
    assert_eq!(runs.of_both(), (0, 0));
    tap.release();
    write(&mut send, b" and half").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"early");
    assert_eq!(endpoint.metrics().requests_early.get(), 1);
}

#[tokio::test]
async fn a_client_that_flies_without_a_hello_is_let_go() {
    let limits = Limits { hello_timeout: crate::reader::BRIEF, ..limits() };
    let endpoint = Endpoint::builder().offline().limits(limits).bind().await.expect("an endpoint");
    let runs = Runs::default();
    runs.count(&endpoint);
    let target = Target::from(&endpoint);
    let returning = back(&endpoint).await;
    let (connection, _) = returning.dial_early(target.addr);
    let _asked = Returning::ask(&connection, &header_then("read/1", b"", &early())).await;
    assert_eq!(close_code(&connection).await, close::HELLO_TIMEOUT);
    assert_eq!(runs.of_both(), (0, 0));
}
