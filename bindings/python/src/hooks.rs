//! Hooks in Python: a function that is called at the stages of a connection.

use std::sync::Arc;

use pyo3::prelude::*;
use twolane::{ConnectionLost, Hooks, Identity, PublicKey, Verdict};

use crate::{
    asked::{self, Answer},
    bridge::{Bridge, Item},
    error::{chain, lost_name},
    key::PeerId,
};

/// Calls `callback` with a [`Stage`], on the event loop that was running when the callback was given. The endpoint
/// waits for the answer of each stage for at most its `access_timeout`.
pub(crate) struct Calls {
    callback: Arc<Py<PyAny>>,
    bridge: Arc<Bridge>,
}

impl Calls {
    pub(crate) fn new(py: Python<'_>, callback: Py<PyAny>) -> PyResult<Self> {
        let (_, bridge) = Bridge::current(py)?;
        Ok(Self { callback: Arc::new(callback), bridge })
    }

    async fn call(&self, about: About) -> Verdict {
        let (answer, asking) = asked::question(&self.bridge);
        let argument = Box::new(move |py: Python<'_>| Ok(Py::new(py, Stage { about, answer })?.into_any()));
        self.bridge.push(Item::Call { callback: Arc::clone(&self.callback), argument });
        asking.answer().await.unwrap_or_else(|| Verdict::refuse("nobody answers for the hooks here"))
    }
}

impl Hooks for Calls {
    async fn before_dial(&self, peer: PublicKey) -> Verdict {
        self.call(About { name: "before_dial", peer, owner: None, cause: None }).await
    }

    async fn after_handshake(&self, identity: &Identity) -> Verdict {
        self.call(About { name: "after_handshake", peer: identity.peer, owner: identity.owner(), cause: None }).await
    }

    async fn on_connect(&self, identity: &Identity) {
        self.call(About { name: "on_connect", peer: identity.peer, owner: identity.owner(), cause: None }).await;
    }

    async fn on_disconnect(&self, peer: PublicKey, cause: &ConnectionLost) {
        let cause = Some((chain(cause), lost_name(cause)));
        self.call(About { name: "on_disconnect", peer, owner: None, cause }).await;
    }
}

struct About {
    name: &'static str,
    peer: PublicKey,
    owner: Option<PublicKey>,
    /// Why the connection ended, for people and for programs.
    cause: Option<(String, &'static str)>,
}

/// One call of a hook.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Stage {
    about: About,
    answer: Answer<Verdict>,
}

#[pymethods]
impl Stage {
    /// The name of the hook.
    #[getter]
    fn name(&self) -> &'static str {
        self.about.name
    }

    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.about.peer)
    }

    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.about.owner.map(PeerId)
    }

    /// Why the connection ended, for people and for programs.
    #[getter]
    fn cause(&self) -> Option<(&str, &'static str)> {
        self.about.cause.as_ref().map(|(words, name)| (words.as_str(), *name))
    }

    /// Ends the call: None allows, and a text refuses with that reason, where the stage decides.
    fn answer(&self, refusal: Option<String>) {
        self.answer.give(refusal.map_or(Verdict::Allow, Verdict::refuse));
    }

    /// Registers `callback`, which is called (with None) if the endpoint gives the call up. Returns False if it has
    /// done so, or has its answer.
    fn when_given_up(&self, callback: Py<PyAny>) -> bool {
        self.answer.when_given_up(callback)
    }
}
