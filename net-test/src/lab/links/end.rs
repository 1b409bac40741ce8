//! One end of a link, in a process of its own in a namespace (`lab end`).

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::load::{self, Loads};
use crate::{
    lab::{fault::Fault, parts},
    speed::{
        Broken,
        ours::Ours,
        raw::{Raw, Tuned},
        side::{Anywhere, Service, Side},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Library {
    Ours,
    Raw,
    Tuned,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub library: Library,
    /// The address of this end.
    pub addr: Ipv4Addr,
    /// The name of the other end. An end without one serves.
    pub peer: Option<String>,
    /// The duration of bulk data, in milliseconds.
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    Serving { name: String },
    Loads(Loads),
}

impl Library {
    /// All libraries, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Raw, Self::Tuned];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => Ours::NAME,
            Self::Raw => Raw::NAME,
            Self::Tuned => Tuned::NAME,
        }
    }

    pub fn settings(self) -> String {
        match self {
            Self::Ours => Ours::settings(),
            Self::Raw => Raw::settings(),
            Self::Tuned => Tuned::settings(),
        }
    }
}

/// Runs `lab end`. One end serves until its input ends. The other one dials, measures and exits.
pub async fn run(config: Config) -> Result<(), Fault> {
    let ended = match config.library {
        Library::Ours => end::<Ours>(config).await,
        Library::Raw => end::<Raw>(config).await,
        Library::Tuned => end::<Tuned>(config).await,
    };
    ended.map_err(|broken| Fault::Lab(format!("{broken:#}")))
}

async fn end<S: Anywhere>(config: Config) -> Result<(), Broken> {
    let at = Some(SocketAddr::from((config.addr, 0)));
    let Some(peer) = config.peer else {
        let (_server, name) = S::serve_at(at).await?;
        parts::say(&Said::Serving { name });
        let mut commands = parts::commands::<String>();
        while commands.recv().await.is_some() {}
        return Ok(());
    };
    let client = S::client_at(at, &peer).await?;
    for service in [Service::Echo, Service::Bulk] {
        client.connect(service).await?;
    }
    let loads = load::all(&client, Duration::from_millis(config.ms)).await?;
    parts::say(&Said::Loads(loads));
    client.close().await;
    Ok(())
}
