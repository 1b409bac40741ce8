//! Waiting for a result: a task of tokio, and a future of asyncio that the task completes.

use std::future::Future;

use pyo3::{intern, prelude::*};
use tokio::task::AbortHandle;

use crate::{
    bridge::{Bridge, Item},
    runtime,
};

/// A running operation.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Op {
    future: Py<PyAny>,
    abort: Option<AbortHandle>,
}

impl Op {
    /// Starts `task`, which is aborted when the caller cancels the operation.
    pub(crate) fn start<T: Send + 'static>(
        py: Python<'_>,
        task: impl Future<Output = T> + Send + 'static,
        convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Self> {
        let (future, abort) = spawn(py, task, convert)?;
        Ok(Self { future, abort: Some(abort) })
    }

    /// Starts `task`, which continues even if the caller is cancelled.
    pub(crate) fn start_detached<T: Send + 'static>(
        py: Python<'_>,
        task: impl Future<Output = T> + Send + 'static,
        convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Self> {
        let (future, _) = spawn(py, task, convert)?;
        Ok(Self { future, abort: None })
    }
}

#[pymethods]
impl Op {
    /// The future that completes with the operation.
    #[getter]
    fn future(&self, py: Python<'_>) -> Py<PyAny> {
        self.future.clone_ref(py)
    }

    /// Cancels the operation.
    fn cancel(&self) {
        if let Some(abort) = &self.abort
            && !runtime::is_forked()
        {
            abort.abort();
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn spawn<T: Send + 'static>(
    py: Python<'_>,
    task: impl Future<Output = T> + Send + 'static,
    convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<(Py<PyAny>, AbortHandle)> {
    let handle = runtime::handle()?;
    let (event_loop, bridge) = Bridge::current(py)?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?.unbind();
    let completed = future.clone_ref(py);
    let task = handle.spawn(async move {
        let value = task.await;
        bridge.push(Item::Done { future: completed, result: Box::new(move |py| convert(py, value)) });
    });
    Ok((future, task.abort_handle()))
}
