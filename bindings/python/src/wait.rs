//! Waiting for readiness. The caller polls, and a future tells it when to poll again.
//!
//! The future carries no value, so its cancellation loses nothing: a ready value stays where it is until the next
//! poll.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release},
    },
    task::{Context, Poll, Wake, Waker},
};

use pyo3::{intern, prelude::*};

use crate::{
    bridge::{Bridge, Item, Waiting},
    problem::Problem,
    runtime,
};

/// The place of one waiting caller. Any thread may call its waker.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    /// Whether the event loop has been notified and has not handled the notification yet.
    queued: AtomicBool,
}

#[derive(Default)]
struct State {
    bridge: Option<Arc<Bridge>>,
    waiter: Option<Py<PyAny>>,
}

/// The result of a poll: the value, or a future after which to poll again.
pub(crate) enum Turn<T> {
    Ready(T),
    Wait(Py<PyAny>),
}

impl Slot {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Polls inside the runtime. If the poll is pending, returns a future that completes when the caller should
    /// poll again.
    ///
    /// `poll` is called without any lock held, and must not run Python code while it holds a lock.
    pub(crate) fn turn<T>(
        self: &Arc<Self>,
        py: Python<'_>,
        waker: &Waker,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> PyResult<Turn<T>> {
        let guard = runtime::handle()?.enter();
        let mut cx = Context::from_waker(waker);
        if let Poll::Ready(value) = poll(&mut cx) {
            return Ok(Turn::Ready(value));
        }
        let (event_loop, bridge) = Bridge::current(py)?;
        if self.attach(py, &bridge)?
            && let Poll::Ready(value) = poll(&mut cx)
        {
            return Ok(Turn::Ready(value));
        }
        drop(guard);
        // The event loop runs on this thread, so it cannot handle the wake-up before the waiter is in place.
        let future = event_loop.call_method0(intern!(py, "create_future"))?.unbind();
        let before = self.lock().waiter.replace(future.clone_ref(py));
        drop(before);
        Ok(Turn::Wait(future))
    }

    /// Directs wake-ups to this event loop. Returns true if they went elsewhere before, so that a wake-up may have
    /// been missed.
    fn attach(&self, py: Python<'_>, bridge: &Arc<Bridge>) -> PyResult<bool> {
        let waiter = self.lock().waiter.as_ref().map(|waiter| waiter.clone_ref(py));
        if let Some(waiter) = waiter
            && still_waits(waiter.bind(py))?
        {
            return Err(Problem::new(
                "ConcurrentUse",
                "another task waits for the same thing already: only one may at a time",
            )
            .into());
        }
        let mut state = self.lock();
        if state.bridge.as_ref().is_some_and(|known| Arc::ptr_eq(known, bridge)) {
            return Ok(false);
        }
        let before = state.bridge.replace(Arc::clone(bridge));
        drop(state);
        drop(before);
        self.queued.store(false, Release);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting for Slot {
    fn fire(&self, py: Python<'_>, bridge: &Arc<Bridge>) -> PyResult<()> {
        self.queued.store(false, Release);
        let waiter = {
            let mut state = self.lock();
            // The notification is for an event loop that was used before. The current event loop has polled since
            // then.
            if !state.bridge.as_ref().is_some_and(|known| Arc::ptr_eq(known, bridge)) {
                return Ok(());
            }
            state.waiter.take()
        };
        if let Some(waiter) = waiter {
            let waiter = waiter.bind(py);
            if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
                waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, AcqRel) {
            return;
        }
        let bridge = self.lock().bridge.clone();
        match bridge {
            Some(bridge) => bridge.push(Item::Wake(Arc::<Self>::clone(self))),
            // No caller has waited yet. The first caller that waits attaches its event loop, and polls again after
            // that.
            None => self.queued.store(false, Release),
        }
    }
}

/// Returns whether a task still waits for this future. A task whose event loop was closed never runs again.
fn still_waits(waiter: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = waiter.py();
    if waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(false);
    }
    let event_loop = waiter.call_method0(intern!(py, "get_loop"))?;
    Ok(!event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy()?)
}
