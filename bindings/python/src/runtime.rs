//! The tokio runtime of the package. It is created at the first use, stopped at exit, and unusable in a forked
//! child.

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

/// Maximum time for which endpoints that were not closed delay the end of the interpreter. Telling the peers takes
/// milliseconds; without it, the peers would notice after their idle timeout, 20 s by default.
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

/// Returns the runtime, and creates it if there is none.
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

/// Registers an endpoint, so that its peers are told at exit.
pub(crate) fn register(endpoint: Weak<Shared>) {
    let mut endpoints = ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner);
    endpoints.retain(|endpoint| endpoint.strong_count() > 0);
    endpoints.push(endpoint);
}

/// Called by `atexit`. Closes all open endpoints and stops the threads, so that no thread runs during the
/// finalization of the interpreter.
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
            // A peer that is not told by then detects the end by its idle timeout.
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

/// Returns whether this process is a forked child.
pub(crate) fn is_forked() -> bool {
    STATE.load(SeqCst) == FORKED
}

/// A value that must not be dropped in a forked child, because its drop takes locks. In other processes it is
/// dropped inside the runtime.
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
