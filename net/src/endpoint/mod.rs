//! The endpoint: the API that a program uses.

mod accept;
mod admission;
mod builder;
mod by_source;
mod connection;
mod graceful;
mod keep;
mod pace;
mod reach;
mod rejoin;
mod request;
mod router;
mod serve;
mod shutdown;
mod source;
mod standing;
mod status;
mod transport;
mod waiting;
mod waiting_streams;

use std::{
    future::Future,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::address_lookup::memory::MemoryLookup;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use twolane_id::{PublicKey, SecretKey};

use self::router::Router;
#[cfg(feature = "unstable-transport")]
pub use self::transport::unstable_transport;
pub use self::{
    builder::Builder,
    connection::Connection,
    graceful::{Drained, Graceful},
    keep::{Keep, KeepState},
    reach::{Obstacle, Reach},
    request::{Request, RequestOptions},
    router::AlreadyServed,
    serve::ServeError,
    shutdown::ShutdownReport,
    status::{Network, RelayStatus, Status},
};
use crate::{
    error::{AcceptError, BindError, ConnectionLost, DialError, GetStreamError, Phase},
    events::Events,
    limits::Limits,
    path_policy::PathPolicy,
    peer::{self, EARLY_BYTES, Link, OpenError, Opening, PeerInfo, Peers, View, Within},
    protocol::{InvalidProtocol, Protocol},
    stream::XStream,
    tasks::Tasks,
    ticket::Ticket,
};

/// A local endpoint: one key, at most one connection to each peer, and any number of streams on each connection.
///
/// Cheap to clone; all clones are the same endpoint. Dropping the last clone closes the endpoint at once, which
/// cuts everything that is under way: call [`shutdown`](Endpoint::shutdown) first. Handlers given to
/// [`serve`](Endpoint::serve) live as long as the endpoint. A handler that holds a clone therefore keeps the
/// endpoint alive until `shutdown` or [`stop_serving`](Endpoint::stop_serving).
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use twolane::Endpoint;
///
/// let alice = Endpoint::builder().offline().bind().await?;
/// let bob = Endpoint::builder().offline().bind().await?;
///
/// let ticket = bob.ticket();
/// let greeting = tokio::spawn(async move {
///     let (protocol, mut stream) = bob.accept_bi(&["greet/1", "greet/2"]).await?;
///     let name = stream.next_string().await?;
///     stream.send_string(&format!("hello {name}, this is {protocol}")).await?;
///     stream.finish()?;
///     bob.shutdown(Duration::from_secs(5)).await;
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// });
///
/// let mut stream = alice.get_stream(ticket, "greet/1").await?;
/// stream.send_string("alice").await?;
/// assert_eq!(stream.next_string().await?, "hello alice, this is greet/1");
/// drop(stream);
/// greeting.await?.map_err(|error| error.to_string())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Endpoint(Arc<Owner>);

/// The parts of an endpoint. Tasks hold some of these parts, never the [`Owner`].
pub(crate) struct Inner {
    iroh: iroh::Endpoint,
    /// The number of this endpoint in this process, from 1.
    number: u64,
    us: PublicKey,
    pub(crate) peers: Arc<Peers>,
    router: Arc<Router>,
    limits: Arc<Limits>,
    tasks: Tasks,
    pub(crate) closing: CancellationToken,
    /// Whether a call has begun to close the sockets.
    closes_sockets: AtomicBool,
    /// Cancelled when the sockets are closed.
    sockets_closed: CancellationToken,
    static_addrs: MemoryLookup,
    mdns: Option<Result<(), String>>,
    relays: Relays,
    #[cfg(feature = "metrics")]
    pub(crate) metrics_server: tokio::sync::Mutex<Option<iroh_metrics::service::MetricsServer>>,
}

/// What is known about the configured relays.
struct Relays {
    configured: bool,
    /// Whether one of them can tell this endpoint its public address.
    discovery: bool,
}

/// Returns a new value for [`Inner::number`].
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Handle that closes the endpoint when it is dropped. All clones of an [`Endpoint`] share one.
struct Owner(Arc<Inner>);

/// Options for opening a stream; see [`Endpoint::get_stream_with`].
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// Metadata for the acceptor, which it gets before any data; at most 16 KiB. Default: empty.
    pub metadata: Bytes,
    /// The first data, at most 400 KiB. It travels with the header, and so arrives a round trip sooner. Data for
    /// which the peer has no room yet is written when the peer has answered, within the timeout of the call.
    /// Default: empty.
    pub early_data: Bytes,
    /// Timeout for the whole call. Default: [`Limits::connect_timeout`] for the dial, [`Limits::open_timeout`] for
    /// the stream.
    pub timeout: Option<Duration>,
}

/// Binds an endpoint with the given key and defaults for everything else. The name is that of fastn-net.
///
/// # Errors
///
/// The same as for [`Builder::bind`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = twolane::get_endpoint(twolane::SecretKey::generate()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn get_endpoint(secret_key: SecretKey) -> Result<Endpoint, BindError> {
    Endpoint::builder().secret_key(secret_key).bind().await
}

impl Endpoint {
    /// Returns a builder for an endpoint.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(inner: Inner) -> Self {
        Self(Arc::new(Owner(Arc::new(inner))))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Returns the public key of this endpoint.
    pub fn id(&self) -> PublicKey {
        self.inner().us
    }

    /// Returns the public key of this endpoint as text.
    pub fn id52(&self) -> String {
        self.id().to_string()
    }

    /// Returns a ticket with the key of this endpoint and the addresses that are known now. More addresses may
    /// become known as relays answer: see [`online`](Endpoint::online).
    pub fn ticket(&self) -> Ticket {
        let inner = self.inner();
        let mut ticket = Ticket::new(inner.us);
        for addr in inner.iroh.addr().addrs {
            ticket = match addr {
                iroh::TransportAddr::Ip(addr) => ticket.with_addr(addr),
                iroh::TransportAddr::Relay(relay) => ticket.with_relay(relay),
                _ => ticket,
            };
        }
        // Right after `bind` iroh has not looked up the addresses yet, but the sockets are bound.
        for addr in inner.iroh.bound_sockets() {
            if !addr.ip().is_unspecified() {
                ticket = ticket.with_addr(addr);
            }
        }
        ticket
    }

    /// Waits until this endpoint is connected to a relay, for at most `within`. Returns false if it is not
    /// connected by then. That is no failure: peers that can reach this endpoint directly still do.
    ///
    /// Cancel-safe.
    pub async fn online(&self, within: Duration) -> bool {
        timeout(within, self.inner().iroh.online()).await.is_ok()
    }

    /// Remembers the addresses of a peer for later dials.
    pub fn add_peer(&self, peer: impl Into<Ticket>) {
        self.inner().learn(&peer.into());
    }

    /// Opens a stream to a peer, over the existing connection or a new one, and waits for the peer's answer. This
    /// takes exactly one round trip when the peer is connected.
    ///
    /// The peer is a [`PublicKey`], or a [`Ticket`], which also has addresses of the peer.
    ///
    /// Cancel-safe: dropping the call resets the stream. A dial that other calls wait for goes on.
    ///
    /// # Errors
    ///
    /// [`GetStreamError::Rejected`] if the peer does not serve the protocol or does not want the stream. The other
    /// variants say what could not be reached. A connection that turns out to be dead before anything of the
    /// stream was sent is replaced by a new one, once. If the connection is lost later, the peer's handler may
    /// have run: see [`GetStreamError::may_have_been_handled`].
    pub async fn get_stream<P>(&self, peer: impl Into<Ticket>, protocol: P) -> Result<XStream, GetStreamError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        self.get_stream_with(peer, protocol, StreamOptions::default()).await
    }

    /// Like [`get_stream`](Endpoint::get_stream), with metadata, early data and a timeout of the caller's choice.
    ///
    /// Cancel-safe in the same way. Early data is not sent twice: if the connection is lost after it was sent, the
    /// call returns an error.
    ///
    /// # Errors
    ///
    /// The same as for `get_stream`, and [`GetStreamError::MetadataTooLarge`] and
    /// [`GetStreamError::EarlyDataTooLarge`].
    pub async fn get_stream_with<P>(
        &self,
        peer: impl Into<Ticket>,
        protocol: P,
        options: StreamOptions,
    ) -> Result<XStream, GetStreamError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let protocol = protocol.try_into().map_err(Into::into)?;
        let (len, max) = (options.early_data.len(), EARLY_BYTES);
        if len > max {
            return Err(GetStreamError::EarlyDataTooLarge { len, max });
        }
        let opening = Opening {
            protocol,
            metadata: options.metadata,
            early: options.early_data,
            finish: false,
            read_ahead: EARLY_BYTES,
        };
        let (inner, peer, mut phase, mut stream) = (self.inner(), peer.into(), Phase::Dial, None);
        match options.timeout {
            None => {
                let bound = inner.limits.open_timeout;
                let within = |_| Some(Within { left: bound, after: bound });
                inner.open(&peer, &opening, within, &mut phase, &mut stream).await?;
            }
            Some(after) => {
                // The timeout covers the dial: the time that it takes is not left for the stream.
                let begun = Instant::now();
                let left = move |now: Instant| after.saturating_sub(now - begun);
                let within = move |now| Some(Within { left: left(now), after });
                let opening = inner.open(&peer, &opening, within, &mut phase, &mut stream);
                match timeout(after, opening).await {
                    Ok(opened) => opened?,
                    Err(_) if phase == Phase::Dial => {
                        let source = DialError::TimedOut { after };
                        return Err(GetStreamError::Dial { peer: peer.peer(), source });
                    }
                    Err(_) => return Err(GetStreamError::TimedOut { after }),
                }
            }
        }
        // After `Ok` there is a stream.
        stream.ok_or(GetStreamError::Lost(ConnectionLost::Closed))
    }

    /// Waits for the next stream that any peer opens for one of `protocols`, and returns it with its protocol.
    /// This call ignores streams for other protocols. If nothing at this endpoint serves such a protocol, the
    /// opener is told so.
    ///
    /// Several calls may wait at the same time, for the same protocols or for different ones.
    ///
    /// Cancel-safe: a stream that arrives while the call is dropped goes to the next call.
    ///
    /// # Errors
    ///
    /// [`AcceptError::Protocol`] if a name is not valid, and [`AcceptError::ShuttingDown`] once
    /// [`shutdown`](Endpoint::shutdown) was called. A peer cannot make this call fail.
    pub fn accept_bi<'a, P>(
        &'a self,
        protocols: &[P],
    ) -> impl Future<Output = Result<(Protocol, XStream), AcceptError>> + Send + use<'a, P>
    where
        P: Clone + TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let protocols = parse(protocols);
        async move {
            let stream = self.inner().router.accept(None, protocols?).await?;
            Ok((stream.protocol().clone(), stream))
        }
    }

    /// Waits for the next peer that has connected, whichever side dialled. Returns `None` once the endpoint shuts
    /// down.
    ///
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Connection> {
        let peer = self.inner().peers.next_connected().await?;
        Some(Connection::new(self.clone(), peer))
    }

    /// Connects to a peer, if it is not connected yet, and waits until the peer has admitted this endpoint: the
    /// peer's rules have answered, and its HELLO has arrived. The dial and the admission together have the timeout
    /// [`Limits::connect_timeout`].
    ///
    /// Cancel-safe: if the call is dropped, the dial goes on for other calls that wait for it. A connection that
    /// results from the dial stays.
    ///
    /// # Errors
    ///
    /// [`DialError`]. If the peer answers with anything but HELLO, the error is [`DialError::Lost`] with the
    /// peer's answer.
    pub async fn connect(&self, peer: impl Into<Ticket>) -> Result<Connection, DialError> {
        let peer = peer.into();
        self.inner().learn(&peer);
        self.inner().known_link(peer.peer()).await?;
        Ok(Connection::new(self.clone(), peer.peer()))
    }

    /// Sets which paths data to and from this peer may take, from now on. The policy also applies to existing
    /// connections. It replaces [`Builder::path_policy`] for this peer.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Endpoint, PathPolicy, SecretKey};
    ///
    /// let endpoint = Endpoint::builder().offline().bind().await?;
    /// let backup = SecretKey::generate().public_key();
    /// endpoint.set_path_policy(&backup, PathPolicy::DirectOnly); // much data: not over another party's relay
    /// assert_eq!(endpoint.path_policy(&backup), PathPolicy::DirectOnly);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_path_policy(&self, peer: &PublicKey, policy: PathPolicy) {
        self.inner().peers.shared.policies.set(*peer, policy);
    }

    /// Returns which paths data to and from this peer may take.
    pub fn path_policy(&self, peer: &PublicKey) -> PathPolicy {
        self.inner().peers.shared.policies.get(peer)
    }

    /// Closes every connection to a peer at once; see [`Connection::close`]. Returns false if the peer was not
    /// connected.
    pub fn disconnect(&self, peer: &PublicKey, reason: &str) -> bool {
        let connected = self.peer(peer).is_some();
        Connection::new(self.clone(), *peer).close(reason);
        connected
    }

    /// Subscribes to the events that happen from now on.
    pub fn events(&self) -> Events {
        self.inner().peers.events.subscribe()
    }

    /// Returns the peers that are connected, ordered by key.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner().peers.infos()
    }

    /// Returns one peer, if it is connected.
    pub fn peer(&self, id: &PublicKey) -> Option<PeerInfo> {
        self.inner().peers.info(id)
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        &self.inner().limits
    }

    /// Returns the underlying iroh endpoint, for features that this library does not cover. Closing the iroh
    /// endpoint closes this endpoint too.
    pub fn iroh(&self) -> &iroh::Endpoint {
        &self.inner().iroh
    }
}

impl Inner {
    /// Takes over the addresses that a ticket has for its peer.
    fn learn(&self, peer: &Ticket) {
        if peer.is_known_to(self.number) {
            return;
        }
        let known = self.static_addrs.get_endpoint_info(peer.id());
        let knows = |addr| known.as_ref().is_some_and(|known| known.addrs().any(|have| have == addr));
        if !peer.addrs().iter().all(knows) {
            self.static_addrs.add_endpoint_info(peer.to_addr());
            self.peers.forget_failures(&peer.peer());
        }
        peer.told(self.number);
    }

    /// Returns the connection for a new stream to `peer`, if there is nothing to wait for.
    fn link_now(&self, peer: &PublicKey) -> Option<Arc<Link>> {
        if self.closing.is_cancelled() || self.peers.shared.policies.get(peer).wants_direct() {
            return None;
        }
        self.peers.current(peer)
    }

    /// Returns the connection for a new stream to `peer`. A dial may have to wait for its backoff; one timeout
    /// covers both.
    async fn link(&self, peer: PublicKey) -> Result<Arc<Link>, DialError> {
        let bound = self.limits.connect_timeout;
        let link = self.peers.link(peer, bound).await?;
        let policy = self.peers.shared.policies.get(&peer);
        let Some(after) = policy.wait(bound) else {
            return Ok(link);
        };
        let direct = timeout(after, self.direct_link(link)).await;
        direct.unwrap_or(Err(DialError::OnlyRelay { policy, after }))
    }

    /// Like `link`, but waits until the peer has admitted this endpoint. The dial and the admission have one
    /// timeout together. The wait for a direct path has its own.
    async fn known_link(&self, peer: PublicKey) -> Result<Arc<Link>, DialError> {
        self.peers.known_link(peer, self.limits.connect_timeout).await?;
        self.link(peer).await
    }

    /// Waits until the connection to the peer of `link` has a direct path, and returns that connection.
    async fn direct_link(&self, mut link: Arc<Link>) -> Result<Arc<Link>, DialError> {
        let peer = link.carrier.peer;
        loop {
            let replaced = async {
                match self.peers.watch(&peer) {
                    Some(mut view) => {
                        let other = |view: &View| view.current.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &link));
                        drop(view.wait_for(other).await);
                    }
                    None => tokio::task::yield_now().await,
                }
            };
            tokio::select! {
                true = link.becomes_direct() => return Ok(link),
                () = replaced => {}
            }
            link = self.peers.link(peer, self.limits.connect_timeout).await?;
        }
    }

    /// Opens a stream. Retries once on a fresh connection if the first connection turns out to be dead and the
    /// peer cannot have seen anything of the stream. `within` returns the timeout for the stream, at the moment at
    /// which the stream is about to be opened; the dial has its own timeout. `phase` is kept up to date for a
    /// caller that drops the call. After `Ok`, `stream` is set.
    async fn open(
        &self,
        peer: &Ticket,
        opening: &Opening,
        within: impl Fn(Instant) -> Option<Within>,
        phase: &mut Phase,
        stream: &mut Option<XStream>,
    ) -> Result<(), GetStreamError> {
        self.learn(peer);
        let id = peer.peer();
        let (mut retried, mut first) = (false, true);
        loop {
            *phase = Phase::Dial;
            // This drops the stream of a connection that was lost.
            *stream = None;
            // A second attempt goes through `link`, which finds out what has happened to the connection.
            let now = if std::mem::take(&mut first) { self.link_now(&id) } else { None };
            let link = match now {
                Some(link) => link,
                // Boxed, because it is rare and large: a stream's future is copied into the futures around it.
                None => Box::pin(self.link(id)).await.map_err(|source| GetStreamError::Dial { peer: id, source })?,
            };
            let heard = link.heard();
            let opened = peer::open(&link, opening, within(Instant::now()), phase, stream).await;
            let error = match opened {
                Ok(()) => return Ok(()),
                Err(OpenError::Failed(error)) => error,
                Err(OpenError::Draining) => {
                    // The table of peers is about to learn that the connection drains, if it does not know yet.
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let GetStreamError::Lost(lost) = &error else { return Err(error) };
            self.peers.evict(&link, lost);
            // The header alone runs a handler, so it must not be sent twice either. There is one exception:
            // nothing at all has come from the peer since the header was sent, and another instance of the peer is
            // running now. Then the instance to which the header was sent was gone before.
            let harmless = opening.early.is_empty() && opening.metadata.is_empty() && !opening.finish;
            let into_the_void = harmless && *lost == ConnectionLost::PeerRestarted && link.heard() == heard;
            let unseen = *phase < Phase::Answer || into_the_void;
            let worthwhile = lost.is_retryable() || *lost == ConnectionLost::Closed;
            if retried || !unseen || !worthwhile || self.closing.is_cancelled() {
                return Err(error);
            }
            retried = true;
        }
    }
}

fn parse<P>(protocols: &[P]) -> Result<Vec<Protocol>, InvalidProtocol>
where
    P: Clone + TryInto<Protocol>,
    P::Error: Into<InvalidProtocol>,
{
    protocols.iter().map(|protocol| protocol.clone().try_into().map_err(Into::into)).collect()
}

impl Deref for Owner {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("id", &self.id52()).finish_non_exhaustive()
    }
}
