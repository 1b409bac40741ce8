//! One side of a comparison: a server in a process of its own, whose resource usage is counted, and a client in this
//! process.

use std::{env, time::Duration};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::Mutex,
    time::timeout,
};

use super::{
    Broken,
    side::{Service, Side},
};
use crate::{child::Child, report::print, stream_tester::scale::footprint::Footprint};

/// Maximum time to wait for an answer of a server. A server answers at once, and is bound in 50 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line of a server's output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Address(String),
    Usage(Usage),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since the process started, in seconds.
    pub cpu: f64,
    /// Resident memory in bytes. (Counting the allocations of the heap would make it slower.
    /// `net-test/tests/allocations.rs` counts them.)
    pub resident: u64,
}

impl Usage {
    /// Returns the usage of this process. Needs a runtime.
    pub fn now() -> Self {
        Self {
            cpu: ProcessTime::now().as_duration().as_secs_f64(),
            resident: Footprint::now().resident.unwrap_or_default(),
        }
    }
}

/// Runs the server of one side. Prints its address, and its usage for each line of standard input, until the input
/// ends.
pub async fn obey<S: Side>() -> Result<(), Broken> {
    let (_server, address) = S::serve().await?;
    print(&serde_json::to_string(&Said::Address(address))?);
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        print(&serde_json::to_string(&Said::Usage(Usage::now()))?);
    }
    Ok(())
}

/// A server process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: String,
    process: Mutex<Child<Said>>,
}

impl Server {
    pub async fn start<S: Side>() -> Result<Self, Broken> {
        let mut process = Child::start("a server", Command::new(env::current_exe()?).args(["--serve", S::NAME]))?;
        match answer(&mut process).await? {
            Said::Address(address) => Ok(Self { address, process: Mutex::new(process) }),
            other => Err(Broken::msg(format!("a server that starts says {other:?}"))),
        }
    }

    pub async fn usage(&self) -> Result<Usage, Broken> {
        let mut process = self.process.lock().await;
        process.tell(&"usage").await?;
        match answer(&mut process).await? {
            Said::Usage(usage) => Ok(usage),
            other => Err(Broken::msg(format!("a server that was asked for its usage says {other:?}"))),
        }
    }
}

async fn answer(process: &mut Child<Said>) -> Result<Said, Broken> {
    Ok(timeout(PATIENCE, process.next()).await.map_err(|_| Broken::msg("a server did not answer"))??)
}

/// A server, and a client that is connected to it.
#[derive(Debug)]
pub struct Half<S: Side> {
    pub server: Server,
    pub client: S,
}

impl<S: Side> Half<S> {
    pub async fn start() -> Result<Self, Broken> {
        let server = Server::start::<S>().await?;
        let client = S::client(&server.address).await?;
        for service in [Service::Echo, Service::Bulk] {
            client.connect(service).await?;
        }
        Ok(Self { server, client })
    }

    /// Runs `work`. Returns its result, and the processor time of both processes during it, in seconds.
    pub async fn spent<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Broken>) -> Result<(T, f64), Broken> {
        let (before, here) = (self.server.usage().await?, Usage::now());
        let done = work().await?;
        let (after, there) = (Usage::now(), self.server.usage().await?);
        Ok((done, (after.cpu - here.cpu) + (there.cpu - before.cpu)))
    }
}
