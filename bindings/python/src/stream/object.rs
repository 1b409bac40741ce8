//! The Python object of a stream: what it tells of itself, the error lane, and the end.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use n0_future::stream;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};
use tokio::sync::OwnedSemaphorePermit;
use twolane::{StreamError, WriteError, XStream};

use super::inner::Inner;
use crate::{
    bridge::Convert,
    data,
    error::Problem,
    info,
    key::PeerId,
    op::Op,
    runtime::{self, Here},
    source::Source,
};

/// A stream. Dropping it before it is finished resets it.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Stream {
    pub(super) inner: Here<Arc<Inner>>,
}

impl Stream {
    pub(crate) fn new(stream: XStream) -> Self {
        Self { inner: Here::new(Arc::new(Inner::new(stream, 0, None))) }
    }

    /// Makes a stream on which `early` bytes were written when it was opened.
    pub(crate) fn with_early(stream: XStream, early: u64) -> Self {
        Self { inner: Here::new(Arc::new(Inner::new(stream, early, None))) }
    }

    /// Makes a stream for a handler that has a place among those of its protocol.
    pub(crate) fn served(stream: XStream, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { inner: Here::new(Arc::new(Inner::new(stream, 0, place))) }
    }
}

#[pymethods]
impl Stream {
    #[getter]
    fn peer(&self) -> PyResult<PeerId> {
        Ok(PeerId(self.inner.get()?.peer))
    }

    #[getter]
    fn owner(&self) -> PyResult<Option<PeerId>> {
        Ok(self.inner.get()?.owner.map(PeerId))
    }

    #[getter]
    fn protocol(&self) -> PyResult<&str> {
        Ok(self.inner.get()?.protocol.as_str())
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.get()?.metadata))
    }

    #[getter]
    fn answer_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.get()?.answer_metadata))
    }

    #[getter]
    fn id(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.id)
    }

    #[getter]
    fn bytes_written(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.written.load(Relaxed))
    }

    #[getter]
    fn bytes_read(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.read.load(Relaxed))
    }

    /// Whether no more data can be written here. True in a child that was forked since.
    #[getter]
    fn write_ended(&self) -> bool {
        self.inner.ours().is_none_or(|inner| inner.send().is_over())
    }

    /// Whether no more data can be read here: the end of the data or an error was read, or this side has ended the
    /// direction. True in a child that was forked since.
    #[getter]
    fn read_ended(&self) -> bool {
        self.inner.ours().is_none_or(|inner| inner.recv().is_over())
    }

    /// The warnings and errors from the peer.
    fn errors(&self) -> PyResult<Source> {
        let errors = self.inner.get()?.errors.clone();
        Ok(Source::new(stream::unfold(errors, |errors| async move {
            let report = errors.next().await?;
            Some((Box::new(move |py: Python<'_>| info::report(py, &report)) as Convert, errors))
        })))
    }

    /// Sends a warning to the peer. The operation continues even if the caller is cancelled.
    fn warn(&self, py: Python<'_>, code: u64, text: String, details: &Bound<'_, PyAny>) -> PyResult<Op> {
        let warning = stream_error(code, text, details)?;
        let warned = {
            let send = self.inner.get()?.send();
            send.stream().map(|stream| stream.warn(warning))
        };
        let warned = warned.ok_or_else(ended)?;
        Op::start_detached(py, warned, none)
    }

    /// Fails or aborts the stream. The operation continues even if the caller is cancelled.
    fn fail(&self, py: Python<'_>, code: u64, text: String, details: &Bound<'_, PyAny>, discard: bool) -> PyResult<Op> {
        let error = stream_error(code, text, details)?;
        let inner = Arc::clone(self.inner.get()?);
        let stream = {
            let _guard = runtime::handle()?.enter();
            inner.end_send()
        };
        let Some(mut stream) = stream else { return Err(ended()) };
        let failing = async move {
            let failed = if discard { stream.abort(error).await } else { stream.fail(error).await };
            if let Err(cause) = &failed {
                inner.send().note_cause(cause.clone());
            }
            inner.notice_failure();
            failed
        };
        Op::start_detached(py, failing, none)
    }

    /// Lets go of the sending direction. An unfinished direction is reset.
    fn close_writing(&self) -> PyResult<()> {
        if let Some(inner) = self.inner.ours() {
            let _guard = runtime::handle()?.enter();
            drop(inner.end_send());
        }
        Ok(())
    }

    /// Lets go of the receiving direction. The peer is told to stop sending (STOP_SENDING).
    fn close_reading(&self) -> PyResult<()> {
        if let Some(inner) = self.inner.ours() {
            let _guard = runtime::handle()?.enter();
            inner.end_recv();
        }
        Ok(())
    }

    /// Gives the place among the handlers of the protocol back.
    fn release(&self) {
        if let Some(inner) = self.inner.ours() {
            inner.release();
        }
    }

    /// Waits until the peer's endpoint has everything that was finished.
    fn delivered(&self, py: Python<'_>) -> PyResult<Op> {
        let inner = Arc::clone(self.inner.get()?);
        let settled = {
            let send = inner.send();
            send.stream().map(|stream| stream.settled())
        };
        let settled = settled.ok_or_else(ended)?;
        let delivering = async move {
            // An unfinished stream never settles, so its error is returned at once.
            if let Some(known) = n0_future::future::poll_once(poll_fn(|cx| inner.send().poll_delivered(cx))).await {
                return known;
            }
            settled.await;
            poll_fn(|cx| inner.send().poll_delivered(cx)).await
        };
        Op::start(py, delivering, none)
    }

    /// Waits until the peer has let go of the stream. The result is whether its data was cut off.
    fn left(&self, py: Python<'_>) -> PyResult<Op> {
        let inner = Arc::clone(self.inner.get()?);
        let leaving = async move { inner.left().await };
        Op::start(py, leaving, |py, cut| Ok(cut.into_pyobject(py)?.to_owned().into_any().unbind()))
    }

    /// Sets the priority of this stream's data. Streams with a higher priority are sent first.
    fn set_priority(&self, priority: i16) -> PyResult<()> {
        let set = self.inner.get()?.send().stream().map(|stream| stream.set_priority(priority));
        Ok(set.unwrap_or(Err(WriteError::EndedHere)).map_err(Problem::from)?)
    }
}

/// Makes an error to be sent.
pub(crate) fn stream_error(code: u64, text: String, details: &Bound<'_, PyAny>) -> PyResult<StreamError> {
    if code >= 1 << 62 {
        return Err(PyValueError::new_err("a code has at most 62 bits"));
    }
    let details = data::from_python(details)?;
    let error = StreamError::new(code, text).with_details(details);
    Ok(error.map_err(|error| Problem::of("TooLarge", &error))?)
}

fn ended() -> PyErr {
    Problem::from(WriteError::EndedHere).into()
}

fn none(py: Python<'_>, done: Result<(), WriteError>) -> PyResult<Py<PyAny>> {
    done.map_err(Problem::from)?;
    Ok(py.None())
}
