//! Performs one side of a plan on a stream, and records the observations.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use twolane::{ConnectionLost, Errors, ReadError, RecvStream, SendStream, Severity, StreamError, WriteError, XStream};

use super::{
    PATIENCE,
    plan::{End, Plan, is_pattern, other},
};
use crate::stream_tester::{pattern, player::poll_once, role::Side};

/// The maximum length of a read, so that all but the shortest data takes several reads.
const READ: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub wrote: u64,
    pub write_end: WriteEnd,
    pub read: u64,
    /// Whether the bytes that were read are those of the pattern.
    pub intact: bool,
    pub read_end: ReadEnd,
    pub warnings: Vec<u64>,
}

impl Seen {
    /// Returns whether every warning of the peer must have been heard. Warnings come before the peer's last record
    /// or end.
    pub fn hears(&self) -> bool {
        match self.read_end {
            ReadEnd::End => self.write_end == WriteEnd::Planned,
            ReadEnd::Failed { .. } | ReadEnd::Aborted { .. } => true,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteEnd {
    Planned,
    PeerFailed {
        code: u64,
    },
    Stopped {
        code: u64,
    },
    /// A warning found no reader: STOP_SENDING came on the error lane.
    Unheard {
        code: u64,
    },
    Lost(ConnectionLost),
    /// The writing of an echo whose reading did not end.
    Unfinished,
    /// A call took longer than [`PATIENCE`].
    Hung,
    /// Never legal.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEnd {
    End,
    /// `offset` is the number of bytes that the peer says it had written.
    Failed {
        code: u64,
        text: String,
        offset: u64,
    },
    /// The peer failed the stream, and `missing` of the bytes before the error did not come.
    FailedIncomplete {
        code: u64,
        text: String,
        missing: u64,
    },
    Aborted {
        code: u64,
        text: String,
    },
    Reset {
        code: u64,
    },
    /// This side failed or aborted the stream.
    EndedHere,
    /// This side ended before it read anything.
    Unread,
    Lost(ConnectionLost),
    /// A call took longer than [`PATIENCE`].
    Hung,
    /// Never legal.
    Other(String),
}

/// Performs one side of a plan. The opener's early data counts as written.
pub async fn play(stream: XStream, plan: &Plan, side: Side) -> Seen {
    let errors = stream.errors();
    let (mut send, mut recv) = stream.split();
    let early = if side == Side::Opener { plan.draft.early } else { 0 };
    let (mut writing, mut reading) =
        (Writing { wrote: early, end: None }, Reading { read: 0, intact: true, end: None });
    if plan.draft.echo && side == Side::Acceptor {
        echo(&mut send, &mut recv, plan, &mut writing, &mut reading).await;
    } else {
        let mut write = pin!(write(&mut send, plan, side, &mut writing));
        let mut read = pin!(read(&mut recv, plan, side, &mut reading));
        let (mut written, mut all_read) = (false, false);
        while !(written && all_read) {
            tokio::select! {
                goes_on = &mut write, if !written => {
                    written = true;
                    if !goes_on {
                        break;
                    }
                }
                () = &mut read, if !all_read => all_read = true,
            }
        }
    }
    let (write_end, read_end) = (writing.end.unwrap_or(WriteEnd::Unfinished), reading.end.unwrap_or(ReadEnd::Unread));
    let Reading { read, intact, .. } = reading;
    let mut seen = Seen { wrote: writing.wrote, write_end, read, intact, read_end, warnings: Vec::new() };
    if seen.hears() {
        seen.warnings = hear(&errors, plan.part(other(side)).warnings).await;
    }
    seen
}

struct Writing {
    wrote: u64,
    end: Option<WriteEnd>,
}

struct Reading {
    read: u64,
    intact: bool,
    end: Option<ReadEnd>,
}

/// Writes one side's data. Returns false if the stream is to be dropped now.
async fn write(send: &mut SendStream, plan: &Plan, side: Side, writing: &mut Writing) -> bool {
    let end = run_writer(send, plan, side, &mut writing.wrote).await;
    let goes_on = !(end == WriteEnd::Planned && plan.part(side).end.drops());
    writing.end = Some(end);
    goes_on
}

async fn run_writer(send: &mut SendStream, plan: &Plan, side: Side, wrote: &mut u64) -> WriteEnd {
    let part = plan.part(side);
    for code in plan.warnings(side) {
        match bounded(send.warn(StreamError::new(code, "a warning"))).await {
            Ok(Ok(())) => {}
            Ok(Err(WriteError::Stopped { code })) => return WriteEnd::Unheard { code },
            Ok(Err(error)) => return error.into(),
            Err(Hung) => return WriteEnd::Hung,
        }
    }
    while *wrote < part.len {
        let left = usize::try_from(part.len - *wrote).unwrap_or(usize::MAX);
        let piece = pattern::slice(plan.pattern(side), *wrote, left.min(part.piece));
        if part.end == End::CancelWrite && piece.len() == left {
            // The last write is dropped if it has to wait.
            match poll_once(send.write(&piece)).await {
                Some(Ok(len)) => *wrote += len as u64,
                Some(Err(error)) => return error.into(),
                None => {}
            }
            return WriteEnd::Planned;
        }
        match bounded(send.write(&piece)).await {
            Ok(Ok(len)) => *wrote += len as u64,
            Ok(Err(error)) => return error.into(),
            Err(Hung) => return WriteEnd::Hung,
        }
    }
    let ended = match part.end {
        End::Finish => Ok(send.finish()),
        End::Fail => bounded(send.fail(plan.error(side))).await,
        End::Abort => bounded(send.abort(plan.error(side))).await,
        End::Drop | End::CancelWrite => return WriteEnd::Planned,
    };
    match ended {
        Ok(Ok(())) => WriteEnd::Planned,
        Ok(Err(error)) => error.into(),
        Err(Hung) => WriteEnd::Hung,
    }
}

async fn read(recv: &mut RecvStream, plan: &Plan, side: Side, reading: &mut Reading) {
    sleep(Duration::from_millis(plan.draft.pause_ms)).await;
    let mut buf = vec![0; READ];
    loop {
        match next(recv, plan.draft.cancel_reads, &mut buf).await {
            Ok(Ok(Some(data))) => take(&data, plan, side, reading),
            Ok(Ok(None)) => return reading.end = Some(ReadEnd::End),
            Ok(Err(error)) => return reading.end = Some(error.into()),
            Err(Hung) => return reading.end = Some(ReadEnd::Hung),
        }
    }
}

async fn echo(send: &mut SendStream, recv: &mut RecvStream, plan: &Plan, writing: &mut Writing, reading: &mut Reading) {
    let mut buf = vec![0; READ];
    let end = loop {
        let mut data = match next(recv, plan.draft.cancel_reads, &mut buf).await {
            Ok(Ok(Some(data))) => data,
            Ok(Ok(None)) => break ReadEnd::End,
            Ok(Err(error)) => break error.into(),
            Err(Hung) => break ReadEnd::Hung,
        };
        take(&data, plan, Side::Acceptor, reading);
        while !data.is_empty() {
            match bounded(send.write(&data)).await {
                Ok(Ok(len)) => {
                    writing.wrote += len as u64;
                    let _ = data.split_to(len);
                }
                Ok(Err(error)) => return writing.end = Some(error.into()),
                Err(Hung) => return writing.end = Some(WriteEnd::Hung),
            }
        }
    };
    if end == ReadEnd::End {
        writing.end = Some(send.finish().map_or_else(WriteEnd::from, |()| WriteEnd::Planned));
    }
    reading.end = Some(end);
}

fn take(data: &[u8], plan: &Plan, side: Side, reading: &mut Reading) {
    reading.intact &= is_pattern(plan.pattern(other(side)), reading.read, data);
    reading.read += data.len() as u64;
}

/// Reads the next data. If `cancel` is set, first tries `read` and `read_chunk`, and drops each if it has to wait.
async fn next(recv: &mut RecvStream, cancel: bool, buf: &mut [u8]) -> Result<Result<Option<Bytes>, ReadError>, Hung> {
    if cancel {
        if let Some(read) = poll_once(recv.read(buf)).await {
            return Ok(read.map(|len| (len > 0).then(|| Bytes::copy_from_slice(&buf[..len]))));
        }
        if let Some(read) = poll_once(recv.read_chunk(READ)).await {
            return Ok(read);
        }
    }
    bounded(recv.read_chunk(READ)).await
}

/// Waits for the peer's warnings, however late they come.
async fn hear(errors: &Errors, wanted: u64) -> Vec<u64> {
    let mut heard = Vec::new();
    while (heard.len() as u64) < wanted {
        match bounded(errors.next()).await {
            Ok(Some(report)) if report.severity == Severity::Warning => heard.push(report.error.code()),
            _ => break,
        }
    }
    heard
}

/// A call took longer than [`PATIENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hung;

/// Waits for a call that has a timeout in the library.
pub async fn bounded<T>(what: impl Future<Output = T>) -> Result<T, Hung> {
    timeout(PATIENCE, what).await.map_err(|_| Hung)
}

impl From<WriteError> for WriteEnd {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) => Self::PeerFailed { code: error.code() },
            WriteError::Stopped { code } => Self::Stopped { code },
            WriteError::Lost(lost) => Self::Lost(lost),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ReadError> for ReadEnd {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) => {
                Self::Failed { code: error.code(), text: error.text().to_owned(), offset: error.offset() }
            }
            ReadError::FailedIncomplete { error, missing } => {
                Self::FailedIncomplete { code: error.code(), text: error.text().to_owned(), missing }
            }
            ReadError::Aborted(error) => Self::Aborted { code: error.code(), text: error.text().to_owned() },
            ReadError::Reset { code } => Self::Reset { code },
            ReadError::EndedHere(_) => Self::EndedHere,
            ReadError::Lost(lost) => Self::Lost(lost),
            other => Self::Other(other.to_string()),
        }
    }
}
