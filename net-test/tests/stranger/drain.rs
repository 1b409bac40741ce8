//! The end of a connection.

use std::time::Duration;

use twolane::{Endpoint, ShutdownReport, StreamOptions};

use crate::{
    errors::{arrives, with_stream},
    peer::{NONCE, Socket, close_code, connected, endpoint, say_first},
    reader::{code, soon, stop_code},
    server::{ask, outcome},
    wire::{answer, close, frame, goaway, header, lane, numbers},
};

/// Longer than the timeout of any wait here.
const DEADLINE: Duration = Duration::from_secs(60);

fn shut_down(endpoint: Endpoint) -> tokio::task::JoinHandle<ShutdownReport> {
    tokio::spawn(async move { endpoint.shutdown(DEADLINE).await })
}

async fn report_of(shutdown: tokio::task::JoinHandle<ShutdownReport>) -> (usize, usize, usize) {
    let report = soon("the shutdown", shutdown).await.expect("no panic");
    assert_eq!(report.silent, 0, "{report:?}");
    (report.drained, report.cut, report.streams_cut)
}

#[tokio::test]
async fn a_shutdown_is_answered_and_closes_the_connection_in_order() {
    let (endpoint, mut stranger) = connected().await;
    stranger.round_trip().await;
    let shutdown = shut_down(endpoint);
    stranger.hears(frame::GOAWAY, &[goaway::SHUTTING_DOWN]).await;
    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    // The endpoint has opened no stream and accepted one.
    stranger.hears(frame::DRAINED, &[0, 1]).await;
    stranger.say_drained().await;
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
    assert_eq!(report_of(shutdown).await, (1, 0, 0));
}

#[tokio::test]
async fn a_shutdown_waits_for_a_stream_and_takes_no_new_one() {
    let (endpoint, mut stranger, (mut stream, send, mut recv)) = with_stream().await;
    let shutdown = shut_down(endpoint);
    stranger.hears(frame::GOAWAY, &[goaway::SHUTTING_DOWN]).await;
    // A stream that crossed with GOAWAY is answered.
    let (late, mut refusal) = stranger.open(&header("work/1", b"")).await;
    assert_eq!(refusal.rejected().await, answer::SHUTTING_DOWN);
    assert_eq!(stop_code(&late).await, lane::REJECTED);
    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    stranger.say_drained().await;

    // The stream that was open is not affected.
    arrives("to the end", send, &mut stream).await;
    stranger.frames.no_frame_has_come().await;
    soon("a write", stream.write_all(b"and back")).await.expect("the lane is open");
    stream.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"and back");
    drop(stream);
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
    assert_eq!(report_of(shutdown).await, (1, 0, 0));
}

#[tokio::test]
async fn a_stream_that_the_other_side_has_not_seen_keeps_the_connection() {
    let (_endpoint, mut stranger) = connected().await;
    // Here the stranger sends GOAWAY first, and the endpoint answers with the same reason.
    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    stranger.hears(frame::GOAWAY, &[goaway::SHUTTING_DOWN]).await;
    stranger.hears(frame::DRAINED, &[0, 0]).await;
    // There is a stream that the endpoint has not seen yet. The endpoint waits for it without a time limit.
    stranger.say(&numbers(frame::DRAINED, &[1, 0])).await;
    let probe = say_first(&stranger.connection, &[4]).await;
    assert_eq!(stop_code(&probe).await, lane::UNKNOWN_KIND);

    let (mut send, _recv) = soon("a stream", stranger.connection.open_bi()).await.expect("an open connection");
    send.reset(code(lane::CANCELLED)).expect("the lane is open");
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
}

#[tokio::test]
async fn a_stream_of_the_endpoint_that_the_stranger_has_not_seen_keeps_the_connection() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
    let mut stranger = socket.accept(NONCE).await;
    let (_send, mut recv) = stranger.take().await;
    drop(outcome(asked).await.expect("a stream"));
    assert_eq!(recv.reset_code().await, lane::CANCELLED);

    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    assert_eq!(stranger.frames.frame().await.0, frame::GOAWAY);
    stranger.hears(frame::DRAINED, &[1, 0]).await;
    // DRAINED as if the stream were still live.
    stranger.say(&numbers(frame::DRAINED, &[0, 0])).await;
    let probe = say_first(&stranger.connection, &[4]).await;
    assert_eq!(stop_code(&probe).await, lane::UNKNOWN_KIND);
    stranger.say_drained().await;
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
}

#[tokio::test]
async fn the_stranger_may_be_the_one_that_closes() {
    let (endpoint, mut stranger) = connected().await;
    stranger.round_trip().await;
    let shutdown = shut_down(endpoint);
    stranger.frames.frame().await;
    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    // The endpoint's counts mirror this side's, and no stream is open here.
    stranger.hears(frame::DRAINED, &[0, 1]).await;
    stranger.connection.close(code(close::DONE), b"drained");
    assert_eq!(report_of(shutdown).await, (1, 0, 0));
}
