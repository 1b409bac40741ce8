//! A writer waits for the delivery of finished data, while the reader releases the stream.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;
use twolane::{Limits, StreamError, WriteError, XStream};

use super::{
    Verdict,
    stage::{Linked, Stage, close, ensure, none_of, not, soon},
};
use crate::stream_tester::chaos::{cause::lane, link::Shape};

const PROTOCOL: &str = "delivered/1";
const ROUNDS: u64 = 12;
/// The data takes up to 0.3 s, so that the reader may release the stream before or after the data has come.
const SHAPE: Shape = Shape { rate: 5_000_000, delay: Duration::from_millis(15), queue: Duration::from_secs(1) };
const MOST: u64 = 1_500_000;
const CODE: u64 = 77;

#[derive(Debug, Clone, Copy)]
enum Then {
    DropReader,
    DropStream,
    Fail,
    Abort,
}

#[derive(Debug)]
struct Draft {
    len: u64,
    after: Duration,
    then: Then,
}

pub async fn play(mut stage: Stage) -> Verdict {
    let linked = stage.linked(SHAPE, Limits::default()).await?;
    let mut faults = Vec::new();
    for _ in 0..ROUNDS {
        let rng = &mut stage.rng;
        let draft = Draft {
            len: rng.random_range(100_000..=MOST),
            after: Duration::from_millis(rng.random_range(0..400)),
            then: [Then::DropReader, Then::DropStream, Then::Fail, Then::Abort][rng.random_range(0..4)],
        };
        if let Err(fault) = round(&linked, &draft).await {
            faults.push(format!("{fault} ({draft:?})"));
        }
    }
    faults.extend(close([linked.near, linked.far]).await.err());
    none_of(&faults, ROUNDS)
}

async fn round(linked: &Linked, draft: &Draft) -> Verdict {
    let both =
        async { tokio::join!(linked.far.accept_bi(&[PROTOCOL]), linked.near.get_stream(&linked.ticket, PROTOCOL)) };
    let (accepted, opened) = soon("a stream", both).await?;
    let (accepted, opened) = (accepted.map_err(not("not accepted"))?.1, opened.map_err(not("not opened"))?);
    let (written, let_go) =
        soon("both sides", async { tokio::join!(write(opened, draft), let_go(accepted, draft)) }).await?;
    let_go?;
    let legal = match (&written, draft.then) {
        // The data may have been delivered before.
        (Ok(()), _) => true,
        (Err(WriteError::Stopped { code }), Then::DropReader | Then::DropStream) => *code == lane::CANCELLED,
        (Err(WriteError::Failed(error)), Then::Fail | Then::Abort) => error.code() == CODE,
        _ => false,
    };
    ensure(legal, || format!("the writer of finished data was told {written:?}"))
}

/// Writes, finishes, and waits for the delivery. Writing may fail for the same reasons as waiting.
async fn write(mut stream: XStream, draft: &Draft) -> Result<(), WriteError> {
    stream.write_all(&vec![b'a'; usize::try_from(draft.len).unwrap_or_default()]).await?;
    stream.finish()?;
    stream.delivered().await
}

async fn let_go(stream: XStream, draft: &Draft) -> Verdict {
    sleep(draft.after).await;
    let error = StreamError::new(CODE, "as planned");
    let (mut send, recv) = stream.split();
    match draft.then {
        Then::DropStream => Ok(()),
        Then::DropReader => {
            drop(recv);
            // The other half stays open for as long as the writer may wait.
            sleep(draft.after + SHAPE.delay * 10).await;
            Ok(())
        }
        Then::Fail => send.fail(error).await.map_err(not("a failure by the reader")),
        Then::Abort => send.abort(error).await.map_err(not("an abort by the reader")),
    }
}
