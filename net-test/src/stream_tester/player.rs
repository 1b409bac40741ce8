//! Performs a script on a stream, and records the observations.

use std::{
    future::ready,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;
use twolane::{Errors, NextError, ReadError, RecvStream, SendStream, WriteError, XStream};

use super::{
    pattern,
    role::{self, MAX_BYTES, Step, Words},
    seen::{Ending, Heard, MAX_REPORTS, Seen, Sum, WARNING},
};

/// The length of one write in bytes, unless a step has its own.
const PIECE: usize = 64 * 1024;
/// The number of unread bytes after which a write waits for the reader. It is 1,900 chunks of 1,130 bytes, less one
/// chunk for each write, and less the header with its metadata, which count as well.
pub const FULL: u64 = 2_080_000;
/// Maximum time to wait for the error that has ended the stream. The error is there within microseconds.
const HEARD: Duration = Duration::from_secs(5);
/// The length of a write that is cut. It is four times the amount that a peer takes without reading.
const CUT: usize = 8_000_000;

#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The seed of the data that this side writes.
    pub seed: u64,
    /// The number of bytes of this data that travelled with the header.
    pub early: u64,
    /// Maximum time for all steps together.
    pub within: Duration,
    /// Counts the bytes that this side reads, for the progress display.
    pub meter: &'a AtomicU64,
}

/// Performs the steps in order, then drops the stream.
pub async fn play(stream: XStream, steps: &[Step], part: Part<'_>) -> Seen {
    let metadata = Sum::of(stream.metadata());
    let mut player = Player {
        errors: stream.errors(),
        held: Held::Whole(Box::new(stream)),
        reading: Reading { hasher: blake3::Hasher::new(), bytes: 0, end: Ending::Open, meter: part.meter },
        writing: Writing { seed: part.seed, bytes: part.early, end: Ending::Open },
        said: Ending::Open,
        reports: Vec::new(),
    };
    let acting = async {
        for step in steps {
            player.act(step).await;
        }
    };
    let finished = timeout(part.within, acting).await.is_ok();
    player.hear_the_rest().await;
    let mut seen = Seen { finished, metadata, said: player.said, reports: player.reports, ..Seen::default() };
    seen.read.sum = Sum { bytes: player.reading.bytes, blake3: player.reading.hasher.finalize().to_hex().to_string() };
    seen.read.end = player.reading.end;
    seen.written.sum.bytes = player.writing.bytes;
    seen.written.end = player.writing.end;
    seen
}

struct Player<'a> {
    held: Held,
    errors: Errors,
    reading: Reading<'a>,
    writing: Writing,
    said: Ending,
    reports: Vec<Heard>,
}

/// The halves of the stream that this side still has.
enum Held {
    Whole(Box<XStream>),
    Send(SendStream),
    Recv(RecvStream),
    Nothing,
}

impl Player<'_> {
    async fn act(&mut self, step: &Step) {
        match step {
            Step::Finish => {
                if let Some(send) = self.held.send() {
                    self.writing.end.becomes(send.finish().map_or_else(Ending::from, |()| Ending::End));
                }
            }
            Step::Delivered => {
                if let Some(send) = self.held.send()
                    && let Err(error) = send.delivered().await
                {
                    self.writing.end.becomes(error.into());
                }
            }
            Step::Exchange { .. } | Step::Echo => {
                if let Held::Whole(stream) = &mut self.held {
                    let (send, recv) = stream.halves();
                    let (writing, reading) = (&mut self.writing, &mut self.reading);
                    if let Step::Exchange { len } = step {
                        tokio::join!(writing.write_and_finish(send, *len), reading.until_end(recv, false));
                    } else {
                        reading.echo(recv, writing, send).await;
                    }
                }
            }
            Step::Hear(count) => {
                while self.reports.len() < *count as usize {
                    match self.errors.next().await {
                        Some(report) => self.hear(&report),
                        None => return,
                    }
                }
            }
            Step::Warn { words, count } => {
                for nth in 0..*count {
                    self.warn(words.nth(nth)).await;
                }
            }
            Step::Fail(words) => {
                let failed = match &mut self.held {
                    Held::Whole(stream) => stream.fail(words.to_error()).await,
                    Held::Send(send) => send.fail(words.to_error()).await,
                    Held::Recv(recv) => recv.fail(words.to_error()).await,
                    Held::Nothing => Ok(()),
                };
                self.said(failed);
            }
            Step::FailReading(words) => {
                if let Some(recv) = self.held.recv() {
                    let failed = recv.fail(words.to_error()).await;
                    self.said(failed);
                }
            }
            Step::Abort(words) => {
                let aborted = match &mut self.held {
                    Held::Whole(stream) => stream.abort(words.to_error()).await,
                    Held::Send(send) => send.abort(words.to_error()).await,
                    Held::Recv(_) | Held::Nothing => Ok(()),
                };
                self.said(aborted);
            }
            Step::DropSend | Step::DropRecv => self.held.drop_half(*step == Step::DropSend),
            Step::Fill(words) => {
                let full = match self.held.send() {
                    Some(send) => self.writing.fill(send).await,
                    None => false,
                };
                if full {
                    self.warn(*words).await;
                    if let Some(send) = self.held.send() {
                        self.writing.write_on(send).await;
                    }
                }
            }
            step => {
                if let Some(send) = self.held.send() {
                    self.writing.act(send, step).await;
                }
                if let Some(recv) = self.held.recv() {
                    self.reading.act(recv, step).await;
                }
            }
        }
    }

    async fn warn(&mut self, words: Words) {
        if let Some(send) = self.held.send() {
            let warned = send.warn(words.to_error()).await;
            self.said(warned);
        }
    }

    fn said(&mut self, result: Result<(), WriteError>) {
        if let Err(error) = result {
            self.said.becomes(error.into());
        }
    }

    /// Records the reports that no step waited for. An error that ended the stream wakes the reader and the writer
    /// slightly before it can be read from `errors`.
    async fn hear_the_rest(&mut self) {
        let told = [&self.reading.end, &self.writing.end, &self.said]
            .iter()
            .any(|end| matches!(end, Ending::Failed(_) | Ending::Aborted(_)));
        while told && self.reports.len() < MAX_REPORTS && self.reports.iter().all(|heard| heard.severity == WARNING) {
            match timeout(HEARD, self.errors.next()).await {
                Ok(Some(report)) => self.hear(&report),
                _ => return,
            }
        }
        while let Some(report) = self.errors.try_next() {
            self.hear(&report);
        }
    }

    fn hear(&mut self, report: &twolane::Report) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.push(report.into());
        }
    }
}

impl Held {
    fn send(&mut self) -> Option<&mut SendStream> {
        match self {
            Self::Whole(stream) => Some(stream.halves().0),
            Self::Send(send) => Some(send),
            Self::Recv(_) | Self::Nothing => None,
        }
    }

    fn recv(&mut self) -> Option<&mut RecvStream> {
        match self {
            Self::Whole(stream) => Some(stream.halves().1),
            Self::Recv(recv) => Some(recv),
            Self::Send(_) | Self::Nothing => None,
        }
    }

    fn drop_half(&mut self, send: bool) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Whole(stream) => match stream.split() {
                (_, recv) if send => Self::Recv(recv),
                (send, _) => Self::Send(send),
            },
            Self::Recv(recv) if send => Self::Recv(recv),
            Self::Send(half) if !send => Self::Send(half),
            _ => Self::Nothing,
        };
    }
}

struct Writing {
    seed: u64,
    bytes: u64,
    end: Ending,
}

impl Writing {
    async fn act(&mut self, send: &mut SendStream, step: &Step) {
        match step {
            Step::Write { len, piece } => self.write(send, *len, *piece as usize).await,
            Step::WriteDropping { len } => self.write_dropping(send, *len).await,
            Step::WriteOn => self.write_on(send).await,
            Step::CutWrite => {
                // The call is dropped while it waits. The first part of the data has been sent.
                let data = pattern::bytes(self.seed, CUT);
                if let Some(Err(error)) = poll_once(send.write_all(&data)).await {
                    self.end.becomes(error.into());
                }
            }
            Step::Raw(bytes) => self.message(bytes.len(), send.write_chunk(bytes.clone().into()).await),
            Step::WriteLines(count) => {
                for line in (0..*count).map(role::line) {
                    self.message(line.len() + 1, send.send_string(&line).await);
                }
            }
            Step::WriteItems(count) => {
                for item in (0..*count).map(role::item) {
                    match send.send_json(&item).await {
                        Ok(()) => {}
                        Err(twolane::SendJsonError::Write(error)) => self.end.becomes(error.into()),
                        Err(error) => self.end.becomes(Ending::Other(error.to_string())),
                    }
                }
            }
            _ => {}
        }
    }

    async fn write_and_finish(&mut self, send: &mut SendStream, len: u64) {
        self.write(send, len, PIECE).await;
        if self.end == Ending::Open {
            self.end.becomes(send.finish().map_or_else(Ending::from, |()| Ending::End));
        }
    }

    async fn write(&mut self, send: &mut SendStream, len: u64, piece: usize) {
        let end = self.bytes + len;
        while self.bytes < end {
            let data = self.next(end, piece);
            let len = data.len() as u64;
            if let Err(error) = send.write_chunk(data).await {
                return self.end.becomes(error.into());
            }
            self.bytes += len;
        }
    }

    async fn write_dropping(&mut self, send: &mut SendStream, len: u64) {
        let end = self.bytes + len;
        while self.bytes < end {
            let data = self.next(end, PIECE);
            let written = match poll_once(send.write(&data)).await {
                Some(written) => written,
                None => send.write(&data).await,
            };
            if !self.count(written) {
                return;
            }
        }
    }

    async fn write_on(&mut self, send: &mut SendStream) {
        let end = self.bytes + MAX_BYTES;
        while self.bytes < end {
            let data = self.next(end, PIECE);
            let written = send.write(&data).await;
            if !self.count(written) {
                return;
            }
        }
    }

    /// Writes until the peer has taken as much as it can without reading. Returns false if that state cannot be
    /// reached.
    async fn fill(&mut self, send: &mut SendStream) -> bool {
        let end = self.bytes + MAX_BYTES;
        while self.bytes < end {
            let data = self.next(end, PIECE);
            let written = if self.bytes < FULL {
                send.write(&data).await
            } else {
                match poll_once(send.write(&data)).await {
                    Some(written) => written,
                    None => return true,
                }
            };
            if !self.count(written) {
                return false;
            }
        }
        false
    }

    fn count(&mut self, written: Result<usize, WriteError>) -> bool {
        match written {
            Ok(len) => {
                self.bytes += len as u64;
                true
            }
            Err(error) => {
                self.end.becomes(error.into());
                false
            }
        }
    }

    fn message(&mut self, len: usize, written: Result<(), WriteError>) {
        self.count(written.map(|()| len));
    }

    fn next(&self, end: u64, piece: usize) -> Bytes {
        let left = usize::try_from(end - self.bytes).unwrap_or(usize::MAX);
        pattern::slice(self.seed, self.bytes, left.min(piece))
    }
}

struct Reading<'a> {
    hasher: blake3::Hasher,
    bytes: u64,
    end: Ending,
    meter: &'a AtomicU64,
}

impl Reading<'_> {
    async fn act(&mut self, recv: &mut RecvStream, step: &Step) {
        match step {
            Step::Read(len) => {
                let end = self.bytes + len;
                while self.bytes < end {
                    let left = usize::try_from(end - self.bytes).unwrap_or(usize::MAX);
                    let read = recv.read_chunk(left).await;
                    if self.take(read).is_none() {
                        return;
                    }
                }
            }
            Step::ReadEnd => self.until_end(recv, false).await,
            Step::ReadEndDropping => self.until_end(recv, true).await,
            Step::ReadLines(count) => {
                for _ in 0..*count {
                    let line = recv.next_string().await;
                    self.message(line);
                }
            }
            Step::ReadItems(count) => {
                for _ in 0..*count {
                    let item = recv.next_json::<serde_json::Value>().await;
                    self.message(item.map(|item| item.to_string()));
                }
            }
            _ => {}
        }
    }

    /// Reads until the end. If `dropping` is set, each read that has to wait is dropped once and made again.
    async fn until_end(&mut self, recv: &mut RecvStream, dropping: bool) {
        while self.bytes <= MAX_BYTES {
            let read = match if dropping { poll_once(recv.read_chunk(PIECE)).await } else { None } {
                Some(read) => read,
                None => recv.read_chunk(PIECE).await,
            };
            if self.take(read).is_none() {
                return;
            }
        }
        self.end.becomes(Ending::TooLong);
    }

    async fn echo(&mut self, recv: &mut RecvStream, writing: &mut Writing, send: &mut SendStream) {
        while self.bytes <= MAX_BYTES {
            let read = recv.read_chunk(PIECE).await;
            let Some(chunk) = self.take(read) else {
                if self.end == Ending::End {
                    writing.end.becomes(send.finish().map_or_else(Ending::from, |()| Ending::End));
                }
                return;
            };
            let len = chunk.len();
            let written = send.write_chunk(chunk).await.map(|()| len);
            if !writing.count(written) {
                return;
            }
        }
        self.end.becomes(Ending::TooLong);
    }

    fn take(&mut self, read: Result<Option<Bytes>, ReadError>) -> Option<Bytes> {
        match read {
            Ok(Some(chunk)) => {
                self.count(&chunk);
                Some(chunk)
            }
            Ok(None) => {
                self.end.becomes(Ending::End);
                None
            }
            Err(error) => {
                self.end.becomes(error.into());
                None
            }
        }
    }

    /// Counts a message as the line that carried it.
    fn message(&mut self, message: Result<String, NextError>) {
        match message {
            Ok(mut line) => {
                line.push('\n');
                self.count(line.as_bytes());
            }
            Err(error) => self.end.becomes(error.into()),
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.meter.fetch_add(bytes.len() as u64, Relaxed);
    }
}

/// Polls a call once, and drops it if it has to wait.
pub async fn poll_once<F: Future>(call: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = call => Some(done),
        () = ready(()) => None,
    }
}
