//! More bulk data than a connection takes is in flight when the link fails. Then one of the streams fails, among
//! warnings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use rand::RngExt;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use twolane::{Limits, ReadError, StreamError, StreamOptions, XStream};

use super::{
    Verdict,
    stage::{Linked, Stage, close, ensure, none_of, not, soon, within},
};
use crate::stream_tester::{
    chaos::{link::Shape, plan::is_pattern},
    pattern,
    scale::footprint::until,
};

const PROTOCOL: &str = "outage/1";
const SHAPE: Shape = Shape { rate: 12_000_000, delay: Duration::from_millis(20), queue: Duration::from_millis(300) };
/// The range of the number of lanes. With 2.1 MB each, they fill everything that a connection takes without an
/// acknowledgement.
const LANES: [u64; 2] = [FILL, FILL + 3];
const FILL: u64 = Limits::SEND_WINDOW.div_ceil(2_100_000);
/// The number of bytes that the peer may have unread. It is so much more than all lanes write that this limit, without
/// that of the send window, would let each lane fill its own window.
const UNREAD: u64 = 256 << 20;
/// A write that makes no progress for this long waits for the link.
const STALLED: Duration = Duration::from_millis(500);
const PIECE: usize = 64 * 1024;
/// The error of the first lane.
pub const CODE: u64 = 7;
pub const WORDS: &str = "it failed during the outage";
/// Maximum time for each step after the outage. The data in flight takes 5 s, and noq's next attempt comes up to as
/// much later as the outage has lasted.
const AFTERWARDS: Duration = Duration::from_secs(40);

/// The observations of a reader.
#[derive(Debug)]
pub struct Seen {
    pub lane: u64,
    pub bytes: u64,
    pub intact: bool,
    pub end: Result<(), ReadError>,
}

pub async fn play(mut stage: Stage) -> Verdict {
    let (lanes, outage) = (stage.between(LANES[0], LANES[1]), stage.ms_between(5_500, 8_000));
    // If the link is cut before the first byte, nothing is acknowledged.
    let (warnings, before) = (stage.between(0, 3), stage.rng.random());
    let Linked { near, far, link, ticket } =
        stage.linked(SHAPE, Limits { unread_bytes: UNREAD, ..Limits::default() }).await?;
    let (seen, mut all_seen) = mpsc::unbounded_channel();
    far.serve(PROTOCOL, move |stream| read(stream, seen.clone())).map_err(not("nothing can be served"))?;

    let (stop, fail) = (CancellationToken::new(), CancellationToken::new());
    let (mut writers, written) = (JoinSet::new(), Arc::<AtomicU64>::default());
    let mut opened = Vec::new();
    for lane in 0..lanes {
        let options = StreamOptions { metadata: lane.to_be_bytes().to_vec().into(), ..StreamOptions::default() };
        let opening = soon("a stream", near.get_stream_with(&ticket, PROTOCOL, options)).await?;
        opened.push((lane, opening.map_err(not("not opened"))?));
    }
    if before {
        link.cut();
    }
    for (lane, stream) in opened {
        let (told, written) = (if lane == 0 { fail.clone() } else { stop.clone() }, Arc::clone(&written));
        writers.spawn(write(stream, lane, warnings, told, written));
    }
    let window = u64::from(Limits::STREAM_WINDOW);
    ensure(until(AFTERWARDS, || written.load(Relaxed) >= window).await, || "the writers get nowhere".to_owned())?;
    link.cut();
    // The connection is full when all data in flight has come, and no writer makes progress.
    let filling = async {
        let mut before = 0;
        while before < written.load(Relaxed) {
            before = written.load(Relaxed);
            sleep(STALLED).await;
        }
    };
    within(AFTERWARDS, "filling the connection", filling).await?;
    fail.cancel();
    sleep(outage).await;
    stop.cancel();
    link.heal();

    let mut faults = Vec::new();
    let mut wrote = vec![0; usize::try_from(lanes).unwrap_or_default()];
    let ended = within(AFTERWARDS, "the writers", async {
        while let Some(ended) = writers.join_next().await {
            match ended.map_err(|error| error.to_string()).flatten() {
                Ok((lane, len)) => wrote[lane as usize] = len,
                Err(fault) => faults.push(fault),
            }
        }
    });
    let ended = ended.await;
    let reading = within(AFTERWARDS, "the readers", async {
        for _ in 0..lanes {
            if let Some(seen) = all_seen.recv().await {
                faults.extend(judge(&seen, wrote[seen.lane as usize]).err());
            }
        }
    });
    let read = reading.await;
    faults.extend([ended.err(), read.err()].into_iter().flatten());
    faults.extend(close([near, far]).await.err());
    none_of(&faults, lanes).map_err(|fault| {
        format!("{fault} ({lanes} lanes, {outage:?} of outage, before the first byte: {before}, {warnings} warnings)")
    })
}

fn judge(seen: &Seen, wrote: u64) -> Verdict {
    let whole = seen.intact && seen.bytes == wrote;
    let legal = match &seen.end {
        Ok(()) => whole && seen.lane != 0,
        Err(ReadError::Failed(error)) => {
            whole && seen.lane == 0 && (error.code(), error.text(), error.offset()) == (CODE, WORDS, wrote)
        }
        Err(_) => false,
    };
    ensure(legal, || format!("of {wrote} bytes was read {seen:?}"))
}

/// Writes without a pause until it is told to stop. The first lane then fails, and the others finish.
pub async fn write(
    mut stream: XStream,
    lane: u64,
    warnings: u64,
    told: CancellationToken,
    written: Arc<AtomicU64>,
) -> Result<(u64, u64), String> {
    let mut wrote = 0;
    loop {
        let piece = pattern::slice(lane, wrote, PIECE);
        let len = tokio::select! {
            biased;
            () = told.cancelled() => break,
            len = stream.write(&piece) => len.map_err(not("a write"))? as u64,
        };
        wrote += len;
        written.fetch_add(len, Relaxed);
    }
    if lane != 0 {
        stream.finish().map_err(not("the end of bulk"))?;
        stream.delivered().await.map_err(not("the delivery of bulk"))?;
        return Ok((lane, wrote));
    }
    let (mut send, _recv) = stream.split();
    let mut warning = JoinSet::new();
    for code in 0..warnings {
        let details = Bytes::from(vec![0x55; Limits::ERROR_DETAILS]);
        let error = StreamError::new(code, "a warning").with_details(details).map_err(not("details"))?;
        // The warnings may be given up in favour of the fatal error.
        warning.spawn(send.warn(error));
        tokio::task::yield_now().await;
    }
    send.fail(StreamError::new(CODE, WORDS)).await.map_err(not("the call that fails the stream"))?;
    Ok((lane, wrote))
}

/// Reads to the end. The metadata are the lane's number.
pub async fn read(mut stream: XStream, seen: mpsc::UnboundedSender<Seen>) {
    let lane = stream.metadata().iter().fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    let (mut bytes, mut intact) = (0, true);
    let end = loop {
        match stream.read_chunk(PIECE).await {
            Ok(Some(data)) => {
                intact &= is_pattern(lane, bytes, &data);
                bytes += data.len() as u64;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let _ = seen.send(Seen { lane, bytes, intact, end });
}
