//! The stream with a data lane and an error lane: the parts that both directions share. `read` and `write` are the
//! directions.

mod read;
mod write;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

use bytes::Bytes;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};
use twolane::{Errors, Protocol, PublicKey, StreamError, WriteError, XStream};

pub(crate) use self::write::Write;
use self::{read::RecvSide, write::SendSide};
use crate::{
    data,
    error::Problem,
    key::PeerId,
    op::Op,
    runtime::{self, Local},
    source::Source,
    wait::Slot,
};

/// A stream. Dropping it before it is finished resets it.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Stream {
    inner: Local<Arc<Inner>>,
}

/// The shared state. Each direction has its own lock, so neither waits for the other.
pub(crate) struct Inner {
    recv: Mutex<RecvSide>,
    recv_slot: Arc<Slot>,
    recv_waker: Waker,
    send: Mutex<SendSide>,
    errors: Errors,
    /// The number of bytes that flow control has taken, and the number of bytes that were read.
    written: AtomicU64,
    read: AtomicU64,
    peer: PublicKey,
    owner: Option<PublicKey>,
    protocol: Protocol,
    metadata: Bytes,
    id: u64,
}

impl Stream {
    pub(crate) fn new(stream: XStream) -> Self {
        Self::with_early(stream, 0)
    }

    /// Makes a stream on which `early` bytes were written when it was opened.
    pub(crate) fn with_early(stream: XStream, early: u64) -> Self {
        let recv_slot = Arc::new(Slot::default());
        let (errors, peer, id) = (stream.errors(), stream.peer(), stream.id());
        let owner = stream.owner();
        let (protocol, metadata) = (stream.protocol().clone(), stream.metadata().clone());
        let (send, recv) = stream.split();
        let inner = Inner {
            recv: Mutex::new(RecvSide::new(recv)),
            recv_waker: recv_slot.waker(),
            recv_slot,
            send: Mutex::new(SendSide::new(send)),
            errors,
            written: AtomicU64::new(early),
            read: AtomicU64::new(0),
            peer,
            owner,
            protocol,
            metadata,
            id,
        };
        Self { inner: Local::new(Arc::new(inner)) }
    }
}

#[pymethods]
impl Stream {
    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.inner.peer)
    }

    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.inner.owner.map(PeerId)
    }

    #[getter]
    fn protocol(&self) -> &str {
        self.inner.protocol.as_str()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.metadata)
    }

    #[getter]
    fn id(&self) -> u64 {
        self.inner.id
    }

    #[getter]
    fn bytes_written(&self) -> u64 {
        self.inner.written.load(Relaxed)
    }

    #[getter]
    fn bytes_read(&self) -> u64 {
        self.inner.read.load(Relaxed)
    }

    /// Whether no more data can be written here. Always true in a forked child, where the locks may be held for
    /// ever.
    #[getter]
    fn write_ended(&self) -> bool {
        runtime::is_forked() || self.inner.send().is_over()
    }

    /// Whether no more data can be read here: the end of the data or an error was read, or this side has ended the
    /// direction.
    #[getter]
    fn read_ended(&self) -> bool {
        runtime::is_forked() || self.inner.recv().is_over()
    }

    /// The warnings and errors from the peer.
    fn errors(&self) -> PyResult<Source> {
        runtime::handle()?;
        Ok(Source::reports(self.inner.errors.clone()))
    }

    /// Sends a warning to the peer. The operation continues even if the caller is cancelled.
    fn warn(&self, py: Python<'_>, code: u64, text: String, details: &Bound<'_, PyAny>) -> PyResult<Op> {
        let warning = stream_error(code, text, details)?;
        runtime::handle()?;
        let warned = {
            let send = self.inner.send();
            send.stream().map(|stream| stream.warn(warning))
        };
        let warned = warned.ok_or_else(ended)?;
        Op::start_detached(py, warned, none)
    }

    /// Fails or aborts the stream. The operation continues even if the caller is cancelled.
    fn fail(&self, py: Python<'_>, code: u64, text: String, details: &Bound<'_, PyAny>, discard: bool) -> PyResult<Op> {
        let error = stream_error(code, text, details)?;
        let guard = runtime::handle()?.enter();
        let Some(mut stream) = self.inner.end_send() else { return Err(ended()) };
        drop(guard);
        let inner = Arc::clone(&*self.inner);
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
        let _guard = runtime::handle()?.enter();
        drop(self.inner.end_send());
        Ok(())
    }

    /// Lets go of the receiving direction. The peer is told to stop sending (STOP_SENDING).
    fn close_reading(&self) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        let recv = self.inner.recv().end();
        drop(recv);
        self.inner.recv_waker.wake_by_ref();
        Ok(())
    }

    /// Waits until the peer's endpoint has everything that was finished.
    fn delivered(&self, py: Python<'_>) -> PyResult<Op> {
        runtime::handle()?;
        let inner = Arc::clone(&*self.inner);
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

    /// Sets the priority of this stream's data. Streams with a higher priority are sent first.
    fn set_priority(&self, priority: i16) -> PyResult<()> {
        runtime::handle()?;
        let set = self.inner.send().stream().map(|stream| stream.set_priority(priority));
        Ok(set.unwrap_or(Err(WriteError::EndedHere)).map_err(Problem::from)?)
    }
}

impl Inner {
    fn send(&self) -> MutexGuard<'_, SendSide> {
        self.send.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recv(&self) -> MutexGuard<'_, RecvSide> {
        self.recv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after this side has failed the stream. The reader detects it when it polls, and then stops the peer's
    /// data.
    fn notice_failure(&self) {
        let mut cx = Context::from_waker(&self.recv_waker);
        self.recv().notice(&mut cx);
        self.recv_waker.wake_by_ref();
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
