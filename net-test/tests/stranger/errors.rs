//! Fatal errors and aborts, and the end of the data.

use bytes::Bytes;
use twolane::{Endpoint, NextError, ReadError, StreamError, WriteError, XStream};

use crate::{
    peer::{Stranger, connected, write},
    reader::{Reader, code, soon, stop_code},
    wire::{self, Record, header, lane, severity},
};

/// Opens a stream, accepts it, and returns both ends.
pub async fn stream(endpoint: &Endpoint, stranger: &mut Stranger) -> (XStream, quinn::SendStream, Reader) {
    let (send, mut recv) = stranger.open(&header("work/1", b"")).await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&["work/1"])).await;
    let (_, stream) = accepted.expect("a stream");
    recv.accepted().await;
    (stream, send, recv)
}

/// Returns a stranger that has dialled an endpoint, with a stream.
pub async fn with_stream() -> (Endpoint, Stranger, (XStream, quinn::SendStream, Reader)) {
    let (endpoint, mut stranger) = connected().await;
    let lanes = stream(&endpoint, &mut stranger).await;
    (endpoint, stranger, lanes)
}

/// Sends data on a lane and finishes it, and checks that the stream reads it completely.
pub async fn arrives(data: &str, mut send: quinn::SendStream, stream: &mut XStream) {
    write(&mut send, data.as_bytes()).await;
    send.finish().expect("the lane is open");
    let read = soon("the data", stream.read_to_end(100)).await;
    assert_eq!(read.expect("complete data"), data);
}

/// Reads until the data ends in an error.
pub async fn read_to_error(stream: &mut XStream) -> (Vec<u8>, ReadError) {
    let mut data = Vec::new();
    loop {
        match soon("data or its end", stream.read_chunk(usize::MAX)).await {
            Ok(Some(chunk)) => data.extend_from_slice(&chunk),
            Ok(None) => panic!("an end of data after {} bytes", data.len()),
            Err(error) => return (data, error),
        }
    }
}

fn full_disk() -> StreamError {
    StreamError::new(28, "the disk is full")
        .with_details(Bytes::from_static(b"/srv"))
        .expect("details within their bound")
}

#[tokio::test]
async fn a_fatal_error_of_the_endpoint_follows_exactly_the_bytes_before_its_offset() {
    const LEN: usize = 100_000;
    let (endpoint, mut stranger, (mut stream, send, mut recv)) = with_stream().await;
    let writer = tokio::spawn(async move {
        stream.write_all(&[0x5a; LEN]).await?;
        stream.fail(full_disk()).await?;
        Ok::<_, WriteError>(())
    });

    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    let expected =
        Record { details: b"/srv".to_vec(), ..Record::new(severity::FATAL, 28, LEN as u64, "the disk is full") };
    assert_eq!(errors.record().await, expected);
    assert_eq!(errors.rest().await, b"", "a fatal record is the last");
    assert_eq!(stop_code(&send).await, lane::FAILED);

    assert_eq!(recv.bytes(LEN).await, vec![0x5a; LEN]);
    let written = soon("the writer", writer).await.expect("no panic");
    written.expect("the error is on its way");
    stranger.round_trip().await;
    recv.nothing_has_come().await;

    // The endpoint forgets the stream once the stranger stops it.
    let key = stranger_key(&endpoint);
    assert_eq!(endpoint.peer(&key).expect("connected").streams, 1);
    recv.0.stop(code(lane::DONE)).expect("the lane is open");
    soon("the end of the stream", async {
        while endpoint.peer(&key).expect("connected").streams > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn stranger_key(endpoint: &Endpoint) -> twolane::PublicKey {
    let [peer] = &endpoint.peers()[..] else {
        panic!("{} peers", endpoint.peers().len());
    };
    peer.id
}

#[tokio::test]
async fn a_fatal_error_of_the_stranger_follows_exactly_the_bytes_before_its_offset() {
    let (_endpoint, mut stranger, (mut stream, mut send, mut recv)) = with_stream().await;
    write(&mut send, &[1; 50_000]).await;
    let record =
        Record { details: b"/srv".to_vec(), ..Record::new(severity::FATAL, wire::MAX, 50_000, "the disk is full") };
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &record.encode()).await;
    errors.finish().expect("the lane is open");

    let (data, error) = read_to_error(&mut stream).await;
    assert_eq!(data, [1; 50_000]);
    let ReadError::Failed(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!((error.code(), error.offset()), (wire::MAX, 50_000));
    assert_eq!(error.text(), "the disk is full");
    assert_eq!(error.details(), "/srv");
    let written = soon("a write", stream.write_all(b"too late")).await;
    assert!(matches!(written, Err(WriteError::Failed(_))), "{written:?}");
    // Both directions end: the endpoint has read all data that it wants, and its own data is not complete.
    assert_eq!(stop_code(&send).await, lane::DONE);
    drop(stream);
    assert_eq!(recv.reset_code().await, lane::DONE);
}

#[tokio::test]
async fn an_error_that_overtakes_its_data_waits_for_it_and_for_no_byte_more() {
    let (_endpoint, mut stranger, (mut stream, mut send, _recv)) = with_stream().await;
    let record = Record::new(severity::FATAL, 7, 30_000, "");
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &record.encode()).await;
    errors.finish().expect("the lane is open");
    stranger.round_trip().await;

    write(&mut send, &[2; 30_000]).await;
    write(&mut send, b"after the error").await;
    let (data, error) = read_to_error(&mut stream).await;
    assert_eq!(data, [2; 30_000]);
    assert!(matches!(error, ReadError::Failed(error) if error.offset() == 30_000));
}

#[tokio::test]
async fn fin_before_the_offset_of_a_fatal_error_is_no_success() {
    let (_endpoint, mut stranger, (mut stream, mut send, _recv)) = with_stream().await;
    let record = Record::new(severity::FATAL, 7, 1_000, "");
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &record.encode()).await;
    stranger.round_trip().await;
    write(&mut send, &[3; 10]).await;
    send.finish().expect("the lane is open");
    let (data, error) = read_to_error(&mut stream).await;
    assert_eq!(data, [3; 10]);
    assert!(matches!(error, ReadError::FailedIncomplete { missing: 990, .. }), "{error:?}");
}

#[tokio::test]
async fn an_error_arrives_while_the_lane_is_idle_and_half_closed() {
    let (_endpoint, mut stranger, (mut stream, mut send, mut recv)) = with_stream().await;
    send.finish().expect("the lane is open");
    let data = soon("the end of the data", stream.read_to_end(10)).await;
    assert_eq!(data.expect("complete data"), "");
    let failed = soon("an error", stream.fail(full_disk())).await;
    failed.expect("the error is on its way");
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    assert_eq!(errors.record().await.offset, 0);
    stranger.round_trip().await;
    recv.nothing_has_come().await;
}

#[tokio::test]
async fn an_abort_discards_what_has_not_been_read() {
    let (endpoint, mut stranger, (mut stream_a, send_a, mut recv_a)) = with_stream().await;
    soon("a write", stream_a.write_all(&[0; 10_000])).await.expect("the lane is open");
    soon("an abort", stream_a.abort(StreamError::new(9, "never mind"))).await.expect("the record is on its way");
    let (_, mut errors) = stranger.accept_error_lane(&send_a).await;
    let expected = Record::new(severity::ABORT, 9, 10_000, "never mind");
    assert_eq!(errors.record().await, expected);
    assert_eq!(recv_a.reset_code().await, lane::ABORTED);
    assert_eq!(stop_code(&send_a).await, lane::FAILED);

    // The other direction: data that the endpoint has not read is discarded.
    let (mut stream_b, mut send_b, _recv_b) = stream(&endpoint, &mut stranger).await;
    write(&mut send_b, &[0; 10_000]).await;
    let record = Record::new(severity::ABORT, 10, 10_000, "nor this");
    let (mut errors, _reverse) = stranger.error_lane(send_b.id().into(), &record.encode()).await;
    errors.finish().expect("the lane is open");
    send_b.reset(code(lane::ABORTED)).expect("the lane is open");
    stranger.round_trip().await;
    let read = soon("an end", stream_b.read_to_end(100_000)).await;
    let Err(NextError::Read(ReadError::Aborted(error))) = read else {
        panic!("{read:?}");
    };
    assert_eq!((error.code(), error.text()), (10, "nor this"));
}

#[tokio::test]
async fn an_error_may_come_before_the_answer() {
    let (endpoint, mut stranger) = connected().await;
    let (send, mut recv) = stranger.open(&[&header("work/1", b"")[..], b"early"].concat()).await;
    let record = Record::new(severity::FATAL, 7, 5, "changed my mind");
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &record.encode()).await;
    stranger.round_trip().await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&["work/1"])).await;
    let (_, mut stream) = accepted.expect("a stream");
    recv.accepted().await;
    let (data, error) = read_to_error(&mut stream).await;
    assert_eq!(data, b"early");
    assert!(matches!(&error, ReadError::Failed(error) if error.code() == 7), "{error:?}");
}
