//! Control streams that do not keep to the protocol.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use iroh::endpoint::{QuicTransportConfig, VarInt};
use tokio::time::timeout;
use twolane::{
    SecretKey,
    delegation::{Delegation, IssueError},
};

use super::attack;
use crate::stream_tester::hostile::{
    raid::{Going, PATIENCE, Pace, Raid, Trouble, read_exactly, soon},
    victim::ECHO,
    wire,
};

/// Connections a second that each are closed for what they said: with its handshake and its end each costs both sides
/// some 1 ms. At 100 a second they took so much of two processors that the honest share was 0.54 on a quiet machine.
const CONNECTIONS: u32 = 50;
/// Bytes of frames in one write.
const BATCH: usize = 4_096;
/// Batches a second: 4 MB, of up to 500 frames each.
const BATCHES: u32 = 1_000;
/// The same of frames that have to be answered, each of which costs an entry and 8 bytes.
const WATERMARKS: u32 = 500;
/// An hour.
const HOUR: Duration = Duration::from_secs(3_600);

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// A control stream that costs its sender the connection.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    /// The stream is finished after the bytes; in all others it stays open until the connection is closed, since its end
    /// would be a reason of its own.
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
    vec![wire::KIND_CONTROL]
}

fn greeting() -> Vec<u8> {
    wire::greeting(&[])
}

/// Control frames that announce 2^62 - 1 bytes.
pub(in super::super) fn oversize_frame(raid: Arc<Raid>) -> Running {
    let oversize = |kind| [wire::varint(kind), wire::OVERSIZE.to_vec()].concat();
    let in_place_of_hello = (0..7).map(|kind| Case::new("in place of HELLO", [control(), oversize(kind)]));
    let after_it = (0..7).map(|kind| Case::new("after HELLO", [greeting(), oversize(kind)]));
    cases(raid, SecretKey::generate(), in_place_of_hello.chain(after_it).collect())
}

/// Everything that is no control stream: noise, frames in the wrong place, cut, too short and too long ones, and a
/// version that is not spoken.
pub(in super::super) fn garbage(raid: Arc<Raid>) -> Running {
    let noise: [u8; 32] = rand::random();
    let before = vec![
        Case::new("an unknown frame in place of HELLO", [control(), wire::frame(63, &noise)]),
        Case::new("WATERMARK in place of HELLO", [control(), wire::pair(wire::WATERMARK, 0, 0)]),
        Case::new("HELLO without its nonce", [control(), wire::frame(wire::HELLO, &[1])]),
        Case::new(
            "HELLO with half a limit",
            [control(), wire::frame(wire::HELLO, &[&[1][..], &[7; 16], &[1]].concat())],
        ),
        Case::new("another version", [control(), wire::hello(9, [7; 16], &[])]).closed("closed_version"),
        Case::new("HELLO, cut by the end of the stream", [greeting()[..9].to_vec()]).finished(),
        Case::new("GOAWAY without a reason", [greeting(), wire::frame(wire::GOAWAY, &[])]),
        Case::new("CONSUMED with a byte too many", [greeting(), wire::frame(wire::CONSUMED, &[0, 0, 0])]),
        Case::new("DRAINED with a byte too few", [greeting(), wire::frame(wire::DRAINED, &[0])]),
        Case::new("a frame, cut by the end of the stream", [greeting(), vec![3, 60, 0]]).finished(),
        Case::new("the end of the stream", [greeting()]).finished(),
    ];
    cases(raid, SecretKey::generate(), before)
}

/// HELLO twice: another one, and the same.
pub(in super::super) fn second_hello(raid: Arc<Raid>) -> Running {
    let same = wire::hello(1, [7; 16], &[]);
    let twice = vec![
        Case::new("another HELLO", [greeting(), wire::hello(1, rand::random(), &[])]),
        Case::new("the same HELLO", [control(), same.clone(), same]),
    ];
    cases(raid, SecretKey::generate(), twice)
}

/// Certificates that do not hold: noise, forged, expired, for another node, for another audience.
pub(in super::super) fn forged_delegation(raid: Arc<Raid>) -> Running {
    let (key, owner) = (SecretKey::generate(), SecretKey::generate());
    match certificates(&key, &owner) {
        Ok(certificates) => {
            let shown = certificates.into_iter().map(|(what, certificate)| {
                let frame = wire::frame(wire::DELEGATION, &certificate);
                Case::new(what, [wire::greeting(&[4, 1]), frame]).closed("closed_bad_delegation")
            });
            cases(raid, key, shown.collect())
        }
        Err(error) => attack(async move { Err(Trouble::Local(error.to_string())) }),
    }
}

fn certificates(key: &SecretKey, owner: &SecretKey) -> Result<Vec<(&'static str, Vec<u8>)>, IssueError> {
    let now = SystemTime::now();
    let other = SecretKey::generate().public_key();
    let for_node = |node| Ok::<_, IssueError>(Delegation::build(node).scopes("*".parse()));
    let expired = for_node(key.public_key())?.not_before(now - 2 * HOUR).expires(now - HOUR).sign(owner)?;
    let elsewhere = for_node(other)?.expires(now + HOUR).sign(owner)?;
    let audience = for_node(key.public_key())?.audience(other).expires(now + HOUR).sign(owner)?;
    let mut forged = for_node(key.public_key())?.expires(now + HOUR).sign(owner)?.to_bytes();
    // In the middle of the signature, the last 64 bytes.
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

/// A connection for each of these control streams, one after the other and again.
fn cases(raid: Arc<Raid>, key: SecretKey, cases: Vec<Case>) -> Running {
    attack(async move {
        let peer = raid.peer_with(key, QuicTransportConfig::builder().build()).await?;
        raid.ready.cancel();
        let mut pace = Pace::per_second(CONNECTIONS);
        loop {
            for case in &cases {
                pace.turn().await;
                say(&raid, &peer, case).await?;
            }
            raid.tally.one("rounds");
        }
    })
}

/// Says it on a connection of its own, and waits for the end of that.
async fn say(raid: &Raid, peer: &iroh::Endpoint, case: &Case) -> Going<()> {
    let Case { what, bytes, finished, closed } = case;
    let said = async {
        let connection = raid.connect(peer).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(bytes).await?;
        if *finished {
            let _ = control.finish();
        }
        raid.closed_with(&connection, what, closed).await
    };
    match said.await {
        // It may be closed while it is being said.
        Err(trouble) => match trouble.connection_error() {
            Some(error) => raid.ended_with(error, what, closed),
            None => Err(trouble),
        },
        said => said,
    }
}

/// Frames of types that nobody knows.
pub(in super::super) fn unknown_frames(raid: Arc<Raid>) -> Running {
    batches(raid, BATCHES, |n| match n % 3 {
        // At the bound, and as small and as many as there can be.
        0 => vec![wire::frame(77, &[0x55; BATCH])],
        1 => vec![wire::frame(wire::MAX, &[]); BATCH / 9],
        _ => (0..BATCH as u64 / 9).map(|k| wire::frame(1_000 + k, &[0x55; 6])).collect(),
    })
}

/// Questions about lanes that do not exist, from a peer that does not read the answers.
pub(in super::super) fn watermarks(raid: Arc<Raid>) -> Running {
    batches(raid, WATERMARKS, |n| {
        let lanes = (0..BATCH as u64 / 16).map(|k| 4 * (n * BATCH as u64 + k));
        lanes.map(|lane| wire::pair(wire::WATERMARK, lane, wire::MAX - n)).collect()
    })
}

/// Batches of frames on one control stream. The other side's is not read, and has room for 64 bytes.
fn batches(raid: Arc<Raid>, per_second: u32, frames: fn(u64) -> Vec<Vec<u8>>) -> Running {
    attack(async move {
        let transport = QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(64)).build();
        let peer = raid.peer_with(SecretKey::generate(), transport).await?;
        let (connection, mut control) = raid.greet(&peer).await?;
        raid.ready.cancel();
        let mut pace = Pace::per_second(per_second);
        for n in 0.. {
            pace.turn().await;
            let frames = frames(n);
            let written = timeout(PATIENCE, control.write_all(&frames.concat())).await;
            soon(written, "the control stream stands still")??;
            raid.tally.add("frames", frames.len() as u64);
            raid.tally.add("bytes", frames.iter().map(|frame| frame.len() as u64).sum());
            if n % 50 == 0 {
                raid.is_served(&connection).await?;
            }
        }
        Err(Trouble::Wrong("the numbers ran out".to_owned()))
    })
}

/// Reports that everything was consumed, and more than was ever written, from a peer that reads nothing.
pub(in super::super) fn consumed_lies(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, mut control) = raid.greet(&raid.peer().await?).await?;
        let mut lanes = Vec::new();
        for _ in 0..8 {
            let (mut send, recv) = connection.open_bi().await?;
            send.write_all(&wire::header(ECHO)).await?;
            lanes.push((send, recv));
        }
        raid.ready.cancel();
        let (mut pace, piece) = (Pace::per_second(100), vec![0x61; 4 * 1024]);
        for n in 0u64.. {
            pace.turn().await;
            let mut lies = Vec::new();
            for (send, _) in &mut lanes {
                // What there is room for: the echoes stop when nobody reads them.
                if let Ok(written) = timeout(Duration::from_millis(1), send.write(&piece)).await {
                    written?;
                }
                lies.extend(wire::pair(wire::CONSUMED, send.id().into(), wire::MAX));
                lies.extend(wire::pair(wire::CONSUMED, u64::from(send.id()) + 4 * n, wire::MAX - n));
            }
            soon(timeout(PATIENCE, control.write_all(&lies)).await, "the control stream stands still")??;
            raid.tally.add("lies", 2 * lanes.len() as u64);
            if n % 20 == 0 {
                raid.is_served(&connection).await?;
            }
        }
        Err(Trouble::Wrong("the numbers ran out".to_owned()))
    })
}

/// Goodbyes that are none: GOAWAY again and again, and DRAINED with counts that are not true, over a stream that is
/// open. It has to be served to its end; only the true count closes the connection.
pub(in super::super) fn goaway_lies(raid: Arc<Raid>) -> Running {
    attack(async move {
        let peer = raid.peer().await?;
        raid.ready.cancel();
        let mut pace = Pace::per_second(CONNECTIONS);
        loop {
            pace.turn().await;
            let (connection, mut control) = raid.greet(&peer).await?;
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(&[wire::header(ECHO), vec![0x61]].concat()).await?;
            soon(timeout(PATIENCE, read_exactly(&mut recv, &[0, 0x61])).await, "a stream was not served")??;
            let mut lies = Vec::new();
            for reason in [0, 1, 77, wire::MAX] {
                lies.extend(wire::frame(wire::GOAWAY, &wire::varint(reason)));
                // (1, 0) is the truth once the stream has ended.
                for (opened, accepted) in [(0, 0), (0, 1), (wire::MAX, wire::MAX), (1, 1), (2, 0)] {
                    lies.extend(wire::pair(wire::DRAINED, opened, accepted));
                }
            }
            control.write_all(&lies).await?;
            send.write_all(b"b").await?;
            soon(timeout(PATIENCE, read_exactly(&mut recv, b"b")).await, "a stream was cut by a lie")??;
            raid.tally.one("served_after_goaway");
            let _ = send.finish();
            soon(timeout(PATIENCE, recv.read_to_end(0)).await, "a stream did not end")?
                .map_err(|error| Trouble::Wrong(error.to_string()))?;
            if let Some(closed) = connection.close_reason() {
                return Err(closed.into());
            }
            control.write_all(&wire::pair(wire::DRAINED, 1, 0)).await?;
            raid.closed(&connection).await?;
        }
    })
}
