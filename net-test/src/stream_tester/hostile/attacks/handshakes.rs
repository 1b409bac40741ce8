//! Handshakes that lead to nothing.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use iroh::{EndpointAddr, TransportAddr, endpoint::VarInt};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use crate::stream_tester::hostile::raid::{Going, PATIENCE, Pace, Raid, Trouble};

/// The number of keys in the flood.
const KEYS: usize = 8;
/// Handshakes a second in the flood; see `control::CONNECTIONS`.
const HANDSHAKES: u32 = 50;
/// The time for which each connection stays silent. 50 connections a second for 1 s would be 50 at a time.
const STAY: Duration = Duration::from_secs(1);
/// The default of `Limits::handshakes_per_address`.
const AT_A_TIME: usize = 32;
/// The number of connections that may have been pushed out without the peer knowing it yet.
const LATE: usize = 4;
/// Handshakes a second that stop half-way.
const HALF: u32 = 100;
/// The time after which a dialler that stopped half-way gives up.
const HALF_STAY: Duration = Duration::from_millis(1_500);
/// Packets of noise a second.
const NOISE: u32 = 4_000;
/// The smallest packet that may begin a connection (RFC 9000, section 14.1).
const INITIAL: usize = 1_200;
/// Connections a second with one key; see `control::CONNECTIONS`.
const CHURN: u32 = 50;

/// Makes connections from many keys, and leaves them without sending anything.
pub async fn connect_and_vanish(raid: Arc<Raid>) -> Going<Infallible> {
    let mut peers = Vec::new();
    for _ in 0..KEYS {
        peers.push(raid.peer().await?);
    }
    raid.ready.cancel();
    let (mut pace, mut under_way, staying) =
        (Pace::per_second(HANDSHAKES), JoinSet::new(), Arc::<AtomicUsize>::default());
    for peer in peers.into_iter().cycle() {
        pace.turn().await;
        let (raid, staying) = (Arc::clone(&raid), Arc::clone(&staying));
        under_way.spawn(async move {
            let connection = match raid.connect(&peer).await {
                Ok(connection) => connection,
                Err(trouble) => return raid.turned_away(trouble),
            };
            // The endpoint learns of the end later, and counts the handshake for longer.
            let at_a_time = staying.fetch_add(1, Relaxed) + 1;
            if at_a_time > AT_A_TIME + LATE {
                return Err(Trouble::Wrong(format!("{at_a_time} handshakes of one address were taken at a time")));
            }
            // Connections that have been silent for longest make room for new ones.
            let pushed_out = timeout(STAY, connection.closed()).await.is_ok();
            staying.fetch_sub(1, Relaxed);
            connection.close(VarInt::from_u32(0), b"");
            raid.tally.one(if pushed_out { "pushed_out" } else { "vanished" });
            Ok(())
        });
        while let Some(ended) = under_way.try_join_next() {
            ended??;
        }
    }
    Err(Trouble::Wrong("there are no keys".to_owned()))
}

/// Dials without hearing the endpoint's packets, so that the handshakes stop half-way. The endpoint sees the same
/// if the source addresses are forged.
pub async fn half_handshakes(raid: Arc<Raid>) -> Going<Infallible> {
    let (near, far) = (udp().await?, udp().await?);
    let to = address(&raid)?;
    let hole = EndpointAddr::from_parts(raid.target.id, [TransportAddr::Ip(near.local_addr()?)]);
    let forwarding = async {
        let mut packet = vec![0; 65_536];
        loop {
            let len = near.recv(&mut packet).await?;
            let _ = far.send_to(&packet[..len], to).await;
            raid.tally.one("packets");
        }
    };
    let peer = raid.peer().await?;
    raid.ready.cancel();
    let dialing = async {
        let (mut pace, mut under_way) = (Pace::per_second(HALF), JoinSet::new());
        loop {
            pace.turn().await;
            let (peer, hole) = (peer.clone(), hole.clone());
            under_way.spawn(async move {
                let _ = timeout(HALF_STAY, peer.connect(hole, twolane::ALPN)).await;
            });
            while under_way.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        never = forwarding => never,
        never = dialing => never,
    }
}

/// Sends packets that look like the beginning of a connection: some of an unknown version, which the endpoint has
/// to answer, and some of QUIC 1 with noise in place of a handshake, which it ignores.
pub async fn noise(raid: Arc<Raid>) -> Going<Infallible> {
    let socket = udp().await?;
    let to = address(&raid)?;
    raid.ready.cancel();
    let sending = async {
        let (mut pace, mut n) = (Pace::per_second(NOISE), 0u64);
        loop {
            pace.turn().await;
            // A version that is reserved as unknown (RFC 9000, section 15), or QUIC 1.
            let version = if n.is_multiple_of(4) { 0x1a2a_3a4a } else { 1 };
            socket.send_to(&initial(version), to).await?;
            raid.tally.one("packets");
            n += 1;
        }
    };
    let hearing = async {
        let mut packet = vec![0; 2_048];
        loop {
            let len = socket.recv(&mut packet).await?;
            // A long header with version 0 (RFC 9000, section 17.2.1).
            if len > 5 && packet[0] & 0x80 != 0 && packet[1..5] == [0; 4] {
                raid.tally.one("version_negotiations");
            }
        }
    };
    tokio::select! {
        never = sending => never,
        never = hearing => never,
    }
}

/// Returns a packet with a long header, followed by noise.
fn initial(version: u32) -> Vec<u8> {
    let (noise, connection): ([u8; 32], [u8; 8]) = (rand::random(), rand::random());
    let mut packet = vec![0xc0 | (noise[0] & 0x0f)];
    packet.extend(version.to_be_bytes());
    packet.push(8);
    packet.extend(connection);
    // No source connection id, and no token.
    packet.extend([0, 0]);
    let left = INITIAL - packet.len() - 2;
    packet.extend((left as u16 | 0x4000).to_be_bytes());
    packet.extend(noise.iter().cycle().take(left));
    packet
}

fn address(raid: &Raid) -> Going<SocketAddr> {
    match raid.target.addrs.iter().collect::<Vec<_>>()[..] {
        [TransportAddr::Ip(address)] => Ok(*address),
        _ => Err(Trouble::Local("the ticket does not have one address".to_owned())),
    }
}

async fn udp() -> io::Result<UdpSocket> {
    UdpSocket::bind("127.0.0.1:0").await
}

/// Connects with one key, sends HELLO and leaves, as fast as it can. Every other time it leaves without closing the
/// connection, and comes back as if it had been restarted.
pub async fn churn(raid: Arc<Raid>) -> Going<Infallible> {
    let peer = raid.peer().await?;
    raid.ready.cancel();
    let (mut pace, mut left, mut n) = (Pace::per_second(CHURN), JoinSet::new(), 0u64);
    loop {
        pace.turn().await;
        n += 1;
        let (connection, control) = match raid.greet(&peer).await {
            Ok(greeted) => greeted,
            Err(trouble) => {
                raid.turned_away(trouble)?;
                continue;
            }
        };
        if n % 2 == 1 {
            // The endpoint's HELLO shows that it has accepted the peer.
            if let Ok(Ok(mut hello)) = timeout(PATIENCE, connection.accept_uni()).await {
                let _ = timeout(PATIENCE, hello.read_chunk(64)).await;
            }
            connection.close(VarInt::from_u32(0), b"");
            raid.tally.one("left");
        } else {
            let raid = Arc::clone(&raid);
            left.spawn(async move {
                if raid.closed(&connection).await.is_err() {
                    raid.tally.one("not_closed");
                }
                drop(control);
            });
        }
        while left.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_length_of_a_beginning_and_says_so() {
        let packet = initial(1);
        assert_eq!(packet.len(), INITIAL);
        assert_eq!(packet[0] & 0xf0, 0xc0);
        let announced = u16::from_be_bytes([packet[16] & 0x3f, packet[17]]);
        assert_eq!(usize::from(announced), packet.len() - 18);
    }
}
