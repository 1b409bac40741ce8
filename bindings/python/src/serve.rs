//! Handlers in Python.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::oneshot;
use twolane::{Protocol, ServeError, ServeOptions, StreamError};

use crate::{
    bridge::{Bridge, Item},
    data,
    key::PeerId,
    runtime::Local,
    stream::{Stream, stream_error},
};

/// The error code for a request that was not answered, because the handler raised an exception or its event loop is
/// gone. (The codes of the libraries start at 2^61; the codes of applications are below.)
const HANDLER_FAILED: u64 = (1 << 61) + 2;

/// Calls `callback` on the running event loop with every stream of `protocol`.
pub(crate) fn streams(
    py: Python<'_>,
    endpoint: &twolane::Endpoint,
    protocol: Protocol,
    callback: Py<PyAny>,
) -> PyResult<Result<(), ServeError>> {
    let (_, bridge) = Bridge::current(py)?;
    let callback = Arc::new(callback);
    Ok(endpoint.serve(protocol, move |stream| {
        let argument = Box::new(move |py: Python<'_>| Ok(Py::new(py, Stream::new(stream))?.into_any()));
        bridge.push(Item::Call { callback: Arc::clone(&callback), argument });
        std::future::ready(())
    }))
}

/// Calls `callback` on the running event loop with every request of `protocol`.
pub(crate) fn requests(
    py: Python<'_>,
    endpoint: &twolane::Endpoint,
    protocol: Protocol,
    options: ServeOptions,
    callback: Py<PyAny>,
) -> PyResult<Result<(), ServeError>> {
    let (_, bridge) = Bridge::current(py)?;
    let callback = Arc::new(callback);
    Ok(endpoint.serve_requests_with(protocol, options, move |request| {
        let (answer, answered) = oneshot::channel();
        let gone = Arc::new(Mutex::new(Caller::Waits));
        let notice = Notice { bridge: Arc::clone(&bridge), caller: Arc::clone(&gone) };
        let argument = Box::new(move |py: Python<'_>| {
            let answer = Local::new(Mutex::new(Some(answer)));
            Ok(Py::new(py, Request { request, answer, caller: gone })?.into_any())
        });
        bridge.push(Item::Call { callback: Arc::clone(&callback), argument });
        async move {
            let answer = answered.await;
            notice.caller.lock().unwrap_or_else(PoisonError::into_inner).answer();
            answer.unwrap_or_else(|_| Err(StreamError::new(HANDLER_FAILED, "the handler of the request failed")))
        }
    }))
}

/// The state of the peer that sent the request.
enum Caller {
    Waits,
    /// The function to call if the peer gives up.
    Cancels(Arc<Py<PyAny>>),
    /// The peer has its answer, or has given up.
    Gone,
}

impl Caller {
    fn answer(&mut self) {
        *self = Self::Gone;
    }
}

/// Tells the handler when the peer has given up. The future that holds this value is dropped then.
struct Notice {
    bridge: Arc<Bridge>,
    caller: Arc<Mutex<Caller>>,
}

impl Drop for Notice {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.caller.lock().unwrap_or_else(PoisonError::into_inner), Caller::Gone);
        if let Caller::Cancels(callback) = before {
            self.bridge.push(Item::Call { callback, argument: Box::new(|py| Ok(py.None())) });
        }
    }
}

type Answer = oneshot::Sender<Result<Bytes, StreamError>>;

/// A request that waits for its answer.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Request {
    request: twolane::Request,
    answer: Local<Mutex<Option<Answer>>>,
    caller: Arc<Mutex<Caller>>,
}

#[pymethods]
impl Request {
    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.request.peer)
    }

    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.request.identity.owner_for(&self.request.protocol).map(PeerId)
    }

    #[getter]
    fn protocol(&self) -> &str {
        self.request.protocol.as_str()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request.metadata)
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request.body)
    }

    #[getter]
    fn early(&self) -> bool {
        self.request.early
    }

    /// Answers the request. A second answer has no effect.
    #[pyo3(name = "_answer")]
    fn answer(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data::from_python(data)?;
        self.send(Ok(data));
        Ok(())
    }

    /// Answers the request with an error.
    #[pyo3(name = "_fail")]
    fn fail(&self, code: u64, text: String, details: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send(Err(stream_error(code, text, details)?));
        Ok(())
    }

    /// Answers the request after the handler has failed.
    #[pyo3(name = "_broke")]
    fn broke(&self) {
        self.send(Err(StreamError::new(HANDLER_FAILED, "the handler of the request failed")));
    }

    /// Registers `callback`, which is called (with None) if the peer gives up. Returns False if the peer has
    /// already given up.
    #[pyo3(name = "_when_given_up")]
    fn when_given_up(&self, callback: Py<PyAny>) -> bool {
        let mut caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        match &*caller {
            Caller::Gone => false,
            _ => {
                let before = std::mem::replace(&mut *caller, Caller::Cancels(Arc::new(callback)));
                drop(caller);
                drop(before);
                true
            }
        }
    }
}

impl Request {
    fn send(&self, answer: Result<Bytes, StreamError>) {
        let sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The peer may have given up.
            let _ = sender.send(answer);
        }
    }
}
