//! Data in both directions, and the end of data.

use std::sync::Arc;

use super::Fault;
use crate::stream_tester::{
    role::{
        Side::{self, Acceptor, Opener},
        Step,
    },
    seen::Ending,
    tester::Tester,
};

/// The number of bytes of the largest case: over thirty stream windows.
pub(super) const BULK: u64 = 64 << 20;

pub(super) async fn one_way(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    const LEN: u64 = 3_000_000;
    let active = vec![Step::write(LEN), Step::Finish, Step::ReadEnd];
    let played = t.play(side, active, vec![Step::ReadEnd, Step::Finish]).await?;
    played.passive_read(LEN, &Ending::End)?;
    played.active_read(0, &Ending::End)?;
    played.wrote(&Ending::End, &Ending::End)?;
    played.quiet()?;
    Ok(format!("{LEN} bytes"))
}

pub(super) async fn both_ways(t: Arc<Tester>, len: u64) -> Result<String, Fault> {
    let played = t.play(Opener, vec![Step::Exchange { len }], vec![Step::Exchange { len }]).await?;
    played.passive_read(len, &Ending::End)?;
    played.active_read(len, &Ending::End)?;
    played.wrote(&Ending::End, &Ending::End)?;
    played.quiet()?;
    Ok(format!("{len} bytes each way"))
}

pub(super) async fn half_close(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    const THERE: u64 = 200_000;
    const BACK: u64 = 300_000;
    let active = vec![Step::write(THERE), Step::Finish, Step::ReadEnd, Step::WriteOn];
    let passive = vec![Step::ReadEnd, Step::write(BACK), Step::Finish];
    let played = t.play(side, active, passive).await?;
    played.passive_read(THERE, &Ending::End)?;
    played.active_read(BACK, &Ending::End)?;
    // A half that was finished cannot be written to any more.
    played.wrote(&Ending::EndedHere, &Ending::End)?;
    played.quiet()?;
    Ok(format!("{THERE} bytes, the end, then {BACK} back"))
}

pub(super) async fn delivered(t: Arc<Tester>) -> Result<String, Fault> {
    for side in [Opener, Acceptor] {
        let active = vec![Step::write(3_000_000), Step::Finish, Step::Delivered, Step::ReadEnd];
        let played = t.play(side, active, vec![Step::ReadEnd, Step::Finish]).await?;
        played.passive_read(3_000_000, &Ending::End)?;
        played.wrote(&Ending::End, &Ending::End)?;
        // Delivery of data that was not finished cannot be confirmed.
        let active = vec![Step::write(1000), Step::Delivered, Step::Finish, Step::ReadEnd];
        let played = t.play(side, active, vec![Step::ReadEnd, Step::Finish]).await?;
        played.passive_read(1000, &Ending::End)?;
        played.wrote(&Ending::EndedHere, &Ending::End)?;
    }
    Ok(String::new())
}

pub(super) async fn cancelled_calls(t: Arc<Tester>) -> Result<String, Fault> {
    // More than the stream window, so that writes have to wait.
    const LEN: u64 = 5_000_000;
    for side in [Opener, Acceptor] {
        let active = vec![Step::WriteDropping { len: LEN }, Step::Finish, Step::ReadEndDropping];
        let passive = vec![Step::ReadEndDropping, Step::WriteDropping { len: LEN }, Step::Finish];
        let played = t.play(side, active, passive).await?;
        played.passive_read(LEN, &Ending::End)?;
        played.active_read(LEN, &Ending::End)?;
        played.quiet()?;
    }
    Ok(format!("{LEN} bytes each way, twice"))
}
