//! Early data and requests of any size, to a peer that answers while it reads.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use twolane::{Fault, GetStreamError, Limits, StreamOptions, XStream};

use super::{
    Verdict,
    stage::{Linked, Stage, close, ensure, none_of, not, within},
};
use crate::stream_tester::{chaos::link::Shape, pattern};

const PROTOCOL: &str = "early/1";
const ROUNDS: u64 = 6;
const SHAPE: Shape = Shape { rate: 50_000_000, delay: Duration::from_millis(2), queue: Duration::from_secs(1) };
/// The maximum length of early data that travels with a header.
const WITH_HEADER: usize = 400 * 1024;
/// The range of lengths. The windows of both directions hold 4.4 MB.
const LEN: [usize; 2] = [200_000, 8_000_000];
const OPENING: Duration = Duration::from_secs(3);
const ECHOING: Duration = Duration::from_secs(15);

pub async fn play(mut stage: Stage) -> Verdict {
    let linked = stage.linked(SHAPE, Limits::default()).await?;
    linked.far.serve(PROTOCOL, echo).map_err(not("nothing can be served"))?;
    let mut faults = Vec::new();
    for round in 0..ROUNDS {
        // In every run, two requests and two streams are longer than all windows, and one of each is short.
        let [least, most] = if round < 4 { [LEN[1] / 4 * 3, LEN[1]] } else { [LEN[0], WITH_HEADER] };
        let len = stage.rng.random_range(least..=most);
        let asked = if round % 2 == 0 { asked(&linked, round, len).await } else { echoed(&linked, round, len).await };
        faults.extend(asked.err().map(|fault| format!("{fault} ({len} bytes)")));
    }
    faults.extend(close([linked.near, linked.far]).await.err());
    none_of(&faults, ROUNDS)
}

/// Sends the data in one request, which reads the answer while it writes.
async fn asked(Linked { near, ticket, .. }: &Linked, round: u64, len: usize) -> Verdict {
    let data = Bytes::from(pattern::bytes(round, len));
    let asking = near.request(ticket, PROTOCOL, data.clone(), ECHOING);
    let echo = within(ECHOING * 2, "a request", asking).await?;
    let echo = echo.map_err(not("a request to a peer that answers while it reads"))?;
    ensure(echo == data, || format!("of a request {} bytes came back", echo.len()))
}

async fn echoed(Linked { near, ticket, .. }: &Linked, round: u64, len: usize) -> Verdict {
    let data = Bytes::from(pattern::bytes(round, len));
    let options = StreamOptions { early_data: data.clone(), timeout: Some(OPENING), ..StreamOptions::default() };
    let mut stream = match within(OPENING * 2, "an opening", near.get_stream_with(ticket, PROTOCOL, options)).await? {
        Ok(stream) => stream,
        // A limit on early data is for the caller to keep.
        Err(error)
            if len > WITH_HEADER
                && error.fault() == Fault::Caller
                && !matches!(error, GetStreamError::TooManyStreams { .. }) =>
        {
            return Ok(());
        }
        Err(error) => return Err(format!("a stream to a peer that answers was not opened: {error:?}")),
    };
    stream.finish().map_err(not("the end of early data"))?;
    let echo = within(ECHOING, "an echo", stream.read_to_end(len)).await?.map_err(not("an echo of early data"))?;
    ensure(echo == data, || format!("of early data {} bytes came back", echo.len()))
}

async fn echo(mut stream: XStream) {
    while let Ok(chunk) = stream.read_chunk(usize::MAX).await {
        let Some(chunk) = chunk else { return drop(stream.finish()) };
        if stream.write_chunk(chunk).await.is_err() {
            return;
        }
    }
}
