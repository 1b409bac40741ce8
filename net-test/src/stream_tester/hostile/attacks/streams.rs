//! Lanes by the thousand, and their first bytes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use iroh::endpoint::VarInt;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    stream_tester::hostile::{
        raid::{Going, PATIENCE, Pace, Raid, Trouble, open, served, soon, told},
        tally,
        victim::{ECHO, SITTING, WAITING},
    },
    wire,
};

/// Lanes a second in a flood: each costs both sides some 50 µs, so together they take a fifth of a processor's time.
const FLOOD: u32 = 1_000;
/// The transport allows no more lanes if a lane does not open within this time.
const BLOCKED: Duration = Duration::from_millis(300);

/// Data lanes that a peer may have open by default.
const ALL: usize = 256;
/// Streams that are there before others are abandoned, and abandoned ones a second and for each of them.
const LIVE: usize = 5;
const ABANDONED: u32 = 100;
const ABANDONED_EACH: u64 = 20;
/// The scene's limit of data lanes: three times as many, and a seventh more, are what the transport allows.
pub const FEW: u64 = 16;
/// The time for which a lane waits for its header, or its program, in the scenes of [`rounds`].
pub const WAIT: Duration = Duration::from_secs(1);
/// Streams that a peer opens and ends at once when it takes all there are. More than an eighth of 878: the transport
/// gives places back by the eighth.
const BUNCH: usize = 128;
/// Lanes a second beyond those that may be open.
const OVER: u32 = 100;

/// Headers that announce 2^62 - 1 bytes.
pub async fn oversize_header(raid: Arc<Raid>) -> Going<Infallible> {
    flood(raid, |_| [&wire::varint(wire::kind::DATA)[..], &wire::OVERSIZE].concat()).await
}

pub async fn unknown_kinds(raid: Arc<Raid>) -> Going<Infallible> {
    // 0 is no kind of a bidirectional stream.
    flood(raid, |n| wire::varint(if n % 4 == 0 { 0 } else { 3 + n })).await
}

pub async fn unknown_protocol(raid: Arc<Raid>) -> Going<Infallible> {
    flood(raid, |n| wire::header(&format!("unknown-{n}/1"), b"")).await
}

/// Lanes without a header: 188 more than may wait for theirs, and fewer than the transport allows once it has given back
/// those of the round before but for an eighth.
pub async fn without_header(raid: Arc<Raid>) -> Going<Infallible> {
    rounds(raid, wire::varint(wire::kind::DATA), &[("busy_without_header", 188), ("lane_timed_out", 512)]).await
}

/// Streams for a program that takes none: 144 more than may be open.
pub async fn never_accepted(raid: Arc<Raid>) -> Going<Infallible> {
    rounds(raid, wire::header(WAITING, b""), &[("busy_over_lanes", 144), ("busy_never_accepted", 256)]).await
}

async fn rounds(raid: Arc<Raid>, bytes: Vec<u8>, expected: &'static [(&'static str, u64)]) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.rounds(&connection, &bytes, WAIT / 2, expected).await
}

async fn flood(raid: Arc<Raid>, bytes: fn(u64) -> Vec<u8>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    loop {
        raid.flood(&connection, FLOOD, bytes).await?;
    }
}

pub async fn reset_storm(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    let (mut pace, header) = (Pace::per_second(FLOOD), wire::header(ECHO, b""));
    let mut n = 0;
    loop {
        pace.turn().await;
        let (mut send, mut recv) = open(&connection).await?;
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
}

/// Streams whose handlers go on for ever, opened and ended at once; and error lanes for streams that were there before.
pub async fn abandoned(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut live = Vec::new();
    for _ in 0..LIVE {
        live.push(served(open(&connection).await?, b"a").await?);
    }
    raid.ready.cancel();
    let (mut pace, mut waiting, header) = (Pace::per_second(ABANDONED), live.iter(), wire::header(SITTING, b""));
    let mut errors = Vec::new();
    for n in 1u64.. {
        pace.turn().await;
        match timeout(BLOCKED, connection.open_bi()).await {
            Ok(opened) => {
                let (mut send, mut recv) = opened?;
                send.write_all(&header).await?;
                raid.tally.one(&soon(told(&mut recv), "a header was not answered").await?);
                let _ = send.reset(VarInt::from_u32(wire::lane::CANCELLED as u32));
                let _ = recv.stop(VarInt::from_u32(wire::lane::CANCELLED as u32));
            }
            Err(_) => raid.tally.one("transport_blocked"),
        }
        if n % ABANDONED_EACH == 0
            && let Some((data, _)) = waiting.next()
        {
            let opening = soon(connection.open_bi(), "no error lane was free for a stream that was there");
            let (mut send, recv) = opening.await??;
            let record = wire::Record::new(wire::severity::WARNING, 7, 1, "a word");
            send.write_all(&[wire::error_lane(data.id().into()), record.encode()].concat()).await?;
            raid.tally.one("error_lanes");
            errors.push((send, recv));
        }
    }
    Err(Trouble::Wrong("there are no more numbers".to_owned()))
}

/// Streams that are served and kept open, as many as may be, and more of them again and again.
pub async fn over_the_limit(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut lanes = Vec::new();
    // A few at a time: streams whose header has not been read yet have a limit of their own.
    while lanes.len() < ALL {
        let mut opening = JoinSet::new();
        for _ in 0..BUNCH.min(ALL - lanes.len()) {
            opening.spawn(served(open(&connection).await?, b"a"));
        }
        while let Some(opened) = opening.join_next().await {
            lanes.push(opened??);
        }
    }
    raid.tally.add("answer_accepted", lanes.len() as u64);
    raid.ready.cancel();
    let mut pace = Pace::per_second(OVER);
    loop {
        pace.turn().await;
        let (mut send, mut recv) = open(&connection).await?;
        send.write_all(&wire::header(ECHO, b"")).await?;
        raid.tally.one(&soon(told(&mut recv), "a header was not answered").await?);
    }
}

/// Answers, to streams that the endpoint opens, whose text announces 2^62 - 1 bytes.
pub async fn oversize_answer(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    let mut under_way = JoinSet::new();
    loop {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let raid = Arc::clone(&raid);
        under_way.spawn(async move {
            let _ = send.write_all(&[&wire::varint(wire::answer::REFUSED)[..], &wire::OVERSIZE].concat()).await;
            // Its opener gives it up, and says so.
            if let Ok(Ok(Some(code))) = timeout(PATIENCE, send.stopped()).await {
                raid.tally.one(&tally::lane(code));
            }
            let _ = recv.stop(VarInt::from_u32(0));
        });
        while under_way.try_join_next().is_some() {}
    }
}
