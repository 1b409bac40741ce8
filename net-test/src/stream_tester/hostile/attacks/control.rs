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
const WATERMARKS: u32 = 100;
/// An hour.
const HOUR: Duration = Duration::from_secs(3_600);

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Control frames that announce 2^62 - 1 bytes.
pub(in super::super) fn oversize_frame(raid: Arc<Raid>) -> Running {
    one_after_the_other(raid, |n| {
        let frame = [wire::varint(n % 7), wire::OVERSIZE.to_vec()].concat();
        // In place of HELLO, and after it.
        if n % 2 == 0 { [vec![wire::KIND_CONTROL], frame].concat() } else { [wire::greeting(&[]), frame].concat() }
    })
}

/// Everything that is no control stream: noise, frames in the wrong place, cut, too short and too long ones, and a
/// version that is not spoken.
pub(in super::super) fn garbage(raid: Arc<Raid>) -> Running {
    one_after_the_other(raid, |n| match n % 6 {
        // What follows the kind is a frame of an unknown type in place of HELLO.
        0 => {
            let noise: [u8; 32] = rand::random();
            [vec![wire::KIND_CONTROL, 0x3f, 32], noise.to_vec()].concat()
        }
        1 => [vec![wire::KIND_CONTROL], wire::pair(wire::WATERMARK, 0, 0)].concat(),
        2 => [wire::greeting(&[]), wire::frame(wire::GOAWAY, &[])].concat(),
        3 => [wire::greeting(&[]), wire::frame(wire::CONSUMED, &[0, 0, 0])].concat(),
        4 => [vec![wire::KIND_CONTROL], wire::hello(9, [7; 16], &[])].concat(),
        // Finished inside a frame, since the stream is dropped after it.
        _ => [wire::greeting(&[]), vec![3, 60, 0]].concat(),
    })
}

/// HELLO twice.
pub(in super::super) fn second_hello(raid: Arc<Raid>) -> Running {
    one_after_the_other(raid, |_| [wire::greeting(&[]), wire::hello(1, rand::random(), &[])].concat())
}

/// Certificates that do not hold: noise, forged, expired, for another node, for another audience.
pub(in super::super) fn forged_delegation(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (key, owner) = (SecretKey::generate(), SecretKey::generate());
        let certificates = certificates(&key, &owner).map_err(|error| Trouble::Local(error.to_string()))?;
        let peer = raid.peer_with(key, QuicTransportConfig::builder().build()).await?;
        raid.ready.cancel();
        let mut pace = Pace::per_second(CONNECTIONS);
        for certificate in certificates.iter().cycle() {
            pace.turn().await;
            let bytes = [wire::greeting(&[4, 1]), wire::frame(wire::DELEGATION, certificate)].concat();
            say(&raid, &peer, &bytes).await?;
        }
        Err(Trouble::Wrong("there are no certificates".to_owned()))
    })
}

fn certificates(key: &SecretKey, owner: &SecretKey) -> Result<Vec<Vec<u8>>, IssueError> {
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
    Ok(vec![vec![0x55; 200], forged, expired.to_bytes(), elsewhere.to_bytes(), audience.to_bytes()])
}

/// A connection for each of these control streams.
fn one_after_the_other(raid: Arc<Raid>, bytes: fn(u64) -> Vec<u8>) -> Running {
    attack(async move {
        let peer = raid.peer().await?;
        raid.ready.cancel();
        let mut pace = Pace::per_second(CONNECTIONS);
        for n in 0.. {
            pace.turn().await;
            say(&raid, &peer, &bytes(n)).await?;
        }
        Err(Trouble::Wrong("the numbers ran out".to_owned()))
    })
}

/// Says it on a connection of its own, and waits for the end of that.
async fn say(raid: &Raid, peer: &iroh::Endpoint, bytes: &[u8]) -> Going<()> {
    let said = async {
        let connection = raid.connect(peer).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(bytes).await?;
        let _ = control.finish();
        raid.closed(&connection).await
    };
    // It may be closed while it is being said.
    match said.await {
        Ok(()) => Ok(()),
        Err(trouble) => raid.turned_away(trouble),
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
