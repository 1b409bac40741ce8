//! Control streams that do not keep to the protocol.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::timeout;
use twolane::{
    SecretKey,
    delegation::{Delegation, IssueError},
};

use crate::{
    stream_tester::hostile::{
        raid::{Going, LIMITS, Pace, Raid, Trouble, open, read_exactly, served, soon},
        tally,
        victim::ECHO,
    },
    wire::{self, Out, control_frame, frame, hello, hello_then, numbers, parameter},
};

/// Connections a second. With its handshake and its end, each connection costs both sides about 1 ms. At 100 a
/// second they took so much of two processors that the honest share was 0.54 on a quiet machine.
const CONNECTIONS: u32 = 50;
/// The number of bytes of frames in one write.
const BATCH: usize = 4_096;
/// Batches a second. Together they have 4 MB, in up to 500 frames each.
const BATCHES: u32 = 1_000;
/// Batches a second of frames that have to be answered. Each frame costs an entry and 8 bytes.
const WATERMARKS: u32 = 500;
const HOUR: Duration = Duration::from_secs(3_600);

/// A control stream that costs its sender the connection.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    /// Whether the stream is finished after the bytes. Otherwise it stays open until the connection is closed,
    /// because its end would be a reason for a close by itself.
    finished: bool,
    closed: &'static str,
}

impl Case {
    fn new(what: &'static str, bytes: impl AsRef<[Vec<u8>]>) -> Self {
        Self { what, bytes: bytes.as_ref().concat(), finished: false, closed: "closed_protocol_violation" }
    }

    fn finished(self) -> Self {
        Self { finished: true, ..self }
    }

    fn closed(self, closed: &'static str) -> Self {
        Self { closed, ..self }
    }
}

fn control() -> Vec<u8> {
    wire::varint(wire::kind::CONTROL)
}

fn greeting() -> Vec<u8> {
    wire::greeting(rand::random(), &LIMITS)
}

/// Sends control frames that announce 2^62 - 1 bytes.
pub async fn oversize_frame(raid: Arc<Raid>) -> Going<Infallible> {
    let oversize = |kind| [wire::varint(kind), wire::OVERSIZE.to_vec()].concat();
    let in_place_of_hello = (0..7).map(|kind| Case::new("in place of HELLO", [control(), oversize(kind)]));
    let after_it = (0..7).map(|kind| Case::new("after HELLO", [greeting(), oversize(kind)]));
    cases(raid, SecretKey::generate(), in_place_of_hello.chain(after_it).collect()).await
}

/// Sends noise, frames in the wrong place, frames that are cut, too short or too long, and a critical parameter.
pub async fn garbage(raid: Arc<Raid>) -> Going<Infallible> {
    let noise: [u8; 32] = rand::random();
    let before = vec![
        Case::new("an unknown frame in place of HELLO", [control(), control_frame(63, &noise)]),
        Case::new("WATERMARK in place of HELLO", [control(), numbers(frame::WATERMARK, &[0, 0])]),
        Case::new("HELLO without its nonce", [control(), control_frame(frame::HELLO, &[1])]),
        Case::new(
            "HELLO with half a parameter",
            [control(), control_frame(frame::HELLO, &[&[7; 16][..], &[2]].concat())],
        ),
        Case::new("HELLO with a critical parameter", [control(), hello_then([7; 16], &LIMITS, &[5, 0])])
            .closed("closed_unsupported"),
        Case::new("HELLO, cut by the end of the stream", [greeting()[..9].to_vec()]).finished(),
        Case::new("GOAWAY without a reason", [greeting(), control_frame(frame::GOAWAY, &[])]),
        Case::new("CONSUMED with a byte too many", [greeting(), control_frame(frame::CONSUMED, &[0, 0, 0])]),
        Case::new("DRAINED with a byte too few", [greeting(), control_frame(frame::DRAINED, &[0])]),
        Case::new("a frame, cut by the end of the stream", [greeting(), vec![3, 60, 0]]).finished(),
        Case::new("the end of the stream", [greeting()]).finished(),
    ];
    cases(raid, SecretKey::generate(), before).await
}

/// Sends HELLO twice: a different one, or the same one again.
pub async fn second_hello(raid: Arc<Raid>) -> Going<Infallible> {
    let same = hello([7; 16], &LIMITS);
    let twice = vec![
        Case::new("another HELLO", [greeting(), hello(rand::random(), &LIMITS)]),
        Case::new("the same HELLO", [control(), same.clone(), same]),
    ];
    cases(raid, SecretKey::generate(), twice).await
}

/// Sends certificates that do not hold: noise, or a certificate that is forged, expired, for another node, or for
/// another audience.
pub async fn forged_delegation(raid: Arc<Raid>) -> Going<Infallible> {
    let (key, owner) = (SecretKey::generate(), SecretKey::generate());
    let certificates = certificates(&key, &owner).map_err(|error| Trouble::Local(error.to_string()))?;
    let shown = certificates.into_iter().map(|(what, certificate)| {
        let parameter = Out::default().varint(parameter::DELEGATION).block(&certificate).0;
        let hello = hello_then(rand::random(), &LIMITS, &parameter);
        Case::new(what, [control(), hello]).closed("closed_bad_delegation")
    });
    cases(raid, key, shown.collect()).await
}

fn certificates(key: &SecretKey, owner: &SecretKey) -> Result<Vec<(&'static str, Vec<u8>)>, IssueError> {
    let now = SystemTime::now();
    let other = SecretKey::generate().public_key();
    let for_node = |node| Ok::<_, IssueError>(Delegation::build(node).scopes("*".parse()));
    let expired = for_node(key.public_key())?.not_before(now - 2 * HOUR).expires(now - HOUR).sign(owner)?;
    let elsewhere = for_node(other)?.expires(now + HOUR).sign(owner)?;
    let audience = for_node(key.public_key())?.audience(other).expires(now + HOUR).sign(owner)?;
    let mut forged = for_node(key.public_key())?.expires(now + HOUR).sign(owner)?.to_bytes();
    // The byte is in the middle of the signature, which is the last 64 bytes.
    if let Some(at) = forged.len().checked_sub(32) {
        forged[at] ^= 1;
    }
    Ok(vec![
        ("noise in place of a certificate", vec![0x55; 200]),
        ("a forged certificate", forged),
        ("an expired certificate", expired.to_bytes()),
        ("a certificate for another node", elsewhere.to_bytes()),
        ("a certificate for another audience", audience.to_bytes()),
    ])
}

/// Makes a connection for each of these control streams, in turn.
async fn cases(raid: Arc<Raid>, key: SecretKey, cases: Vec<Case>) -> Going<Infallible> {
    let peer = raid.peer_with(key, None).await?;
    raid.ready.cancel();
    let mut pace = Pace::per_second(CONNECTIONS);
    loop {
        for case in &cases {
            pace.turn().await;
            say(&raid, &peer, case).await?;
        }
        raid.tally.one("rounds");
    }
}

/// Writes a control stream on a connection of its own, and waits for the end of the connection.
async fn say(raid: &Raid, peer: &iroh::Endpoint, case: &Case) -> Going<()> {
    let Case { what, bytes, finished, closed } = case;
    let said = async {
        let connection = raid.connect(peer).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(bytes).await?;
        if *finished {
            let _ = control.finish();
        }
        soon(connection.closed(), "the connection was not closed").await
    };
    // The connection may be closed before the last byte is written.
    let end = said.await.or_else(Trouble::into_end)?;
    let found = tally::closed(&end);
    raid.tally.one(&found);
    if found == *closed { Ok(()) } else { Err(Trouble::Wrong(format!("{what}: {found} in place of {closed}"))) }
}

pub async fn unknown_frames(raid: Arc<Raid>) -> Going<Infallible> {
    batches(raid, BATCHES, |n| match n % 3 {
        // Frames of the maximum size, and as many frames of the smallest size as possible.
        0 => vec![control_frame(77, &[0x55; BATCH])],
        1 => vec![control_frame(wire::MAX, &[]); BATCH / 9],
        _ => (0..BATCH as u64 / 9).map(|k| control_frame(1_000 + k, &[0x55; 6])).collect(),
    })
    .await
}

/// Asks about lanes that do not exist. The peer does not read the answers.
pub async fn watermarks(raid: Arc<Raid>) -> Going<Infallible> {
    batches(raid, WATERMARKS, |n| {
        let lanes = (0..BATCH as u64 / 16).map(|k| 4 * (n * BATCH as u64 + k));
        lanes.map(|lane| numbers(frame::WATERMARK, &[lane, wire::MAX - n])).collect()
    })
    .await
}

/// Sends batches of frames on one control stream. The endpoint's control stream is not read, and has room for 64
/// bytes.
async fn batches(raid: Arc<Raid>, per_second: u32, frames: fn(u64) -> Vec<Vec<u8>>) -> Going<Infallible> {
    let peer = raid.peer_with(SecretKey::generate(), Some(64)).await?;
    let (connection, mut control) = raid.greet(&peer).await?;
    raid.ready.cancel();
    let (mut pace, mut n) = (Pace::per_second(per_second), 0);
    loop {
        pace.turn().await;
        let frames = frames(n);
        soon(control.write_all(&frames.concat()), "the control stream stands still").await??;
        raid.tally.add("frames", frames.len() as u64);
        raid.tally.add("bytes", frames.iter().map(|frame| frame.len() as u64).sum());
        if n % 50 == 0 {
            raid.is_served(&connection).await?;
        }
        n += 1;
    }
}

/// Reports that more was consumed than was ever written. The peer reads nothing.
pub async fn consumed_lies(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, mut control) = raid.greeted().await?;
    let mut lanes = Vec::new();
    for _ in 0..8 {
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(&wire::header(ECHO, b"")).await?;
        lanes.push((send, recv));
    }
    raid.ready.cancel();
    let (mut pace, piece, mut n) = (Pace::per_second(100), vec![0x61; 4 * 1024], 0);
    loop {
        pace.turn().await;
        let mut lies = Vec::new();
        for (send, _) in &mut lanes {
            // Writes as much as there is room for. The echoes stop because the peer does not read them.
            if let Ok(written) = timeout(Duration::from_millis(1), send.write(&piece)).await {
                written?;
            }
            let lane = u64::from(send.id());
            lies.extend(numbers(frame::CONSUMED, &[lane, wire::MAX]));
            lies.extend(numbers(frame::CONSUMED, &[lane + 4 * n, wire::MAX - n]));
        }
        soon(control.write_all(&lies), "the control stream stands still").await??;
        raid.tally.add("lies", 2 * lanes.len() as u64);
        if n % 20 == 0 {
            raid.is_served(&connection).await?;
        }
        n += 1;
    }
}

/// Sends GOAWAY repeatedly, and DRAINED with false counts, while a stream is open. The stream has to be served to
/// its end. Only the true count closes the connection.
pub async fn goaway_lies(raid: Arc<Raid>) -> Going<Infallible> {
    let peer = raid.peer().await?;
    raid.ready.cancel();
    let mut pace = Pace::per_second(CONNECTIONS);
    loop {
        pace.turn().await;
        let (connection, mut control) = raid.greet(&peer).await?;
        let (mut send, mut recv) = served(open(&connection).await?, b"a").await?;
        let mut lies = Vec::new();
        for reason in [0, 1, 77, wire::MAX] {
            lies.extend(numbers(frame::GOAWAY, &[reason]));
            // (1, 0) is the true count once the stream has ended.
            for (opened, accepted) in [(0, 0), (0, 1), (wire::MAX, wire::MAX), (1, 1), (2, 0)] {
                lies.extend(numbers(frame::DRAINED, &[opened, accepted]));
            }
        }
        control.write_all(&lies).await?;
        send.write_all(b"b").await?;
        soon(read_exactly(&mut recv, b"b"), "a stream was cut by a lie").await??;
        raid.tally.one("served_after_goaway");
        let _ = send.finish();
        soon(recv.read_to_end(0), "a stream did not end").await??;
        if let Some(closed) = connection.close_reason() {
            return Err(closed.into());
        }
        control.write_all(&numbers(frame::DRAINED, &[1, 0])).await?;
        raid.closed(&connection).await?;
    }
}
