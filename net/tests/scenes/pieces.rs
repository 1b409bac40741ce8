//! The calls for programs that poll and wait in two steps, such as a binding to another language: peeking before
//! taking, writing from the front, and waits that hold nothing of a stream.

use std::time::Duration;

use bytes::Bytes;
use twolane::{ReadError, StreamError, WriteError};

use super::stage::{BRIEF, connect, endpoint, pair, soon, until};

#[tokio::test]
async fn what_is_peeked_at_stays_until_it_is_consumed() {
    let (_client, _server, mut a, b) = pair().await;
    a.write_all(b"length and body").await.unwrap();
    let (_send, mut recv) = b.split();
    assert!(soon(recv.peek(6)).await.unwrap().starts_with(b"length"));
    // A call that is dropped has taken nothing.
    let dropped = tokio::time::timeout(Duration::from_millis(20), recv.peek(1000)).await.is_err();
    assert!(dropped);
    assert_eq!(recv.consume(7), "length ");
    a.finish().unwrap();
    assert_eq!(soon(recv.peek(1000)).await.unwrap(), b"and body");
    let mut buf = [0; 4];
    assert_eq!(soon(recv.read(&mut buf)).await.unwrap(), 4);
    assert_eq!(&buf, b"and ");
    assert_eq!(recv.consume(1000), "body");
    assert_eq!(soon(recv.peek(1)).await.unwrap(), b"");
}

#[tokio::test]
async fn what_was_read_ahead_is_void_after_an_abort() {
    let (_client, _server, mut a, b) = pair().await;
    a.write_all(b"void").await.unwrap();
    let errors = b.errors();
    let (_send, mut recv) = b.split();
    assert_eq!(soon(recv.peek(4)).await.unwrap(), b"void");
    a.abort(StreamError::new(7, "at once")).await.unwrap();
    assert!(soon(errors.next()).await.is_some());
    assert!(matches!(soon(recv.peek(1)).await, Err(ReadError::Aborted(error)) if error.code() == 7));
}

#[tokio::test]
async fn a_write_from_the_front_takes_what_was_written_and_a_dropped_one_nothing() {
    let (_client, _server, a, mut b) = pair().await;
    let (mut send, _recv) = a.split();
    let whole = Bytes::from(vec![7; 10_000_000]);
    let mut left = whole.clone();
    // Writes until the window is full. Then a call waits, and is dropped.
    while tokio::time::timeout(BRIEF, send.write_from(&mut left)).await.is_ok() {}
    let taken = whole.len() - left.len();
    assert!(taken > 0 && !left.is_empty());
    let reading = tokio::spawn(async move { b.read_to_end(10_000_000).await });
    while !left.is_empty() {
        let before = left.len();
        let written = soon(send.write_from(&mut left)).await.unwrap();
        assert_eq!(before - left.len(), written);
    }
    send.finish().unwrap();
    assert_eq!(soon(reading).await.unwrap().unwrap(), whole);
    assert_eq!(send.write_from(&mut Bytes::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_lane_settles_when_its_end_has_arrived_and_can_be_used_meanwhile() {
    let (_client, _server, a, mut b) = pair().await;
    let (mut send, _recv) = a.split();
    let settled = send.settled();
    let warned = send.warn(StreamError::new(1, "still writing"));
    send.write_all(b"data").await.unwrap();
    send.finish().unwrap();
    soon(settled).await;
    assert!(soon(send.delivered()).await.is_ok());
    soon(warned).await.unwrap();
    assert_eq!(soon(b.read_to_end(10)).await.unwrap(), "data");
}

#[tokio::test]
async fn a_lane_settles_when_the_peer_stops_it() {
    let (_client, _server, a, b) = pair().await;
    let (mut send, _recv) = a.split();
    let settled = send.settled();
    drop(b);
    soon(settled).await;
    assert!(matches!(soon(send.write(b"more")).await, Err(WriteError::Stopped { .. })));
}

#[tokio::test]
async fn a_peer_is_disconnected_by_its_key() {
    let (client, server) = (endpoint().await, endpoint().await);
    connect(&client, &server).await;
    until(|| server.peer(&client.id()).is_some()).await;
    assert!(client.disconnect(&server.id(), "enough"));
    until(|| server.peer(&client.id()).is_none() && client.peer(&server.id()).is_none()).await;
    assert!(!client.disconnect(&server.id(), "enough"));
}
