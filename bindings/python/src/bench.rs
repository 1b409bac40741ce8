//! The benchmark's work without Python, for `bench/` to compare with.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::task::JoinSet;
use twolane::{Endpoint, Ticket};

use crate::{runtime, ticket::ticket_from};

/// The same values as in `bench/sides.py`.
const BULK: &str = "bench-bulk/1";
const ECHO: &str = "bench-echo/1";
const PIECE: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// Binds an endpoint that serves both protocols until the process ends. Returns its ticket.
#[pyfunction]
#[pyo3(name = "_bench_serve")]
pub(crate) fn bench_serve(py: Python<'_>) -> PyResult<String> {
    let handle = runtime::handle()?;
    py.detach(|| handle.block_on(serve())).map_err(failed)
}

/// Sends pieces of 1 MiB on one stream (`bulk`), or requests of 64 bytes with `in_flight` requests in flight.
/// Measures for `seconds`, after a warm-up of `warm_up` seconds. Returns the number of pieces or requests, and the
/// seconds that they took.
#[pyfunction]
#[pyo3(name = "_bench_run")]
pub(crate) fn bench_run(
    py: Python<'_>,
    peer: &Bound<'_, PyAny>,
    kind: &str,
    in_flight: usize,
    warm_up: f64,
    seconds: f64,
) -> PyResult<(usize, f64)> {
    let (handle, ticket, bulk) = (runtime::handle()?, ticket_from(peer)?, kind == "bulk");
    let done = py.detach(|| {
        handle.block_on(async move {
            let endpoint = Endpoint::builder().offline().bind().await?;
            let mut done = (0, Duration::ZERO);
            for seconds in [warm_up, seconds] {
                let time = Duration::try_from_secs_f64(seconds)?;
                done = if bulk {
                    send(&endpoint, &ticket, time).await?
                } else {
                    ask(&endpoint, &ticket, time, in_flight).await?
                };
            }
            endpoint.shutdown(Duration::from_secs(1)).await;
            Ok(done)
        })
    });
    done.map(|(count, took)| (count, took.as_secs_f64())).map_err(failed)
}

/// Returns the version of the compiler that built this module, and the build profile.
#[pyfunction]
#[pyo3(name = "_bench_built")]
pub(crate) fn bench_built() -> (&'static str, &'static str) {
    (env!("TWOLANE_RUSTC"), env!("TWOLANE_PROFILE"))
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn serve() -> Result<String, Failure> {
    let endpoint = Endpoint::builder().offline().bind().await?;
    endpoint.serve_requests(ECHO, |request| async move { Ok(request.body) })?;
    endpoint.serve(BULK, |mut stream| async move {
        let mut count: u64 = 0;
        while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX).await {
            count += chunk.len() as u64;
        }
        let _ = stream.send_string(&count.to_string()).await;
        let _ = stream.finish();
    })?;
    let ticket = endpoint.ticket().to_string();
    // The task holds the endpoint until the process ends.
    tokio::spawn(async move {
        let _endpoint = endpoint;
        std::future::pending::<()>().await;
    });
    Ok(ticket)
}

async fn send(endpoint: &Endpoint, ticket: &Ticket, time: Duration) -> Result<(usize, Duration), Failure> {
    let mut stream = endpoint.get_stream(ticket, BULK).await?;
    let piece = Bytes::from(vec![7; PIECE]);
    let (start, mut pieces) = (Instant::now(), 0);
    while pieces == 0 || start.elapsed() < time {
        stream.write_chunk(piece.clone()).await?;
        pieces += 1;
    }
    stream.finish()?;
    let count = stream.next_string().await?;
    let took = start.elapsed();
    if count != (pieces * PIECE).to_string() {
        return Err(format!("{count} bytes arrived").into());
    }
    Ok((pieces, took))
}

async fn ask(
    endpoint: &Endpoint,
    ticket: &Ticket,
    time: Duration,
    in_flight: usize,
) -> Result<(usize, Duration), Failure> {
    let body = Bytes::from_static(&[7; 64]);
    endpoint.request(ticket, ECHO, body.clone(), PATIENCE).await?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (endpoint, ticket, body) = (endpoint.clone(), ticket.clone(), body.clone());
        tasks.spawn(async move {
            let mut count = 0;
            while count == 0 || start.elapsed() < time {
                let response = endpoint.request(&ticket, ECHO, body.clone(), PATIENCE).await?;
                if *response != *body {
                    return Err("another answer came".into());
                }
                count += 1;
            }
            Ok::<_, Failure>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = tasks.join_next().await {
        count += ended??;
    }
    Ok((count, start.elapsed()))
}

fn failed(error: Failure) -> PyErr {
    PyRuntimeError::new_err(crate::error::chain(&*error))
}
