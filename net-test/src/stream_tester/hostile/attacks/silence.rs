//! Peers that take a place and send nothing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet, time::sleep};
use twolane::SecretKey;

use super::first_trouble;
use crate::{
    stream_tester::hostile::{
        raid::{Going, Raid, open, told},
        victim::REQUESTS,
    },
    wire,
};

/// The number of connections without HELLO. It is under the limit for one address, 32: the scene shows that they
/// are closed, not that they are refused.
const CONNECTIONS: usize = 24;
/// The number of peers. It is seven more than the scene's limit lets in.
const PEERS: usize = 18;
const LANES: usize = 64;
/// The scene's limit of peers.
pub const KEYS: usize = 48;
/// The number of addresses, and of silent handshakes from each. They are also the scene's limits of handshakes.
pub const SOURCES: usize = 8;
pub const EACH: usize = 6;
/// The pause before a peer that was turned away connects again. Ten handshakes a second do not disturb the
/// measurement.
const AGAIN: Duration = Duration::from_millis(500);

/// Makes connections, and sends nothing on them.
pub async fn after_connect(raid: Arc<Raid>) -> Going<Infallible> {
    let peer = raid.peer().await?;
    let (mut silent, all) = (JoinSet::new(), Arc::new(Barrier::new(CONNECTIONS)));
    for _ in 0..CONNECTIONS {
        let (raid, peer, all) = (Arc::clone(&raid), peer.clone(), Arc::clone(&all));
        silent.spawn(async move {
            let mut first = true;
            loop {
                let said = async {
                    let connection = raid.connect(&peer).await?;
                    if std::mem::take(&mut first) {
                        all.wait().await;
                        raid.ready.cancel();
                    }
                    raid.closed(&connection).await
                };
                said.await.or_else(|trouble| raid.turned_away(trouble))?;
            }
        });
    }
    first_trouble(silent).await
}

/// Connects more peers than are let in. They send HELLO and nothing else.
pub async fn after_hello(raid: Arc<Raid>) -> Going<Infallible> {
    let (mut silent, all) = (JoinSet::new(), Arc::new(Barrier::new(PEERS)));
    for _ in 0..PEERS {
        let (raid, peer, all) = (Arc::clone(&raid), raid.peer().await?, Arc::clone(&all));
        silent.spawn(async move {
            let mut first = true;
            loop {
                let greeted = raid.greet(&peer).await;
                if std::mem::take(&mut first) {
                    all.wait().await;
                    raid.ready.cancel();
                }
                let trouble = match greeted {
                    // A peer that is let in stays.
                    Ok((connection, _control)) => {
                        // The endpoint's HELLO.
                        if connection.accept_uni().await.is_ok() {
                            raid.tally.one("let_in");
                        }
                        connection.closed().await.into()
                    }
                    Err(trouble) => trouble,
                };
                raid.turned_away(trouble)?;
                sleep(AGAIN).await;
            }
        });
    }
    first_trouble(silent).await
}

/// Connects as many keys as the endpoint takes peers, all from one address. They send HELLO and stay.
pub async fn one_source(raid: Arc<Raid>) -> Going<Infallible> {
    let (mut keys, all) = (JoinSet::new(), Arc::new(Barrier::new(KEYS)));
    for _ in 0..KEYS {
        let (raid, peer, all) = (Arc::clone(&raid), raid.peer().await?, Arc::clone(&all));
        keys.spawn(async move {
            let mut first = true;
            loop {
                let stayed = async {
                    let (connection, _control) = raid.greet(&peer).await?;
                    // The endpoint's HELLO, or its refusal.
                    connection.accept_uni().await?;
                    raid.tally.one("let_in");
                    if std::mem::take(&mut first) {
                        all.wait().await;
                        raid.ready.cancel();
                    }
                    Err(connection.closed().await.into())
                };
                let Err(trouble): Going<Infallible> = stayed.await;
                raid.turned_away(trouble)?;
                if std::mem::take(&mut first) {
                    all.wait().await;
                    raid.ready.cancel();
                }
                sleep(AGAIN).await;
            }
        });
    }
    first_trouble(keys).await
}

/// Finishes handshakes from many addresses, and sends nothing afterwards. Each address makes as many as it may
/// have.
pub async fn many_sources(raid: Arc<Raid>) -> Going<Infallible> {
    let mut silent = JoinSet::new();
    for source in 0..SOURCES {
        for _ in 0..EACH {
            let addr = format!("127.0.0.{}:0", 10 + source);
            let (raid, peer) = (Arc::clone(&raid), raid.peer_at(&addr, SecretKey::generate(), None).await?);
            silent.spawn(async move {
                loop {
                    let said = async {
                        let connection = raid.connect(&peer).await?;
                        raid.tally.one("silent");
                        raid.closed(&connection).await
                    };
                    said.await.or_else(|trouble| raid.turned_away(trouble))?;
                    sleep(AGAIN).await;
                }
            });
        }
    }
    raid.ready.cancel();
    first_trouble(silent).await
}

/// Sends headers at one byte a second.
pub async fn slow_headers(raid: Arc<Raid>) -> Going<Infallible> {
    let (connection, _control) = raid.greeted().await?;
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (raid, connection) = (Arc::clone(&raid), connection.clone());
        lanes.spawn(async move {
            loop {
                let (mut send, mut recv) = open(&connection).await?;
                let writing = async {
                    for byte in wire::header(REQUESTS, b"") {
                        if send.write_all(&[byte]).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                    std::future::pending().await
                };
                tokio::select! {
                    told = told(&mut recv) => raid.tally.one(&told),
                    () = writing => {}
                }
            }
        });
    }
    raid.ready.cancel();
    first_trouble(lanes).await
}
