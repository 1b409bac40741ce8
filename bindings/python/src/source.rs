//! Sources that deliver items one by one: streams, events and reports.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use n0_future::stream;
use pyo3::{exceptions::PyStopAsyncIteration, prelude::*, types::PyTuple};

use crate::{
    bridge::Convert,
    runtime::Here,
    wait::{Slot, Turn},
};

/// A source of items. An arrived item stays inside until `next` returns it.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Source {
    inner: Here<Inner>,
}

/// What makes an item a Python object is called on the thread of the event loop.
type Items = Pin<Box<dyn stream::Stream<Item = Convert> + Send>>;

struct Inner {
    items: Mutex<Option<Items>>,
    /// An item that was ready when the source was made.
    first: Mutex<Option<Option<Convert>>>,
    slot: Arc<Slot>,
    waker: Waker,
}

impl Source {
    pub(crate) fn new(items: impl stream::Stream<Item = Convert> + Send + 'static) -> Self {
        let slot = Arc::new(Slot::default());
        let items: Items = Box::pin(items);
        let waker = slot.waker();
        Self { inner: Here::new(Inner { items: Mutex::new(Some(items)), first: Mutex::default(), slot, waker }) }
    }

    /// Polls for the first item at once, so that the endpoint knows from now on which protocols are accepted.
    pub(crate) fn begun(self) -> Self {
        if let Some(inner) = self.inner.ours() {
            let mut cx = Context::from_waker(&inner.waker);
            if let Poll::Ready(first) = inner.poll(&mut cx) {
                *inner.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
            }
        }
        self
    }
}

impl Inner {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Convert>> {
        match &mut *self.items.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(items) => items.as_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    fn close(&self) {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner).take();
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Dropped inside the runtime.
        drop(Here::new((items, first)));
        // Whoever waits for the next item learns that there is none.
        self.waker.wake_by_ref();
    }
}

#[pymethods]
impl Source {
    /// Returns the next item in a tuple, or a future after which to call again. Raises `StopAsyncIteration` at the
    /// end.
    fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?;
        let turn = inner.slot.turn(py, &inner.waker, |cx| {
            let first = inner.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            first.map_or_else(|| inner.poll(cx), Poll::Ready)
        })?;
        match turn {
            Turn::Wait(future) => Ok(future),
            Turn::Ready(None) => {
                inner.close();
                Err(PyStopAsyncIteration::new_err(()))
            }
            Turn::Ready(Some(item)) => Ok(PyTuple::new(py, [item(py)?])?.into_any().unbind()),
        }
    }

    /// Closes the source. Streams that have arrived but were not taken go to the next caller that accepts them. A
    /// caller that waits for the next item gets the end.
    fn close(&self) {
        if let Some(inner) = self.inner.ours() {
            inner.close();
        }
    }
}
