//! Warnings, and the reverse half of an error lane.

use twolane::{ReadError, Severity, StreamError};

use crate::{
    errors::{arrives, with_stream},
    peer::write,
    reader::soon,
    wire::{self, Record, severity},
};

#[tokio::test]
async fn a_warning_of_the_stranger_leaves_the_stream_as_it_was() {
    let (_endpoint, mut stranger, (mut stream, send, mut recv)) = with_stream().await;
    let reports = stream.errors();
    let warnings = [
        Record::new(severity::WARNING, 1, 0, "slow"),
        // A record with all lengths at their limits.
        Record {
            details: vec![0x77; wire::bound::RECORD_DETAILS as usize],
            ..Record::new(severity::WARNING, wire::MAX, wire::MAX, &"t".repeat(wire::bound::RECORD_TEXT as usize))
        },
        Record::new(severity::WARNING, 3, 0, ""),
    ];
    let mut first = wire::error_lane(send.id().into());
    warnings.iter().for_each(|warning| first.extend(warning.encode()));
    let (_errors, _reverse) = stranger.open(&first).await;
    for warning in &warnings {
        let report = soon("a report", reports.next()).await.expect("a report");
        assert_eq!(report.severity, Severity::Warning);
        assert_eq!(report.error.code(), warning.code);
        assert_eq!(report.error.offset(), warning.offset);
        assert_eq!(report.error.text(), warning.text);
        assert_eq!(*report.error.details(), warning.details);
    }

    arrives("all the same", send, &mut stream).await;
    stream.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"");
}

#[tokio::test]
async fn a_warning_of_the_endpoint_says_how_much_it_had_written() {
    let (_endpoint, mut stranger, (mut stream, send, mut recv)) = with_stream().await;
    soon("a write", stream.write_all(b"12345")).await.expect("the lane is open");
    soon("a warning", stream.warn(StreamError::new(5, "half way"))).await.expect("the lane is open");
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    let expected = Record::new(severity::WARNING, 5, 5, "half way");
    assert_eq!(errors.record().await, expected);
    stream.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"12345");
}

#[tokio::test]
async fn an_answer_on_the_reverse_half_of_the_endpoints_error_lane_is_heard() {
    let (_endpoint, mut stranger, (mut stream, send, _recv)) = with_stream().await;
    let reports = stream.errors();
    soon("a warning", stream.warn(StreamError::new(1, "careful"))).await.expect("the lane is open");
    let (mut reverse, mut errors) = stranger.accept_error_lane(&send).await;
    assert_eq!(errors.record().await.code, 1);

    // The reverse half has no kind and no lane id: it begins with a record.
    write(&mut reverse, &Record::new(severity::WARNING, 2, 0, "thanks").encode()).await;
    let report = soon("a report", reports.next()).await.expect("a report");
    assert_eq!((report.error.code(), report.error.text()), (2, "thanks"));
    write(&mut reverse, &Record::new(severity::FATAL, 3, 0, "no").encode()).await;
    reverse.finish().expect("the lane is open");
    let read = soon("an end", stream.read_chunk(1)).await;
    assert!(matches!(&read, Err(ReadError::Failed(error)) if error.code() == 3), "{read:?}");
}

#[tokio::test]
async fn the_endpoint_answers_on_the_reverse_half_of_the_strangers_error_lane() {
    let (_endpoint, mut stranger, (mut stream, send, _recv)) = with_stream().await;
    let reports = stream.errors();
    let warning = Record::new(severity::WARNING, 1, 0, "careful");
    let (_errors, mut reverse) = stranger.error_lane(send.id().into(), &warning.encode()).await;
    soon("a report", reports.next()).await.expect("a report");
    // The report can arrive before the endpoint may write on the reverse half.
    stranger.round_trip().await;

    soon("a warning", stream.warn(StreamError::new(2, "thanks"))).await.expect("the lane is open");
    soon("an error", stream.fail(StreamError::new(3, "no"))).await.expect("the lane is open");
    assert_eq!(reverse.record().await, Record::new(severity::WARNING, 2, 0, "thanks"));
    assert_eq!(reverse.record().await, Record::new(severity::FATAL, 3, 0, "no"));
    assert_eq!(reverse.rest().await, b"");
}

#[tokio::test]
async fn two_error_lanes_that_cross_are_both_read() {
    let (_endpoint, mut stranger, (mut stream, send, _recv)) = with_stream().await;
    let reports = stream.errors();
    soon("a warning", stream.warn(StreamError::new(1, "mine"))).await.expect("the lane is open");
    let warning = Record::new(severity::WARNING, 2, 0, "yours");
    let (mut own, mut unused) = stranger.error_lane(send.id().into(), &warning.encode()).await;
    let report = soon("a report", reports.next()).await.expect("a report");
    assert_eq!(report.error.code(), 2);
    // Each side continues on its own error lane.
    soon("a warning", stream.warn(StreamError::new(3, "mine too"))).await.expect("the lane is open");
    let (_, mut theirs) = stranger.accept_error_lane(&send).await;
    assert_eq!(theirs.record().await.code, 1);
    assert_eq!(theirs.record().await.code, 3);
    assert_eq!(unused.rest().await, b"", "an unused reverse half is finished");
    write(&mut own, &Record::new(severity::WARNING, 4, 0, "").encode()).await;
    let report = soon("a report", reports.next()).await.expect("a report");
    assert_eq!(report.error.code(), 4);
}
