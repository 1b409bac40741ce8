//! Access rules in Python: a function that is asked about every connection and every stream.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::oneshot;
use twolane::{Access, Identity, Protocol, PublicKey, StreamRequest, Verdict};

use crate::{
    bridge::{Bridge, Item},
    key::PeerId,
    runtime::Local,
};

/// Calls `callback` on the event loop that was running when the callback was given. No thread of tokio waits for
/// the answer. The answer has to come within the endpoint's `access_timeout`.
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
        let (answer, answered) = oneshot::channel();
        let argument = Box::new(move |py: Python<'_>| {
            let answer = Local::new(Mutex::new(Some(answer)));
            Ok(Py::new(py, Question { about, answer })?.into_any())
        });
        self.bridge.push(Item::Call { callback: Arc::clone(&self.callback), argument });
        answered.await.unwrap_or_else(|_| Verdict::refuse("nobody answers for the rules here"))
    }
}

impl Access for Rules {
    async fn connection(&self, identity: &Identity) -> Verdict {
        let about = About {
            peer: identity.peer,
            owner: None,
            owner_unscoped: identity.owner_unscoped(),
            protocol: None,
            metadata: Bytes::new(),
        };
        self.ask(about).await
    }

    async fn stream(&self, request: &StreamRequest) -> Verdict {
        let about = About {
            peer: request.identity.peer,
            owner: request.owner(),
            owner_unscoped: request.identity.owner_unscoped(),
            protocol: Some(request.protocol.clone()),
            metadata: request.metadata.clone(),
        };
        self.ask(about).await
    }
}

struct About {
    peer: PublicKey,
    owner: Option<PublicKey>,
    owner_unscoped: Option<PublicKey>,
    protocol: Option<Protocol>,
    metadata: Bytes,
}

/// A question to an access rule: whether a peer may be connected (`protocol` is None), or may open a stream.
#[pyclass(frozen, module = "twolane", name = "Question")]
pub(crate) struct Question {
    about: About,
    answer: Local<Mutex<Option<oneshot::Sender<Verdict>>>>,
}

#[pymethods]
impl Question {
    /// The peer, as the handshake proved it.
    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.about.peer)
    }

    /// The key that the peer acts for in the protocol of the stream. None if the peer shows no delegation, if the
    /// scope of the delegation does not cover the protocol, and if the question is about a connection.
    #[getter]
    fn owner(&self) -> Option<PeerId> {
        self.about.owner.map(PeerId)
    }

    /// The owner that the peer's delegation names, whatever its scope is. Enough to let a peer connect, and never
    /// enough to allow a stream: use `owner` for that.
    #[getter]
    fn owner_unscoped(&self) -> Option<PeerId> {
        self.about.owner_unscoped.map(PeerId)
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

    /// Answers the question: None allows, and a text refuses with that reason. A second answer has no effect. A
    /// question that is dropped without an answer is refused.
    #[pyo3(name = "_answer")]
    fn answer(&self, refusal: Option<String>) {
        let sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The endpoint may have given the question up by now.
            let _ = sender.send(refusal.map_or(Verdict::Allow, Verdict::refuse));
        }
    }
}
