//! Access rules in Python: a function that is asked about every connection and every stream.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use twolane::{Access, Identity, Protocol, PublicKey, StreamRequest, Verdict};

use crate::{
    asked::{self, Answer},
    bridge::{Bridge, Item},
    key::PeerId,
};

/// Calls `callback` on the event loop that was running when the callback was given. No thread of tokio waits for
/// the answer. The answer has to come within the endpoint's `access_timeout`; then, or when the stream's connection has
/// ended, the endpoint gives the question up.
pub(crate) struct Rules {
    callback: Arc<Py<PyAny>>,
    bridge: Arc<Bridge>,
}

impl Rules {
    pub(crate) fn new(py: Python<'_>, callback: Py<PyAny>) -> PyResult<Self> {
        let (_, bridge) = Bridge::current(py)?;
        Ok(Self { callback: Arc::new(callback), bridge })
    }

    async fn ask(&self, about: About) -> Verdict {
        let (answer, asking) = asked::question(&self.bridge);
        let argument = Box::new(move |py: Python<'_>| Ok(Py::new(py, Question { about, answer })?.into_any()));
        self.bridge.push(Item::Call { callback: Arc::clone(&self.callback), argument });
        asking.answer().await.unwrap_or_else(|| Verdict::refuse("nobody answers for the rules here"))
    }
}

impl Access for Rules {
    async fn connection(&self, identity: &Identity) -> Verdict {
        let about = About { peer: identity.peer, owner: identity.owner(), protocol: None, metadata: Bytes::new() };
        self.ask(about).await
    }

    async fn stream(&self, request: &StreamRequest) -> Verdict {
        let about = About {
            peer: request.identity.peer,
            owner: request.identity.owner_for(&request.protocol),
            protocol: Some(request.protocol.clone()),
            metadata: request.metadata.clone(),
        };
        self.ask(about).await
    }
}

struct About {
    peer: PublicKey,
    owner: Option<PublicKey>,
    protocol: Option<Protocol>,
    metadata: Bytes,
}

/// A question to an access rule: whether a peer may be connected (`protocol` is None), or may open a stream.
#[pyclass(frozen, module = "twolane", name = "Question")]
pub(crate) struct Question {
    about: About,
    answer: Answer<Verdict>,
}

#[pymethods]
impl Question {
    /// The peer, as the handshake proved it.
    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.about.peer)
    }

    /// The key that the peer acts for with a delegation. For a stream, only if the scope of the delegation covers
    /// the protocol.
    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.about.owner.map(PeerId)
    }

    /// The protocol of the stream. None if the question is whether the peer may be connected at all.
    #[getter]
    fn protocol(&self) -> Option<&str> {
        self.about.protocol.as_ref().map(Protocol::as_str)
    }

    /// The metadata of the stream.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.about.metadata)
    }

    fn __repr__(&self) -> String {
        match &self.about.protocol {
            None => format!("<Question whether {} may connect>", self.about.peer),
            Some(protocol) => format!("<Question whether {} may open {protocol}>", self.about.peer),
        }
    }

    /// Answers the question: None allows, and a text refuses with that reason. A second answer has no effect. A
    /// question that is dropped without an answer is refused.
    #[pyo3(name = "_answer")]
    fn answer(&self, refusal: Option<String>) {
        self.answer.give(refusal.map_or(Verdict::Allow, Verdict::refuse));
    }

    /// Registers `callback`, which is called (with None) if the endpoint gives the question up. Returns False if it has
    /// done so, or has its answer.
    #[pyo3(name = "_when_given_up")]
    fn when_given_up(&self, callback: Py<PyAny>) -> bool {
        self.answer.when_given_up(callback)
    }
}
