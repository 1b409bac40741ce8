//! The checks that know no implementation, against the library.

use std::sync::Arc;

use tokio::sync::Semaphore;
use twolane_test::{
    conform::{self, Check, Subject, subject},
    stranger::peer::Target,
};

use crate::peer::endpoint;

/// Checks at a time: an endpoint takes 32 handshakes at a time from one address.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_keeps_to_every_section() {
    let endpoint = endpoint().await;
    subject::serve(&endpoint).expect("nobody serves it yet");
    let subject = Subject(Target::from(&endpoint));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let play = |check: &'static Check| {
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            let _place = places.acquire().await;
            check.of(subject).await
        })
    };
    let running: Vec<_> = conform::all().map(|check| (check, play(check))).collect();
    let mut failed = Vec::new();
    for (check, verdict) in running {
        if let Err(words) = verdict.await.expect("a check that fails says so") {
            failed.push(format!("{}: {words}", check.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
