//! Peers that have the endpoint hold as much as it will.

use std::sync::Arc;

use iroh::endpoint::{QuicTransportConfig, VarInt};
use tokio::{sync::Barrier, task::JoinSet, time::timeout};
use twolane::SecretKey;

use super::{attack, first_trouble};
use crate::stream_tester::hostile::{
    raid::{Going, PATIENCE, Pace, Raid, Trouble, soon},
    tally,
    victim::{ECHO, LARGE_RESPONSES, UNREAD},
    wire,
};

/// Requests under way at a time whose responses, 256 KiB each, nobody reads.
const REQUESTS: usize = 64;
/// Streams at a time whose echoes nobody reads.
pub(in super::super) const ECHOES: usize = 32;
/// Streams at a time that are filled. At 2 MB each they would be 96 MB: far more than a peer may have unread.
pub(in super::super) const FULL: usize = 48;
/// A connection has come to a halt when each of its streams has stalled so often in a row.
const HALT: usize = 2;
/// A write of which each is to be a chunk of its own.
const SMALL: usize = 100;
/// Such writes a second: the transport holds 2,048, so a connection is over in 1 s. Faster, the hostile peer would take a
/// processor for itself.
const SMALL_WRITES: u32 = 2_000;

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Responses that are never read.
pub(in super::super) fn unread_responses(raid: Arc<Raid>) -> Running {
    attack(async move {
        // The response begins, and then has no room.
        let transport = QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(4_096)).build();
        let peer = raid.peer_with(SecretKey::generate(), transport).await?;
        let (connection, _control) = raid.greet(&peer).await?;
        let mut asking = JoinSet::new();
        for _ in 0..REQUESTS {
            let (raid, connection) = (Arc::clone(&raid), connection.clone());
            asking.spawn(async move {
                loop {
                    let asked = async {
                        let (mut send, mut recv) = connection.open_bi().await?;
                        send.write_all(&[wire::header(LARGE_RESPONSES), vec![0x61]].concat()).await?;
                        let _ = send.finish();
                        let reset = recv.received_reset().await.map_err(|error| Trouble::Wrong(error.to_string()))?;
                        raid.tally.one(reset.map_or("lane_finished", |code| tally::lane(code.into_inner())));
                        Ok(())
                    };
                    match timeout(PATIENCE, asked).await {
                        Ok(Ok(())) => {}
                        Ok(Err(trouble)) => return trouble,
                        Err(_) => return Trouble::TimedOut { what: "a response was not given up", within: PATIENCE },
                    }
                }
            });
        }
        raid.ready.cancel();
        first_trouble(asking).await
    })
}

/// Streams whose echoes are never read, filled until nothing goes any more.
pub(in super::super) fn unread_echoes(raid: Arc<Raid>) -> Running {
    filled(raid, ECHO, ECHOES)
}

/// Streams that the program does not read, filled with more than a peer may have unread.
pub(in super::super) fn full_windows(raid: Arc<Raid>) -> Running {
    filled(raid, UNREAD, FULL)
}

/// Fills every window there is, and goes on writing.
fn filled(raid: Arc<Raid>, protocol: &'static str, lanes: usize) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        let mut open = Vec::new();
        // All of them before the first is filled: with the connection's window full, no header gets through.
        for _ in 0..lanes {
            let (mut send, recv) = connection.open_bi().await?;
            send.write_all(&wire::header(protocol)).await?;
            open.push((send, recv));
        }
        // What is measured is the endpoint that has come to a halt: to fill it takes what any transfer takes.
        let (mut filling, all) = (JoinSet::new(), Arc::new(Barrier::new(lanes)));
        for (mut send, recv) in open {
            let (raid, all) = (Arc::clone(&raid), Arc::clone(&all));
            filling.spawn(async move {
                let filled: Going<()> = async {
                    for _ in 0..HALT {
                        raid.tally.add("bytes_taken", raid.fill(&mut send).await?);
                        all.wait().await;
                    }
                    raid.ready.cancel();
                    loop {
                        raid.tally.add("bytes_taken", raid.fill(&mut send).await?);
                    }
                }
                .await;
                drop(recv);
                filled.err().unwrap_or_else(|| Trouble::Wrong("a stream was filled to no end".to_owned()))
            });
        }
        first_trouble(filling).await
    })
}

/// Small chunks that nobody reads, more of them than the transport holds: that costs whoever does it its connection.
pub(in super::super) fn small_chunks(raid: Arc<Raid>) -> Running {
    attack(async move {
        let peer = raid.peer().await?;
        raid.ready.cancel();
        loop {
            let (connection, _control) = raid.greet(&peer).await?;
            let writing: Going<()> = async {
                let (mut send, _recv) = connection.open_bi().await?;
                send.write_all(&wire::header(UNREAD)).await?;
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
            match writing {
                Err(trouble) if trouble.connection_error().is_some() => raid.turned_away(trouble)?,
                Err(trouble) => return Err(trouble),
                Ok(()) => {}
            }
            // Not before the endpoint is done with it.
            soon(timeout(PATIENCE, connection.closed()).await, "the connection did not end")?;
        }
    })
}
