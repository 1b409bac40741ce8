//! Writing.
//!
//! The caller's own call writes the data that flow control takes at once. The rest waits in a queue of whole writes,
//! which a task of tokio processes in order, so a large write costs the event loop one wake-up.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
};

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use twolane::WriteError;

use super::{
    inner::{Inner, Queued},
    object::Stream,
    send_side::{Data, Outcome},
};
use crate::{
    data,
    error::Problem,
    runtime::{self, Here},
    wait::Turn,
};

/// Below this length in bytes, a write is copied directly from Python's memory into noq's buffers.
const SMALL: usize = 16 * 1024;

/// A write, or a finish, that waits for flow control.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Write {
    waiting: Here<Waiting>,
}

struct Waiting {
    inner: Arc<Inner>,
    outcome: Arc<Outcome>,
    waker: Waker,
    id: u64,
}

#[pymethods]
impl Stream {
    /// Writes data. Returns None if flow control took all of it at once. If `whole` is set, the data is written
    /// completely or not at all, even if the write is cancelled.
    #[pyo3(signature = (data, whole = false))]
    fn write(&self, data: &Bound<'_, PyAny>, whole: bool) -> PyResult<Option<Write>> {
        let inner = self.inner.get()?;
        let handle = runtime::handle()?;
        let guard = handle.enter();
        let written = match data.cast::<PyBytes>() {
            Ok(bytes) if bytes.as_bytes().len() < SMALL => {
                let slice = bytes.as_bytes();
                inner.write(
                    slice.len(),
                    |stream, at, cx| pin!(stream.write(&slice[at..])).poll(cx),
                    |at| Data { rest: Bytes::copy_from_slice(&slice[at..]), whole },
                )
            }
            _ => {
                let bytes = data::from_python(data)?;
                let mut rest = bytes.clone();
                inner.write(
                    bytes.len(),
                    |stream, _, cx| pin!(stream.write_from(&mut rest)).poll(cx),
                    |at| Data { rest: bytes.slice(at..), whole },
                )
            }
        };
        drop(guard);
        queued(inner, written)
    }

    /// Finishes the data. Returns None if that is done, or a `Write` that completes after the queued writes.
    fn finish(&self) -> PyResult<Option<Write>> {
        let inner = self.inner.get()?;
        let finished = {
            let _guard = runtime::handle()?.enter();
            inner.finish()
        };
        queued(inner, finished)
    }
}

/// Returns the handle of a job that was queued.
fn queued(inner: &Arc<Inner>, result: Result<Option<Queued>, WriteError>) -> PyResult<Option<Write>> {
    let Some(Queued { id, outcome, starts }) = result.map_err(Problem::from)? else { return Ok(None) };
    if starts {
        inner.drive(runtime::handle()?);
    }
    let waker = outcome.slot.waker();
    let waiting = Waiting { inner: Arc::clone(inner), outcome, waker, id };
    Ok(Some(Write { waiting: Here::new(waiting) }))
}

#[pymethods]
impl Write {
    /// The number of bytes of this write that flow control has taken.
    #[getter]
    fn taken(&self) -> PyResult<u64> {
        Ok(self.waiting.get()?.outcome.taken.load(Relaxed))
    }

    /// Returns a future after which to poll again, or None once the write is done.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let waiting = self.waiting.get()?;
        match waiting.outcome.slot.turn(py, &waiting.waker, |_| waiting.outcome.get())? {
            Turn::Wait(future) => Ok(Some(future)),
            Turn::Ready(result) => {
                result.map_err(Problem::from)?;
                Ok(None)
            }
        }
    }

    /// Cancels the write. No more of it is written, unless it is a message that has begun.
    fn cancel(&self) {
        if let Some(waiting) = self.waiting.ours() {
            waiting.inner.withdraw(waiting.id);
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.cancel();
    }
}
