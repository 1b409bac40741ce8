//! Peers that take a place and say nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{attack, first_trouble};
use crate::stream_tester::hostile::{
    raid::{PATIENCE, Raid, Trouble, soon, told},
    victim::REQUESTS,
    wire,
};

/// Connections without HELLO. Under the limit for one address, 32: what is to be seen is their end, not that more are
/// refused.
const CONNECTIONS: usize = 24;
/// Peers that have said HELLO: five more than the scene's limit lets in.
const PEERS: usize = 16;
/// Lanes on which a header comes slowly.
const LANES: usize = 64;
/// Before a peer that was turned away comes again: ten handshakes a second, which are not what is to be measured.
const AGAIN: Duration = Duration::from_millis(500);

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Connections on which nothing is said.
pub(in super::super) fn after_connect(raid: Arc<Raid>) -> Running {
    attack(async move {
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
                    if let Err(trouble) = said.await
                        && let Err(trouble) = raid.turned_away(trouble)
                    {
                        return trouble;
                    }
                }
            });
        }
        first_trouble(silent).await
    })
}

/// Peers that say HELLO and nothing else, more of them than are let in.
pub(in super::super) fn after_hello(raid: Arc<Raid>) -> Running {
    attack(async move {
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
                    let ended = match greeted {
                        // Those that are let in stay.
                        Ok((connection, _control)) => {
                            // The endpoint's HELLO.
                            if connection.accept_uni().await.is_ok() {
                                raid.tally.one("let_in");
                            }
                            let closed = connection.closed().await;
                            raid.turned_away(closed.into())
                        }
                        Err(trouble) => raid.turned_away(trouble),
                    };
                    if let Err(trouble) = ended {
                        return trouble;
                    }
                    sleep(AGAIN).await;
                }
            });
        }
        first_trouble(silent).await
    })
}

/// Headers that come a byte a second.
pub(in super::super) fn slow_headers(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        let mut lanes = JoinSet::new();
        for _ in 0..LANES {
            let (raid, connection) = (Arc::clone(&raid), connection.clone());
            lanes.spawn(async move {
                loop {
                    let opened = soon(timeout(PATIENCE, connection.open_bi()).await, "no lane was free");
                    let (mut send, mut recv) = match opened {
                        Ok(Ok(lane)) => lane,
                        Ok(Err(error)) => return error.into(),
                        Err(trouble) => return trouble,
                    };
                    let writing = async {
                        for byte in wire::header(REQUESTS) {
                            if send.write_all(&[byte]).await.is_err() {
                                break;
                            }
                            sleep(Duration::from_secs(1)).await;
                        }
                        std::future::pending().await
                    };
                    tokio::select! {
                        told = told(&mut recv) => raid.tally.one(told),
                        () = writing => {}
                    }
                }
            });
        }
        raid.ready.cancel();
        first_trouble(lanes).await
    })
}
