//! One end of a flow, in a process of its own in a namespace (`lab flow`). It moves data as long as it lives, and
//! measures only downloads. The link counts the data.

use std::{future::pending, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{quic, tcp};
use crate::{
    lab::{fault::Fault, parts},
    speed::Broken,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// twolane's endpoint.
    Ours,
    /// Raw iroh with its defaults, which use noq's Cubic.
    Iroh,
    /// Raw iroh with twolane's windows and noq's BBR3.
    Bbr3,
    TcpCubic,
    TcpBbr,
    /// Clients that fetch pages repeatedly.
    Web,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub kind: Kind,
    /// The congestion control of twolane's endpoint.
    pub ours: String,
    /// The address of this end.
    pub addr: Ipv4Addr,
    /// The name of the other end. An end without one serves.
    pub to: Option<String>,
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    Serving {
        name: String,
    },
    /// The end waits for a command to begin.
    Ready,
    /// A download has ended.
    Fetched {
        /// The time at which the download began.
        at_ns: u64,
        ms: f64,
    },
    /// The flow has ended, although it should not.
    Broken {
        why: String,
    },
}

impl Kind {
    /// Returns whether the data comes from the end that dials. Pages come from the server, which is dialled.
    pub fn dials_from_the_source(self) -> bool {
        self != Self::Web
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "twolane",
            Self::Iroh => "iroh",
            Self::Bbr3 => "bbr3",
            Self::TcpCubic => "tcp-cubic",
            Self::TcpBbr => "tcp-bbr",
            Self::Web => "web",
        }
    }

    fn control(self) -> &'static str {
        if self == Self::TcpBbr { "bbr" } else { "cubic" }
    }
}

/// Runs `lab flow` until it is killed.
pub async fn run(config: Config) -> Result<(), Fault> {
    let mut commands = parts::commands::<String>();
    let playing = async {
        match &config.to {
            None => serve(&config).await,
            Some(to) => {
                let began = async { commands.recv().await.ok_or_else(|| Broken::msg("nobody begins")).map(drop) };
                dial(&config, to, began).await
            }
        }
    };
    let played = playing.await;
    if let Err(broken) = &played {
        parts::say(&Said::Broken { why: format!("{broken:#}") });
    }
    played.map_err(|broken| Fault::Lab(format!("{broken:#}")))
}

async fn serve(config: &Config) -> Result<(), Broken> {
    let serving = |name| parts::say(&Said::Serving { name });
    match config.kind {
        Kind::Ours | Kind::Iroh | Kind::Bbr3 => {
            let end = quic::End::bind(config).await?;
            serving(end.serve()?);
            pending().await
        }
        Kind::TcpCubic | Kind::TcpBbr | Kind::Web => {
            let (listener, name) = tcp::listen(config.addr, config.kind.control())?;
            serving(name);
            if config.kind == Kind::Web { tcp::serve_pages(listener).await } else { tcp::read(listener).await }
        }
    }
}

/// Dials, waits for the command to begin, and moves data.
async fn dial(config: &Config, to: &str, began: impl Future<Output = Result<(), Broken>>) -> Result<(), Broken> {
    let control = config.kind.control();
    match config.kind {
        Kind::Ours | Kind::Iroh | Kind::Bbr3 => {
            let end = quic::End::bind(config).await?;
            parts::say(&Said::Ready);
            began.await?;
            end.pour(to).await
        }
        Kind::TcpCubic | Kind::TcpBbr => {
            parts::say(&Said::Ready);
            began.await?;
            tcp::pour(config.addr, control, to).await
        }
        Kind::Web => {
            parts::say(&Said::Ready);
            began.await?;
            tcp::fetch_pages(config.addr, control, to, config.seed).await
        }
    }
}
