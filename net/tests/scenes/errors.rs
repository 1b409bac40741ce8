//! The error lane (invariants 2, 3 and 4).

use std::{future::Future, time::Duration};

use tokio::io::AsyncReadExt;
use twolane::{
    GetStreamError, Limits, ReadError, SecretKey, Severity, StreamError, StreamOptions, WriteError, XStream,
};

use crate::{
    clock::{at_its_bound, at_once},
    stage::{
        BRIEF, echo, endpoint, endpoint_with, limits, pair, raw, raw_ticket, say_hello, serve_echo, soon, stream, until,
    },
};

fn full() -> StreamError {
    StreamError::new(28, "the disk is full").with_details(b"/srv".as_slice()).unwrap()
}

/// Reads until the data ends.
async fn read_all(stream: &mut XStream) -> (Vec<u8>, Result<(), ReadError>) {
    let mut data = Vec::new();
    loop {
        match stream.read_chunk(usize::MAX).await {
            Ok(Some(chunk)) => data.extend_from_slice(&chunk),
            Ok(None) => return (data, Ok(())),
            Err(error) => return (data, Err(error)),
        }
    }
}

#[tokio::test]
async fn the_reader_gets_exactly_the_bytes_before_the_error_then_the_error() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let data: Vec<u8> = (0..1_500_000u32).map(|n| n as u8).collect();
    accepted.write_all(&data).await.unwrap();
    accepted.fail(full()).await.unwrap();
    drop(accepted);
    let (read, end) = soon(read_all(&mut opened)).await;
    assert_eq!(read, data);
    let Err(ReadError::Failed(error)) = end else { panic!("{end:?}") };
    assert_eq!((error.code(), error.text(), error.offset()), (28, "the disk is full", 1_500_000));
    assert_eq!(error.details(), b"/srv".as_slice());
    // A second read returns the same error.
    assert!(matches!(opened.read(&mut [0; 1]).await, Err(ReadError::Failed(_))));
}

#[tokio::test]
async fn a_reader_that_starts_late_still_gets_every_byte_before_the_error() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(&[1; 100_000]).await.unwrap();
    accepted.fail(full()).await.unwrap();
    drop(accepted);
    // The report arrives before the first byte is read.
    let report = soon(opened.errors().next()).await.unwrap();
    assert_eq!((report.severity, report.error.offset()), (Severity::Fatal, 100_000));
    let (read, end) = soon(read_all(&mut opened)).await;
    assert_eq!(read.len(), 100_000);
    assert!(matches!(end, Err(ReadError::Failed(_))));
}

#[tokio::test]
async fn what_a_reader_does_not_read_within_the_linger_bound_is_discarded_and_the_error_is_kept() {
    let limits = Limits { linger: BRIEF, ..limits() };
    let (client, server) = (endpoint().await, endpoint_with(limits).await);
    serve_echo(&server);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    accepted.write_all(&[1; 100_000]).await.unwrap();
    accepted.fail(full()).await.unwrap();
    drop(accepted);
    let errors = opened.errors();
    let told = async { assert_eq!(errors.next().await.unwrap().error.offset(), 100_000) };
    at_its_bound(BRIEF, told, until(|| server.peers()[0].streams == 0)).await;
    // The end of the lane was sent before this answer.
    echo(&client, &server, b"has it arrived?").await;
    let (read, end) = soon(read_all(&mut opened)).await;
    assert!(read.len() < 100_000, "{} bytes were kept", read.len());
    let missing = 100_000 - read.len() as u64;
    assert!(matches!(end, Err(ReadError::FailedIncomplete { missing: m, .. }) if m == missing), "{end:?}");
}

#[tokio::test]
async fn tokio_reads_the_same_bytes_and_the_same_error() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(b"0123456789").await.unwrap();
    accepted.fail(full()).await.unwrap();
    let mut data = Vec::new();
    let error = soon(AsyncReadExt::read_to_end(&mut opened, &mut data)).await.unwrap_err();
    assert_eq!(data, b"0123456789");
    let inner = error.get_ref().unwrap().downcast_ref::<ReadError>().unwrap();
    assert!(matches!(inner, ReadError::Failed(error) if error.code() == 28));
}

#[tokio::test]
async fn an_error_arrives_while_the_data_lane_is_idle() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let reading = tokio::spawn(async move { opened.read(&mut [0; 1]).await });
    let (failed, read) = at_once(async { tokio::join!(accepted.fail(full()), reading) }).await;
    failed.unwrap();
    assert!(matches!(read.unwrap(), Err(ReadError::Failed(_))));
}

#[tokio::test]
async fn an_error_arrives_while_the_data_lane_is_full() {
    let (_client, server, opened, mut accepted) = pair().await;
    let (mut send, _recv) = opened.split();
    // Nobody reads, so the writer stops when the window is full.
    let writing = tokio::spawn(async move {
        let mut written = 0;
        loop {
            match send.write(&[0; 64 * 1024]).await {
                Ok(len) => written += len,
                Err(error) => return (written, error),
            }
        }
    });
    soon(async {
        // The lane is full once the content of the window has arrived. Then the reader fails the stream.
        while server.peers()[0].received < 1_900_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (failed, ended) = at_once(async { tokio::join!(accepted.fail(full()), writing) }).await;
    failed.unwrap();
    let (written, error) = ended.unwrap();
    assert!(written >= 1_900_000, "{written}");
    assert!(matches!(error, WriteError::Failed(error) if error.code() == 28));
}

#[tokio::test]
async fn an_error_arrives_after_the_failing_side_has_finished_writing() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(b"all of it").await.unwrap();
    accepted.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "all of it");
    // The data was complete, and stays so. The data that this side still wanted to write has failed.
    let errors = opened.errors();
    let (failed, report) = at_once(async { tokio::join!(accepted.fail(full()), errors.next()) }).await;
    failed.unwrap();
    assert_eq!(report.unwrap().error.offset(), 9);
    assert!(matches!(soon(opened.write(b"x")).await, Err(WriteError::Failed(_))));
}

#[tokio::test]
async fn the_opener_can_fail_the_stream_as_well() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    opened.write_all(b"abc").await.unwrap();
    opened.fail(full()).await.unwrap();
    let (read, end) = soon(read_all(&mut accepted)).await;
    assert_eq!(read, b"abc");
    assert!(matches!(end, Err(ReadError::Failed(_))));
    assert!(matches!(accepted.write(b"x").await, Err(WriteError::Failed(_))));
    assert!(matches!(opened.read(&mut [0; 1]).await, Err(ReadError::EndedHere(_))));
    assert!(matches!(opened.write(b"x").await, Err(WriteError::EndedHere)));
}

#[tokio::test]
async fn both_sides_may_fail_at_the_same_moment() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    at_once(async {
        let (one, other) = tokio::join!(opened.fail(full()), accepted.fail(full()));
        // The side that was told first may be too late with its own error.
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        for stream in [&mut opened, &mut accepted] {
            let read = stream.read(&mut [0; 1]).await;
            assert!(matches!(read, Err(ReadError::Failed(_) | ReadError::EndedHere(_))), "{read:?}");
            let write = stream.write(b"x").await;
            assert!(matches!(write, Err(WriteError::Failed(_) | WriteError::EndedHere)), "{write:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn warnings_arrive_in_order_from_both_sides_and_end_nothing() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    for code in 1..=3 {
        opened.warn(StreamError::new(code, "slow")).await.unwrap();
    }
    for code in 1..=3 {
        let report = soon(accepted.errors().next()).await.unwrap();
        assert_eq!((report.severity, report.error.code()), (Severity::Warning, code));
    }
    // The answer uses the reverse half of the same error lane.
    accepted.warn(StreamError::new(9, "noted")).await.unwrap();
    assert_eq!(soon(opened.errors().next()).await.unwrap().error.code(), 9);
    opened.write_all(b"go on").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(accepted.read_to_end(100)).await.unwrap(), "go on");
    accepted.fail(full()).await.unwrap();
    assert_eq!(soon(opened.errors().next()).await.unwrap().severity, Severity::Fatal);
}

#[tokio::test]
async fn a_fatal_error_gets_through_behind_warnings_that_nobody_reads() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    for code in 0..500 {
        accepted.warn(StreamError::new(code, "x".repeat(1000))).await.unwrap();
    }
    accepted.fail(full()).await.unwrap();
    assert!(matches!(soon(opened.read(&mut [0; 1])).await, Err(ReadError::Failed(_))));
    let first = soon(opened.errors().next()).await.unwrap();
    assert_eq!(first.missed, 501 - 64);
}

#[tokio::test]
async fn an_abort_discards_what_was_not_read() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(&[0; 100_000]).await.unwrap();
    accepted.abort(full()).await.unwrap();
    let report = soon(opened.errors().next()).await.unwrap();
    assert_eq!(report.severity, Severity::Abort);
    let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, ReadError::Aborted(ref error) if error.code() == 28), "{error}");
}

#[tokio::test]
async fn a_failure_from_the_reading_half_ends_the_writing_half() {
    let (_client, _server, mut opened, accepted) = pair().await;
    let (mut send, mut recv) = accepted.split();
    send.write_all(b"before").await.unwrap();
    recv.fail(full()).await.unwrap();
    assert!(matches!(send.write(b"after").await, Err(WriteError::EndedHere)));
    drop((send, recv));
    let (read, end) = soon(read_all(&mut opened)).await;
    assert_eq!(read, b"before");
    assert!(matches!(end, Err(ReadError::Failed(_))));
}

#[tokio::test]
async fn failing_twice_reports_the_first_failure() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.fail(full()).await.unwrap();
    assert!(matches!(accepted.fail(StreamError::new(2, "again")).await, Err(WriteError::EndedHere)));
    let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.stream_error().unwrap().code(), 28);
}

#[tokio::test]
async fn an_error_whose_call_is_dropped_at_once_still_arrives() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(b"before").await.unwrap();
    {
        let mut failing = Box::pin(accepted.fail(full()));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(failing.as_mut().poll(cx).is_ready())).await;
        assert!(!polled, "it has to wait for its task");
    }
    drop(accepted);
    let (read, end) = soon(read_all(&mut opened)).await;
    assert_eq!(read, b"before");
    assert!(matches!(end, Err(ReadError::Failed(_))), "{end:?}");
}

#[tokio::test]
async fn a_dropped_read_has_taken_nothing() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    for _ in 0..100 {
        let mut buf = [0; 4];
        let mut reading = Box::pin(opened.read(&mut buf));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(reading.as_mut().poll(cx).is_ready())).await;
        assert!(!polled, "nothing was written");
    }
    accepted.write_all(b"0123").await.unwrap();
    let mut buf = [0; 4];
    assert_eq!(soon(opened.read(&mut buf)).await.unwrap(), 4);
    assert_eq!(&buf, b"0123");
}

#[tokio::test]
async fn an_error_lane_finds_room_when_every_data_lane_is_open() {
    let limits = Limits { streams_per_peer: 4, ..limits() };
    let (one, other) = (endpoint_with(limits.clone()).await, endpoint_with(limits).await);
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(stream(&one, &other).await);
        streams.push(stream(&other, &one).await);
    }
    // There is no room for a fifth stream, and the error names the limit.
    let options = StreamOptions { timeout: Some(BRIEF), ..StreamOptions::default() };
    let error = soon(one.get_stream_with(other.ticket(), "chat/1", options)).await.unwrap_err();
    assert!(matches!(error, GetStreamError::TooManyStreams { max: 4, .. }), "{error:?}");
    // One side sends a warning on all eight streams. The other side answers, and opens error lanes of its own where
    // it can.
    for (opened, accepted) in &mut streams {
        let (said, answered) =
            soon(async { tokio::join!(opened.warn(StreamError::new(1, "")), accepted.warn(StreamError::new(2, ""))) })
                .await;
        said.unwrap();
        answered.unwrap();
    }
    for (opened, accepted) in &mut streams {
        assert_eq!(soon(opened.errors().next()).await.unwrap().error.code(), 2);
        assert_eq!(soon(accepted.errors().next()).await.unwrap().error.code(), 1);
    }
    // A stream that ends makes room.
    streams.truncate(2);
    soon(async { tokio::join!(one.get_stream(other.ticket(), "chat/1"), other.accept_bi(&["chat/1"])) })
        .await
        .0
        .unwrap();
}

#[tokio::test]
async fn a_reset_that_nothing_explains_is_an_error_and_never_an_end() {
    for code in [2u32, 3] {
        let limits = Limits { error_timeout: Duration::from_millis(100), ..limits() };
        let (raw, client) = (raw(&SecretKey::generate()).await, endpoint_with(limits).await);
        let opening = client.get_stream(raw_ticket(&raw), "chat/1");
        let peer = async {
            let connection = raw.accept().await.unwrap().await.unwrap();
            let control = say_hello(&connection, 1).await;
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            send.write_all(b"\x00\x00half").await.unwrap();
            (connection, control, send, recv)
        };
        let (opened, mut held) = soon(async { tokio::join!(opening, peer) }).await;
        let mut opened = opened.unwrap();
        assert_eq!(soon(opened.read_chunk(100)).await.unwrap().unwrap(), "half");
        // The code promises a record that explains it, and none comes.
        held.2.reset(code.into()).unwrap();
        for _ in 0..3 {
            // The read is cancelled while it waits for the record, and called again.
            let mut buf = [0; 1];
            let mut reading = Box::pin(opened.read(&mut buf));
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(reading.as_mut().poll(cx))).await;
            assert!(!matches!(polled, std::task::Poll::Ready(Ok(_))), "{polled:?}");
            tokio::task::yield_now().await;
        }
        let error = soon(opened.read(&mut [0; 1])).await.unwrap_err();
        assert!(matches!(error, ReadError::Reset { code: found } if found == u64::from(code)), "{error}");
        assert!(soon(opened.read(&mut [0; 1])).await.is_err());
    }
}

#[tokio::test]
async fn failing_a_stream_that_the_peer_has_failed_keeps_the_peers_data_and_error() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    accepted.write_all(&[7; 100]).await.unwrap();
    accepted.fail(full()).await.unwrap();
    soon(opened.errors().next()).await.unwrap();
    assert!(matches!(opened.fail(StreamError::new(1, "me too")).await, Err(WriteError::Failed(_))));
    let (read, end) = soon(read_all(&mut opened)).await;
    assert_eq!(read, [7; 100]);
    assert!(matches!(end, Err(ReadError::Failed(_))), "{end:?}");
}

#[tokio::test]
async fn a_warning_can_be_sent_after_the_data_is_finished() {
    let (_client, _server, mut opened, accepted) = pair().await;
    opened.finish().unwrap();
    opened.warn(StreamError::new(5, "late")).await.unwrap();
    assert_eq!(soon(accepted.errors().next()).await.unwrap().error.code(), 5);
}

#[tokio::test]
async fn errors_that_are_asked_for_after_the_loss_end_at_once() {
    let (client, server, opened, _accepted) = pair().await;
    server.shutdown(Duration::ZERO).await;
    until(|| client.peers().is_empty()).await;
    assert_eq!(at_once(opened.errors().next()).await, None);
}

#[tokio::test]
async fn delivered_speaks_of_data_that_was_finished_only() {
    let (_client, _server, mut opened, _accepted) = pair().await;
    opened.write_all(b"x").await.unwrap();
    assert!(matches!(soon(opened.delivered()).await, Err(WriteError::EndedHere)));
    opened.abort(full()).await.unwrap();
    assert!(soon(opened.delivered()).await.is_err());
}
