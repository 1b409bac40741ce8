//! The state of the sending direction: the stream, and a queue of whole writes, which one task processes in order.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use twolane::{SendStream, WriteError};

use crate::wait::Slot;

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

pub(super) struct Job {
    id: u64,
    what: What,
    pub(super) outcome: Arc<Outcome>,
}

pub(super) enum What {
    Data(Data),
    Finish,
}

/// The bytes of a write that are still to be written.
pub(super) struct Data {
    pub(super) rest: Bytes,
    /// Whether a part of it is worse than nothing: a message is written to its end once it has begun, whoever waits for
    /// it.
    pub(super) whole: bool,
}

/// The result of a job, for the waiting caller.
#[derive(Default)]
pub(super) struct Outcome {
    result: Mutex<Option<Result<(), WriteError>>>,
    /// The number of bytes of the write that flow control has taken.
    pub(super) taken: AtomicU64,
    pub(super) slot: Arc<Slot>,
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

    /// Writes until flow control takes no more, unless other writes already wait. Returns the number of bytes that
    /// were taken, and adds it to `written`.
    pub(super) fn write_now(
        &mut self,
        len: usize,
        written: &AtomicU64,
        mut write: impl FnMut(&mut SendStream, usize, &mut Context<'_>) -> Poll<Result<usize, WriteError>>,
    ) -> Result<usize, WriteError> {
        let waits = !self.queue.is_empty();
        let Some(stream) = self.stream.as_mut() else {
            return Err(self.gone.clone());
        };
        let mut at = 0;
        // No waker is needed, because the task that writes the rest polls again.
        let mut cx = Context::from_waker(Waker::noop());
        while at < len && !waits {
            match write(stream, at, &mut cx) {
                Poll::Ready(Ok(taken)) => {
                    at += taken;
                    written.fetch_add(taken as u64, Relaxed);
                }
                Poll::Ready(Err(error)) => {
                    self.finished = true;
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        Ok(at)
    }

    /// Finishes the data, if no write waits. None if one does.
    pub(super) fn finish_now(&mut self) -> Option<Result<(), WriteError>> {
        self.queue.is_empty().then(|| self.finish())
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        let Some(stream) = &mut self.stream else { return Err(self.gone.clone()) };
        self.finished = true;
        stream.finish()
    }

    /// Adds a job. Returns its number, and whether a task has to be started for the queue.
    pub(super) fn push(&mut self, what: What, outcome: Arc<Outcome>) -> Result<(u64, bool), WriteError> {
        if self.stream.is_none() {
            return Err(self.gone.clone());
        }
        let id = self.next;
        self.next += 1;
        self.queue.push_back(Job { id, what, outcome });
        Ok((id, !std::mem::replace(&mut self.driving, true)))
    }

    /// Removes a job for which no caller waits any more, unless it is the begun part of a message. Returns the job, and
    /// the waker of the task, which may wait for room that is no longer needed.
    pub(super) fn withdraw(&mut self, id: u64) -> (Option<Job>, Option<Waker>) {
        let Some(at) = self.queue.iter().position(|job| job.id == id && !job.is_begun()) else {
            return (None, None);
        };
        (self.queue.remove(at), self.waker.take())
    }

    /// Takes everything out: the stream, the jobs that are not done, and the waker of the task.
    pub(super) fn end(&mut self) -> (Option<SendStream>, VecDeque<Job>, Option<Waker>) {
        self.finished = true;
        (self.stream.take(), std::mem::take(&mut self.queue), self.waker.take())
    }

    /// Processes the queue. Adds what has ended to `ended`, for the caller to tell without the lock.
    pub(super) fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        written: &AtomicU64,
        ended: &mut Vec<(Arc<Outcome>, Result<(), WriteError>)>,
    ) -> Poll<()> {
        loop {
            let Some(mut job) = self.queue.pop_front() else {
                self.driving = false;
                return Poll::Ready(());
            };
            let result = match &mut job.what {
                What::Finish => self.finish(),
                What::Data(data) => match self.poll_write(cx, &mut data.rest, &job.outcome.taken, written) {
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
        rest: &mut Bytes,
        taken: &AtomicU64,
        written: &AtomicU64,
    ) -> Poll<Result<(), WriteError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(self.gone.clone()));
        };
        while !rest.is_empty() {
            let len = ready!(pin!(stream.write_from(rest)).poll(cx))? as u64;
            taken.fetch_add(len, Relaxed);
            written.fetch_add(len, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl Job {
    /// Returns whether this is a message of which a part was written.
    fn is_begun(&self) -> bool {
        matches!(&self.what, What::Data(Data { whole: true, .. })) && self.outcome.taken.load(Relaxed) > 0
    }
}

impl Outcome {
    pub(super) fn set(&self, result: Result<(), WriteError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        std::task::Wake::wake_by_ref(&self.slot);
    }

    pub(super) fn get(&self) -> Poll<Result<(), WriteError>> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).clone();
        result.map_or(Poll::Pending, Poll::Ready)
    }
}
