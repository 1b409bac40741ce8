//! Streams that end without an error record, and streams that do not end.

use std::sync::Arc;

use super::Fault;
use crate::stream_tester::{
    check::{self, CANCELLED},
    player::poll_once,
    role::{
        Side::{self, Acceptor, Opener},
        Step, Words,
    },
    seen::Ending,
    tester::{Along, Tester},
};

/// The warning with which a side says that it has reached the state that the case needs.
const READY: Words = Words { code: 1, text: 0, details: 0 };

pub(super) async fn reset(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    // The stream is dropped at once. An acceptor's reset could overtake its answer, and then there would be no
    // stream.
    if side == Opener {
        let played = t.play(side, vec![Step::write(1000)], vec![Step::ReadEnd, Step::WriteOn]).await?;
        played.passive_saw_reset(1000)?;
        played.wrote(&Ending::Open, &Ending::Stopped(CANCELLED))?;
        played.quiet()?;
    }
    // The stream is dropped when a part has been read.
    let active = vec![Step::write(500_000), Step::Hear(1)];
    let played = t.play(side, active, vec![Step::Read(1000), Step::warn(READY), Step::ReadEnd, Step::WriteOn]).await?;
    played.passive_saw_reset(500_000)?;
    check::within("what was read before", played.passive.read.sum.bytes, 1000..=500_000)?;
    played.wrote(&Ending::Open, &Ending::Stopped(CANCELLED))?;
    Ok(String::new())
}

pub(super) async fn cut_write(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    const READ: u64 = 100_000;
    let active = vec![Step::CutWrite, Step::Hear(1)];
    let passive = vec![Step::Read(READ), Step::warn(READY), Step::ReadEnd];
    let played = t.play(side, active, passive).await?;
    // Less than the 8 MB that were to be written.
    played.passive_saw_reset(7_999_999)?;
    let read = played.passive.read.sum.bytes;
    check::within("what was read before", read, READ..=7_999_999)?;
    Ok(format!("{read} of 8000000 bytes, then an error"))
}

pub(super) async fn dropped_writing_half(t: Arc<Tester>) -> Result<String, Fault> {
    for side in [Opener, Acceptor] {
        // The reset of an acceptor that does not wait can overtake its answer.
        let active = vec![Step::write(100), Step::Hear(1), Step::DropSend, Step::ReadEnd];
        let passive = vec![Step::warn(READY), Step::ReadEnd, Step::write(50_000), Step::Finish];
        let played = t.play(side, active, passive).await?;
        played.passive_saw_reset(100)?;
        played.active_read(50_000, &Ending::End)?;
        played.wrote(&Ending::Open, &Ending::End)?;
    }
    Ok(String::new())
}

pub(super) async fn dropped_reading_half(t: Arc<Tester>) -> Result<String, Fault> {
    for side in [Opener, Acceptor] {
        let active = vec![Step::DropRecv, Step::write(50_000), Step::Finish];
        let played = t.play(side, active, vec![Step::WriteOn, Step::ReadEnd]).await?;
        played.passive_read(50_000, &Ending::End)?;
        played.wrote(&Ending::End, &Ending::Stopped(CANCELLED))?;
        played.quiet()?;
    }
    Ok(String::new())
}

pub(super) async fn silent(t: Arc<Tester>) -> Result<String, Fault> {
    const REQUESTS: usize = 20;
    let along = Along { unreported: true, ..Along::default() };
    let mut stream = t.open(vec![Step::Hear(1), Step::Raw(b"yes".to_vec()), Step::Finish], along).await?.stream;
    for _ in 0..REQUESTS {
        let read = poll_once(stream.read_chunk(10)).await;
        check::holds("a read of a silent stream waits", read.is_none(), || format!("{read:?}"))?;
        t.still_there().await?;
    }
    stream.warn(READY.to_error()).await?;
    check::equal("what it says when asked to", &stream.read_to_end(10).await?.as_ref(), &b"yes".as_slice())?;
    Ok(format!("{REQUESTS} requests meanwhile"))
}
