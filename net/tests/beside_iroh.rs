//! Plays the example with iroh-blobs and iroh-gossip: a blob, a gossip message and a stream on one iroh endpoint.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use serde_json::Value;

#[path = "../examples/beside_iroh.rs"]
#[expect(dead_code, reason = "the example has a `main`")]
mod beside_iroh;

async fn things(ours: bool) -> Vec<Value> {
    let mut lines = Vec::new();
    beside_iroh::run(ours, |line| lines.push(line)).await.unwrap();
    lines
}

fn check(lines: &[Value]) {
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let things: Vec<_> = lines.iter().filter_map(|line| line["thing"].as_str()).collect();
    assert_eq!(things, ["endpoint", "blob", "gossip", "stream", "shutdown"]);
    assert_eq!(lines[1]["bytes"], 1_000_000);
    assert_eq!(lines[2]["heard"], "hello, everybody");
    assert_eq!(lines[3]["code"], 28);
    assert_eq!(lines.last(), Some(&serde_json::json!({ "ok": true })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_a_gossip_message_and_a_stream_share_an_iroh_endpoint_of_the_program_and_end_together() {
    check(&things(false).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_a_gossip_message_and_a_stream_share_an_iroh_endpoint_of_this_library_and_end_together() {
    check(&things(true).await);
}
