//! The error lane.

use std::sync::Arc;

use twolane::Limits;

use super::{Fault, repeat};
use crate::stream_tester::{
    check,
    player::FULL,
    role::{
        Side::{self, Acceptor, Opener},
        Step, Words,
    },
    seen::{Ending, Heard},
    tester::{Played, Tester},
};

const WORDS: Words = Words { code: 507, text: 60, details: 200 };
/// The warning with which a side says that it has reached the state that the case needs.
const READY: Words = Words { code: 1, text: 0, details: 0 };

/// The position of the error in the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Start,
    Middle,
    AfterLast,
}

pub(super) async fn fail(t: Arc<Tester>, side: Side, at: Where) -> Result<String, Fault> {
    let offsets: &[u64] = match at {
        Where::Start => &[0],
        // Within a packet, in the middle of many packets, and with the stream window nearly full.
        Where::Middle => &[1, 1000, 100_000, 1_900_000],
        // More than the stream window: the reader has to read before the last byte is written.
        Where::AfterLast => &[3_000_000],
    };
    for offset in offsets {
        let active = vec![Step::write(*offset), Step::Fail(WORDS), Step::ReadEnd, Step::WriteOn];
        let played = t.play(side, active, vec![Step::ReadEnd, Step::WriteOn]).await?;
        failed(&played, *offset)?;
    }
    Ok(format!("at {offsets:?}"))
}

pub(super) async fn known_early(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    let active = vec![Step::write(100_000), Step::Fail(WORDS), Step::ReadEnd, Step::WriteOn];
    let played = t.play(side, active, vec![Step::Hear(1), Step::ReadEnd, Step::WriteOn]).await?;
    failed(&played, 100_000)?;
    Ok(String::new())
}

pub(super) async fn idle(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    let active = vec![Step::write(1000), Step::Hear(1), Step::Fail(WORDS)];
    let passive = vec![Step::Read(1000), Step::warn(READY), Step::ReadEnd, Step::WriteOn];
    let played = t.play(side, active, passive).await?;
    let told = WORDS.told(1000);
    played.passive_read(1000, &Ending::Failed(told.clone()))?;
    played.wrote(&Ending::Open, &Ending::Failed(told.clone()))?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", told)])?;
    check::heard("the active side", &played.active.reports, &[Heard::new("warning", READY.told(0))])?;
    Ok(String::new())
}

pub(super) async fn full(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    let passive = vec![Step::Fill(READY), Step::ReadEnd];
    let played = t.play(side, vec![Step::Hear(1), Step::Fail(WORDS)], passive).await?;
    let written = played.passive.written.sum.bytes;
    // A writer that wrote more was not held up by its reader.
    check::within("what the writer wrote", written, FULL..=u64::from(Limits::STREAM_WINDOW) + 1)?;
    let told = Ending::Failed(WORDS.told(0));
    played.passive_read(0, &told)?;
    played.wrote(&Ending::Open, &told)?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", WORDS.told(0))])?;
    let offset = played.active.reports.first().map_or(0, |report| report.told.offset);
    check::within("how full the lane was", offset, FULL..=written)?;
    check::heard("the active side", &played.active.reports, &[Heard::new("warning", READY.told(offset))])?;
    check::equal("what the active side read", &played.active.read.sum.bytes, &0)?;
    Ok(format!("{written} bytes unread"))
}

pub(super) async fn half_closed(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    // The side that fails had finished. Its data was complete and stays so. The data of the other side has failed.
    let active = vec![Step::write(9000), Step::Finish, Step::Hear(1), Step::Fail(WORDS)];
    let played = t.play(side, active, vec![Step::ReadEnd, Step::warn(READY), Step::WriteOn]).await?;
    let told = WORDS.told(9000);
    played.passive_read(9000, &Ending::End)?;
    played.wrote(&Ending::End, &Ending::Failed(told.clone()))?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", told)])?;

    // The other side had finished.
    let active = vec![Step::ReadEnd, Step::write(5000), Step::Fail(WORDS), Step::WriteOn];
    let played = t.play(side, active, vec![Step::write(7000), Step::Finish, Step::ReadEnd, Step::WriteOn]).await?;
    let told = WORDS.told(5000);
    played.active_read(7000, &Ending::End)?;
    played.passive_read(5000, &Ending::Failed(told.clone()))?;
    played.wrote(&Ending::EndedHere, &Ending::Failed(told.clone()))?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", told)])?;
    Ok(String::new())
}

pub(super) async fn lengths(t: Arc<Tester>) -> Result<String, Fault> {
    const TEXT: u32 = Limits::ERROR_TEXT as u32;
    const DETAILS: u32 = Limits::ERROR_DETAILS as u32;
    const LARGEST: u64 = (1 << 62) - 1;
    for side in [Opener, Acceptor] {
        for (code, text, details) in [(0, 0, 0), (1, 1, 0), (2, 0, 1), (LARGEST, TEXT, DETAILS)] {
            let words = Words { code, text, details };
            let played = t.play(side, vec![Step::write(10), Step::Fail(words)], vec![Step::ReadEnd]).await?;
            let told = words.told(10);
            played.passive_read(10, &Ending::Failed(told.clone()))?;
            check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", told)])?;
        }
    }
    Ok(String::new())
}

pub(super) async fn reading_half(t: Arc<Tester>) -> Result<String, Fault> {
    for side in [Opener, Acceptor] {
        let active = vec![Step::write(6000), Step::FailReading(WORDS), Step::ReadEnd, Step::WriteOn];
        let played = t.play(side, active, vec![Step::ReadEnd, Step::WriteOn]).await?;
        failed(&played, 6000)?;
    }
    Ok(String::new())
}

pub(super) async fn at_the_same_moment(t: Arc<Tester>) -> Result<String, Fault> {
    const ROUNDS: usize = 150;
    repeat(ROUNDS, 16, |n| {
        let t = Arc::clone(&t);
        async move {
            let (ours, theirs) = (Words::new(1), Words::new(2));
            let written = u64::from(n % 3 == 1);
            // The failures come at once, after a byte from the opener, or after a byte from the acceptor, so that
            // they meet at different points.
            let (mut opener, mut acceptor) = match n % 3 {
                0 => (vec![], vec![]),
                1 => (vec![Step::write(1)], vec![Step::Read(1)]),
                _ => (vec![Step::Read(1)], vec![Step::write(1)]),
            };
            opener.extend([Step::Fail(ours), Step::ReadEnd, Step::WriteOn]);
            acceptor.extend([Step::Fail(theirs), Step::ReadEnd, Step::WriteOn]);
            let played = t.play(Opener, opener, acceptor).await?;
            let told = (ours.told(written), theirs.told(u64::from(n % 3 == 2)));
            Ok(check::both_failed((&played.active, &told.0), (&played.passive, &told.1))?)
        }
    })
    .await?;
    Ok(format!("{ROUNDS} times"))
}

pub(super) async fn abort(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    // An acceptor that does not wait can abort its answer together with the data.
    let active = vec![Step::write(100_000), Step::Hear(1), Step::Abort(WORDS), Step::ReadEnd, Step::WriteOn];
    let played = t.play(side, active, vec![Step::warn(READY), Step::Hear(1), Step::ReadEnd, Step::WriteOn]).await?;
    let told = WORDS.told(100_000);
    played.passive_read(0, &Ending::Aborted(told.clone()))?;
    played.active_read(0, &Ending::EndedHere)?;
    played.wrote(&Ending::EndedHere, &Ending::Failed(told.clone()))?;
    check::equal("what the active side said", &played.active.said, &Ending::Open)?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("abort", told)])?;
    Ok(String::new())
}

/// Checks a stream that the active side failed after `offset` bytes and then tried to use. The passive side read to
/// the end, then wrote.
fn failed(played: &Played, offset: u64) -> Result<(), Fault> {
    let told = WORDS.told(offset);
    played.passive_read(offset, &Ending::Failed(told.clone()))?;
    played.active_read(0, &Ending::EndedHere)?;
    played.wrote(&Ending::EndedHere, &Ending::Failed(told.clone()))?;
    check::equal("what the active side said", &played.active.said, &Ending::Open)?;
    check::heard("the passive side", &played.passive.reports, &[Heard::new("fatal", told)])?;
    Ok(check::heard("the active side", &played.active.reports, &[])?)
}
