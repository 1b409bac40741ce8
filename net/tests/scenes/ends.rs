//! An end of data means success (invariant 1).

use twolane::{ReadError, WriteError};

use crate::stage::{endpoint, pair, soon, stream};

#[tokio::test]
async fn what_was_written_and_finished_is_read_whole() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let data = vec![7; 3_000_000];
    let writing = tokio::spawn({
        let data = data.clone();
        async move {
            opened.write_all(&data).await.unwrap();
            opened.finish().unwrap();
            opened.delivered().await.unwrap();
        }
    });
    assert_eq!(soon(accepted.read_to_end(data.len())).await.unwrap(), data);
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn both_directions_are_independent_until_both_are_finished() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    opened.write_all(b"question").await.unwrap();
    opened.finish().unwrap();
    assert_eq!(soon(accepted.read_to_end(100)).await.unwrap(), "question");
    accepted.write_all(b"answer").await.unwrap();
    accepted.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "answer");
    assert!(matches!(opened.write(b"more").await, Err(WriteError::EndedHere)));
}

#[tokio::test]
async fn a_dropped_stream_is_never_taken_for_complete() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    opened.write_all(b"half of it").await.unwrap();
    drop(opened);
    let error = soon(accepted.read_to_end(100)).await.unwrap_err();
    assert!(matches!(error, twolane::NextError::Read(ReadError::Reset { code: 1 })), "{error}");
}

#[tokio::test]
async fn a_cancelled_task_resets_its_stream() {
    let (_client, _server, mut opened, mut accepted) = pair().await;
    let task = tokio::spawn(async move {
        opened.write_all(b"some").await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut buf = [0; 4];
    assert_eq!(soon(accepted.read(&mut buf)).await.unwrap(), 4);
    task.abort();
    assert!(matches!(soon(accepted.read(&mut buf)).await, Err(ReadError::Reset { .. })));
}

#[tokio::test]
async fn a_dropped_writing_half_resets_only_its_direction() {
    let (_client, _server, opened, mut accepted) = pair().await;
    let (send, mut recv) = opened.split();
    drop(send);
    assert!(matches!(soon(accepted.read(&mut [0; 8])).await, Err(ReadError::Reset { .. })));
    accepted.write_all(b"still here").await.unwrap();
    accepted.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), "still here");
}

#[tokio::test]
async fn a_dropped_reading_half_stops_the_writer() {
    let (_client, _server, mut opened, accepted) = pair().await;
    let (mut send, recv) = accepted.split();
    drop(recv);
    let stopped = soon(async {
        loop {
            if let Err(error) = opened.write(&[0; 1000]).await {
                break error;
            }
        }
    })
    .await;
    assert!(matches!(stopped, WriteError::Stopped { code: 1 }), "{stopped}");
    send.write_all(b"but I still write").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(opened.read_to_end(100)).await.unwrap(), "but I still write");
}

#[tokio::test]
async fn finishing_twice_is_the_callers_error() {
    let (_client, _server, mut opened, _accepted) = pair().await;
    opened.finish().unwrap();
    assert!(matches!(opened.finish(), Err(WriteError::EndedHere)));
}

#[tokio::test]
async fn streams_of_one_connection_end_independently() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut first, mut first_peer) = stream(&client, &server).await;
    let (second, mut second_peer) = stream(&client, &server).await;
    drop(second);
    assert!(soon(second_peer.read(&mut [0; 1])).await.is_err());
    first.write_all(b"untouched").await.unwrap();
    first.finish().unwrap();
    assert_eq!(soon(first_peer.read_to_end(100)).await.unwrap(), "untouched");
    assert_eq!(server.peers().len(), 1);
}
