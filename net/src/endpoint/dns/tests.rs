use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::time::{sleep, timeout};

use super::*;

/// A resolver that counts what it is asked.
#[derive(Debug, Clone, Default)]
struct Counting {
    asked: Arc<AtomicUsize>,
    /// Whether it answers, or never does.
    answers: bool,
}

impl Counting {
    fn ask<T: Send + 'static>(&self, answer: Vec<T>) -> BoxFuture<Result<BoxIter<T>, DnsError>> {
        self.asked.fetch_add(1, SeqCst);
        let answers = self.answers;
        Box::pin(async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok(Box::new(answer.into_iter()) as BoxIter<T>)
        })
    }
}

impl Resolver for Counting {
    fn lookup_ipv4(&self, _: String) -> BoxFuture<Result<BoxIter<Ipv4Addr>, DnsError>> {
        self.ask(vec![Ipv4Addr::LOCALHOST])
    }

    fn lookup_ipv6(&self, _: String) -> BoxFuture<Result<BoxIter<Ipv6Addr>, DnsError>> {
        self.ask(vec![Ipv6Addr::LOCALHOST])
    }

    fn lookup_txt(&self, _: String) -> BoxFuture<Result<BoxIter<TxtRecordData>, DnsError>> {
        self.ask(Vec::new())
    }

    fn clear_cache(&self) {}

    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(self.clone())
    }
}

fn patient(inner: &Counting) -> DnsResolver {
    let inner = inner.clone();
    DnsResolver::custom(PatientResolver::new(Arc::new(move || DnsResolver::custom(inner.clone()))))
}

/// Five names are looked up again and again, as iroh does while it reaches no relay.
#[tokio::test(start_paused = true)]
async fn an_endpoint_without_internet_asks_for_a_name_every_sixteen_seconds_and_not_all_the_time() {
    let silent = Counting::default();
    let resolver = patient(&silent);
    let mut lookups = Vec::new();
    for name in 0..5 {
        let resolver = resolver.clone();
        lookups.push(tokio::spawn(async move {
            loop {
                let host = format!("relay-{name}.example");
                let _ = resolver.lookup_ipv4_ipv6(host, Duration::from_secs(3)).await;
                sleep(Duration::from_millis(100)).await;
            }
        }));
    }
    sleep(Duration::from_secs(60)).await;
    let first = silent.asked.swap(0, SeqCst);
    // Two of each name before anything is known, and then one after each pause, of 1 s at first.
    assert!((10..=25).contains(&first), "{first} questions in the first minute");
    sleep(Duration::from_secs(600)).await;
    let then = silent.asked.load(SeqCst);
    // One in each 16 s of pause and 5 s of waiting.
    assert!((25..=40).contains(&then), "{then} questions in ten minutes");
    lookups.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_has_changed_is_asked_at_once() {
    const SOON: Duration = Duration::from_millis(200);
    let silent = Counting::default();
    let resolver = patient(&silent);
    let asked = || silent.asked.load(SeqCst);
    assert!(resolver.lookup_ipv4("relay.example", SOON).await.is_err());
    // The question goes on without its caller, and ends without an answer.
    sleep(BOUND).await;
    assert!(resolver.lookup_ipv4("relay.example", SOON).await.is_err());
    assert_eq!(asked(), 1, "the pause has begun");
    resolver.reset();
    assert!(resolver.lookup_ipv4("relay.example", SOON).await.is_err());
    assert_eq!(asked(), 2);
}

#[tokio::test]
async fn what_is_answered_is_passed_on_and_has_no_pause() {
    let quick = Counting { answers: true, ..Counting::default() };
    let resolver = patient(&quick);
    for _ in 0..3 {
        let found: Vec<_> = resolver.lookup_ipv4_ipv6("relay.example", BOUND).await.unwrap().collect();
        assert_eq!(found, [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        assert_eq!(resolver.lookup_txt("peer.example", BOUND).await.unwrap().count(), 0);
    }
    assert_eq!(quick.asked.load(SeqCst), 9);
}

#[tokio::test(start_paused = true)]
async fn without_a_name_server_a_lookup_fails_at_once_and_says_why_also_in_its_pause() {
    let resolver = resolver(Dns::None);
    for _ in 0..2 {
        let looked = timeout(Duration::from_millis(1), resolver.lookup_ipv4("relay.example", BOUND)).await;
        let Ok(Err(error)) = looked else { panic!("it waited, or found something") };
        assert!(format!("{error:#}").contains("no nameservers"), "{error:#}");
    }
}

/// The builder has no other way to tell.
#[test]
fn public_resolvers_are_asked_only_if_the_program_has_said_so() {
    let at = "192.0.2.53:53".parse().unwrap();
    for (dns, never) in [
        (Dns::None, true),
        (Dns::System { public: false }, true),
        (Dns::Server { at, public: false }, true),
        (Dns::System { public: true }, false),
        (Dns::Server { at, public: true }, false),
    ] {
        let shown = format!("{:?}", servers(dns));
        assert_eq!(shown.contains("fallback_mode: Never"), never, "{shown}");
    }
}
