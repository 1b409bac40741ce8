//! Sources that deliver items one by one: streams, events and reports.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use n0_future::stream;
use pyo3::{exceptions::PyStopAsyncIteration, prelude::*, types::PyTuple};
use twolane::{Errors, Event, Events, Protocol, Report, XStream};

use crate::{
    error::Problem,
    info,
    runtime::{self, Local},
    stream::Stream,
    wait::{Slot, Turn},
};

/// A source of items. An arrived item stays inside until `next` returns it.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Source {
    items: Local<Mutex<Option<Items>>>,
    /// An item that was ready when the source was made.
    first: Local<Mutex<Option<Option<Item>>>>,
    slot: Arc<Slot>,
    waker: Waker,
}

type Items = Pin<Box<dyn stream::Stream<Item = Item> + Send>>;

enum Item {
    Stream(XStream),
    Event(Event),
    Report(Report),
    Problem(Problem),
}

impl Source {
    fn new(items: impl stream::Stream<Item = Item> + Send + 'static) -> Self {
        let slot = Arc::new(Slot::default());
        let items: Items = Box::pin(items);
        let (items, first) = (Local::new(Mutex::new(Some(items))), Local::new(Mutex::default()));
        Self { items, first, waker: slot.waker(), slot }
    }

    /// Polls for the first item at once, so that the endpoint knows from now on which protocols are accepted.
    fn begun(self) -> Self {
        let mut cx = Context::from_waker(&self.waker);
        if let Poll::Ready(first) = self.poll(&mut cx) {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        }
        self
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        match &mut *self.items.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(items) => items.as_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    /// Makes a source of the streams that peers open for one of `protocols`. It ends when the endpoint shuts down.
    pub(crate) fn streams(endpoint: twolane::Endpoint, protocols: Vec<Protocol>) -> Self {
        let streams = stream::unfold(Some((endpoint, protocols)), |state| async move {
            let (endpoint, protocols) = state?;
            match endpoint.accept_bi(&protocols).await {
                Ok((_, stream)) => Some((Item::Stream(stream), Some((endpoint, protocols)))),
                Err(twolane::AcceptError::ShuttingDown) => None,
                Err(error) => Some((Item::Problem(error.into()), None)),
            }
        });
        Self::new(streams).begun()
    }

    pub(crate) fn events(events: Events) -> Self {
        Self::new(stream::unfold(events, |mut events| async move {
            let event = events.next().await?;
            Some((Item::Event(event), events))
        }))
    }

    pub(crate) fn reports(errors: Errors) -> Self {
        Self::new(stream::unfold(errors, |errors| async move {
            let report = errors.next().await?;
            Some((Item::Report(report), errors))
        }))
    }
}

#[pymethods]
impl Source {
    /// Returns the next item in a tuple, or a future after which to call again. Raises `StopAsyncIteration` at the
    /// end.
    fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let turn = self.slot.turn(py, &self.waker, |cx| {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            first.map_or_else(|| self.poll(cx), Poll::Ready)
        })?;
        let item = match turn {
            Turn::Wait(future) => return Ok(future),
            Turn::Ready(None) => {
                self.close();
                return Err(PyStopAsyncIteration::new_err(()));
            }
            Turn::Ready(Some(item)) => item,
        };
        let made = match item {
            Item::Stream(stream) => Py::new(py, Stream::new(stream))?.into_any(),
            Item::Event(event) => info::event(py, &event)?,
            Item::Report(report) => info::report(py, &report)?,
            Item::Problem(problem) => return Err(problem.into()),
        };
        Ok(PyTuple::new(py, [made])?.into_any().unbind())
    }

    /// Closes the source. Streams that have arrived but were not taken go to the next caller that accepts them.
    fn close(&self) {
        if runtime::is_forked() {
            return;
        }
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner).take();
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(Local::new((items, first)));
    }
}
