//! The tokio runtime under everything: made at the first use, gone at exit, and out of reach in a forked child.

use std::{
    mem::ManuallyDrop,
    ops::Deref,
    sync::{
        Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};

use crate::{endpoint::Shared, error::Problem};

/// How long the end of the interpreter may be held up by endpoints that nobody closed. Telling the peers takes
/// milliseconds; without it they would notice after their idle timeout, 20 s by default.
const EXIT: Duration = Duration::from_secs(1);

const OPEN: u8 = 0;
const EXITED: u8 = 1;
const FORKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(OPEN);
static CELL: OnceLock<Result<Cell, String>> = OnceLock::new();
static ENDPOINTS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

struct Cell {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

/// The runtime, made if there is none.
pub(crate) fn handle() -> PyResult<&'static Handle> {
    match STATE.load(SeqCst) {
        OPEN => {}
        FORKED => {
            return Err(Problem::new(
                "ForkError",
                "twolane cannot be used in a forked child: its threads and connections stayed with the parent. Use \
                 the start method 'spawn' or 'forkserver' of multiprocessing",
            )
            .into());
        }
        _ => return Err(Problem::new("EndpointClosed", "the interpreter is exiting").into()),
    }
    match CELL.get_or_init(build) {
        Ok(cell) => Ok(&cell.handle),
        Err(error) => Err(Problem::new("TwolaneError", format!("no runtime could be started: {error}")).into()),
    }
}

/// Takes note of an endpoint, so that its peers are told at exit.
pub(crate) fn register(endpoint: Weak<Shared>) {
    let mut endpoints = ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner);
    endpoints.retain(|endpoint| endpoint.strong_count() > 0);
    endpoints.push(endpoint);
}

/// Called by `atexit`: closes what is open and stops the threads, so that nothing runs while the interpreter is taken
/// apart.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    if STATE.compare_exchange(OPEN, EXITED, SeqCst, SeqCst).is_err() {
        return;
    }
    let Some(Ok(cell)) = CELL.get() else { return };
    py.detach(|| {
        let endpoints = std::mem::take(&mut *ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(runtime) = cell.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        runtime.block_on(async {
            let mut closing = tokio::task::JoinSet::new();
            for endpoint in endpoints.into_iter().filter_map(|endpoint| endpoint.upgrade()) {
                closing.spawn(async move { endpoint.endpoint.shutdown(Duration::ZERO).await });
            }
            // Who is not told by then finds out by the idle timeout.
            let _ = tokio::time::timeout(EXIT, closing.join_all()).await;
        });
        runtime.shutdown_timeout(EXIT);
    });
}

/// Called by `os.register_at_fork` in the child, where none of the threads exist and any lock may be held for ever.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    STATE.store(FORKED, SeqCst);
}

/// Whether this is a forked child.
pub(crate) fn is_forked() -> bool {
    STATE.load(SeqCst) == FORKED
}

/// What must not be dropped in a forked child, since that takes locks. Elsewhere it is dropped inside the runtime.
pub(crate) struct Local<T>(ManuallyDrop<T>);

impl<T> Local<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        if is_forked() {
            return;
        }
        let _guard = CELL.get().and_then(|cell| cell.as_ref().ok()).map(|cell| cell.handle.enter());
        // SAFETY: nothing uses the value after this, and this is called once.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

fn build() -> Result<Cell, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("twolane")
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Cell { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
}
