//! Readers that pause: the duties of a writer and of a reader.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::task::JoinHandle;
use twolane::{WriteError, XStream};

use crate::{
    errors::{stream, with_stream},
    peer::{Stranger, write},
    reader::{code, soon},
    wire::{bound, frame, lane, numbers},
};

const MESSAGES: u64 = 5_000;
/// The length of a message. All messages together exceed the window, so the writer stops even if messages share
/// packets.
const SIZE: usize = 500;

/// Writes small messages, each in a packet of its own as far as the scheduler allows, and counts them.
fn write_small(mut stream: XStream) -> (Arc<AtomicU64>, JoinHandle<Result<(), WriteError>>) {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            stream.write_all(&[0x2a; SIZE]).await?;
            count.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
        }
        stream.finish()?;
        stream.delivered().await
    });
    (written, writer)
}

/// Reads watermarks without answering them, until the writer waits.
async fn let_the_writer_wait(stranger: &mut Stranger, lane: u64, written: &AtomicU64) -> Vec<u64> {
    let mut asked = Vec::new();
    while asked.len() < 2 {
        let (frame_type, fields) = stranger.frames.frame().await;
        assert_eq!((frame_type, fields[0]), (frame::WATERMARK, lane));
        assert!(asked.last() < Some(&fields[1]), "{} after {asked:?}", fields[1]);
        asked.push(fields[1]);
    }
    let mut before = 0;
    while before < written.load(SeqCst) {
        before = written.load(SeqCst);
        for _ in 0..20 {
            stranger.round_trip().await;
        }
    }
    assert!(before < MESSAGES, "the writer does not wait");
    asked
}

#[tokio::test]
async fn a_reader_that_pauses_slows_the_writer_down_and_the_connection_lives() {
    let (_endpoint, mut stranger, (stream, send, mut recv)) = with_stream().await;
    let lane = u64::from(send.id());
    let (written, writer) = write_small(stream);
    let mut asked = let_the_writer_wait(&mut stranger, lane, &written).await;

    // The data is read late, but completely. Every mark is answered once it is passed.
    let (mut control, mut frames) = stranger.frames_in_background();
    let (mut read, mut marks) = (0, asked.len());
    while read < MESSAGES * SIZE as u64 {
        tokio::select! {
            chunk = soon("data", recv.0.read_chunk(usize::MAX, true)) => {
                let chunk = chunk.expect("no reset").expect("no FIN before the end");
                assert!(chunk.bytes.iter().all(|byte| *byte == 0x2a));
                read += chunk.bytes.len() as u64;
            }
            Some((frame_type, fields)) = frames.recv() => {
                assert_eq!((frame_type, fields[0]), (frame::WATERMARK, lane));
                asked.push(fields[1]);
                marks += 1;
                assert!(asked.len() as u64 <= bound::WATERMARKS, "{} are under way", asked.len());
            }
        }
        if asked.iter().any(|mark| *mark <= read) {
            asked.retain(|mark| *mark > read);
            write(&mut control, &numbers(frame::CONSUMED, &[lane, read])).await;
        }
    }
    assert_eq!(recv.rest().await, b"");
    soon("the writer", writer).await.expect("no panic").expect("everything was delivered");
    assert!(marks > 6, "only {marks} marks");
}

#[tokio::test]
async fn a_reader_that_never_answers_stalls_its_own_lane_only() {
    let (endpoint, mut stranger, (stalled, send, mut recv)) = with_stream().await;
    let (written, writer) = write_small(stalled);
    let_the_writer_wait(&mut stranger, send.id().into(), &written).await;

    let (mut other, mut other_send, mut other_recv) = stream(&endpoint, &mut stranger).await;
    write(&mut other_send, b"ping").await;
    let chunk = soon("the data", other.read_chunk(100)).await;
    assert_eq!(chunk.expect("data").expect("data"), "ping");
    soon("a write", other.write_all(b"pong")).await.expect("the lane is open");
    assert_eq!(other_recv.bytes(4).await, b"pong");

    // When the lane is stopped, the writer stops waiting.
    recv.0.stop(code(lane::CANCELLED)).expect("the lane is open");
    let written = soon("the writer", writer).await.expect("no panic");
    assert!(matches!(written, Err(WriteError::Stopped { code: lane::CANCELLED })), "{written:?}");
    stranger.round_trip().await;
}
