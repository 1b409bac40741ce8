//! Peers that make the endpoint hold as much memory as it will.

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

/// The number of requests in flight. Their responses have 256 KiB each, and the peer does not read them.
const REQUESTS: usize = 64;
/// The number of streams whose echoes the peer does not read.
pub const ECHOES: usize = 32;
/// The number of streams that are filled at a time. At 2 MB each they would hold 96 MB, far more than a peer may
/// have unread.
pub const FULL: usize = 48;
/// A connection has come to a halt when each of its streams has stalled this many times in a row.
const HALT: usize = 2;
/// The size of a write that becomes a chunk of its own, in bytes.
const SMALL: usize = 100;
/// Small writes a second. The transport holds 2,048 chunks, so a connection ends within 0.5 s. noq 1.4 copies the
/// datagrams of all connections one after another into blocks of 64 kB and more. An unread chunk keeps its block,
/// together with the data of other connections in it. With 2,000 small writes a second, that took 226 bytes for
/// each honest request a second: 6.35 MB at 28,000 requests a second, where the limit is 6 MB. With more writes,
/// the hostile peer would take a processor for itself.
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
                // All requests start at once, because waiting responses get more time while the connection carries
                // new ones.
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

/// Fills streams until they stall. Their echoes are never read.
pub async fn unread_echoes(raid: Arc<Raid>) -> Going<Infallible> {
    filled(raid, ECHO, ECHOES).await
}

/// Fills streams that the program does not read, with more than a peer may have unread.
pub async fn full_windows(raid: Arc<Raid>) -> Going<Infallible> {
    filled(raid, UNREAD, FULL).await
}

/// Fills every window, and keeps writing.
async fn filled(raid: Arc<Raid>, protocol: &'static str, lanes: usize) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut open = Vec::new();
    // All streams are opened before the first is filled, because no header gets through once the connection's
    // window is full.
    for _ in 0..lanes {
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(&wire::header(protocol, b"")).await?;
        open.push((send, recv));
    }
    // The endpoint is measured after the streams have come to a halt, because filling them costs as much as any
    // transfer.
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

/// Has more small unread chunks than the transport holds. They cost the writer its connection.
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
                // One write in each packet.
                while connection.stats().frame_tx.stream == sent && connection.close_reason().is_none() {
                    tokio::task::yield_now().await;
                }
            }
        }
        .await;
        let Err(trouble) = writing;
        raid.turned_away(trouble)?;
        // Waits until the endpoint is done with the connection.
        soon(connection.closed(), "the connection did not end").await?;
    }
}
