//! Lanes by the thousand, and their first bytes.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{RecvStream, SendStream, VarInt};
use tokio::{task::JoinSet, time::timeout};

use super::attack;
use crate::stream_tester::hostile::{
    raid::{Going, PATIENCE, Pace, Raid, Trouble, read_exactly, soon},
    tally,
    victim::{ECHO, WAITING},
    wire,
};

/// Lanes a second in a flood: each costs both sides some 50 µs, so together they take a fifth of a processor's time.
const FLOOD: u32 = 1_000;
/// A lane that does not open for this long finds that the transport allows no more.
const BLOCKED: Duration = Duration::from_millis(300);

/// All the lanes that the transport allows (WIRE.md, section 2, with the default of 256 data lanes and the eighth that noq
/// holds back).
const ALL: usize = 878;
/// For how long a lane waits for its header, or its program, in the scenes of [`rounds`].
pub(in super::super) const WAIT: Duration = Duration::from_secs(1);
/// Streams that are opened at once, and end at once, by a peer that wants all there are. More than an eighth of 878: the
/// transport gives places back by the eighth.
const BUNCH: usize = 128;

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Headers that announce 2^62 - 1 bytes.
pub(in super::super) fn oversize_header(raid: Arc<Raid>) -> Running {
    flood(raid, |_| [&[wire::KIND_DATA], &wire::OVERSIZE[..]].concat())
}

/// Lanes of kinds that nobody knows.
pub(in super::super) fn unknown_kinds(raid: Arc<Raid>) -> Running {
    // 0 is no kind of a bidirectional stream.
    flood(raid, |n| wire::varint(if n % 4 == 0 { 0 } else { 3 + n }))
}

/// Headers for a protocol that nobody serves.
pub(in super::super) fn unknown_protocol(raid: Arc<Raid>) -> Running {
    flood(raid, |n| wire::header(&format!("unknown-{n}/1")))
}

/// Lanes without a header: 188 more than may wait for theirs, and fewer than the transport allows once it has given back
/// those of the round before but for an eighth.
pub(in super::super) fn without_header(raid: Arc<Raid>) -> Running {
    rounds(raid, vec![wire::KIND_DATA], &[("busy_without_header", 188), ("lane_timed_out", 512)])
}

/// Streams for a program that takes none: 144 more than may wait for it.
pub(in super::super) fn never_accepted(raid: Arc<Raid>) -> Running {
    rounds(raid, wire::header(WAITING), &[("busy_waiting", 144), ("busy_never_accepted", 256)])
}

fn rounds(raid: Arc<Raid>, bytes: Vec<u8>, expected: &'static [(&'static str, u64)]) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.rounds(&connection, &bytes, WAIT / 2, expected).await
    })
}

fn flood(raid: Arc<Raid>, bytes: fn(u64) -> Vec<u8>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.ready.cancel();
        loop {
            raid.flood(&connection, FLOOD, bytes).await?;
        }
    })
}

/// Lanes that are opened and reset at once.
pub(in super::super) fn reset_storm(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.ready.cancel();
        let (mut pace, header) = (Pace::per_second(FLOOD), wire::header(ECHO));
        let mut n = 0;
        loop {
            pace.turn().await;
            let (mut send, mut recv) = soon(timeout(PATIENCE, connection.open_bi()).await, "no lane was free")??;
            // At every point of the header, and after it.
            let _ = send.write_all(&header[..n % (header.len() + 1)]).await;
            let _ = send.reset(VarInt::from_u32(1));
            let _ = recv.stop(VarInt::from_u32(1));
            raid.tally.one("resets");
            n += 1;
            if n % 100 == 0 {
                raid.is_served(&connection).await?;
            }
        }
    })
}

/// Streams that are served and kept open, until the transport allows no more.
pub(in super::super) fn over_the_limit(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        let mut lanes = Vec::new();
        // A few at a time: streams whose header has not been read yet have a limit of their own.
        loop {
            let mut opening = JoinSet::new();
            while opening.len() < BUNCH
                && let Ok(lane) = timeout(BLOCKED, connection.open_bi()).await
            {
                opening.spawn(held(lane?));
            }
            let full = opening.len() < BUNCH;
            while let Some(opened) = opening.join_next().await {
                lanes.push(opened.map_err(|broke| Trouble::Wrong(broke.to_string()))??);
            }
            if full {
                break;
            }
        }
        if lanes.len() != ALL {
            return Err(Trouble::Wrong(format!("{} lanes could be open in place of {ALL}", lanes.len())));
        }
        raid.tally.add("answer_accepted", lanes.len() as u64);
        raid.tally.one("transport_blocked");
        raid.ready.cancel();
        // Some go, and others take their places.
        loop {
            let mut ending = JoinSet::new();
            for (mut send, mut recv) in lanes.drain(..lanes.len().min(BUNCH)) {
                let _ = send.finish();
                ending.spawn(async move { timeout(PATIENCE, recv.read_to_end(1)).await });
            }
            while let Some(ended) = ending.join_next().await {
                let ended = ended.map_err(|broke| Trouble::Wrong(broke.to_string()))?;
                soon(ended, "a stream did not end")?.map_err(|error| Trouble::Wrong(error.to_string()))?;
            }
            for n in 0..BUNCH {
                // The last of those that ended may not have been announced yet.
                let next = match timeout(if n == 0 { PATIENCE } else { BLOCKED }, connection.open_bi()).await {
                    Err(_) if n > 0 => break,
                    next => soon(next, "a lane that ended was not replaced")??,
                };
                lanes.push(held(next).await?);
                raid.tally.one("served");
            }
            if lanes.len() > ALL {
                return Err(Trouble::Wrong(format!("{} lanes could be open in place of {ALL}", lanes.len())));
            }
        }
    })
}

/// A stream that has been served once, and stays.
async fn held((mut send, mut recv): (SendStream, RecvStream)) -> Going<(SendStream, RecvStream)> {
    send.write_all(&[wire::header(ECHO), vec![0x61]].concat()).await?;
    soon(timeout(PATIENCE, read_exactly(&mut recv, &[0, 0x61])).await, "a stream was not served")??;
    Ok((send, recv))
}

/// Answers, to streams that the endpoint opens, whose text announces 2^62 - 1 bytes.
pub(in super::super) fn oversize_answer(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.ready.cancel();
        let mut under_way = JoinSet::new();
        loop {
            let (mut send, mut recv) = connection.accept_bi().await?;
            let raid = Arc::clone(&raid);
            under_way.spawn(async move {
                let _ = send.write_all(&[&[2], &wire::OVERSIZE[..]].concat()).await;
                // Its opener gives it up, and says so.
                if let Ok(Ok(Some(code))) = timeout(PATIENCE, send.stopped()).await {
                    raid.tally.one(tally::lane(code.into_inner()));
                }
                let _ = recv.stop(VarInt::from_u32(0));
            });
            while under_way.try_join_next().is_some() {}
        }
    })
}
