//! Access: which peers may connect, and which streams they may open.
//!
//! [`Access`] is the interface for rules, which are asked once for each connection and once for each stream.
//! [`AccessList`] implements it, and is enough for most programs. [`Hooks`] are called from before the dial to the
//! end of a connection. `gate.rs` calls all of them, each with a timeout. A panic in one affects nothing else.

mod acted_for;
mod again;
mod called;
mod gate;
mod hooks;
mod list;
mod pairing;
mod rules;
mod show;

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
pub use self::{
    hooks::Hooks,
    list::AccessList,
    show::{ShowTo, Viewer},
};
use crate::protocol::Protocol;

/// The other end of a connection: the key that the handshake proved, and the owner that the peer acts for, if it has
/// shown a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The peer's key.
    pub peer: PublicKey,
    /// The certificate by which an owner's key lets the peer's key act for it. Its signature, time, audience, node
    /// and revocation have been checked. It is removed as soon as one of these checks fails.
    pub delegation: Option<Arc<Delegation>>,
}

impl Identity {
    pub(crate) fn new(peer: PublicKey) -> Self {
        Self { peer, delegation: None }
    }

    /// Returns the key that the peer's certificate names as its owner, whatever the certificate's scope is. It says
    /// who may be behind the peer, and gives the peer no rights: a certificate for `chat/*` says nothing about
    /// `mail/1`. To decide about a stream or a request, use [`StreamRequest::owner`],
    /// [`XStream::owner`](crate::XStream::owner), [`IncomingStream::owner`](crate::IncomingStream::owner),
    /// [`Request::owner`](crate::Request::owner) or [`owner_for`](Self::owner_for).
    pub fn owner_unscoped(&self) -> Option<PublicKey> {
        self.delegation.as_ref().map(|delegation| delegation.owner())
    }

    /// Returns the key that the peer acts for when it uses `protocol`: its owner's, if the certificate's scope
    /// covers the protocol.
    pub fn owner_for(&self, protocol: &Protocol) -> Option<PublicKey> {
        let delegation = self.delegation.as_ref().filter(|delegation| delegation.permits(protocol.as_str()));
        delegation.map(|delegation| delegation.owner())
    }
}

/// A stream that a peer wants to open, before anything is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamRequest {
    /// The peer that asks for the stream.
    pub identity: Identity,
    /// The protocol that the stream asks for.
    pub protocol: Protocol,
    /// The metadata of the stream's header.
    pub metadata: Bytes,
}

impl StreamRequest {
    /// Returns the key that the peer acts for in the stream's protocol. `None` if the peer shows no certificate, or
    /// one whose scope does not cover the protocol.
    pub fn owner(&self) -> Option<PublicKey> {
        self.identity.owner_for(&self.protocol)
    }
}

/// The answer to a request for access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The request is refused, for this reason. The peer can read the reason: at most 1,000 bytes of it are sent.
    Refuse(Cow<'static, str>),
}

impl Verdict {
    /// Returns a refusal with this reason.
    pub fn refuse(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Refuse(reason.into())
    }
}

/// The access rules of an endpoint, given to [`Builder::access`](crate::Builder::access).
///
/// Each question has to be answered within [`Limits::access_timeout`](crate::Limits::access_timeout). A late answer
/// and a panic count as refusals, of that connection or that stream only. A question that is asked again after a
/// change ([`changes`](Self::changes)) is repeated for a while before a late answer counts. The future of a late answer
/// is dropped, and so is the future for a stream whose connection has ended. An opener that gives up ends no question:
/// its stream counts towards [`Limits::streams_per_peer`](crate::Limits::streams_per_peer) until the rules have
/// answered.
///
/// ```
/// use twolane::{Access, Identity, StreamRequest, Verdict};
///
/// /// Every peer may read. A peer that writes has to send the word.
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
    /// Decides whether the peer may be connected, whichever side dialled. Called when the handshake has proved the
    /// peer's key and the peer has said for whom it acts, before any of its streams is looked at. By default every
    /// peer may.
    fn connection(&self, identity: &Identity) -> impl Future<Output = Verdict> + Send {
        let _ = identity;
        async { Verdict::Allow }
    }

    /// Decides whether the peer may open the stream. By default it may.
    fn stream(&self, request: &StreamRequest) -> impl Future<Output = Verdict> + Send {
        let _ = request;
        async { Verdict::Allow }
    }

    /// Returns a receiver that tells when answers may have changed. Any new value makes the endpoint ask again about
    /// every connection and every open stream. Those that are no longer allowed end at once. By default the answers
    /// never change.
    ///
    /// At most [`Limits::rechecks`](crate::Limits::rechecks) of these questions wait for an answer at a time. One that
    /// is not answered within [`Limits::access_timeout`](crate::Limits::access_timeout) is repeated, and ends the
    /// connection or the stream only if that goes on for
    /// [`Limits::recheck_timeout`](crate::Limits::recheck_timeout). So rules that are slow at the moment of a change
    /// throw nobody out.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}
