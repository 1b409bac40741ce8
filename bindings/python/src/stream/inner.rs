//! The state that the Python object, its writes and the tasks of tokio share.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit},
};
use twolane::{Errors, Protocol, PublicKey, ReadError, SendStream, WriteError, XStream};

use super::{
    recv_side::{Prospect, RecvSide},
    send_side::{Data, Outcome, SendSide, What},
};
use crate::{error::Problem, wait::Slot};

/// Each direction has its own lock, so neither waits for the other.
pub(super) struct Inner {
    recv: Mutex<RecvSide>,
    /// Is woken when the receiving direction may have something new.
    pub(super) news: Arc<News>,
    pub(super) recv_waker: Waker,
    send: Mutex<SendSide>,
    pub(super) errors: Errors,
    /// The number of bytes that flow control has taken, and the number of bytes that were read.
    pub(super) written: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) peer: PublicKey,
    pub(super) owner: Option<PublicKey>,
    pub(super) protocol: Protocol,
    pub(super) metadata: Bytes,
    pub(super) answer_metadata: Bytes,
    pub(super) id: u64,
    /// The place among the handlers of the protocol.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// A job that waits in the queue.
pub(super) struct Queued {
    pub(super) id: u64,
    pub(super) outcome: Arc<Outcome>,
    /// Whether nothing processes the queue yet: see [`Inner::drive`].
    pub(super) starts: bool,
}

/// Those who wait for the receiving direction: the reader, and the tasks that wait for its end. The crate knows one
/// waker at a time, so that of a task alone would leave the reader asleep.
pub(super) struct News {
    pub(super) reader: Arc<Slot>,
    ends: Notify,
    /// The number of tasks that wait for the end. Without any, a wake-up costs them nothing.
    waiting: AtomicUsize,
}

impl News {
    /// Makes the tasks look again that wait for the end.
    fn tell_of_the_end(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.ends.notify_waiters();
        }
    }
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake_by_ref();
        self.tell_of_the_end();
    }
}

impl Inner {
    /// Makes the state of a stream on which `early` bytes were written when it was opened.
    pub(super) fn new(stream: XStream, early: u64, place: Option<OwnedSemaphorePermit>) -> Self {
        let news = Arc::new(News { reader: Arc::default(), ends: Notify::new(), waiting: AtomicUsize::new(0) });
        let (errors, peer, id) = (stream.errors(), stream.peer(), stream.id());
        let owner = stream.identity().owner_for(stream.protocol());
        let (protocol, metadata) = (stream.protocol().clone(), stream.metadata().clone());
        let answer_metadata = stream.answer_metadata().clone();
        let (send, recv) = stream.split();
        Self {
            recv: Mutex::new(RecvSide::new(recv)),
            recv_waker: Waker::from(Arc::clone(&news)),
            news,
            send: Mutex::new(SendSide::new(send)),
            errors,
            written: AtomicU64::new(early),
            read: AtomicU64::new(0),
            peer,
            owner,
            protocol,
            metadata,
            answer_metadata,
            id,
            place: Mutex::new(place),
        }
    }

    pub(super) fn send(&self) -> MutexGuard<'_, SendSide> {
        self.send.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recv(&self) -> MutexGuard<'_, RecvSide> {
        self.recv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that the program has read. With them, the end of the data may have come nearer.
    pub(super) fn count_read(&self, len: usize) {
        self.read.fetch_add(len as u64, Relaxed);
        self.news.tell_of_the_end();
    }

    /// Converts an error of reading. If the error ended the whole stream, the sending direction is marked as ended,
    /// so that the same error is not reported twice.
    pub(super) fn read_failed(&self, error: ReadError) -> Problem {
        if self.recv().is_closed() {
            return Problem::from(WriteError::EndedHere).with_phase("read");
        }
        if !matches!(error, ReadError::Reset { .. }) {
            self.send().note_end();
        }
        error.into()
    }

    /// Called after this side has failed the stream. The reader detects it when it polls, and then stops the peer's
    /// data.
    pub(super) fn notice_failure(&self) {
        self.recv().notice(&self.recv_waker);
        self.recv_waker.wake_by_ref();
    }

    /// Lets go of the receiving direction.
    pub(super) fn end_recv(&self) {
        let recv = self.recv().end();
        drop(recv);
        self.recv_waker.wake_by_ref();
    }

    /// Writes what flow control takes at once. The rest is queued behind the writes that wait already. Returns the
    /// number of the queued job and its outcome, or None if all was taken.
    ///
    /// `write` writes from an offset on. `rest` returns the bytes from an offset on, and whether a part of them is
    /// worse than nothing.
    pub(super) fn write(
        self: &Arc<Self>,
        len: usize,
        write: impl FnMut(&mut SendStream, usize, &mut Context<'_>) -> Poll<Result<usize, WriteError>>,
        rest: impl FnOnce(usize) -> Data,
    ) -> Result<Option<Queued>, WriteError> {
        let mut send = self.send();
        let taken = send.write_now(len, &self.written, write)?;
        if taken == len {
            return Ok(None);
        }
        let outcome = Arc::new(Outcome::default());
        outcome.taken.store(taken as u64, Relaxed);
        let (id, starts) = send.push(What::Data(rest(taken)), Arc::clone(&outcome))?;
        Ok(Some(Queued { id, outcome, starts }))
    }

    /// Finishes the data, or queues that behind the writes that wait. Returns None if it is done.
    pub(super) fn finish(&self) -> Result<Option<Queued>, WriteError> {
        let mut send = self.send();
        if let Some(finished) = send.finish_now() {
            return finished.map(|()| None);
        }
        let outcome = Arc::new(Outcome::default());
        let (id, starts) = send.push(What::Finish, Arc::clone(&outcome))?;
        Ok(Some(Queued { id, outcome, starts }))
    }

    /// Processes the queue in a task, until it is empty.
    pub(super) fn drive(self: &Arc<Self>, handle: &Handle) {
        let inner = Arc::clone(self);
        handle.spawn(std::future::poll_fn(move |cx| inner.poll_queue(cx)));
    }

    fn poll_queue(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ended = Vec::new();
        let polled = self.send().poll_queue(cx, &self.written, &mut ended);
        for (outcome, result) in ended {
            outcome.set(result);
        }
        polled
    }

    /// Withdraws a queued job, as far as nobody is harmed.
    pub(super) fn withdraw(&self, id: u64) {
        let (job, waker) = self.send().withdraw(id);
        // The job is dropped outside the lock, like everything that holds a Python object.
        drop(job);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the sending half out. Queued writes are not written any more.
    pub(super) fn end_send(&self) -> Option<SendStream> {
        let (stream, jobs, waker) = self.send().end();
        for job in jobs {
            job.outcome.set(Err(WriteError::EndedHere));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        stream
    }

    /// Gives the place among the handlers of the protocol back.
    pub(super) fn release(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Waits until the peer has let go of the stream: it reads nothing more, and its data has ended. Returns whether
    /// the data was cut off. Data that the peer has finished counts from when it was read.
    pub(super) async fn left(&self) -> bool {
        // None if this side has let go of its sending direction.
        let settled = self.send().stream().map(SendStream::settled);
        if let Some(settled) = settled {
            settled.await;
        }
        // Counted before the first look: a read that comes later sees it.
        let _counted = Counted::new(&self.news.waiting);
        loop {
            let mut changed = pin!(self.news.ends.notified());
            // Registered before the look, so that no change is missed.
            changed.as_mut().enable();
            let prospect = self.recv().prospect(&self.recv_waker);
            match prospect {
                Prospect::Open => changed.await,
                Prospect::Complete => return false,
                Prospect::Cut => return true,
            }
        }
    }
}

/// Counts, as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
