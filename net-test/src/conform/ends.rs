//! Section 8: the ends of streams.

use super::{Check, Subject, checks};
use crate::{
    stranger::{
        peer::write,
        reader::{code, soon, stop_code},
    },
    wire::{Record, lane, severity},
};

pub(super) const CHECKS: &[Check] = checks! {
    "8 rule 2, a peer that fails": "Its record has the offset; its bytes stay, with no FIN and no RESET_STREAM, until they are stopped." => fails,
    "8 rule 3, a peer that is told of a failure": "It stops the half with DONE once it has read to the offset, and resets its own." => is_told,
    "8 rule 3, a record that overtakes": "Data before the offset is waited for." => overtaken,
    "8 rule 4, a peer that aborts": "It resets with ABORTED, and stops with FAILED." => aborts,
    "8 rule 4, a peer that is told of an abort": "It stops the half with DONE, and resets its own with DONE." => is_told_of_an_abort,
    "8 giving up": "A stream that is dropped is reset and stopped with CANCELLED, and never finished." => drops,
    "8 rule 5, a record after FIN": "It takes nothing back: the other half ends." => after_fin,
    "8 rule 7, a reader that stops": "The sender ends the half that was stopped with CANCELLED." => stopped,
};

async fn fails(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (send, mut recv) = stranger.conform(b"fail").await;
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    let expected =
        Record { details: b"/srv".to_vec(), ..Record::new(severity::FATAL, 28, 100_000, "the disk is full") };
    assert_eq!(errors.record().await, expected);
    assert_eq!(errors.rest().await, b"", "a fatal record is the last");
    assert_eq!(stop_code(&send).await, lane::FAILED);
    assert_eq!(recv.bytes(100_000).await.len(), 100_000);
    stranger.round_trip().await;
    recv.nothing_has_come().await;
    recv.0.stop(code(lane::DONE)).expect("the lane is open");
    // DRAINED shows that the stream has ended: DRAINED does not come while a stream is live.
    stranger.say(&crate::wire::numbers(crate::wire::frame::GOAWAY, &[1])).await;
    stranger.hears(crate::wire::frame::GOAWAY, &[1]).await;
    stranger.hears(crate::wire::frame::DRAINED, &[stranger.accepted, stranger.opened]).await;
}

async fn is_told(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    write(&mut send, b"12345").await;
    let record = Record::new(severity::FATAL, 7, 5, "no").encode();
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &record).await;
    errors.finish().expect("the lane is open");
    assert_eq!(stop_code(&send).await, lane::DONE);
    assert_eq!(recv.reset_code().await, lane::DONE);
}

async fn overtaken(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let record = Record::new(severity::FATAL, 7, 5, "no").encode();
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &record).await;
    errors.finish().expect("the lane is open");
    stranger.round_trip().await;
    let stopped = tokio::time::timeout(std::time::Duration::ZERO, send.stopped()).await;
    assert!(stopped.is_err(), "stopped before the data came: {stopped:?}");
    write(&mut send, b"12345 and more").await;
    assert_eq!(stop_code(&send).await, lane::DONE);
    assert_eq!(recv.reset_code().await, lane::DONE);
}

async fn aborts(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"abort").await;
    write(&mut send, b"x").await;
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    assert_eq!(errors.record().await, Record::new(severity::ABORT, 9, 10_000, "never mind"));
    assert_eq!(recv.reset_code().await, lane::ABORTED);
    assert_eq!(stop_code(&send).await, lane::FAILED);
}

async fn is_told_of_an_abort(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let record = Record::new(severity::ABORT, 9, 0, "never mind").encode();
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &record).await;
    errors.finish().expect("the lane is open");
    assert_eq!(stop_code(&send).await, lane::DONE);
    assert_eq!(recv.reset_code().await, lane::DONE);
    let _ = send.reset(code(lane::ABORTED));
    stranger.round_trip().await;
}

async fn drops(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"drop").await;
    write(&mut send, b"x").await;
    assert_eq!(recv.reset_code().await, lane::CANCELLED);
    assert_eq!(stop_code(&send).await, lane::CANCELLED);
}

async fn after_fin(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    write(&mut send, b"whole").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"whole");
    // The record comes too late: the lane has ended or ends, and the connection goes on.
    let record = Record::new(severity::FATAL, 7, 5, "late").encode();
    let _late = stranger.error_lane(send.id().into(), &record).await;
    stranger.round_trip().await;
}

async fn stopped(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    recv.0.stop(code(lane::CANCELLED)).expect("the lane is open");
    // The handler cannot echo this data any more, and gives up.
    write(&mut send, b"nobody listens").await;
    let stop = soon("an end", send.stopped()).await.expect("the connection goes on");
    assert!(stop.is_some(), "the other half is read on");
    stranger.round_trip().await;
}
