//! The same work without Python, for `python -m twolane.bench` to compare with.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::task::JoinSet;
use twolane::{Endpoint, Ticket};

use crate::{runtime, ticket::ticket_from};

/// As in `python/twolane/bench.py`.
const BULK: &str = "bench-bulk/1";
const ECHO: &str = "bench-echo/1";
const PIECE: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// Binds an endpoint that serves both, until the process ends, and returns its ticket.
#[pyfunction]
pub(crate) fn bench_serve(py: Python<'_>) -> PyResult<String> {
    let handle = runtime::handle()?;
    py.detach(|| handle.block_on(serve())).map_err(failed)
}

/// Sends `count` MiB (`bulk`), or `count` requests of 64 bytes with so many in flight; returns the seconds it took.
#[pyfunction]
pub(crate) fn bench_run(
    py: Python<'_>,
    peer: &Bound<'_, PyAny>,
    kind: &str,
    count: usize,
    in_flight: usize,
) -> PyResult<f64> {
    let (handle, ticket, bulk) = (runtime::handle()?, ticket_from(peer)?, kind == "bulk");
    let took = py.detach(|| {
        handle.block_on(async move {
            let endpoint = Endpoint::builder().offline().bind().await?;
            let took = if bulk {
                send(&endpoint, &ticket, count).await?
            } else {
                ask(&endpoint, &ticket, count, in_flight).await?
            };
            endpoint.shutdown(Duration::from_secs(1)).await;
            Ok(took)
        })
    });
    Ok(took.map_err(failed)?.as_secs_f64())
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
    // Held by a task for as long as the process lives.
    tokio::spawn(async move {
        let _endpoint = endpoint;
        std::future::pending::<()>().await;
    });
    Ok(ticket)
}

async fn send(endpoint: &Endpoint, ticket: &Ticket, pieces: usize) -> Result<Duration, Failure> {
    let mut stream = endpoint.get_stream(ticket, BULK).await?;
    let piece = Bytes::from(vec![7; PIECE]);
    let start = Instant::now();
    for _ in 0..pieces {
        stream.write_chunk(piece.clone()).await?;
    }
    stream.finish()?;
    let count = stream.next_string().await?;
    let took = start.elapsed();
    if count != (pieces * PIECE).to_string() {
        return Err(format!("{count} bytes arrived").into());
    }
    Ok(took)
}

async fn ask(endpoint: &Endpoint, ticket: &Ticket, count: usize, in_flight: usize) -> Result<Duration, Failure> {
    let body = Bytes::from_static(&[7; 64]);
    endpoint.request(ticket, ECHO, body.clone(), PATIENCE).await?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (endpoint, ticket, body) = (endpoint.clone(), ticket.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..count / in_flight {
                endpoint.request(&ticket, ECHO, body.clone(), PATIENCE).await?;
            }
            Ok::<_, twolane::RequestError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(start.elapsed())
}

fn failed(error: Failure) -> PyErr {
    PyRuntimeError::new_err(crate::error::chain(&*error))
}
