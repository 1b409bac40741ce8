//! A server as a process of its own: what it uses is its own then, and both sides are arranged alike.

use std::{env, process::Stdio, time::Duration};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Broken, side::Side};
use crate::stream_tester::{report::print, scale::footprint::Footprint};

/// A server answers a question at once; it is bound in 50 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process has used, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds of processor time since it started.
    pub cpu: f64,
    /// Resident bytes. (A heap that is counted is a slower one: `net-test/tests/allocations.rs` counts.)
    pub resident: u64,
}

impl Usage {
    /// This process's. To be called on a runtime.
    pub fn now() -> Self {
        Self {
            cpu: ProcessTime::now().as_duration().as_secs_f64(),
            resident: Footprint::now().resident.unwrap_or_default(),
        }
    }
}

/// The server's part of this program: says where it is, and then what it uses as often as it is asked. Ends with its
/// standard input.
pub async fn obey<S: Side>() -> Result<(), Broken> {
    let (_server, address) = S::serve().await?;
    print(&address);
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        print(&serde_json::to_string(&Usage::now())?);
    }
    Ok(())
}

/// A server process. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: String,
    _process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts one.
    pub async fn start<S: Side>() -> Result<Self, Broken> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--serve", S::NAME])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Broken::msg("a server has no pipes"));
        };
        let mut server =
            Self { address: String::new(), _process: process, stdin, lines: BufReader::new(stdout).lines() };
        server.address = server.line().await?;
        Ok(server)
    }

    /// What it uses now.
    pub async fn usage(&mut self) -> Result<Usage, Broken> {
        self.stdin.write_all(b"usage\n").await?;
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    async fn line(&mut self) -> Result<String, Broken> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        line.map_err(|_| Broken::msg("a server did not answer"))??.ok_or_else(|| Broken::msg("a server has ended"))
    }
}
