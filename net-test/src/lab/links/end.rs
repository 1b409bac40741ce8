//! An end of a link, as a process of its own in a namespace (`lab end`).

use std::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    library::{Client, Library, Server},
    load::{self, Loads},
};
use crate::lab::{fault::Fault, parts};

/// What an end is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::lab) struct Config {
    pub(in crate::lab) library: Library,
    /// Its own address.
    pub(in crate::lab) addr: Ipv4Addr,
    /// What the other end called itself. Without it, this one serves.
    pub(in crate::lab) peer: Option<String>,
    /// How long each load lasts.
    pub(in crate::lab) ms: u64,
}

/// What an end says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(in crate::lab) enum Said {
    Serving { name: String },
    Loads(Loads),
}

/// `lab end`: the one that serves until its input ends; the one that dials until it has measured.
pub(in crate::lab) async fn run(config: Config) -> Result<(), Fault> {
    let Some(peer) = config.peer else {
        let (server, name) = Server::start(config.library, config.addr).await?;
        parts::say(&Said::Serving { name });
        let mut commands = parts::commands::<String>();
        while commands.recv().await.is_some() {}
        server.end().await;
        return Ok(());
    };
    let client = Client::connect(config.library, config.addr, &peer).await?;
    let loads = load::all(&client, Duration::from_millis(config.ms)).await;
    parts::say(&Said::Loads(loads?));
    client.end().await;
    Ok(())
}
