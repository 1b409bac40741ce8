//! Error lanes with false or malformed content.

use std::{convert::Infallible, sync::Arc, time::Duration};

use iroh::endpoint::{VarInt, WriteError};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    stream_tester::hostile::{
        raid::{Going, PATIENCE, Pace, Raid, STALLED, Trouble, open, read_exactly, served, soon},
        tally,
        victim::UNREAD,
    },
    wire::{self, Record, kind, severity},
};

/// Error lanes a second; see `streams::FLOOD`.
const FLOOD: u32 = 1_000;
/// Error lanes a second that carry 16 kB of records: 5 MB a second.
const HEAVY: u32 = 300;
/// The number of data lanes with an error lane each. They take all 878 streams that the transport allows, except
/// for a few on which the peer is served.
const PAIRS: usize = 430;
/// Warnings a second on all of them: 24 MB.
const WARNINGS: u32 = 400;
/// A lane that takes no data for this long is skipped.
const PASSED_OVER: Duration = Duration::from_millis(20);
/// The details of a record in a flood of warnings, in bytes. The limit is 61,440.
const DETAILS: usize = 60_000;

/// Opens error lanes that name a wrong lane: the data lane of another error lane, an error lane, a unidirectional
/// stream, a lane that the endpoint would open, a lane that has ended, and the largest number there is.
pub async fn forged_pairings(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let (mut send, mut recv) = served(open(&connection).await?, b"").await?;
    let data_lane: u64 = send.id().into();
    // A stream may have one error lane from each side.
    let (mut first, _) = connection.open_bi().await?;
    first.write_all(&[wire::error_lane(data_lane), warning(0)].concat()).await?;
    raid.is_served(&connection).await?;
    raid.ready.cancel();
    let ended = data_lane + 8;
    let names = [data_lane, u64::from(first.id()), 2, 1, ended, wire::MAX, 3, wire::MAX - 3];
    let flooding = raid.flood(&connection, FLOOD, move |n| {
        // The names are used in turn. Each lane has a fatal record, which would end the data lane that it were
        // paired with.
        let name = names[usize::try_from(n).unwrap_or_default() % names.len()];
        [wire::error_lane(name), Record::new(severity::FATAL, 7, 0, "forged").encode()].concat()
    });
    let using = async {
        let mut pace = Pace::per_second(100);
        loop {
            pace.turn().await;
            send.write_all(b"a").await?;
            soon(read_exactly(&mut recv, b"a"), "the stream that was named broke").await??;
            raid.tally.one("served_named");
        }
    };
    tokio::select! {
        flooded = flooding => flooded.and(Err(Trouble::Wrong("the flood ended".to_owned()))),
        used = using => used,
    }
}

/// Opens error lanes for data lanes that never existed, with records.
pub async fn orphans(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    let records = warning(16_000);
    loop {
        let bytes = |n: u64| [wire::error_lane(4_000_000 + 4 * n), records.clone()].concat();
        raid.flood(&connection, HEAVY, bytes).await?;
    }
}

/// Sends records that announce 2^62 - 1 bytes.
pub async fn oversize_record(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    let (mut pace, mut under_way, mut n) = (Pace::per_second(HEAVY), JoinSet::new(), 0u64);
    loop {
        pace.turn().await;
        n += 1;
        if n % 100 == 0 {
            raid.is_served(&connection).await?;
        }
        let (data, mut recv) = served(open(&connection).await?, b"").await?;
        let (mut send, _) = open(&connection).await?;
        send.write_all(&[wire::error_lane(data.id().into()), wire::OVERSIZE.to_vec()].concat()).await?;
        let raid = Arc::clone(&raid);
        under_way.spawn(async move {
            if let Ok(Ok(Some(code))) = timeout(PATIENCE, send.stopped()).await {
                raid.tally.one(&tally::lane(code));
            }
            // The data lane ends with its error lane, because no record can follow.
            if let Ok(Err(_)) = timeout(PATIENCE, recv.read_chunk(1)).await {
                raid.tally.one("data_lane_ended");
            }
            drop(data);
        });
        while under_way.try_join_next().is_some() {}
    }
}

/// Sends as many warnings as possible, which the program does not read.
pub async fn warnings(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let (mut data, mut recv) = served(open(&connection).await?, b"").await?;
    let (mut errors, _) = connection.open_bi().await?;
    errors.write_all(&wire::error_lane(data.id().into())).await?;
    raid.ready.cancel();
    // One large warning, and twenty small ones.
    let bunch = [warning(DETAILS), warning(16).repeat(20)].concat();
    let mut pace = Pace::per_second(200);
    loop {
        pace.turn().await;
        soon(errors.write_all(&bunch), "the error lane stands still").await??;
        raid.tally.add("bytes", bunch.len() as u64);
        // The warnings end nothing.
        data.write_all(b"a").await?;
        soon(read_exactly(&mut recv, b"a"), "the data lane stands still").await??;
        raid.tally.one("served");
    }
}

/// Sends large warnings on every error lane that can be opened. Half of the data lanes never get a header.
pub async fn warnings_everywhere(raid: Arc<Raid>) -> Going<Infallible> {
    let record = warning(DETAILS);
    loop {
        let (connection, _control) = raid.greeted().await?;
        let (mut data, mut recv) = served(open(&connection).await?, b"").await?;
        let mut pairs = Vec::new();
        for n in 0..PAIRS {
            let opening = async { Ok::<_, Trouble>((connection.open_bi().await?, connection.open_bi().await?)) };
            // The transport allows no more streams.
            let Ok(pair) = timeout(STALLED, opening).await else { break };
            let ((mut lane, lane_back), (mut errors, errors_back)) = pair?;
            let header = if n % 2 == 0 { wire::varint(kind::DATA) } else { wire::header(UNREAD, b"") };
            lane.write_all(&header).await?;
            errors.write_all(&wire::error_lane(lane.id().into())).await?;
            raid.tally.one("error_lanes");
            pairs.push((lane, lane_back, errors, errors_back));
        }
        raid.ready.cancel();
        let mut pace = Pace::per_second(WARNINGS);
        for round in 0u64.. {
            let mut left = Vec::new();
            for mut pair in pairs {
                pace.turn().await;
                match timeout(PASSED_OVER, pair.2.write_all(&record)).await {
                    Ok(Ok(())) => raid.tally.one("warned"),
                    Ok(Err(WriteError::Stopped(code))) => {
                        raid.tally.one(&tally::lane(code));
                        continue;
                    }
                    Ok(Err(error)) => return Err(error.into()),
                    // A part of the record may have been sent. The following bytes are then noise, which serves the
                    // same purpose.
                    Err(_) => raid.tally.one("passed_over"),
                }
                left.push(pair);
            }
            pairs = left;
            // The errors do not affect other lanes.
            data.write_all(b"a").await?;
            soon(read_exactly(&mut recv, b"a"), "the data lane stands still").await??;
            raid.tally.one("served");
            if pairs.is_empty() {
                break;
            }
            raid.tally.add("rounds", u64::from(round == 0));
        }
        connection.close(VarInt::from_u32(0), b"");
    }
}

/// Returns a warning with `details` bytes of details.
fn warning(details: usize) -> Vec<u8> {
    Record { details: vec![0x55; details], ..Record::new(severity::WARNING, 7, 0, "a flood") }.encode()
}
