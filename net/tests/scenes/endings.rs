//! The errors of a reader and a writer when several events end a stream, in any order. Truncated data is never
//! complete, and the reason is always the one that holds.

use twolane::{NextError, ReadError, StreamError, WriteError};

use crate::stage::{pair, soon};

/// The code of STOP_SENDING of a reader that wants no more data.
const CANCELLED: u64 = 1;

fn broken() -> StreamError {
    StreamError::new(5, "the disk is full")
}

#[tokio::test]
async fn what_was_read_ahead_of_a_complete_end_is_given_whatever_the_peer_says_later() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let reports = opened.errors();
    accepted.write_all(b"no line feed...").await.unwrap();
    accepted.finish().unwrap();
    // The line is not complete, so its fifteen bytes can still be read as bytes.
    assert!(matches!(soon(opened.next_string()).await, Err(NextError::Ended { read: 15 })));
    accepted.abort(broken()).await.unwrap();
    assert_eq!(soon(reports.next()).await.unwrap().error.code(), 5);
    let mut buf = [0; 100];
    assert_eq!(soon(opened.read(&mut buf)).await.unwrap(), 15);
    assert_eq!(&buf[..15], b"no line feed...");
    assert_eq!(soon(opened.read(&mut buf)).await.unwrap(), 0);
}

#[tokio::test]
async fn bytes_that_this_sides_own_failure_has_made_void_are_an_error_and_no_end() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(b"read ahead").await.unwrap();
    accepted.finish().unwrap();
    assert_eq!(soon(opened.halves().1.peek(100)).await.unwrap(), b"read ahead");
    opened.fail(broken()).await.unwrap();
    assert!(matches!(soon(opened.read_chunk(100)).await, Err(ReadError::EndedHere(_))));
    assert!(matches!(soon(opened.halves().1.peek(1)).await, Err(ReadError::EndedHere(_))));
    assert!(matches!(soon(opened.next_string()).await, Err(NextError::Read(ReadError::EndedHere(_)))));
    assert!(opened.halves().1.consume(100).is_empty());
}

#[tokio::test]
async fn lines_that_wait_are_not_given_out_after_an_abort() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let reports = opened.errors();
    accepted.write_all(b"one\ntwo\nthree\n").await.unwrap();
    assert_eq!(soon(opened.next_string()).await.unwrap(), "one");
    accepted.abort(broken()).await.unwrap();
    soon(reports.next()).await.unwrap();
    assert!(matches!(soon(opened.next_string()).await, Err(NextError::Read(ReadError::Aborted(_)))));
}

#[tokio::test]
async fn a_finished_lane_that_its_reader_stops_was_stopped_and_not_ended_here() {
    let (_client, _server, mut opened, accepted) = pair().await;
    // More than one packet, so that the data cannot be acknowledged before the lane is stopped.
    opened.write_all(&[1; 1_000_000]).await.unwrap();
    opened.finish().unwrap();
    let (_send, recv) = accepted.split();
    drop(recv);
    let error = soon(opened.delivered()).await.unwrap_err();
    assert!(matches!(error, WriteError::Stopped { code: CANCELLED }), "{error:?}");
}

#[tokio::test]
async fn a_finished_lane_whose_reader_fails_the_stream_gets_its_reason() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    opened.write_all(&[1; 1_000_000]).await.unwrap();
    opened.finish().unwrap();
    accepted.fail(broken()).await.unwrap();
    let error = soon(opened.delivered()).await.unwrap_err();
    assert!(matches!(&error, WriteError::Failed(error) if error.code() == 5), "{error:?}");
}
