//! Waiting for a result: a task of tokio, and a future of asyncio that the task completes.

use std::{future::Future, sync::Arc};

use pyo3::{intern, prelude::*};
use tokio::task::AbortHandle;

use crate::{
    bridge::{Bridge, Item},
    problem::Problem,
    runtime::{self, Here},
};

/// A running operation.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Op {
    future: Py<PyAny>,
    abort: Option<Here<AbortHandle>>,
}

impl Op {
    /// Starts `task`, which is aborted when the caller cancels the operation.
    pub(crate) fn start<T: Send + 'static>(
        py: Python<'_>,
        task: impl Future<Output = T> + Send + 'static,
        convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Self> {
        let (future, abort) = spawn(py, task, convert)?;
        Ok(Self { future, abort: Some(Here::new(abort)) })
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
        if let Some(abort) = self.abort.as_ref().and_then(Here::ours) {
            abort.abort();
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Completes the future, whatever becomes of the task. A task that panics would leave its caller to wait for ever. A
/// task that is aborted has no caller any more.
struct Completion {
    bridge: Arc<Bridge>,
    future: Option<Py<PyAny>>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(future) = self.future.take()
        {
            let message = "a defect of twolane ended this operation: the panic is on standard error";
            self.bridge.push(Item::Done {
                future,
                result: Box::new(move |_| Err(PyErr::from(Problem::new("TwolaneError", message)))),
            });
        }
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
    let mut completion = Completion { bridge, future: Some(future.clone_ref(py)) };
    let task = handle.spawn(async move {
        let value = task.await;
        if let Some(future) = completion.future.take() {
            completion.bridge.push(Item::Done { future, result: Box::new(move |py| convert(py, value)) });
        }
    });
    Ok((future, task.abort_handle()))
}

/// Starts an operation that panics, for the test of what its caller is told.
#[cfg(feature = "gate")]
#[pyfunction]
#[pyo3(name = "_panics")]
#[expect(clippy::panic, reason = "it is asked for")]
pub(crate) fn panics(py: Python<'_>) -> PyResult<Op> {
    Op::start(py, async { panic!("this panic is part of the test") }, |py, ()| Ok(py.None()))
}
