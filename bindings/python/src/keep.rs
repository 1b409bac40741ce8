//! A peer that is kept connected.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tokio::sync::{oneshot, watch};
use twolane::KeepState;

use crate::{
    error::chain,
    op::Op,
    runtime::{self, Here},
};

/// Keeps a peer connected, until it is closed or dropped.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Keep {
    inner: Here<Inner>,
}

struct Inner {
    state: watch::Receiver<State>,
    /// Dropping it ends the task that has the crate's handle.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

/// The name of the state, the number of dials in a row that failed, and the last error.
type State = (&'static str, u32, Option<String>);

const ENDED: State = ("ended", 0, None);

impl Keep {
    pub(crate) fn new(keep: twolane::Keep) -> PyResult<Self> {
        let (sender, state) = watch::channel(described(&keep.state()));
        let (stop, stopped) = oneshot::channel();
        runtime::handle()?.spawn(follow(keep, sender, stopped));
        Ok(Self { inner: Here::new(Inner { state, stop: Mutex::new(Some(stop)) }) })
    }
}

/// Passes on each state, until the last one, or until the handle is let go of.
async fn follow(mut keep: twolane::Keep, sender: watch::Sender<State>, mut stopped: oneshot::Receiver<()>) {
    loop {
        let state = tokio::select! {
            biased;
            _ = &mut stopped => ENDED,
            state = keep.changed() => described(&state),
        };
        let over = matches!(state.0, "given_up" | "ended");
        sender.send_replace(state);
        if over {
            return;
        }
    }
}

#[pymethods]
impl Keep {
    /// Returns the name of the state, the number of dials that failed in a row, and the last error.
    fn state(&self) -> State {
        let Some(inner) = self.inner.ours() else { return ENDED };
        let closed = inner.stop.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if closed { ENDED } else { inner.state.borrow().clone() }
    }

    /// Waits until the state is another than `state`, and returns it. Returns the last state at once.
    fn changed(&self, py: Python<'_>, state: (String, u32, Option<String>)) -> PyResult<Op> {
        let mut states = self.inner.get()?.state.clone();
        let changing = async move {
            let over = |now: &State| matches!(now.0, "given_up" | "ended");
            let differs = |now: &State| now.0 != state.0 || now.1 != state.1 || now.2 != state.2;
            // The last state is never an error: it came before the sender was dropped.
            states.wait_for(|now| over(now) || differs(now)).await.map_or(ENDED, |state| state.clone())
        };
        Op::start(py, changing, |py, state| Ok(state.into_pyobject(py)?.into_any().unbind()))
    }

    /// Waits until the peer is connected. Returns False once it is not dialled any more.
    fn connected(&self, py: Python<'_>) -> PyResult<Op> {
        let mut states = self.inner.get()?.state.clone();
        let connecting = async move {
            let over = |now: &State| matches!(now.0, "connected" | "given_up" | "ended");
            states.wait_for(over).await.is_ok_and(|state| state.0 == "connected")
        };
        Op::start(py, connecting, |py, connected| Ok(connected.into_pyobject(py)?.to_owned().into_any().unbind()))
    }

    fn close(&self) {
        if let Some(inner) = self.inner.ours() {
            drop(inner.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

fn described(state: &KeepState) -> State {
    match state {
        KeepState::Dialling { failures } => ("dialling", *failures, None),
        KeepState::Connected => ("connected", 0, None),
        KeepState::Waiting { failures, cause, .. } => ("waiting", *failures, Some(chain(&**cause))),
        KeepState::GivenUp { cause } => ("given_up", 0, Some(chain(&**cause))),
        _ => ENDED,
    }
}
