//! The endpoint: what a program holds.

mod accept;
mod admission;
mod builder;
mod connection;
mod crowd;
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
    request::Request,
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

/// Our end: one key, one connection to each peer, any number of streams over it.
///
/// Cheap to clone; all clones are the same endpoint. Dropping the last one closes it at once, which cuts what is
/// under way: call [`shutdown`](Endpoint::shutdown) before. Handlers given to [`serve`](Endpoint::serve) live as long
/// as the endpoint, so one that holds a clone of it keeps it alive until `shutdown` or
/// [`stop_serving`](Endpoint::stop_serving).
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

/// What the endpoint is made of. Tasks hold parts of it, never the [`Owner`].
pub(crate) struct Inner {
    iroh: iroh::Endpoint,
    /// Its own in this process, from 1.
    number: u64,
    us: PublicKey,
    pub(crate) peers: Arc<Peers>,
    router: Arc<Router>,
    limits: Arc<Limits>,
    tasks: Tasks,
    pub(crate) closing: CancellationToken,
    /// Somebody closes the sockets.
    closes_sockets: AtomicBool,
    /// Cancelled when they are closed.
    sockets_closed: CancellationToken,
    static_addrs: MemoryLookup,
    mdns: Option<Result<(), String>>,
    relays: Relays,
    #[cfg(feature = "metrics")]
    pub(crate) metrics_server: tokio::sync::Mutex<Option<iroh_metrics::service::MetricsServer>>,
}

/// What is known of the relays that were configured.
struct Relays {
    configured: bool,
    /// One of them can tell our public address.
    discovery: bool,
}

/// For [`Inner::number`].
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Closes the endpoint when the last handle is dropped.
struct Owner(Arc<Inner>);

/// What to send along when a stream is opened; see [`Endpoint::get_stream_with`].
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// For the acceptor, before any data; at most 16 KiB. Default: empty.
    pub metadata: Bytes,
    /// The first data, at most 400 KiB: it travels with the header, and so a round trip sooner. What the peer has no room
    /// for yet is written when it has answered, within the bound on the call. Default: empty.
    pub early_data: Bytes,
    /// The bound on the whole call. Default: [`Limits::connect_timeout`] for the dial, [`Limits::open_timeout`] for the stream.
    pub timeout: Option<Duration>,
}

/// An endpoint with the given key and everything else as by default: the word of fastn-net.
///
/// # Errors
///
/// As [`Builder::bind`].
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
    /// An endpoint to be configured.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(inner: Inner) -> Self {
        Self(Arc::new(Owner(Arc::new(inner))))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Our public key.
    pub fn id(&self) -> PublicKey {
        self.inner().us
    }

    /// Our public key as text.
    pub fn id52(&self) -> String {
        self.id().to_string()
    }

    /// Our key with the addresses that are known now. More may become known as relays answer: see
    /// [`online`](Endpoint::online).
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
        // Right after `bind` the addresses have not been looked at yet, but the sockets are there.
        for addr in inner.iroh.bound_sockets() {
            if !addr.ip().is_unspecified() {
                ticket = ticket.with_addr(addr);
            }
        }
        ticket
    }

    /// Waits until a relay knows us, at most `within`. False if none does by then, which is no failure: peers that
    /// can reach us directly still do.
    ///
    /// Cancel-safe.
    pub async fn online(&self, within: Duration) -> bool {
        timeout(within, self.inner().iroh.online()).await.is_ok()
    }

    /// Remembers where a peer is, for later dials.
    pub fn add_peer(&self, peer: impl Into<Ticket>) {
        self.inner().learn(&peer.into());
    }

    /// Opens a stream to a peer, over the connection that exists or a new one, and waits for the peer's answer:
    /// exactly one round trip when the peer is connected.
    ///
    /// A peer is a [`PublicKey`], or a [`Ticket`] that also says where it is.
    ///
    /// Cancel-safe: dropped, it resets the stream; a dial that others wait for goes on.
    ///
    /// # Errors
    ///
    /// [`GetStreamError::Rejected`] if the peer does not serve the protocol or does not want the stream; the rest
    /// says what was not reached. A connection that turns out to be dead before anything of the stream was sent is
    /// replaced by a new one, once. If it is lost later, the peer's handler may have run:
    /// [`GetStreamError::may_have_been_handled`].
    pub async fn get_stream<P>(&self, peer: impl Into<Ticket>, protocol: P) -> Result<XStream, GetStreamError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        self.get_stream_with(peer, protocol, StreamOptions::default()).await
    }

    /// As [`get_stream`](Endpoint::get_stream), with metadata, early data and a bound of one's own.
    ///
    /// Cancel-safe in the same way. Early data is not sent twice: if the connection dies under it, the error says so.
    ///
    /// # Errors
    ///
    /// As `get_stream`, and [`GetStreamError::MetadataTooLarge`] and [`GetStreamError::EarlyDataTooLarge`].
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
                // The dial counts: what it took is not left for the stream.
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
        // With `Ok` there is one.
        stream.ok_or(GetStreamError::Lost(ConnectionLost::Closed))
    }

    /// The next stream that any peer opens for one of `protocols`, with the protocol it is for. Streams for other
    /// protocols are none of this call's business: their openers are told if nobody here serves them.
    ///
    /// Several calls may wait at the same time, for different protocols or the same.
    ///
    /// Cancel-safe: a stream that arrives as the call is dropped goes to the next call.
    ///
    /// # Errors
    ///
    /// [`AcceptError::ShuttingDown`] once [`shutdown`](Endpoint::shutdown) was called. A peer cannot make this fail.
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

    /// The next peer that has connected, whoever dialled. `None` once the endpoint shuts down.
    ///
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Connection> {
        let peer = self.inner().peers.next_connected().await?;
        Some(Connection::new(self.clone(), peer))
    }

    /// Connects to a peer, if it is not connected yet, and waits until it has let this endpoint in: its rules have answered, and
    /// its HELLO is here. All of it has [`Limits::connect_timeout`].
    ///
    /// Cancel-safe: dropped, it leaves the dial to whoever else waits for it, and a connection that comes of it stays.
    ///
    /// # Errors
    ///
    /// [`DialError`]; what the peer says in place of HELLO is [`DialError::Lost`].
    pub async fn connect(&self, peer: impl Into<Ticket>) -> Result<Connection, DialError> {
        let peer = peer.into();
        self.inner().learn(&peer);
        self.inner().known_link(peer.peer()).await?;
        Ok(Connection::new(self.clone(), peer.peer()))
    }

    /// Which ways data to and from this peer may take, from now on: also for what is connected. In place of
    /// [`Builder::path_policy`].
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Endpoint, PathPolicy, SecretKey};
    ///
    /// let endpoint = Endpoint::builder().offline().bind().await?;
    /// let backup = SecretKey::generate().public_key();
    /// endpoint.set_path_policy(&backup, PathPolicy::DirectOnly); // much data: not over somebody's relay
    /// assert_eq!(endpoint.path_policy(&backup), PathPolicy::DirectOnly);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_path_policy(&self, peer: &PublicKey, policy: PathPolicy) {
        self.inner().peers.shared.policies.set(*peer, policy);
    }

    /// Which ways data to and from this peer may take.
    pub fn path_policy(&self, peer: &PublicKey) -> PathPolicy {
        self.inner().peers.shared.policies.get(peer)
    }

    /// Closes every connection to a peer at once; see [`Connection::close`]. False if it was not connected.
    pub fn disconnect(&self, peer: &PublicKey, reason: &str) -> bool {
        let connected = self.peer(peer).is_some();
        Connection::new(self.clone(), *peer).close(reason);
        connected
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.inner().peers.events.subscribe()
    }

    /// The peers that are connected, ordered by key.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner().peers.infos()
    }

    /// One peer, if it is connected.
    pub fn peer(&self, id: &PublicKey) -> Option<PeerInfo> {
        self.inner().peers.info(id)
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.inner().limits
    }

    /// The iroh endpoint below, for what this library does not cover. Closing it there closes it here.
    pub fn iroh(&self) -> &iroh::Endpoint {
        &self.inner().iroh
    }
}

impl Inner {
    /// Takes over what a ticket says about where its peer is.
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

    /// The connection for a new stream to `peer`, if there is nothing to wait for.
    fn link_now(&self, peer: &PublicKey) -> Option<Arc<Link>> {
        if self.closing.is_cancelled() || self.peers.shared.policies.get(peer).wants_direct() {
            return None;
        }
        self.peers.current(peer)
    }

    /// The connection for a new stream to `peer`. A dial may have to wait for its backoff; together they are bounded.
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

    /// The same once the peer has let this endpoint in, which has one bound with the dial. A direct path has its own.
    async fn known_link(&self, peer: PublicKey) -> Result<Arc<Link>, DialError> {
        self.peers.known_link(peer, self.limits.connect_timeout).await?;
        self.link(peer).await
    }

    /// The connection to the peer of `link` once it has a direct path.
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

    /// Opens a stream, with one retry on a fresh connection when the first turns out to be dead and the peer cannot
    /// have seen anything of the stream. `within` bounds the stream, from the moment it is asked about; the dial has its own bound. `phase`
    /// is kept up to date, for whoever drops the call. With `Ok` there is a `stream`.
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
            // Of a connection that was lost.
            *stream = None;
            // Whoever comes again finds out what has happened to the connection.
            let now = if std::mem::take(&mut first) { self.link_now(&id) } else { None };
            let link = match now {
                Some(link) => link,
                // Boxed, since it is rare and large: a stream's future is copied into those around it.
                None => Box::pin(self.link(id)).await.map_err(|source| GetStreamError::Dial { peer: id, source })?,
            };
            let heard = link.heard();
            let opened = peer::open(&link, opening, within(Instant::now()), phase, stream).await;
            let error = match opened {
                Ok(()) => return Ok(()),
                Err(OpenError::Failed(error)) => error,
                Err(OpenError::Draining) => {
                    // The table of peers is about to learn it, if it has not yet.
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let GetStreamError::Lost(lost) = &error else { return Err(error) };
            self.peers.evict(&link, lost);
            // A header alone runs a handler: it must not come twice either. Where nothing at all has come from the peer since it was
            // sent, and another instance of the peer is there now, the one that it was sent to had gone before.
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
