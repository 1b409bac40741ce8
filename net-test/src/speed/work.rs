//! The measured work. Each function does some work on one side, and returns the result.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    Broken,
    bulk::{self, Load},
    half::{Half, Server},
    side::{Service, Side},
};
use crate::stats::{percentile, tail};

/// The rate and the latencies of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub count: usize,
    pub rate: f64,
    /// Latency in microseconds. The next two fields are in the same unit.
    pub p50: f64,
    /// `None` if there were too few requests.
    pub p99: Option<f64>,
    pub p999: Option<f64>,
}

/// Moves bulk data. Returns the rate of both directions together, in 10^6 bytes per second.
pub async fn bulk<S: Side>(side: &S, streams: u64, load: Load) -> Result<f64, Broken> {
    let share = |all: u64| all / streams;
    let load = Load { up: share(load.up), down: share(load.down), check: load.check };
    let started = Instant::now();
    let mut moving = JoinSet::new();
    for _ in 0..streams {
        let side = side.clone();
        moving.spawn(async move {
            let (send, recv) = side.open(Service::Bulk).await?;
            bulk::run(send, recv, load).await
        });
    }
    while let Some(moved) = moving.join_next().await {
        moved??;
    }
    Ok((streams * (load.up + load.down)) as f64 / 1e6 / started.elapsed().as_secs_f64())
}

/// Sends requests, and compares each answer with its request.
pub async fn requests<S: Side>(side: &S, size: usize, in_flight: usize, time: Duration) -> Result<Pace, Broken> {
    let message: Bytes = (0..size).map(|n| n as u8).collect();
    let until = Instant::now() + time;
    let side = side.clone();
    repeat(in_flight, until, move || {
        let (side, message) = (side.clone(), message.clone());
        async move {
            if side.request(message.clone()).await? != message {
                return Err(Broken::msg("an answer is not what was sent"));
            }
            Ok(())
        }
    })
    .await
}

/// Opens streams one after the other.
pub async fn opens<S: Side>(side: &S, time: Duration) -> Result<Pace, Broken> {
    let side = side.clone();
    repeat(1, Instant::now() + time, move || {
        let side = side.clone();
        async move { side.touch().await }
    })
    .await
}

/// Connects new endpoints one after the other. With `answered`, each one also waits for the answer to its first byte.
/// Returns the number of connections per second.
pub async fn connects<S: Side>(half: &Half<S>, count: usize, answered: bool) -> Result<f64, Broken> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(S::client(&half.server.address).await?);
    }
    let (clients, rate) = as_a_task(async move {
        let started = Instant::now();
        for client in &clients {
            client.connect(Service::Echo).await?;
            if answered && client.request(Bytes::from_static(b"!")).await? != "!" {
                return Err(Broken::msg("an answer is not what was sent"));
            }
        }
        Ok((clients, count as f64 / started.elapsed().as_secs_f64()))
    })
    .await?;
    close(clients).await?;
    Ok(rate)
}

/// The number of requests after which the traffic of a new connection (acknowledgements, control streams, path MTU
/// discovery) is over.
const SETTLED: usize = 20;

/// Returns the time until the answer to the first byte on a second protocol of a known peer, in microseconds.
pub async fn second_protocol<S: Side>(half: &Half<S>) -> Result<f64, Broken> {
    let client = S::client(&half.server.address).await?;
    let (client, took) = as_a_task(async move {
        client.connect(Service::Echo).await?;
        for _ in 0..SETTLED {
            client.request(Bytes::from_static(b"known")).await?;
        }
        let started = Instant::now();
        let answer = client.first(Service::Second, Bytes::from_static(b"!")).await?;
        let took = started.elapsed();
        if answer != "!" {
            return Err(Broken::msg("an answer is not what was sent"));
        }
        Ok((client, took))
    })
    .await?;
    client.close().await;
    Ok(took.as_secs_f64() * 1e6)
}

/// Runs `work` in a task of the runtime, as an application does.
///
/// The first thread of the program does not belong to the runtime. If it awaited the work, every packet would wake up
/// another thread first, and a request of either side would take half as long again.
pub(super) async fn as_a_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Broken>> + Send + 'static,
) -> Result<T, Broken> {
    let mut task = JoinSet::from_iter([work]);
    task.join_next().await.ok_or_else(|| Broken::msg("a task has no end"))??
}

/// Connects idle endpoints to the server.
pub async fn crowd<S: Side>(server: &Server, count: usize) -> Result<Vec<S>, Broken> {
    let mut clients = Vec::new();
    while clients.len() < count {
        // The endpoints connect a few at a time, because the number of handshakes of one address is limited.
        let mut connecting = JoinSet::new();
        for _ in 0..(count - clients.len()).min(8) {
            let server = server.address.clone();
            connecting.spawn(async move {
                let client = S::client(&server).await?;
                client.connect(Service::Echo).await?;
                // Both sides know of the connection after an answer.
                client.request(Bytes::from_static(b"here")).await?;
                Ok::<_, Broken>(client)
            });
        }
        while let Some(connected) = connecting.join_next().await {
            clients.push(connected??);
        }
    }
    Ok(clients)
}

/// Returns the resident memory of a new server alone, in MB, and of each idle peer, in kB. A new server is used
/// because a process keeps memory that it has used once.
pub async fn idle_memory<S: Side>(_: &Half<S>, count: usize) -> Result<(f64, f64), Broken> {
    /// The time after which the first probes of a connection are over.
    const SETTLED: Duration = Duration::from_secs(2);
    let server = Server::start::<S>().await?;
    let alone = server.usage().await?;
    // The first connection allocates memory that all connections share.
    let first = crowd::<S>(&server, 1).await?;
    let before = server.usage().await?;
    let began = Instant::now();
    let crowd = crowd::<S>(&server, count).await?;
    tokio::time::sleep(SETTLED.saturating_sub(began.elapsed())).await;
    let after = server.usage().await?;
    close(crowd).await?;
    close(first).await?;
    let each = after.resident.saturating_sub(before.resident) as f64 / count as f64;
    Ok((alone.resident as f64 / 1e6, each / 1e3))
}

pub async fn close<S: Side>(clients: Vec<S>) -> Result<(), Broken> {
    let mut closing: JoinSet<()> = clients.into_iter().map(Side::close).collect();
    while let Some(closed) = closing.join_next().await {
        closed?;
    }
    Ok(())
}

/// Repeats `one` in `at_a_time` tasks until the time is over.
pub(super) async fn repeat<F, Fut>(at_a_time: usize, until: Instant, one: F) -> Result<Pace, Broken>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Broken>> + Send,
{
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..at_a_time {
        let one = one.clone();
        workers.spawn(async move {
            let mut took = Vec::new();
            loop {
                let began = Instant::now();
                if began >= until {
                    return Ok::<_, Broken>(took);
                }
                one().await?;
                took.push(began.elapsed().as_secs_f64() * 1e6);
            }
        });
    }
    let mut took = Vec::new();
    while let Some(worker) = workers.join_next().await {
        took.extend(worker??);
    }
    let (count, rate) = (took.len(), took.len() as f64 / started.elapsed().as_secs_f64());
    took.sort_by(f64::total_cmp);
    Ok(Pace { count, rate, p50: percentile(&took, 0.5), p99: tail(&took, 0.99), p999: tail(&took, 0.999) })
}
