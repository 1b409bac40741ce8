//! The cost of an error, and its latency while the data lane is full.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use twolane::{ReadError, RecvStream, SendStream, Severity, StreamError, XStream};

use super::{
    Broken,
    groups::{Bench, measured},
    ours::Ours,
    raw::Raw,
    side::{Service, Side},
    work::as_a_task,
};
use crate::{
    compare::{Better, Row},
    stats::median,
};

/// The first byte of a client of [`Service::Refuse`]. With this one, the server sends an error at once. With the next
/// one, it fills the lane, and sends the error when the client asks again.
const AT_ONCE: u8 = b'i';
const WHEN_FULL: u8 = b'f';
/// The time without progress after which flow control holds up a write. On loopback a packet takes less than 1 ms.
const FULL: Duration = Duration::from_millis(50);
const CODE: u64 = 507;
const WORDS: &str = "no space left";
/// The number of errors in a round.
const ERRORS: u32 = 200;

/// Measures the rows of both sides, and those of twolane alone.
pub async fn rows(bench: &Bench<Ours, Raw>, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
    let (rounds, ours, theirs) = (bench.rounds, &bench.ours.client, &bench.theirs.client);
    theirs.connect(Service::Refuse).await?;
    let fails = async |_: bool| as_a_task(often(ours.clone(), idle)).await;
    let is_reset = async |_: bool| as_a_task(often(theirs.clone(), reset)).await;
    let turns = measured(rounds, fails, is_reset).await?;
    row(Row::new("error-against-reset", "us", Better::Lower, Raw::NAME, &turns));
    let full = async |_: bool| as_a_task(behind_data(ours.clone())).await;
    let turns = measured(rounds, full, fails).await?;
    row(Row::new("error-behind-a-full-lane", "us", Better::Lower, "twolane, lane idle", &turns));
    Ok(())
}

/// Repeats `one`, and returns the median of its durations in microseconds.
async fn often<S: Side, F: Future<Output = Result<(), Broken>>>(side: S, one: fn(S) -> F) -> Result<f64, Broken> {
    let mut took = Vec::new();
    for _ in 0..ERRORS {
        let side = side.clone();
        let began = Instant::now();
        one(side).await?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&took))
}

/// Opens a stream of twolane that fails.
async fn idle(ours: Ours) -> Result<(), Broken> {
    let (mut send, mut recv) = ours.open(Service::Refuse).await?;
    send.write_all(&[AT_ONCE]).await?;
    match recv.read(&mut [0; 8]).await {
        Err(ReadError::Failed(error)) if error.code() == CODE && error.text() == WORDS => Ok(()),
        other => Err(Broken::msg(format!("in place of an error came {other:?}"))),
    }
}

/// Opens a stream of raw iroh that is reset. The reset has a code and no text, and data is lost.
async fn reset(theirs: Raw) -> Result<(), Broken> {
    let (mut send, mut recv) = theirs.open(Service::Refuse).await?;
    send.write_all(&[AT_ONCE]).await?;
    match recv.read(&mut [0; 8]).await {
        Err(iroh::endpoint::ReadError::Reset(code)) if code.into_inner() == CODE => Ok(()),
        other => Err(Broken::msg(format!("in place of a reset came {other:?}"))),
    }
}

/// Returns the time from asking for the error to receiving it while the data lane is full, in microseconds.
async fn behind_data(ours: Ours) -> Result<f64, Broken> {
    let (mut send, recv) = ours.open(Service::Refuse).await?;
    let errors = recv.errors();
    send.write_all(&[WHEN_FULL]).await?;
    match errors.next().await {
        Some(report) if report.severity == Severity::Warning => {}
        other => return Err(Broken::msg(format!("the lane did not fill up: {other:?}"))),
    }
    let began = Instant::now();
    send.write_all(&[AT_ONCE]).await?;
    match errors.next().await {
        Some(report) if report.severity == Severity::Fatal => Ok(began.elapsed().as_secs_f64() * 1e6),
        other => Err(Broken::msg(format!("in place of an error came {other:?}"))),
    }
}

pub async fn refuse(stream: XStream) -> Result<(), Broken> {
    let (mut send, mut recv) = stream.split();
    if asked(&mut recv).await? == WHEN_FULL {
        fill(&mut send).await?;
        send.warn(StreamError::new(CODE, "the lane is full")).await?;
        asked(&mut recv).await?;
    }
    Ok(send.fail(StreamError::new(CODE, WORDS)).await?)
}

pub async fn reset_back(
    mut send: iroh::endpoint::SendStream,
    mut recv: iroh::endpoint::RecvStream,
) -> Result<(), Broken> {
    recv.read_exact(&mut [0]).await?;
    Ok(send.reset(iroh::endpoint::VarInt::from_u64(CODE)?)?)
}

async fn asked(recv: &mut RecvStream) -> Result<u8, Broken> {
    let mut word = [0];
    match recv.read(&mut word).await? {
        1 => Ok(word[0]),
        _ => Err(Broken::msg("the client asked for nothing")),
    }
}

async fn fill(send: &mut SendStream) -> Result<(), Broken> {
    static PIECE: [u8; 16 * 1024] = [0; 16 * 1024];
    loop {
        match timeout(FULL, send.write(&PIECE)).await {
            Ok(written) => drop(written?),
            Err(_) => return Ok(()),
        }
    }
}
