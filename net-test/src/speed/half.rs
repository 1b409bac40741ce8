//! One side of a comparison: a server, which is a process of its own so that what it uses is its own, and a client here.

use std::{env, process::Stdio, time::Duration};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use super::{
    Broken,
    side::{Service, Side},
};
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
    _process: Child,
    pipes: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
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
        let mut lines = BufReader::new(stdout).lines();
        let address = line(&mut lines).await?;
        Ok(Self { address, _process: process, pipes: Mutex::new((stdin, lines)) })
    }

    /// What it uses now.
    pub async fn usage(&self) -> Result<Usage, Broken> {
        let (stdin, lines) = &mut *self.pipes.lock().await;
        stdin.write_all(b"usage\n").await?;
        Ok(serde_json::from_str(&line(lines).await?)?)
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, Broken> {
    let line = timeout(PATIENCE, lines.next_line()).await.map_err(|_| Broken::msg("a server did not answer"))?;
    line?.ok_or_else(|| Broken::msg("a server has ended"))
}

/// A server, and a client that is connected to it.
#[derive(Debug)]
pub struct Half<S: Side> {
    /// The server.
    pub server: Server,
    /// The client.
    pub client: S,
}

impl<S: Side> Half<S> {
    /// Starts both.
    pub async fn start() -> Result<Self, Broken> {
        let server = Server::start::<S>().await?;
        let client = S::client(&server.address).await?;
        for service in [Service::Echo, Service::Bulk] {
            client.connect(service).await?;
        }
        Ok(Self { server, client })
    }

    /// The processor seconds that both processes spend on something.
    pub async fn spent<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Broken>) -> Result<(T, f64), Broken> {
        let (before, here) = (self.server.usage().await?, Usage::now());
        let done = work().await?;
        let (after, there) = (Usage::now(), self.server.usage().await?);
        Ok((done, (after.cpu - here.cpu) + (there.cpu - before.cpu)))
    }
}
