//! The receiving direction.
//!
//! Every call either takes its data synchronously, or takes nothing and returns a future after which to call again.
//! In the meantime, the received part of a line or of a fixed number of bytes stays in the crate's stream.

use std::{
    cell::Cell,
    pin::pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use pyo3::{buffer::PyBuffer, exceptions::PyTypeError, prelude::*, types::PyBytes};
use twolane::{ReadError, RecvStream, WriteError};

use super::{Inner, Stream};
use crate::{data::Chunk, error::Problem, wait::Turn};

/// Maximum number of bytes that one call takes. On loopback, 64 KiB cost a tenth of the throughput, and 1 MiB
/// gained nothing.
const PIECE: usize = 256 * 1024;

/// The length of the big-endian number before a message that gives the length of the message.
const HEADER: usize = 4;

thread_local! {
    /// The buffer for data on its way into a `bytes`, whose length has to be known when it is made.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The stream, and its end.
pub(super) struct RecvSide {
    stream: Option<RecvStream>,
    over: bool,
    /// The number of bytes of the read-ahead data that were searched and contain no line feed.
    searched: usize,
}

/// The data that a caller asks for.
#[derive(Clone, Copy)]
enum Want {
    Some(usize),
    Exactly(usize),
    Line(usize),
    Message(usize),
    All(usize),
}

/// The data that the caller gets.
enum Got {
    /// This number of bytes in the scratch buffer.
    Scratch(usize),
    Data(Bytes),
    /// The data ended too early.
    Incomplete(Bytes),
    /// A message, without the header that gives its length.
    Message(Bytes),
    /// There is more data than the limit of the caller.
    TooLong,
}

#[pymethods]
impl Stream {
    /// Returns at most `len` bytes, none at the end of the data; or a future after which to call again.
    fn read(&self, py: Python<'_>, len: usize) -> PyResult<Py<PyAny>> {
        self.take(py, Want::Some(len))
    }

    /// Returns exactly `len` bytes.
    fn read_exactly(&self, py: Python<'_>, len: usize) -> PyResult<Py<PyAny>> {
        self.take(py, Want::Exactly(len))
    }

    /// Returns a line with its line feed. At the end of the data the line feed may be missing.
    fn read_line(&self, py: Python<'_>, limit: usize) -> PyResult<Py<PyAny>> {
        self.take(py, Want::Line(limit))
    }

    /// Returns a message that is preceded by its length.
    fn read_message(&self, py: Python<'_>, limit: usize) -> PyResult<Py<PyAny>> {
        self.take(py, Want::Message(limit))
    }

    /// Returns all data up to the end.
    fn read_all(&self, py: Python<'_>, limit: usize) -> PyResult<Py<PyAny>> {
        self.take(py, Want::All(limit))
    }

    /// Returns the next piece as it arrived, as a memoryview without a copy.
    fn read_chunk(&self, py: Python<'_>, max: usize) -> PyResult<Py<PyAny>> {
        let turn = self.inner.recv_slot.turn(py, &self.inner.recv_waker, |cx| {
            let mut recv = self.inner.recv();
            let chunk = ready!(recv.poll(cx, |stream, cx| pin!(stream.read_chunk(max)).poll(cx)));
            recv.over |= matches!(chunk, Ok(None) | Err(_));
            Poll::Ready(chunk)
        })?;
        match turn {
            Turn::Wait(future) => Ok(future),
            Turn::Ready(chunk) => {
                let chunk = chunk.map_err(|error| self.inner.read_failed(error))?.unwrap_or_default();
                self.inner.read.fetch_add(chunk.len() as u64, Relaxed);
                Chunk::view(py, chunk)
            }
        }
    }

    /// Reads into a buffer and returns the number of bytes, or returns a future.
    fn read_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let buffer = PyBuffer::<u8>::get(buffer)?;
        let slice = if buffer.readonly() { None } else { buffer.as_slice_ptr() };
        let Some(mut slice) = slice else {
            return Err(PyTypeError::new_err("a writable, contiguous buffer of bytes is needed"));
        };
        let turn = self.inner.recv_slot.turn(py, &self.inner.recv_waker, |cx| {
            // SAFETY: this function holds the buffer, so its memory stays valid. No other code writes to it,
            // because this thread holds the interpreter's lock until it returns.
            let room = unsafe { slice.as_mut() };
            let mut recv = self.inner.recv();
            let len = ready!(recv.poll(cx, |stream, cx| pin!(stream.read(room)).poll(cx)));
            recv.over |= len.is_err() || (matches!(len, Ok(0)) && !room.is_empty());
            Poll::Ready(len)
        })?;
        match turn {
            Turn::Wait(future) => Ok(future),
            Turn::Ready(len) => {
                let len = len.map_err(|error| self.inner.read_failed(error))?;
                self.inner.read.fetch_add(len as u64, Relaxed);
                Ok(len.into_pyobject(py)?.into_any().unbind())
            }
        }
    }
}

impl Stream {
    fn take(&self, py: Python<'_>, want: Want) -> PyResult<Py<PyAny>> {
        // The scratch buffer is taken out of its place, because making Python objects may run other code that reads
        // too.
        let mut scratch = SCRATCH.take();
        let taken = self.take_with(py, want, &mut scratch);
        SCRATCH.set(scratch);
        taken
    }

    fn take_with(&self, py: Python<'_>, want: Want, scratch: &mut Vec<u8>) -> PyResult<Py<PyAny>> {
        let turn = self.inner.recv_slot.turn(py, &self.inner.recv_waker, |cx| {
            let mut recv = self.inner.recv();
            let got = ready!(recv.poll_take(cx, want, scratch));
            recv.over |= match &got {
                Ok(Got::Scratch(len)) => *len == 0 && !matches!(want, Want::Some(0)),
                Ok(Got::Incomplete(_)) | Err(_) => true,
                Ok(Got::Data(_)) => matches!(want, Want::All(_)),
                Ok(Got::Message(_) | Got::TooLong) => false,
            };
            Poll::Ready(got)
        })?;
        let got = match turn {
            Turn::Wait(future) => return Ok(future),
            Turn::Ready(got) => got.map_err(|error| self.inner.read_failed(error))?,
        };
        let count = |len: usize| self.inner.read.fetch_add(len as u64, Relaxed);
        let bytes = match (&got, want) {
            (Got::Scratch(len), _) => &scratch[..*len],
            (Got::Data(data), _) => data,
            (Got::Message(data), _) => {
                count(HEADER);
                data
            }
            (Got::Incomplete(data), Want::Exactly(expected)) => {
                count(data.len());
                let message =
                    format!("the data ended, in order, after {} of the {expected} bytes expected", data.len());
                return Err(Problem::incomplete(data.clone(), expected, message).into());
            }
            (Got::Incomplete(data), Want::Message(_)) => {
                count(data.len());
                let message = if data.is_empty() {
                    "the data ended, in order, where a message was expected".to_owned()
                } else {
                    format!("the data ended inside a message, after {} bytes of it", data.len())
                };
                return Err(Problem::incomplete(data.clone(), HEADER, message).into());
            }
            (Got::Incomplete(data), _) => data,
            (Got::TooLong, Want::Message(limit)) => {
                let message =
                    format!("the message is longer than {limit} bytes: it can still be read with a larger limit");
                return Err(Problem::new("TooLarge", message).with_phase("read").into());
            }
            (Got::TooLong, Want::Line(limit)) => {
                let message = format!("the line is longer than {limit} bytes: it can still be read in pieces");
                return Err(Problem::new("TooLarge", message).with_phase("read").into());
            }
            (Got::TooLong, Want::Some(limit) | Want::Exactly(limit) | Want::All(limit)) => {
                let message = format!("there are more than {limit} bytes: they can still be read in pieces");
                return Err(Problem::new("TooLarge", message).with_phase("read").into());
            }
        };
        count(bytes.len());
        Ok(PyBytes::new(py, bytes).into_any().unbind())
    }
}

impl Inner {
    /// Converts an error of reading. If the error ended the whole stream, the sending direction is marked as ended,
    /// so that the same error is not reported twice.
    fn read_failed(&self, error: ReadError) -> Problem {
        if self.recv().stream.is_none() {
            return Problem::from(WriteError::EndedHere).with_phase("read");
        }
        if !matches!(error, ReadError::Reset { .. }) {
            self.send().note_end();
        }
        error.into()
    }
}

impl RecvSide {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream: Some(stream), over: false, searched: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over || self.stream.is_none()
    }

    pub(super) fn end(&mut self) -> Option<RecvStream> {
        self.over = true;
        self.stream.take()
    }

    /// Makes the stream detect the cause of its end, without taking data.
    pub(super) fn notice(&mut self, cx: &mut Context<'_>) {
        if let Some(stream) = &mut self.stream {
            let _ = pin!(stream.read(&mut [0])).poll(cx);
        }
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut RecvStream, &mut Context<'_>) -> Poll<Result<T, ReadError>>,
    ) -> Poll<Result<T, ReadError>> {
        // The poll may take some of the searched data.
        self.searched = 0;
        match &mut self.stream {
            Some(stream) => poll(stream, cx),
            None => Poll::Ready(Err(ReadError::Lost(twolane::ConnectionLost::Closed))),
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, want: Want, scratch: &mut Vec<u8>) -> Poll<Result<Got, ReadError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(closed()));
        };
        match want {
            Want::Some(len) => {
                let len = len.min(PIECE);
                if scratch.len() < len {
                    scratch.resize(if len > PIECE / 4 { PIECE } else { PIECE / 4 }, 0);
                }
                let len = ready!(pin!(stream.read(&mut scratch[..len])).poll(cx))?;
                self.searched = 0;
                Poll::Ready(Ok(Got::Scratch(len)))
            }
            Want::Exactly(len) => {
                let there = ready!(pin!(stream.peek(len)).poll(cx))?.len();
                self.searched = 0;
                let data = stream.consume(len);
                Poll::Ready(Ok(if there >= len { Got::Data(data) } else { Got::Incomplete(data) }))
            }
            Want::Message(limit) => {
                let there = ready!(pin!(stream.peek(HEADER)).poll(cx))?;
                let Some(header) = there.first_chunk::<HEADER>() else {
                    let len = there.len();
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(len))));
                };
                let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
                if len > limit {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                let there = ready!(pin!(stream.peek(HEADER + len)).poll(cx))?.len();
                self.searched = 0;
                if there < HEADER + len {
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(there))));
                }
                drop(stream.consume(HEADER));
                Poll::Ready(Ok(Got::Message(stream.consume(len))))
            }
            Want::All(limit) => {
                let there = ready!(pin!(stream.peek(limit.saturating_add(1))).poll(cx))?.len();
                if there > limit {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                self.searched = 0;
                Poll::Ready(Ok(Got::Data(stream.consume(there))))
            }
            Want::Line(limit) => loop {
                let there = ready!(pin!(stream.peek(self.searched + 1)).poll(cx))?;
                let len = there.len();
                if len <= self.searched {
                    self.searched = 0;
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(len))));
                }
                if let Some(at) = there[self.searched..].iter().position(|byte| *byte == b'\n') {
                    let len = self.searched + at + 1;
                    if len - 1 > limit {
                        return Poll::Ready(Ok(Got::TooLong));
                    }
                    self.searched = 0;
                    return Poll::Ready(Ok(Got::Data(stream.consume(len))));
                }
                if len > limit {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                self.searched = len;
            },
        }
    }
}

/// The error for reading after this side has let go of the direction.
fn closed() -> ReadError {
    ReadError::Lost(twolane::ConnectionLost::Closed)
}
