//! The sending half of the error lane. While there is something to send, one task owns its QUIC stream. The task
//! writes a record to its end or does not begin it. It gives up a fatal record when the error lane or the connection
//! is lost, or after [`Limits::linger`](crate::Limits::linger), and not earlier.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    task::Poll,
};

use bytes::BytesMut;
use iroh::endpoint::SendStream;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{
    queue::{Queue, Queued, Refused},
    reader,
};
use crate::{
    error::{ConnectionLost, WriteError},
    stream::{
        carrier::{PRIORITY_ERRORS, code_to_varint},
        lanes::Lanes,
    },
    wire::{codes::lane, grease, header::Opening, record::Record},
};

/// This side's half of the error lane.
#[derive(Debug, Default)]
pub(in crate::stream) struct ErrorLane {
    state: Mutex<State>,
    /// Notified when the peer has opened an error lane whose reverse half can be used, and when there is room for
    /// warnings.
    changed: Notify,
    /// Notified when no fatal record can be sent any more: then there is no reason to linger.
    pub(in crate::stream) undeliverable: Notify,
    /// Notified when the cause of the stream's end is known.
    pub(in crate::stream) explained: Notify,
}

#[derive(Debug, Default)]
struct State {
    half: Half,
    queue: Queue,
    /// The callers that wait for the outcome of a record, by the number of the record.
    waiters: BTreeMap<u64, oneshot::Sender<Result<(), WriteError>>>,
}

/// The place of the QUIC stream.
#[derive(Debug, Default)]
enum Half {
    /// There is no QUIC stream yet.
    #[default]
    Closed,
    /// There is nothing to send.
    Idle(SendStream),
    /// A task is sending. The reverse half of the peer's lane is stored here until the task takes it.
    Sending(Option<SendStream>),
    /// A fatal record was sent, or sending has failed.
    Done,
}

impl ErrorLane {
    /// Uses the reverse half of an error lane that the peer has opened, unless this side has a half already.
    pub(super) fn adopt(&self, send: SendStream) {
        let mut state = self.lock();
        match &mut state.half {
            half @ Half::Closed => *half = Half::Idle(send),
            Half::Sending(offered) => *offered = Some(send),
            Half::Idle(_) | Half::Done => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Withdraws a warning for which no caller waits any more.
    fn withdraw(&mut self, number: u64) {
        self.queue.withdraw(number);
        self.waiters.remove(&number);
    }

    fn tell(&mut self, number: u64, outcome: Result<(), WriteError>) {
        if let Some(waiter) = self.waiters.remove(&number) {
            // Fails if the caller has stopped waiting. Then it needs no outcome.
            let _ = waiter.send(outcome);
        }
    }
}

/// Queues a record. The receiver gets the outcome when the record has been written, or cannot be written.
fn push(lanes: &Arc<Lanes>, record: &Record) -> Result<(u64, oneshot::Receiver<Result<(), WriteError>>), Refused> {
    let (waiter, outcome) = oneshot::channel();
    let mut state = lanes.errors().lock();
    let (number, replaced) = state.queue.push(record, &grease::tail(record.offset ^ lanes.id()))?;
    for number in replaced {
        state.tell(number, Err(WriteError::EndedHere));
    }
    state.waiters.insert(number, waiter);
    let start = match std::mem::take(&mut state.half) {
        Half::Closed => Some(None),
        Half::Idle(send) => Some(Some(send)),
        Half::Sending(offered) => {
            state.half = Half::Sending(offered);
            None
        }
        Half::Done => {
            state.half = Half::Done;
            state.queue.close();
            state.waiters.remove(&number);
            return Err(Refused::Over);
        }
    };
    if let Some(send) = start {
        state.half = Half::Sending(None);
        drop(state);
        lanes.carrier.tasks.spawn(run(Arc::clone(lanes), send));
    }
    Ok((number, outcome))
}

/// Sends a warning, within [`Limits::error_timeout`](crate::Limits::error_timeout).
pub(in crate::stream) async fn warn(lanes: Arc<Lanes>, record: Record) -> Result<(), WriteError> {
    let after = lanes.carrier.limits.error_timeout;
    let mut queued = None;
    let sending = async {
        let outcome = loop {
            let room = lanes.errors().changed.notified();
            match push(&lanes, &record) {
                Ok((number, outcome)) => {
                    queued = Some(number);
                    break outcome;
                }
                Err(Refused::Full) => room.await,
                Err(Refused::Over) => return Err(lanes.write_error().unwrap_or(WriteError::EndedHere)),
            }
        };
        outcome.await.unwrap_or(Err(WriteError::EndedHere))
    };
    let sent = timeout(after, sending).await;
    match sent {
        // A peer that has failed the stream also stops its error lane, and sends a record with the reason: that is
        // the error.
        Ok(Err(WriteError::Stopped { code })) => Err(lanes.explained().await.unwrap_or(WriteError::Stopped { code })),
        Ok(sent) => sent,
        Err(_) => {
            if let Some(number) = queued {
                lanes.errors().lock().withdraw(number);
            }
            Err(WriteError::TimedOut { after })
        }
    }
}

/// Sends a FATAL or ABORT record. The record is queued when this returns. The future waits until noq has taken the
/// record, or for [`Limits::error_timeout`](crate::Limits::error_timeout): then the record is sent as soon as there
/// is room.
pub(in crate::stream) fn end(
    lanes: &Arc<Lanes>,
    record: &Record,
) -> impl Future<Output = Result<(), WriteError>> + Send + use<> {
    let after = lanes.carrier.limits.error_timeout;
    let pushed = push(lanes, record);
    async move {
        match pushed {
            Ok((_, outcome)) => {
                timeout(after, outcome).await.unwrap_or(Ok(Ok(()))).unwrap_or(Err(WriteError::EndedHere))
            }
            Err(_) => Err(WriteError::EndedHere),
        }
    }
}

/// Sends the queued records, and puts the QUIC stream back.
async fn run(lanes: Arc<Lanes>, mut send: Option<SendStream>) {
    loop {
        let next = {
            let mut state = lanes.errors().lock();
            let next = state.queue.take();
            if next.is_none() {
                state.half = match send.take() {
                    Some(send) => Half::Idle(send),
                    None => Half::Closed,
                };
            }
            next
        };
        lanes.errors().changed.notify_waiters();
        let Some(record) = next else { return };
        let (number, fatal) = (record.number, record.fatal);
        let bound = lanes.carrier.limits.linger;
        let sent = match timeout(bound, send_one(&lanes, &mut send, record)).await {
            Ok(sent) => sent,
            Err(_) => {
                if let Some(send) = &mut send {
                    let _ = send.reset(code_to_varint(lane::TIMED_OUT));
                }
                Err(WriteError::TimedOut { after: bound })
            }
        };
        let failed = sent.is_err();
        let mut state = lanes.errors().lock();
        state.tell(number, sent.clone());
        if fatal || failed {
            state.half = Half::Done;
            for number in state.queue.close() {
                state.tell(number, sent.clone());
            }
            drop(state);
            lanes.errors().changed.notify_waiters();
            if failed {
                // No fatal record can be sent on it, now or later, for which a failed data lane could linger.
                lanes.errors().undeliverable.notify_one();
            }
            return;
        }
    }
}

async fn send_one(lanes: &Arc<Lanes>, lane: &mut Option<SendStream>, record: Queued) -> Result<(), WriteError> {
    let carrier = &lanes.carrier;
    let mut bytes = Vec::new();
    let send = match lane {
        Some(send) => send,
        None => {
            let send = open(lanes, &mut bytes).await?;
            lane.insert(send)
        }
    };
    bytes.extend_from_slice(&record.bytes);
    carrier.count_write();
    let written = {
        let mut writing = pin!(send.write_all(&bytes));
        poll_fn(|cx| match writing.as_mut().poll(cx) {
            Poll::Ready(written) => Poll::Ready(written),
            Poll::Pending => {
                lanes.errors().lock().queue.blocked = true;
                Poll::Pending
            }
        })
        .await
    };
    written.map_err(|error| match error {
        iroh::endpoint::WriteError::ConnectionLost(error) => carrier.lost(error).into(),
        iroh::endpoint::WriteError::Stopped(code) => WriteError::Stopped { code: code.into_inner() },
        _ => WriteError::Lost(ConnectionLost::Closed),
    })?;
    carrier.metrics.records_sent.inc();
    if record.fatal {
        let _ = send.finish();
    }
    Ok(())
}

/// Returns a new error lane, whose opening is appended to `bytes`, or the reverse half of the peer's error lane, if
/// that is there sooner.
async fn open(lanes: &Arc<Lanes>, bytes: &mut Vec<u8>) -> Result<SendStream, WriteError> {
    let carrier = &lanes.carrier;
    let mut opening = pin!(carrier.connection.open_bi());
    loop {
        let changed = lanes.errors().changed.notified();
        if let Half::Sending(offered) = &mut lanes.errors().lock().half
            && let Some(send) = offered.take()
        {
            return Ok(send);
        }
        tokio::select! {
            biased;
            opened = &mut opening => {
                let (send, recv) = opened.map_err(|error| carrier.lost(error))?;
                carrier.opened.fetch_add(1, Relaxed);
                let _ = send.set_priority(PRIORITY_ERRORS);
                Opening::encode_error_lane(bytes, lanes.id());
                reader::start(lanes, recv, BytesMut::new());
                return Ok(send);
            }
            () = changed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StreamError, wire::record::Severity};

    #[test]
    fn warnings_that_were_given_up_leave_nothing_behind() {
        let mut state = State::default();
        let record = StreamError::new(1, "a word").to_record(Severity::Warning);
        for _ in 0..1_000 {
            let (number, _) = state.queue.push(&record, &[]).expect("there is room");
            state.waiters.insert(number, oneshot::channel().0);
            state.withdraw(number);
        }
        assert!(state.waiters.is_empty() && state.queue.take().is_none());
    }
}
