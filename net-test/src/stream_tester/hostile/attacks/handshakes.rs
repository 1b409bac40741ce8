//! Connections that are not meant to be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use iroh::{
    EndpointAddr, TransportAddr,
    endpoint::{QuicTransportConfig, VarInt},
};
use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};
use twolane::SecretKey;

use super::attack;
use crate::stream_tester::hostile::{
    raid::{PATIENCE, Pace, Raid, Trouble},
    tally,
};

/// Keys in the flood.
const KEYS: usize = 8;
/// Handshakes a second in the flood; see `control::CONNECTIONS`.
const HANDSHAKES: u32 = 50;
/// How long each stays, without a word: 50 a second, for 1 s, would be 50 at a time.
const STAY: Duration = Duration::from_secs(1);
/// One address may have so many at a time (the default of `Limits::handshakes_per_address`).
const AT_A_TIME: usize = 32;
/// Handshakes a second that stop half-way.
const HALF: u32 = 100;
/// How long those hold on.
const HALF_STAY: Duration = Duration::from_millis(1_500);
/// Packets of noise a second.
const NOISE: u32 = 4_000;
/// The smallest packet that may begin a connection (RFC 9000, section 14.1).
const INITIAL: usize = 1_200;
/// Connections a second by one key; see `control::CONNECTIONS`.
const CHURN: u32 = 50;

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Connections from many keys that are made and left without a word.
pub(in super::super) fn connect_and_vanish(raid: Arc<Raid>) -> Running {
    attack(async move {
        let mut peers = Vec::new();
        for _ in 0..KEYS {
            peers.push(raid.peer().await?);
        }
        raid.ready.cancel();
        let (mut pace, mut under_way, staying) =
            (Pace::per_second(HANDSHAKES), JoinSet::new(), Arc::<AtomicUsize>::default());
        for peer in peers.into_iter().cycle() {
            pace.turn().await;
            let (flooder, staying) = (Arc::clone(&raid), Arc::clone(&staying));
            under_way.spawn(async move {
                let connection = match flooder.connect(&peer).await {
                    Ok(connection) => connection,
                    // Refused: "closed_by_transport".
                    Err(trouble) => return flooder.turned_away(trouble),
                };
                // Counted for less long than at the endpoint, which hears of the end later.
                let at_a_time = staying.fetch_add(1, Relaxed) + 1;
                if at_a_time > AT_A_TIME {
                    return Err(Trouble::Wrong(format!("{at_a_time} handshakes of one address were taken at a time")));
                }
                sleep(STAY).await;
                staying.fetch_sub(1, Relaxed);
                connection.close(VarInt::from_u32(0), b"");
                flooder.tally.one("vanished");
                Ok(())
            });
            while let Some(ended) = under_way.try_join_next() {
                ended.map_err(|broke| Trouble::Wrong(broke.to_string()))??;
            }
        }
        Err(Trouble::Wrong("there are no keys".to_owned()))
    })
}

/// Dialers that hear nothing of what the endpoint says, and so stop half-way: what the endpoint sees of addresses that
/// are forged.
pub(in super::super) fn half_handshakes(raid: Arc<Raid>) -> Running {
    attack(async move {
        let local = |error: std::io::Error| Trouble::Local(error.to_string());
        let (near, far) = (udp().await.map_err(local)?, udp().await.map_err(local)?);
        let to = raid.target.addrs.iter().find_map(|addr| match addr {
            TransportAddr::Ip(addr) => Some(*addr),
            _ => None,
        });
        let Some(to) = to else { return Err(Trouble::Local("the ticket has no address".to_owned())) };
        let hole = EndpointAddr::from_parts(raid.target.id, [TransportAddr::Ip(near.local_addr().map_err(local)?)]);
        let forwarding = async {
            let mut packet = vec![0; 65_536];
            loop {
                let len = near.recv(&mut packet).await.map_err(local)?;
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
    })
}

/// Packets that look like the beginning of a connection: of a version that is not spoken, which has to be said, and of
/// QUIC 1 with noise in place of a handshake, which is passed over.
pub(in super::super) fn noise(raid: Arc<Raid>) -> Running {
    attack(async move {
        let local = |error: std::io::Error| Trouble::Local(error.to_string());
        let socket = udp().await.map_err(local)?;
        let to: Vec<_> = raid.target.addrs.iter().collect();
        let [TransportAddr::Ip(to)] = to[..] else {
            return Err(Trouble::Local("the ticket has another address than one".to_owned()));
        };
        raid.ready.cancel();
        let sending = async {
            let (mut pace, mut n) = (Pace::per_second(NOISE), 0u64);
            loop {
                pace.turn().await;
                // A version that is reserved for being unknown (RFC 9000, section 15), and QUIC 1.
                let version = if n.is_multiple_of(4) { 0x1a2a_3a4a } else { 1 };
                socket.send_to(&initial(version), to).await.map_err(local)?;
                raid.tally.one("packets");
                n += 1;
            }
        };
        let hearing = async {
            let mut packet = vec![0; 2_048];
            loop {
                let len = socket.recv(&mut packet).await.map_err(local)?;
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
    })
}

/// A long header with noise after it.
fn initial(version: u32) -> Vec<u8> {
    let (noise, connection): ([u8; 32], [u8; 8]) = (rand::random(), rand::random());
    let mut packet = vec![0xc0 | (noise[0] & 0x0f)];
    packet.extend(version.to_be_bytes());
    packet.push(8);
    packet.extend(connection);
    // No source connection id, no token.
    packet.extend([0, 0]);
    let left = INITIAL - packet.len() - 2;
    packet.extend((left as u16 | 0x4000).to_be_bytes());
    packet.extend(noise.iter().cycle().take(left));
    packet
}

async fn udp() -> std::io::Result<UdpSocket> {
    UdpSocket::bind("127.0.0.1:0").await
}

/// One key that connects, says HELLO and leaves, as fast as it can. Every other time it does not say that it leaves, and
/// comes back as if it had been restarted.
pub(in super::super) fn churn(raid: Arc<Raid>) -> Running {
    attack(async move {
        let peer = raid.peer_with(SecretKey::generate(), QuicTransportConfig::builder().build()).await?;
        raid.ready.cancel();
        let (mut pace, mut left) = (Pace::per_second(CHURN), JoinSet::new());
        for n in 0u64.. {
            pace.turn().await;
            let (connection, control) = match raid.greet(&peer).await {
                Ok(greeted) => greeted,
                Err(trouble) => {
                    raid.turned_away(trouble)?;
                    continue;
                }
            };
            if n % 2 == 0 {
                // The endpoint's HELLO: it has taken the peer in.
                if let Ok(Ok(mut hello)) = timeout(PATIENCE, connection.accept_uni()).await {
                    let _ = timeout(PATIENCE, hello.read_chunk(64)).await;
                }
                connection.close(VarInt::from_u32(0), b"");
                raid.tally.one("left");
            } else {
                let raid = Arc::clone(&raid);
                left.spawn(async move {
                    let closed = timeout(PATIENCE, connection.closed()).await;
                    raid.tally.one(closed.map_or("not_closed", |closed| tally::closed(&closed)));
                    drop(control);
                });
            }
            while left.try_join_next().is_some() {}
        }
        Err(Trouble::Wrong("the numbers ran out".to_owned()))
    })
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
