//! The tokio runtime of the package. It is created at the first use, stopped at exit, and never shared with a forked
//! child.
//!
//! A fork copies the memory of a process and none of its threads: what was made before it is of no use to the child,
//! and a lock in it may be held for ever. So every value that belongs to the runtime is in a [`Here`], which knows the
//! number of forks before it was made. The child neither uses nor drops such a value, and gets a runtime of its own as
//! soon as it makes something new.

use std::{
    mem::ManuallyDrop,
    ptr,
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicPtr, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use pyo3::prelude::*;
use tokio::{
    runtime::{Handle, Runtime},
    sync::watch,
};

use crate::problem::Problem;

/// Maximum time for which endpoints that were not closed delay the end of the interpreter. Telling the peers takes
/// milliseconds; without it, the peers would notice after their idle timeout, 20 s by default.
const EXIT: Duration = Duration::from_secs(1);

/// The number of forks between the process that loaded the module and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// Whether the interpreter is exiting.
static EXITING: AtomicBool = AtomicBool::new(false);
/// The runtime of this process, or null. What it points to is never freed.
static CELL: AtomicPtr<Cell> = AtomicPtr::new(ptr::null_mut());

struct Cell {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    endpoints: Mutex<Vec<Weak<Shared>>>,
}

/// An endpoint, as it is registered for the exit of the interpreter.
pub(crate) struct Shared {
    pub(crate) endpoint: twolane::Endpoint,
    /// Becomes true once the endpoint is closed.
    pub(crate) closed: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(endpoint: twolane::Endpoint) -> Self {
        Self { endpoint, closed: watch::Sender::new(false) }
    }
}

/// Returns the runtime, and creates it if there is none.
pub(crate) fn handle() -> PyResult<&'static Handle> {
    Ok(&cell()?.handle)
}

/// Registers an endpoint, so that its peers are told at exit.
pub(crate) fn register(endpoint: Weak<Shared>) {
    if let Some(cell) = existing() {
        let mut endpoints = cell.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|endpoint| endpoint.strong_count() > 0);
        endpoints.push(endpoint);
    }
}

/// Called by `atexit`. Closes all open endpoints and stops the threads, so that no thread runs during the
/// finalization of the interpreter.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    if EXITING.swap(true, AcqRel) {
        return;
    }
    let Some(cell) = existing() else { return };
    py.detach(|| {
        let endpoints = std::mem::take(&mut *cell.endpoints.lock().unwrap_or_else(PoisonError::into_inner));
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

/// Called by `os.register_at_fork` in the child. What was made before the fork stays with the parent, and the child has
/// no runtime until it needs one.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKS.fetch_add(1, AcqRel);
    CELL.store(ptr::null_mut(), Release);
}

/// Returns the number of forks between the process that loaded the module and this one.
pub(crate) fn forks() -> u32 {
    FORKS.load(Acquire)
}

/// A value of this process. A child that is forked later does not get it, and does not drop it, because its methods
/// and its drop take locks. Elsewhere it is dropped inside the runtime.
pub(crate) struct Here<T> {
    value: ManuallyDrop<T>,
    forks: u32,
}

impl<T> Here<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), forks: forks() }
    }

    /// Returns the value. Raises `ForkError` if it is the parent's.
    pub(crate) fn get(&self) -> PyResult<&T> {
        self.ours().ok_or_else(|| {
            let message = "this was made before a fork, and cannot be used in the child: its threads and connections \
                stayed with the parent. Make a new node in the child";
            Problem::new("ForkError", message).into()
        })
    }

    /// Returns the value, unless it is the parent's.
    pub(crate) fn ours(&self) -> Option<&T> {
        (self.forks == forks()).then_some(&*self.value)
    }
}

impl<T> Drop for Here<T> {
    fn drop(&mut self) {
        if self.ours().is_none() {
            return;
        }
        let _guard = existing().map(|cell| cell.handle.enter());
        // SAFETY: nothing uses the value after this, and this is called once.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

fn cell() -> PyResult<&'static Cell> {
    if EXITING.load(Relaxed) {
        return Err(Problem::new("NodeClosed", "the interpreter is exiting").into());
    }
    if let Some(cell) = existing() {
        return Ok(cell);
    }
    let made =
        build().map_err(|error| Problem::new("TwolaneError", format!("no runtime could be started: {error}")))?;
    let made = Box::into_raw(Box::new(made));
    let Err(other) = CELL.compare_exchange(ptr::null_mut(), made, AcqRel, Acquire) else {
        // SAFETY: a cell is never freed once it is in its place.
        return Ok(unsafe { &*made });
    };
    // Another thread was faster.
    // SAFETY: nothing else has the pointer.
    let made = unsafe { Box::from_raw(made) };
    if let Some(runtime) = made.runtime.into_inner().unwrap_or_else(PoisonError::into_inner) {
        runtime.shutdown_background();
    }
    // SAFETY: a cell is never freed once it is in its place.
    Ok(unsafe { &*other })
}

fn existing() -> Option<&'static Cell> {
    // SAFETY: a cell is never freed once it is in its place.
    unsafe { CELL.load(Acquire).as_ref() }
}

/// Builds a runtime, with one thread for each processor unless the environment variable `TOKIO_WORKER_THREADS` has
/// another number.
fn build() -> std::io::Result<Cell> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("twolane").build()?;
    Ok(Cell { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)), endpoints: Mutex::default() })
}
