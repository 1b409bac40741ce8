//! Reading. Every call either takes its data synchronously, or takes nothing and returns a future after which to call
//! again.

use std::{
    cell::Cell,
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use pyo3::{
    buffer::PyBuffer,
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::PyBytes,
};

use super::{
    object::Stream,
    recv_side::{Got, HEADER, Want},
};
use crate::{data::Chunk, error::Problem, wait::Turn};

thread_local! {
    /// The buffer for data on its way into a `bytes`, whose length has to be known when it is made.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
        self.take(py, Want::Until(b"\n", limit))
    }

    /// Returns the data up to and with the separator.
    fn read_until(&self, py: Python<'_>, separator: &[u8], limit: usize) -> PyResult<Py<PyAny>> {
        if separator.is_empty() {
            return Err(PyValueError::new_err("a separator has at least one byte"));
        }
        let taken = self.take(py, Want::Until(separator, limit))?;
        let partial = taken.bind(py).cast::<PyBytes>().ok();
        let partial = partial.filter(|data| !data.as_bytes().ends_with(separator));
        let Some(partial) = partial.map(|data| Bytes::copy_from_slice(data.as_bytes())) else { return Ok(taken) };
        let message = match partial.len() {
            0 => "the data ended, in order, where a separator was expected".to_owned(),
            len => format!("the data ended, in order, after {len} bytes without the separator"),
        };
        Err(Problem::incomplete(partial, None, message).into())
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
        let inner = self.inner.get()?;
        let turn = inner.news.reader.turn(py, &inner.recv_waker, |cx| {
            let mut recv = inner.recv();
            let chunk = ready!(recv.poll(cx, |stream, cx| pin!(stream.read_chunk(max)).poll(cx)));
            if matches!(chunk, Ok(None) | Err(_)) {
                recv.note_end();
            }
            Poll::Ready(chunk)
        })?;
        match turn {
            Turn::Wait(future) => Ok(future),
            Turn::Ready(chunk) => {
                let chunk = chunk.map_err(|error| inner.read_failed(error))?.unwrap_or_default();
                inner.count_read(chunk.len());
                Chunk::view(py, chunk)
            }
        }
    }

    /// Reads into a buffer and returns the number of bytes, or returns a future.
    fn read_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?;
        let buffer = PyBuffer::<u8>::get(buffer)?;
        let slice = if buffer.readonly() { None } else { buffer.as_slice_ptr() };
        let Some(mut slice) = slice else {
            return Err(PyTypeError::new_err("a writable, contiguous buffer of bytes is needed"));
        };
        let turn = inner.news.reader.turn(py, &inner.recv_waker, |cx| {
            // SAFETY: this function holds the buffer, so its memory stays valid. No other code writes to it,
            // because this thread holds the interpreter's lock until it returns.
            let room = unsafe { slice.as_mut() };
            let mut recv = inner.recv();
            let len = ready!(recv.poll(cx, |stream, cx| pin!(stream.read(room)).poll(cx)));
            if len.is_err() || (matches!(len, Ok(0)) && !room.is_empty()) {
                recv.note_end();
            }
            Poll::Ready(len)
        })?;
        match turn {
            Turn::Wait(future) => Ok(future),
            Turn::Ready(len) => {
                let len = len.map_err(|error| inner.read_failed(error))?;
                inner.count_read(len);
                Ok(len.into_pyobject(py)?.into_any().unbind())
            }
        }
    }
}

impl Stream {
    fn take(&self, py: Python<'_>, want: Want<'_>) -> PyResult<Py<PyAny>> {
        // The scratch buffer is taken out of its place, because making Python objects may run other code that reads
        // too.
        let mut scratch = SCRATCH.take();
        let taken = self.take_with(py, want, &mut scratch);
        SCRATCH.set(scratch);
        taken
    }

    fn take_with(&self, py: Python<'_>, want: Want<'_>, scratch: &mut Vec<u8>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?;
        let turn = inner.news.reader.turn(py, &inner.recv_waker, |cx| inner.recv().poll_take(cx, want, scratch))?;
        let got = match turn {
            Turn::Wait(future) => return Ok(future),
            Turn::Ready(got) => got.map_err(|error| inner.read_failed(error))?,
        };
        let bytes = match (&got, want) {
            (Got::Scratch(len), _) => &scratch[..*len],
            (Got::Data(data), _) => data,
            (Got::Message(data), _) => {
                inner.count_read(HEADER);
                data
            }
            // A line may end with the data.
            (Got::Incomplete(data, _), Want::Until(..)) => data,
            (Got::Incomplete(data, expected), Want::Message(_)) => {
                inner.count_read(data.len());
                let message = match data.len() {
                    0 => "the data ended, in order, where a message was expected".to_owned(),
                    len => {
                        format!("the data ended inside a message, after {len} of its {expected} bytes with the header")
                    }
                };
                return Err(Problem::incomplete(data.clone(), Some(*expected), message).into());
            }
            (Got::Incomplete(data, expected), _) => {
                inner.count_read(data.len());
                let message =
                    format!("the data ended, in order, after {} of the {expected} bytes expected", data.len());
                return Err(Problem::incomplete(data.clone(), Some(*expected), message).into());
            }
            (Got::TooLong, want) => return Err(too_long(want).into()),
        };
        inner.count_read(bytes.len());
        Ok(PyBytes::new(py, bytes).into_any().unbind())
    }
}

fn too_long(want: Want<'_>) -> Problem {
    let message = match want {
        Want::Message(limit) => {
            format!("the message is longer than {limit} bytes: it can still be read with a larger limit")
        }
        Want::Until(b"\n", limit) => {
            format!("the line is longer than {limit} bytes: it can still be read in pieces")
        }
        Want::Until(_, limit) => {
            format!("there is no separator within {limit} bytes: they can still be read in pieces")
        }
        Want::Some(limit) | Want::Exactly(limit) | Want::All(limit) => {
            format!("there are more than {limit} bytes: they can still be read in pieces")
        }
    };
    Problem::new("TooLarge", message).with_phase("read")
}
