//! Handlers in Python.

use std::sync::Arc;

use bytes::Bytes;
use n0_future::stream;
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use twolane::{Endpoint, IncomingStream, Protocol, ServeError, StreamError, XStream};

use crate::{
    asked::{self, Answer},
    bridge::{Bridge, Convert, Item},
    data,
    error::Problem,
    key::PeerId,
    source::Source,
    stream::{Stream, stream_error},
};

/// The error code for a request that was not answered, because the handler raised an exception or its event loop is
/// gone. (The codes of the libraries start at 2^61; the codes of applications are below.)
pub(crate) const HANDLER_FAILED: u64 = (1 << 61) + 2;

/// The function to call, on the event loop that was running when it was given, and the number of its calls that may run
/// at the same time.
struct Handler {
    callback: Arc<Py<PyAny>>,
    bridge: Arc<Bridge>,
    places: Option<Arc<Semaphore>>,
}

impl Handler {
    fn new(py: Python<'_>, callback: Py<PyAny>, limit: Option<usize>) -> PyResult<Self> {
        let (_, bridge) = Bridge::current(py)?;
        let places = limit.map(|limit| Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))));
        Ok(Self { callback: Arc::new(callback), bridge, places })
    }

    /// Waits until one more call may run, if their number is limited.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(self.places.as_ref()?).acquire_owned().await.ok()
    }

    fn call(&self, argument: Convert) {
        self.bridge.push(Item::Call { callback: Arc::clone(&self.callback), argument });
    }

    fn take(&self, stream: XStream, place: Option<OwnedSemaphorePermit>) {
        self.call(Box::new(move |py| Ok(Py::new(py, Stream::served(stream, place))?.into_any())));
    }
}

/// Calls `callback` with every stream of `protocol`. With a `limit`, further streams wait for their answer until one of
/// the calls has ended (`Stream.release`).
pub(crate) fn streams(
    py: Python<'_>,
    endpoint: &Endpoint,
    protocol: Protocol,
    callback: Py<PyAny>,
    limit: Option<usize>,
) -> PyResult<Result<(), ServeError>> {
    let handler = Arc::new(Handler::new(py, callback, limit)?);
    if limit.is_none() {
        return Ok(endpoint.serve(protocol, move |stream| {
            handler.take(stream, None);
            std::future::ready(())
        }));
    }
    Ok(endpoint.serve_incoming(protocol, move |incoming: IncomingStream| {
        let handler = Arc::clone(&handler);
        async move {
            let place = handler.place().await;
            // If the opener has given up meanwhile, no handler is needed.
            if let Ok(stream) = incoming.accept().await {
                handler.take(stream, place);
            }
        }
    }))
}

/// Calls `callback` with every request of `protocol`. With a `limit`, further requests wait until one of them is
/// answered.
pub(crate) fn requests(
    py: Python<'_>,
    endpoint: &Endpoint,
    protocol: Protocol,
    callback: Py<PyAny>,
    limit: Option<usize>,
) -> PyResult<Result<(), ServeError>> {
    let handler = Arc::new(Handler::new(py, callback, limit)?);
    Ok(endpoint.serve_requests(protocol, move |request| {
        let handler = Arc::clone(&handler);
        async move {
            let _place = handler.place().await;
            let (answer, asking) = asked::question(&handler.bridge);
            handler.call(Box::new(move |py| Ok(Py::new(py, Request::new(py, request, answer))?.into_any())));
            asking.answer().await.unwrap_or_else(|| Err(failed()))
        }
    }))
}

/// Makes a source of the streams that peers open for one of `protocols`. It ends when the endpoint shuts down.
pub(crate) fn accepted(endpoint: Endpoint, protocols: Vec<Protocol>) -> Source {
    let streams = stream::unfold(Some((endpoint, protocols)), |state| async move {
        let (endpoint, protocols) = state?;
        let made: Convert = match endpoint.accept_bi(&protocols).await {
            Ok((_, stream)) => Box::new(move |py| Ok(Py::new(py, Stream::new(stream))?.into_any())),
            Err(twolane::AcceptError::ShuttingDown) => return None,
            Err(error) => {
                let problem = Problem::from(error);
                return Some((Box::new(move |_: Python<'_>| Err(PyErr::from(problem))) as Convert, None));
            }
        };
        Some((made, Some((endpoint, protocols))))
    });
    Source::new(streams).begun()
}

fn failed() -> StreamError {
    StreamError::new(HANDLER_FAILED, "the handler of the request failed")
}

/// A request of a peer, as a handler gets it. The handler's result is the response.
#[pyclass(frozen, module = "twolane", name = "Request")]
pub(crate) struct Request {
    peer: PeerId,
    owner: Option<PeerId>,
    protocol: Protocol,
    metadata: Py<PyBytes>,
    body: Py<PyBytes>,
    answer: Answer<Result<Bytes, StreamError>>,
}

impl Request {
    fn new(py: Python<'_>, request: twolane::Request, answer: Answer<Result<Bytes, StreamError>>) -> Self {
        Self {
            peer: PeerId(request.peer),
            owner: request.identity.owner_for(&request.protocol).map(PeerId),
            metadata: PyBytes::new(py, &request.metadata).unbind(),
            body: PyBytes::new(py, &request.body).unbind(),
            protocol: request.protocol,
            answer,
        }
    }
}

#[pymethods]
impl Request {
    /// The peer that sent the request, as the handshake proved it.
    #[getter]
    fn peer(&self) -> PeerId {
        self.peer
    }

    /// The key for which the peer acts in this protocol, by a delegation.
    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.owner
    }

    /// The protocol of the request.
    #[getter]
    fn protocol(&self) -> &str {
        self.protocol.as_str()
    }

    /// The metadata that the caller gave, at most 16 KiB.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> Py<PyBytes> {
        self.metadata.clone_ref(py)
    }

    /// The body, at most `Limits.request_bytes`.
    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyBytes> {
        self.body.clone_ref(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let len = self.body.bind(py).as_bytes().len();
        format!("<Request {} of {}, {len} bytes>", self.protocol, self.peer.0)
    }

    /// Answers the request. A second answer has no effect.
    #[pyo3(name = "_answer")]
    fn answer(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.answer.give(Ok(data::from_python(data)?));
        Ok(())
    }

    /// Answers the request with an error.
    #[pyo3(name = "_fail")]
    fn fail(&self, code: u64, text: String, details: &Bound<'_, PyAny>) -> PyResult<()> {
        self.answer.give(Err(stream_error(code, text, details)?));
        Ok(())
    }

    /// Answers the request after the handler has failed.
    #[pyo3(name = "_broke")]
    fn broke(&self) {
        self.answer.give(Err(failed()));
    }

    /// Registers `callback`, which is called (with None) if the peer gives up. Returns False if the peer has
    /// already given up.
    #[pyo3(name = "_when_given_up")]
    fn when_given_up(&self, callback: Py<PyAny>) -> bool {
        self.answer.when_given_up(callback)
    }
}
