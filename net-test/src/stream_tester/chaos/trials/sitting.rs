//! Handlers hold their streams without using them, long after the openers have gone. Other streams of the same peer
//! must find lanes, or be told that there is none, and errors must arrive.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use twolane::{GetStreamError, Limits, ReadError, Reason, StreamError, StreamOptions, XStream};

use super::{
    Verdict,
    stage::{SOON, Stage, close, none_of, not, soon},
};

const SITTING: &str = "sitting/1";
const LIVE: &str = "live/1";
/// The number of streams that one side may have open. It is small, so that few streams reach the limit.
const STREAMS: u64 = 8;
/// The number of abandoned streams. It is far more than the transport allows with this limit.
const SITTERS: u64 = 48;
/// Maximum time to open a stream.
const OPENING: Duration = Duration::from_millis(1_500);
/// The number of failed openings in a row after which the trial stops opening streams.
const ENOUGH: u64 = 3;
const CODE: u64 = 7;
const LEN: usize = 1_000;

pub async fn play(mut stage: Stage) -> Verdict {
    let few = Limits { streams_per_peer: STREAMS, ..Limits::default() };
    let [near, far] = stage.neighbours(few).await?;
    let (seen, mut all_seen) = mpsc::unbounded_channel();
    far.serve(LIVE, move |mut stream: XStream| {
        let seen = seen.clone();
        async move {
            let mut bytes = 0;
            let end = loop {
                match stream.read_chunk(LEN).await {
                    Ok(Some(data)) => bytes += data.len(),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let _ = seen.send((bytes, end));
        }
    })
    .map_err(not("nothing can be served"))?;
    let end = CancellationToken::new();
    let sitting = end.clone();
    far.serve(SITTING, move |stream| {
        let end = sitting.clone();
        async move {
            let _stream = stream;
            end.cancelled().await;
        }
    })
    .map_err(not("nothing can be served"))?;

    // The handlers end with the trial, however the trial ends.
    let _end = end.clone().drop_guard();
    let mut live = soon("a live stream", near.get_stream(far.ticket(), LIVE)).await?.map_err(not("a live stream"))?;
    live.write_all(&[b'a'; LEN]).await.map_err(not("a write"))?;
    let (mut faults, mut failed, sitters) = (Vec::new(), 0, stage.between(SITTERS, 2 * SITTERS));
    let options = || StreamOptions { timeout: Some(OPENING), ..StreamOptions::default() };
    for number in 0..sitters {
        match soon("an opening", near.get_stream_with(far.ticket(), SITTING, options())).await? {
            Ok(_) => failed = 0,
            Err(error) => {
                failed += 1;
                faults.extend(no_room(&error).map(|fault| format!("sitter {number}: {fault}")));
            }
        }
        if failed == ENOUGH {
            break;
        }
    }
    // A stream of another protocol, from the same peer.
    let another = soon("an opening", near.get_stream_with(far.ticket(), LIVE, options())).await?;
    faults.extend(another.err().and_then(|error| no_room(&error)).map(|fault| format!("another protocol: {fault}")));
    // The error of a stream that was open before.
    let fail = soon("a failure", live.fail(StreamError::new(CODE, "as planned"))).await;
    faults.extend(fail.and_then(|failed| failed.map_err(not("the call that fails a stream"))).err());
    let told = tokio::time::timeout(SOON, all_seen.recv()).await;
    let legal = matches!(&told, Ok(Some((LEN, Err(ReadError::Failed(error))))) if error.code() == CODE);
    if !legal {
        faults.push(format!("the reader of {LEN} bytes and an error saw {told:?}"));
    }
    end.cancel();
    faults.extend(close([near, far]).await.err());
    none_of(&faults, sitters)
}

/// Returns a description if an opening failed for another reason than that there is no lane.
fn no_room(error: &GetStreamError) -> Option<String> {
    let legal = matches!(error, GetStreamError::TooManyStreams { .. }) || error.rejection() == Some(Reason::Busy);
    (!legal).then(|| format!("an opening that finds no lane was told {error:?}"))
}
