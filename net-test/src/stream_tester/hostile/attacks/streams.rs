//! Attacks with thousands of lanes and their first bytes.

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

/// Lanes a second in a flood. Each costs both sides about 50 µs, so together they take a fifth of a processor's
/// time.
const FLOOD: u32 = 1_000;
/// If a stream cannot be opened within this time, the transport allows no more streams.
const BLOCKED: Duration = Duration::from_millis(300);

/// The number of data lanes that a peer may have open by default.
const ALL: usize = 256;
/// The number of streams that are opened before others are abandoned, then the number of abandoned streams a
/// second, and for each of the streams opened before.
const LIVE: usize = 5;
const ABANDONED: u32 = 100;
const ABANDONED_EACH: u64 = 20;
/// The scene's limit of data lanes. The transport allows three times as many streams, and a seventh more.
pub const FEW: u64 = 16;
/// Maximum time that a lane waits for its header, or for the program, in the scenes of [`rounds`].
pub const WAIT: Duration = Duration::from_secs(1);
/// The number of streams that a peer opens at a time, until it has all that it may have. It is more than an eighth
/// of 878, because the transport gives places back an eighth at a time.
const BUNCH: usize = 128;
/// Lanes a second beyond the limit.
const OVER: u32 = 100;

/// Sends headers that announce 2^62 - 1 bytes.
pub async fn oversize_header(raid: Arc<Raid>) -> Going<Infallible> {
    flood(raid, |_| [&wire::varint(wire::kind::DATA)[..], &wire::OVERSIZE].concat()).await
}

pub async fn unknown_kinds(raid: Arc<Raid>) -> Going<Infallible> {
    // 0 is not a kind of a bidirectional stream.
    flood(raid, |n| wire::varint(if n % 4 == 0 { 0 } else { 3 + n })).await
}

pub async fn unknown_protocol(raid: Arc<Raid>) -> Going<Infallible> {
    flood(raid, |n| wire::header(&format!("unknown-{n}/1"), b"")).await
}

/// Opens lanes without a header: 188 more than may wait for theirs. The number is within what the transport allows
/// once it has given back the lanes of the previous round except for an eighth.
pub async fn without_header(raid: Arc<Raid>) -> Going<Infallible> {
    rounds(raid, wire::varint(wire::kind::DATA), &[("busy_without_header", 188), ("lane_timed_out", 512)]).await
}

/// Opens streams for a program that accepts none: 144 more than may be open.
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
        // The header is cut at every possible byte, and is also sent whole.
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

/// Opens streams whose handlers never end, and ends them at once. Also opens error lanes for streams that were
/// opened before.
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

/// Keeps as many streams open as may be open, and opens more again and again.
pub async fn over_the_limit(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut lanes = Vec::new();
    // A few at a time, because streams whose header has not been read yet have a limit of their own.
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

/// Answers the streams that the endpoint opens with a text that announces 2^62 - 1 bytes.
pub async fn oversize_answer(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    raid.ready.cancel();
    let mut under_way = JoinSet::new();
    loop {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let raid = Arc::clone(&raid);
        under_way.spawn(async move {
            let _ = send.write_all(&[&wire::varint(wire::answer::REFUSED)[..], &wire::OVERSIZE].concat()).await;
            // The opener of the stream gives it up, and stops it with a code.
            if let Ok(Ok(Some(code))) = timeout(PATIENCE, send.stopped()).await {
                raid.tally.one(&tally::lane(code));
            }
            let _ = recv.stop(VarInt::from_u32(0));
        });
        while under_way.try_join_next().is_some() {}
    }
}
