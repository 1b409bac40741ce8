//! Tests in which the library plays the other side of a program: strangers, and peers that violate the protocol.

use std::time::Duration;

use twolane::{Endpoint, GetStreamError, NextError, ReadError, StreamOptions, Ticket, XStream};
use twolane_cli::transfer::{
    DATA_PROTOCOL, Reason,
    single::{PROTOCOL, Receipt},
};

use crate::support::{file, names, receiver, sender, sent};

async fn endpoint() -> Endpoint {
    Endpoint::builder().offline().bind().await.unwrap()
}

async fn open(endpoint: &Endpoint, ticket: &str, offer: &str) -> XStream {
    open_for(endpoint, ticket, PROTOCOL, offer.as_bytes()).await
}

async fn open_for(endpoint: &Endpoint, ticket: &str, protocol: &str, metadata: &[u8]) -> XStream {
    let options = StreamOptions { metadata: metadata.to_vec().into(), ..StreamOptions::default() };
    endpoint.get_stream_with(ticket.parse::<Ticket>().unwrap(), protocol, options).await.unwrap()
}

/// Returns the code with which the receiver fails a transfer.
async fn code(mut stream: XStream) -> u64 {
    match stream.next_string().await {
        Err(NextError::Read(ReadError::Failed(error))) => error.code(),
        other => panic!("the receiver answered {other:?}"),
    }
}

#[tokio::test]
async fn a_stranger_with_another_protocol_is_told_so() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let stranger = endpoint().await;
    let refused = stranger.get_stream(ticket.parse::<Ticket>().unwrap(), "mail/1").await.unwrap_err();
    assert_eq!(refused.rejection(), Some(twolane::Reason::UnknownProtocol));
    assert!(matches!(refused, GetStreamError::Rejected { .. }));
    stranger.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_file_that_is_not_what_its_offer_or_hash_says_is_not_stored() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let peer = endpoint().await;
    let hash = blake3::hash(b"data");
    let damaged = blake3::hash(b"date");
    for (offer, data, hash, reason) in [
        (r#"{"name":"a","size":4}"#, &b"data"[..], &damaged.as_bytes()[..], Reason::Hash),
        (r#"{"name":"a","size":null}"#, b"data", damaged.as_bytes(), Reason::Hash),
        (r#"{"name":"a","size":3}"#, b"data", hash.as_bytes(), Reason::Changed),
        (r#"{"name":"a","size":5}"#, b"data", hash.as_bytes(), Reason::Changed),
        (r#"{"name":"a","size":4}"#, b"", &hash.as_bytes()[..31], Reason::Protocol),
        (r#"{"name":"a","size":4}"#, b"", b"", Reason::Changed),
        (r#"{"name":"\u0000"}"#, b"data", hash.as_bytes(), Reason::Name),
        (r#"{"name":7}"#, b"data", hash.as_bytes(), Reason::Protocol),
        ("", b"data", hash.as_bytes(), Reason::Protocol),
    ] {
        let mut stream = open(&peer, &ticket, offer).await;
        // The receiver may refuse the file before everything is written.
        if stream.write_all(data).await.is_ok() && stream.write_all(hash).await.is_ok() {
            let _ = stream.finish();
        }
        assert_eq!(code(stream).await, reason.code(), "{offer}");
    }
    assert!(names(inbox.path()).is_empty());
    peer.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_peer_that_holds_its_transfers_open_leaves_places_for_others() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let peer = endpoint().await;
    let mut held = Vec::new();
    for number in 0..16 {
        held.push(open(&peer, &ticket, &format!(r#"{{"name":"{number}"}}"#)).await);
    }
    let (_guard, path, data) = file("data", 1000);
    let ended = tokio::task::spawn_blocking(move || sent(&ticket, [path])).await.unwrap();
    ended.done();
    assert_eq!(std::fs::read(inbox.path().join("data")).unwrap(), data);
    // The senders of the transfers over the limit are told the reason, and the other transfers continue.
    for stream in held.split_off(4) {
        assert_eq!(code(stream).await, Reason::Busy.code());
    }
    let hash = blake3::hash(b"data");
    for mut stream in held {
        stream.write_all(b"data").await.unwrap();
        stream.write_all(hash.as_bytes()).await.unwrap();
        stream.finish().unwrap();
        stream.next_string().await.unwrap();
    }
    peer.shutdown(Duration::from_secs(5)).await;
}

/// Longer than the time for which a stream may wait for its offer.
const LATE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_stream_that_no_offer_follows_is_dropped_though_nothing_else_happens() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let peer = endpoint().await;
    let mut stray = open_for(&peer, &ticket, DATA_PROTOCOL, &[9; 16]).await;
    let ended = tokio::time::timeout(LATE, stray.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Err(ReadError::Reset { .. }))), "{ended:?}");
    peer.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_sender_that_drops_its_stream_leaves_nothing() {
    let inbox = tempfile::tempdir().unwrap();
    let (receiver, ticket) = receiver(inbox.path(), &["--once"]);
    let peer = endpoint().await;
    let mut stream = open(&peer, &ticket, r#"{"name":"a"}"#).await;
    stream.write_all(b"data").await.unwrap();
    drop(stream);
    let ended = tokio::task::spawn_blocking(|| receiver.ended()).await.unwrap();
    ended.failed(5);
    assert!(names(inbox.path()).is_empty());
    peer.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_sender_believes_no_receipt_for_something_else() {
    let (_guard, path, data) = file("data", 1000);
    let right = blake3::hash(&data).to_hex().to_string();
    let wrong = blake3::hash(b"").to_hex().to_string();
    let receipt = |bytes, blake3: &String| {
        serde_json::to_string(&Receipt { stored: "data".into(), bytes, blake3: blake3.clone() }).unwrap()
    };
    for (answer, exit) in [
        (receipt(1000, &right), 0),
        (receipt(1000, &wrong), 5),
        (receipt(999, &right), 5),
        ("stored".to_owned(), 1),
        (String::new(), 1),
    ] {
        let liar = endpoint().await;
        let ticket = liar.ticket().to_string();
        let sender = sender(&ticket, [&path]);
        let (_, mut stream) = liar.accept_bi(&[PROTOCOL]).await.unwrap();
        stream.read_to_end(2000).await.unwrap();
        stream.send_string(&answer).await.unwrap();
        stream.finish().unwrap();
        let ended = tokio::task::spawn_blocking(|| sender.ended()).await.unwrap();
        assert_eq!(ended.status.code(), Some(exit), "{answer}: {}", ended.stderr);
        drop(stream);
        liar.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_peer_that_is_no_receiver_is_4() {
    let (_guard, path, _) = file("data", 10);
    let other = endpoint().await;
    other.serve("mail/1", async |_| {}).unwrap();
    let ticket = other.ticket().to_string();
    let ended = tokio::task::spawn_blocking(move || sent(&ticket, [path])).await.unwrap();
    let failure = ended.failed(4);
    assert!(failure.message.contains("file/1"), "{}", failure.message);
    other.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_receiver_that_knows_one_stream_only_gets_files_one_at_a_time() {
    let (_guard, path, data) = file("data", 1 << 24);
    let older = endpoint().await;
    let ticket = older.ticket().to_string();
    let sender = sender(&ticket, [&path]);
    let (_, mut stream) = older.accept_bi(&[PROTOCOL]).await.unwrap();
    let whole = stream.read_to_end(data.len() + 32).await.unwrap();
    assert!(whole[..data.len()] == data);
    let receipt =
        Receipt { stored: "data".into(), bytes: data.len() as u64, blake3: blake3::hash(&data).to_hex().to_string() };
    stream.send_string(&serde_json::to_string(&receipt).unwrap()).await.unwrap();
    stream.finish().unwrap();
    let ended = tokio::task::spawn_blocking(|| sender.ended()).await.unwrap();
    ended.done();
    older.shutdown(Duration::from_secs(5)).await;
}
