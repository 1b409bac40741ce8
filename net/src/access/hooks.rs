//! Hooks: what a program may do at the stages of a connection.

use std::{future::Future, sync::Arc};

use n0_future::boxed::BoxFuture;
use twolane_id::PublicKey;

use super::{Access, Identity, StreamRequest, Verdict};
use crate::error::ConnectionLost;

/// Calls into the program at the stages of a connection. Any number of hooks can be given to
/// [`Builder::hooks`](crate::Builder::hooks).
///
/// The first two methods decide, and the first refusal counts. The last two are notifications, and come in pairs:
/// each `on_connect` is followed by one `on_disconnect` of the same peer, and no two calls of one hook for one peer
/// run at the same time. If a peer comes and goes while a call is under way, the next call reports the state at the
/// time when the call returns.
///
/// Each call has [`Limits::access_timeout`](crate::Limits::access_timeout). A call that takes longer is dropped. A
/// panic counts as a refusal in a method that decides, and ends only the call in a notification. It ends nothing
/// else.
///
/// Do not hold an [`Endpoint`](crate::Endpoint) in a hook: the endpoint holds the hook, and neither would be
/// dropped.
///
/// ```
/// use twolane::{ConnectionLost, Hooks, Identity, PublicKey};
///
/// struct Log;
///
/// impl Hooks for Log {
///     async fn on_connect(&self, identity: &Identity) {
///         println!("{} is here", identity.peer);
///     }
///
///     async fn on_disconnect(&self, peer: PublicKey, cause: &ConnectionLost) {
///         println!("{peer} is gone: {cause}");
///     }
/// }
/// # let _ = twolane::Endpoint::builder().hooks(Log);
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// Decides whether a peer may be dialled. Called before the dial.
    fn before_dial(&self, peer: PublicKey) -> impl Future<Output = Verdict> + Send {
        let _ = peer;
        async { Verdict::Allow }
    }

    /// Decides whether a peer may be connected. Called after the handshake with the peer and after
    /// [`Access::connection`], whichever side dialled, and before the peer counts as connected.
    fn after_handshake(&self, identity: &Identity) -> impl Future<Output = Verdict> + Send {
        let _ = identity;
        async { Verdict::Allow }
    }

    /// Reports that the peer has become connected.
    fn on_connect(&self, identity: &Identity) -> impl Future<Output = ()> + Send {
        let _ = identity;
        async {}
    }

    /// Reports that the peer is no longer connected.
    fn on_disconnect(&self, peer: PublicKey, cause: &ConnectionLost) -> impl Future<Output = ()> + Send {
        let _ = (peer, cause);
        async {}
    }
}

/// [`Hooks`] of any type. The futures own their data, so that they can run in tasks.
pub(super) trait DynHooks: Send + Sync {
    fn before_dial(self: Arc<Self>, peer: PublicKey) -> BoxFuture<Verdict>;
    fn after_handshake(self: Arc<Self>, identity: Identity) -> BoxFuture<Verdict>;
    fn on_connect(self: Arc<Self>, identity: Identity) -> BoxFuture<()>;
    fn on_disconnect(self: Arc<Self>, peer: PublicKey, cause: Arc<ConnectionLost>) -> BoxFuture<()>;
}

impl<H: Hooks> DynHooks for H {
    fn before_dial(self: Arc<Self>, peer: PublicKey) -> BoxFuture<Verdict> {
        Box::pin(async move { Hooks::before_dial(&*self, peer).await })
    }

    fn after_handshake(self: Arc<Self>, identity: Identity) -> BoxFuture<Verdict> {
        Box::pin(async move { Hooks::after_handshake(&*self, &identity).await })
    }

    fn on_connect(self: Arc<Self>, identity: Identity) -> BoxFuture<()> {
        Box::pin(async move { Hooks::on_connect(&*self, &identity).await })
    }

    fn on_disconnect(self: Arc<Self>, peer: PublicKey, cause: Arc<ConnectionLost>) -> BoxFuture<()> {
        Box::pin(async move { Hooks::on_disconnect(&*self, peer, &cause).await })
    }
}

/// [`Access`] of any type.
pub(super) trait DynAccess: Send + Sync {
    fn connection(self: Arc<Self>, identity: Identity) -> BoxFuture<Verdict>;
    fn stream(self: Arc<Self>, request: StreamRequest) -> BoxFuture<Verdict>;
}

impl<A: Access> DynAccess for A {
    fn connection(self: Arc<Self>, identity: Identity) -> BoxFuture<Verdict> {
        Box::pin(async move { Access::connection(&*self, &identity).await })
    }

    fn stream(self: Arc<Self>, request: StreamRequest) -> BoxFuture<Verdict> {
        Box::pin(async move { Access::stream(&*self, &request).await })
    }
}
