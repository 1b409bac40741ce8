//! Peers that have the endpoint hold as much as it will.

use std::{convert::Infallible, sync::Arc};

use tokio::{sync::Barrier, task::JoinSet};
use twolane::SecretKey;

use super::first_trouble;
use crate::{
    stream_tester::hostile::{
        raid::{Going, Pace, Raid, soon},
        tally,
        victim::{ECHO, LARGE_RESPONSES, UNREAD},
    },
    wire,
};

/// Requests under way at a time whose responses, 256 KiB each, nobody reads.
const REQUESTS: usize = 64;
/// Streams at a time whose echoes nobody reads.
pub const ECHOES: usize = 32;
/// Streams at a time that are filled. At 2 MB each they would be 96 MB: far more than a peer may have unread.
pub const FULL: usize = 48;
/// A connection has come to a halt when each of its streams has stalled this many times in a row.
const HALT: usize = 2;
/// The size of a write that becomes a chunk of its own.
const SMALL: usize = 100;
/// Small writes a second: the transport holds 2,048, so a connection is over in 0.5 s. noq 1.4 copies the datagrams of all connections
/// one behind the other into blocks of 64 kB and more, and an unread chunk keeps its block with what others sent meanwhile. With
/// 2,000 that was 226 bytes for each honest request a second: 6.35 MB beside 28,000, where the bound is 6. Faster, the hostile peer
/// would take a processor for itself.
const SMALL_WRITES: u32 = 4_000;

pub async fn unread_responses(raid: Arc<Raid>) -> Going<Infallible> {
    // The response begins, and then has no room.
    let peer = raid.peer_with(SecretKey::generate(), Some(4_096)).await?;
    let (connection, _control) = raid.greet(&peer).await?;
    let (mut asking, all) = (JoinSet::new(), Arc::new(Barrier::new(REQUESTS)));
    for _ in 0..REQUESTS {
        let (raid, connection, all) = (Arc::clone(&raid), connection.clone(), Arc::clone(&all));
        asking.spawn(async move {
            loop {
                // All at once: while the connection carries new responses, those that wait have longer.
                all.wait().await;
                let asked = async {
                    let (mut send, mut recv) = connection.open_bi().await?;
                    send.write_all(&[wire::header(LARGE_RESPONSES, b""), vec![0x61]].concat()).await?;
                    let _ = send.finish();
                    let reset = recv.received_reset().await?;
                    raid.tally.one(&reset.map_or_else(|| "lane_finished".to_owned(), tally::lane));
                    Going::Ok(())
                };
                soon(asked, "a response was not given up").await??;
            }
        });
    }
    raid.ready.cancel();
    first_trouble(asking).await
}

/// Streams whose echoes are never read, filled until they stall.
pub async fn unread_echoes(raid: Arc<Raid>) -> Going<Infallible> {
    filled(raid, ECHO, ECHOES).await
}

/// Streams that the program does not read, filled with more than a peer may have unread.
pub async fn full_windows(raid: Arc<Raid>) -> Going<Infallible> {
    filled(raid, UNREAD, FULL).await
}

/// Fills every window there is, and goes on writing.
async fn filled(raid: Arc<Raid>, protocol: &'static str, lanes: usize) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut open = Vec::new();
    // All of them before the first is filled: with the connection's window full, no header gets through.
    for _ in 0..lanes {
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(&wire::header(protocol, b"")).await?;
        open.push((send, recv));
    }
    // The endpoint is measured after it has come to a halt: filling it costs what any transfer costs.
    let (mut filling, all) = (JoinSet::new(), Arc::new(Barrier::new(lanes)));
    for (mut send, recv) in open {
        let (raid, all) = (Arc::clone(&raid), Arc::clone(&all));
        filling.spawn(async move {
            let _recv = recv;
            for _ in 0..HALT {
                raid.tally.add("bytes_taken", raid.fill(&mut send).await?);
                all.wait().await;
            }
            raid.ready.cancel();
            loop {
                raid.tally.add("bytes_taken", raid.fill(&mut send).await?);
            }
        });
    }
    first_trouble(filling).await
}

/// More small unread chunks than the transport holds: they cost their writer its connection.
pub async fn small_chunks(raid: Arc<Raid>) -> Going<Infallible> {
    let peer = raid.peer().await?;
    raid.ready.cancel();
    loop {
        let (connection, _control) = raid.greet(&peer).await?;
        let writing: Going<Infallible> = async {
            let (mut send, _recv) = connection.open_bi().await?;
            send.write_all(&wire::header(UNREAD, b"")).await?;
            let mut pace = Pace::per_second(SMALL_WRITES);
            loop {
                pace.turn().await;
                let sent = connection.stats().frame_tx.stream;
                send.write_all(&[0x61; SMALL]).await?;
                // One to a packet.
                while connection.stats().frame_tx.stream == sent && connection.close_reason().is_none() {
                    tokio::task::yield_now().await;
                }
            }
        }
        .await;
        let Err(trouble) = writing;
        raid.turned_away(trouble)?;
        // Not before the endpoint is done with it.
        soon(connection.closed(), "the connection did not end").await?;
    }
}
