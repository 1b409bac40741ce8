//! What a program may do at the turns of a connection's life.

use std::{future::Future, sync::Arc};

use n0_future::boxed::BoxFuture;
use twolane_id::PublicKey;

use super::{Access, Identity, StreamRequest, Verdict};
use crate::error::ConnectionLost;

/// Called at the turns of a connection's life: given to [`Builder::hooks`](crate::Builder::hooks), any number of them.
///
/// The first two decide, and the first refusal counts. The last two are told, in pairs: for every `on_connect` there
/// is one `on_disconnect` of the same peer after it, and no two calls of one hook for one peer run at the same time. A
/// peer that comes and goes while a call is under way is told of as it stands when the call returns.
///
/// Each call has [`Limits::access_timeout`](crate::Limits::access_timeout); one that takes longer is dropped. A panic
/// counts as a refusal where the hook decides, and as the end of that call where it is told. Nothing else ends.
///
/// Do not hold an [`Endpoint`](crate::Endpoint) in a hook: the endpoint holds the hook, and neither would be dropped.
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
    /// Before a peer is dialled.
    fn before_dial(&self, peer: PublicKey) -> impl Future<Output = Verdict> + Send {
        let _ = peer;
        async { Verdict::Allow }
    }

    /// When the handshake with a peer is done, whoever dialled, and before it counts as connected. After
    /// [`Access::connection`].
    fn after_handshake(&self, identity: &Identity) -> impl Future<Output = Verdict> + Send {
        let _ = identity;
        async { Verdict::Allow }
    }

    /// The peer was not connected, and is.
    fn on_connect(&self, identity: &Identity) -> impl Future<Output = ()> + Send {
        let _ = identity;
        async {}
    }

    /// The peer was connected, and is not.
    fn on_disconnect(&self, peer: PublicKey, cause: &ConnectionLost) -> impl Future<Output = ()> + Send {
        let _ = (peer, cause);
        async {}
    }
}

/// [`Hooks`] of any type. The futures own what they need, so that they can run in tasks.
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
