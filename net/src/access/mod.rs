//! Who may connect, and who may open which stream.
//!
//! [`Access`] is the question, asked once for each connection and once for each stream; [`AccessList`] is an answer
//! that most programs need no more than; [`Hooks`] sees a connection's life from before the dial to its end.
//! `gate.rs` asks them all, with a bound on the time and nothing lost when one panics.

mod gate;
mod hooks;
mod list;
mod pairing;
mod rules;

use std::{borrow::Cow, future::Future, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use twolane_id::{PublicKey, delegation::Delegation};

#[cfg(test)]
pub(crate) use self::gate::Clock;
pub(crate) use self::{
    gate::{Gate, GateConfig, Refused},
    pairing::{Call, Pairing},
};
pub use self::{hooks::Hooks, list::AccessList};
use crate::protocol::Protocol;

/// Who is at the other end: the key that the handshake proved, and the owner it acts for, if it has shown that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The peer's key.
    pub peer: PublicKey,
    /// The certificate by which an owner's key lets this one act for it. It has been checked: signature, time,
    /// audience, node and revocation. It is gone as soon as one of those does not hold any more.
    pub delegation: Option<Arc<Delegation>>,
}

impl Identity {
    pub(crate) fn new(peer: PublicKey) -> Self {
        Self { peer, delegation: None }
    }

    /// The key that the peer acts for, whatever for.
    pub fn owner(&self) -> Option<PublicKey> {
        self.delegation.as_ref().map(|delegation| delegation.owner())
    }

    /// The key that the peer acts for when it uses `protocol`: that of its owner, if the certificate's scope has it.
    pub fn owner_for(&self, protocol: &Protocol) -> Option<PublicKey> {
        let delegation = self.delegation.as_ref().filter(|delegation| delegation.permits(protocol.as_str()));
        delegation.map(|delegation| delegation.owner())
    }
}

/// A stream that a peer wants to open, before anything is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamRequest {
    /// Who asks.
    pub identity: Identity,
    /// What for.
    pub protocol: Protocol,
    /// What came in the header.
    pub metadata: Bytes,
}

/// The answer to the question whether somebody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No, and why. The peer can read the reason: at most 1,000 bytes of it are sent.
    Refuse(Cow<'static, str>),
}

impl Verdict {
    /// No, and why.
    pub fn refuse(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Refuse(reason.into())
    }
}

/// The rules of an endpoint: given to [`Builder::access`](crate::Builder::access).
///
/// Each question has [`Limits::access_timeout`](crate::Limits::access_timeout) to be answered. No answer in time, and a
/// panic, are refusals: of that connection, or of that stream, and of nothing else. The future of an answer that is late is dropped,
/// and so is that of a stream whose connection has ended. An opener that gives up ends no question: its stream counts among
/// [`Limits::streams_per_peer`](crate::Limits::streams_per_peer) until the rules have answered.
///
/// ```
/// use twolane::{Access, Identity, StreamRequest, Verdict};
///
/// /// Everybody may read; who writes has to bring the word.
/// struct Library;
///
/// impl Access for Library {
///     async fn stream(&self, request: &StreamRequest) -> Verdict {
///         match request.protocol.as_str() {
///             "write/1" if request.metadata != "open sesame" => Verdict::refuse("the word is wrong"),
///             _ => Verdict::Allow,
///         }
///     }
/// }
/// # let _ = twolane::Endpoint::builder().access(Library);
/// ```
pub trait Access: Send + Sync + 'static {
    /// Whether the peer may be connected, whoever dialled. Asked when the handshake has proved its key and it has said
    /// for whom it acts, and before any of its streams is looked at. By default everybody may.
    fn connection(&self, identity: &Identity) -> impl Future<Output = Verdict> + Send {
        let _ = identity;
        async { Verdict::Allow }
    }

    /// Whether the peer may open the stream. By default it may.
    fn stream(&self, request: &StreamRequest) -> impl Future<Output = Verdict> + Send {
        let _ = request;
        async { Verdict::Allow }
    }

    /// Tells when answers may have changed: any new value makes the endpoint ask again about every connection, and about
    /// every stream that is open. What is not allowed any more ends at once. By default they never change.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}
