//! The sending direction.
//!
//! The caller's own call writes the data that flow control takes at once. The rest waits in a queue of whole
//! writes, which a task of tokio processes in order, so a large write costs the event loop one wake-up. A cancelled
//! write leaves the queue at once, and the bytes of it that were taken are counted.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use twolane::{SendStream, WriteError};

use super::{Inner, Stream, ended};
use crate::{
    data,
    error::Problem,
    runtime::{self, Local},
    wait::{Slot, Turn},
};

/// Below this length in bytes, a write is copied directly from Python's memory into noq's buffers.
const SMALL: usize = 16 * 1024;

/// The stream, and the queue of writes.
pub(super) struct SendSide {
    stream: Option<SendStream>,
    /// The error for calls after this side has let go of the stream.
    gone: WriteError,
    finished: bool,
    queue: VecDeque<Job>,
    /// Whether a task processes the queue, and the waker of that task.
    driving: bool,
    waker: Option<Waker>,
    next: u64,
}

struct Job {
    id: u64,
    what: What,
    outcome: Arc<Outcome>,
}

enum What {
    Data(Bytes),
    Finish,
}

/// The result of a job, for the waiting caller.
#[derive(Default)]
struct Outcome {
    result: Mutex<Option<Result<(), WriteError>>>,
    slot: Arc<Slot>,
}

/// A write, or a finish, that waits for flow control.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Write {
    inner: Local<Arc<Inner>>,
    outcome: Arc<Outcome>,
    waker: Waker,
    id: u64,
}

#[pymethods]
impl Stream {
    /// Writes data. Returns None if flow control took all of it at once.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Option<Write>> {
        let guard = runtime::handle()?.enter();
        if let Ok(bytes) = data.cast::<PyBytes>()
            && bytes.as_bytes().len() < SMALL
        {
            let slice = bytes.as_bytes();
            let taken = self.inner.write_now(slice.len(), |stream, at, cx| pin!(stream.write(&slice[at..])).poll(cx));
            let taken = taken.map_err(Problem::from)?;
            if taken == slice.len() {
                return Ok(None);
            }
            let rest = Bytes::copy_from_slice(&slice[taken..]);
            drop(guard);
            return self.enqueue(py, What::Data(rest)).map(Some);
        }
        let mut bytes = data::from_python(data)?;
        let len = bytes.len();
        let taken = self.inner.write_now(len, |stream, _, cx| pin!(stream.write_from(&mut bytes)).poll(cx));
        if taken.map_err(Problem::from)? == len {
            return Ok(None);
        }
        drop(guard);
        self.enqueue(py, What::Data(bytes)).map(Some)
    }

    /// Finishes the data. Returns None if that is done, or a `Write` that completes after the queued writes.
    fn finish(&self, py: Python<'_>) -> PyResult<Option<Write>> {
        let guard = runtime::handle()?.enter();
        let finished = {
            let mut send = self.inner.send();
            if send.queue.is_empty() { Some(send.finish()) } else { None }
        };
        drop(guard);
        match finished {
            Some(finished) => {
                finished.map_err(Problem::from)?;
                Ok(None)
            }
            None => self.enqueue(py, What::Finish).map(Some),
        }
    }
}

impl Stream {
    fn enqueue(&self, _: Python<'_>, what: What) -> PyResult<Write> {
        let outcome = Arc::new(Outcome::default());
        let id = Inner::enqueue(&self.inner, what, Arc::clone(&outcome))?;
        let waker = outcome.slot.waker();
        Ok(Write { inner: Local::new(Arc::clone(&*self.inner)), outcome, waker, id })
    }
}

#[pymethods]
impl Write {
    /// Returns a future after which to poll again, or None once the write is done.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let turn = self.outcome.slot.turn(py, &self.waker, |_| {
            match self.outcome.result.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            }
        })?;
        match turn {
            Turn::Wait(future) => Ok(Some(future)),
            Turn::Ready(result) => {
                result.map_err(Problem::from)?;
                Ok(None)
            }
        }
    }

    /// Cancels the write. No more of it is written.
    fn cancel(&self) {
        if !runtime::is_forked() {
            self.inner.cancel(self.id);
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Inner {
    /// Writes until flow control takes no more, unless other writes already wait. Returns the number of bytes that
    /// were taken.
    fn write_now(
        &self,
        len: usize,
        mut write: impl FnMut(&mut SendStream, usize, &mut Context<'_>) -> Poll<Result<usize, WriteError>>,
    ) -> Result<usize, WriteError> {
        let mut send = self.send();
        let waits = !send.queue.is_empty();
        let send = &mut *send;
        let Some(stream) = send.stream.as_mut() else {
            return Err(send.gone.clone());
        };
        let mut at = 0;
        // No waker is needed, because the task that writes the rest polls again.
        let mut cx = Context::from_waker(Waker::noop());
        while at < len && !waits {
            match write(stream, at, &mut cx) {
                Poll::Ready(Ok(taken)) => {
                    at += taken;
                    self.written.fetch_add(taken as u64, Relaxed);
                }
                Poll::Ready(Err(error)) => {
                    send.finished = true;
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        Ok(at)
    }

    fn enqueue(self: &Arc<Self>, what: What, outcome: Arc<Outcome>) -> PyResult<u64> {
        let handle = runtime::handle()?;
        let mut send = self.send();
        if send.stream.is_none() {
            drop(send);
            return Err(ended());
        }
        let id = send.next;
        send.next += 1;
        send.queue.push_back(Job { id, what, outcome });
        let driving = std::mem::replace(&mut send.driving, true);
        drop(send);
        if !driving {
            let inner = Arc::clone(self);
            handle.spawn(std::future::poll_fn(move |cx| inner.poll_queue(cx)));
        }
        Ok(id)
    }

    /// Processes the queue.
    fn poll_queue(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ended = Vec::new();
        let polled = self.send().poll_queue(cx, &self.written, &mut ended);
        for (outcome, result) in ended {
            outcome.set(result);
        }
        polled
    }

    /// Removes a job from the queue.
    fn cancel(&self, id: u64) {
        let mut send = self.send();
        let before = send.queue.len();
        // The job is dropped outside the lock, like everything that holds a Python object.
        let (job, queue): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut send.queue).into_iter().partition(|job| job.id == id);
        send.queue = queue;
        // The task may wait for room that is no longer needed.
        let waker = if send.queue.len() < before { send.waker.take() } else { None };
        drop(send);
        drop(job);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the stream out. Queued writes are not written any more.
    pub(super) fn end_send(&self) -> Option<SendStream> {
        let mut send = self.send();
        send.finished = true;
        let stream = send.stream.take();
        let jobs = std::mem::take(&mut send.queue);
        let waker = send.waker.take();
        drop(send);
        for job in jobs {
            job.outcome.set(Err(WriteError::EndedHere));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        stream
    }
}

impl SendSide {
    pub(super) fn new(stream: SendStream) -> Self {
        let (queue, gone) = (VecDeque::new(), WriteError::EndedHere);
        Self { stream: Some(stream), gone, finished: false, queue, driving: false, waker: None, next: 0 }
    }

    pub(super) fn stream(&self) -> Option<&SendStream> {
        self.stream.as_ref()
    }

    pub(super) fn is_over(&self) -> bool {
        self.finished
    }

    /// Marks the stream as ended.
    pub(super) fn note_end(&mut self) {
        self.finished = true;
    }

    /// Records that the peer had ended the stream before this side did.
    pub(super) fn note_cause(&mut self, cause: WriteError) {
        self.gone = cause;
    }

    pub(super) fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        match &mut self.stream {
            Some(stream) => pin!(stream.delivered()).poll(cx),
            None => Poll::Ready(Err(self.gone.clone())),
        }
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        let Some(stream) = &mut self.stream else { return Err(self.gone.clone()) };
        self.finished = true;
        stream.finish()
    }

    fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        written: &std::sync::atomic::AtomicU64,
        ended: &mut Vec<(Arc<Outcome>, Result<(), WriteError>)>,
    ) -> Poll<()> {
        loop {
            let Some(mut job) = self.queue.pop_front() else {
                self.driving = false;
                return Poll::Ready(());
            };
            let result = match &mut job.what {
                What::Finish => self.finish(),
                What::Data(data) => match self.poll_write(cx, data, written) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        self.queue.push_front(job);
                        self.waker = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                },
            };
            if let Err(error) = &result {
                self.finished = true;
                ended.extend(self.queue.drain(..).map(|job| (job.outcome, Err(error.clone()))));
            }
            ended.push((job.outcome, result));
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        written: &std::sync::atomic::AtomicU64,
    ) -> Poll<Result<(), WriteError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(self.gone.clone()));
        };
        while !data.is_empty() {
            let taken = ready!(pin!(stream.write_from(data)).poll(cx))?;
            written.fetch_add(taken as u64, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl Outcome {
    fn set(&self, result: Result<(), WriteError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        std::task::Wake::wake_by_ref(&self.slot);
    }
}
