//! Readers release uploads that they have not read, and take long to answer. The credit of these uploads must
//! become available again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use twolane::{Limits, XStream};

use super::{
    Verdict,
    stage::{Linked, SOON, Stage, close, ensure, not, soon},
};
use crate::stream_tester::chaos::link::Shape;

const STOPPED: &str = "stopped/1";
const READ: &str = "read/1";
const SHAPE: Shape = Shape { rate: 10_000_000, delay: Duration::from_millis(60), queue: Duration::from_secs(1) };
/// The number of bytes that the peer may have unread, all streams together.
const UNREAD: u64 = 4 << 20;
/// The number of streams. They have taken most of these bytes by the time when their readers release them.
const STREAMS: u64 = 24;
const UPLOAD: usize = 280_000;
/// The length of an upload that is measured. It takes some round trips, and tens of them with the credit of one
/// lane among many.
const LEN: usize = 1_200_000;
/// The number of uploads before the other streams, and beside them.
const UPLOADS: usize = 3;
/// The maximum ratio of the time of an upload beside the other streams to its time alone.
const SLOWER: u32 = 3;

pub async fn play(mut stage: Stage) -> Verdict {
    let limits = Limits { unread_bytes: UNREAD, ..Limits::default() };
    let linked = stage.linked(SHAPE, limits).await?;
    let end = CancellationToken::new();
    let (answering, _end) = (end.clone(), end.clone().drop_guard());
    linked
        .far
        .serve(STOPPED, move |stream| {
            let end = answering.clone();
            async move {
                let (_send, mut recv) = stream.split();
                // Data has come, and the end of the data has come.
                let _ = recv.read(&mut [0]).await;
                sleep(SHAPE.delay * 6).await;
                drop(recv);
                end.cancelled().await;
            }
        })
        .map_err(not("nothing can be served"))?;
    linked
        .far
        .serve(READ, |mut stream: XStream| async move {
            while let Ok(Some(_)) = stream.read_chunk(usize::MAX).await {}
            let _ = stream.finish();
        })
        .map_err(not("nothing can be served"))?;
    // After the first upload, congestion control has found the link's rate.
    upload(&linked).await?;
    let alone = uploads(&linked).await?;
    let mut held = Vec::new();
    for _ in 0..stage.between(STREAMS, STREAMS * 2) {
        let opened = soon("a stream", linked.near.get_stream(&linked.ticket, STOPPED)).await?;
        let (mut send, recv) = opened.map_err(not("not opened"))?.split();
        // As much as there is room for.
        let _ = tokio::time::timeout(SHAPE.delay * 3, send.write_all(&vec![b'a'; UPLOAD])).await;
        let _ = send.finish();
        held.push(recv);
    }
    // By now the last stream has been released.
    sleep(SHAPE.delay * 12).await;
    let beside = uploads(&linked).await;
    let count = held.len();
    drop(held);
    end.cancel();
    let closed = close([linked.near, linked.far]).await;
    let beside = beside?;
    closed?;
    ensure(beside <= alone * SLOWER, || {
        format!("an upload took {beside:?} beside {count} streams that nobody reads any more, and {alone:?} before")
    })
}

/// Returns the median of a few uploads. A busy machine delays one of them, and missing credit delays all of them.
async fn uploads(linked: &Linked) -> Result<Duration, String> {
    let mut times = [Duration::ZERO; UPLOADS];
    for time in &mut times {
        *time = upload(linked).await?;
    }
    times.sort_unstable();
    Ok(times[UPLOADS / 2])
}

/// Returns the time until the reader has the whole upload.
async fn upload(Linked { near, ticket, .. }: &Linked) -> Result<Duration, String> {
    let began = Instant::now();
    let mut stream = soon("a stream", near.get_stream(ticket, READ)).await?.map_err(not("not opened"))?;
    let sending = async {
        stream.write_all(&vec![b'a'; LEN]).await.map_err(not("an upload"))?;
        stream.finish().map_err(not("the end of an upload"))?;
        stream.read_to_end(1).await.map_err(not("the answer to an upload"))
    };
    tokio::time::timeout(SOON * 3, sending).await.map_err(|_| "an upload hangs".to_owned())??;
    Ok(began.elapsed())
}
