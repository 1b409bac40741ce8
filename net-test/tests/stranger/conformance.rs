//! Runs the checks, which depend on no implementation, against the library.

use std::sync::Arc;

use tokio::sync::Semaphore;
use twolane_test::{
    conform::{self, Check, Subject, subject},
    stranger::{peer::Target, server::Server},
};

use crate::peer::endpoint;

/// The number of checks at a time. An endpoint takes 32 handshakes at a time from one address.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_keeps_to_every_section() {
    let endpoint = endpoint().await;
    subject::serve(&endpoint).expect("nobody serves it yet");
    let failed = failed(Target::from(&endpoint)).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_strangers_own_server_keeps_to_every_section() {
    let server = Server::start();
    let failed = failed(server.target()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Returns the checks that do not hold, with their messages.
async fn failed(target: Target) -> Vec<(&'static str, String)> {
    let subject = Subject(target);
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
            failed.push((check.name, words));
        }
    }
    failed
}
