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

/// A client asks [`Service::Refuse`] for an error at once, or when it asks again, with the lane full.
const AT_ONCE: u8 = b'i';
const WHEN_FULL: u8 = b'f';
/// Flow control holds up a write that makes no progress for so long: on loopback a packet takes under 1 ms.
const FULL: Duration = Duration::from_millis(50);
const CODE: u64 = 507;
const WORDS: &str = "no space left";
/// Errors in a round.
const ERRORS: u32 = 200;

/// Rows of both sides, and of twolane alone.
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

/// The median of the microseconds of many times.
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

/// A stream that is opened and fails.
async fn idle(ours: Ours) -> Result<(), Broken> {
    let (mut send, mut recv) = ours.open(Service::Refuse).await?;
    send.write_all(&[AT_ONCE]).await?;
    match recv.read(&mut [0; 8]).await {
        Err(ReadError::Failed(error)) if error.code() == CODE && error.text() == WORDS => Ok(()),
        other => Err(Broken::msg(format!("in place of an error came {other:?}"))),
    }
}

/// The reset of raw iroh: a code, no words, and data that is lost.
async fn reset(theirs: Raw) -> Result<(), Broken> {
    let (mut send, mut recv) = theirs.open(Service::Refuse).await?;
    send.write_all(&[AT_ONCE]).await?;
    match recv.read(&mut [0; 8]).await {
        Err(iroh::endpoint::ReadError::Reset(code)) if code.into_inner() == CODE => Ok(()),
        other => Err(Broken::msg(format!("in place of a reset came {other:?}"))),
    }
}

/// From asking for the error to having it, with a data lane that takes no more: microseconds.
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
