//! The builder of an endpoint.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Instant,
};

use iroh::{
    RelayConfig, RelayMap, RelayMode, RelayUrl,
    address_lookup::{DnsAddressLookup, PkarrPublisher, memory::MemoryLookup},
    dns::DnsResolver,
    endpoint::{PortmapperConfig, default_relay_mode, presets},
    tls::CaTlsConfig,
};
use tokio_util::sync::CancellationToken;
use twolane_id::{
    PublicKey, SecretKey,
    delegation::{Delegation, RevocationList},
};

use super::{Endpoint, Inner, Relays, accept, rejoin, router::Router, transport};
use crate::{
    access::{Access, Gate, GateConfig, Hooks},
    congestion::Congestion,
    error::BindError,
    key,
    limits::Limits,
    metrics::Metrics,
    path_policy::PathPolicy,
    peer::{EarlyHandlers, Flights, Peers, Policies, Shared, guard, lookout, unused},
    tasks::Tasks,
    ticket::Ticket,
    tls,
    wire::{ALPN, PROBE_ALPN},
};

/// The configuration of a new [`Endpoint`]; returned by [`Endpoint::builder`].
///
/// By default the endpoint finds peers through iroh's public infrastructure (n0's relays and DNS) and on the local
/// network (mDNS). Its default key is a new one, which is lost when the endpoint is gone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use twolane::{Endpoint, storage};
///
/// let key = storage::file::load_or_create("mail.key")?;
/// let endpoint = Endpoint::builder().secret_key(key).bind().await?;
/// println!("reachable as {}", endpoint.id52());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder {
    secret_key: Option<SecretKey>,
    limits: Limits,
    congestion: Congestion,
    n0: bool,
    mdns: bool,
    relays: Vec<String>,
    roots: Vec<Vec<u8>>,
    nameserver: Option<SocketAddr>,
    directory: Option<(String, String)>,
    bind_addrs: Vec<SocketAddr>,
    direct: bool,
    peers: Vec<Ticket>,
    paths: PathPolicy,
    gate: GateConfig,
    remembered_peers: usize,
    requires_post_quantum: bool,
}

/// Default of [`Builder::remembered_peers`]: iroh's own.
const REMEMBERED_PEERS: usize = 32;
/// Maximum of [`Builder::remembered_peers`]. rustls allocates a table for all of them at once: 7 MB for this many. A
/// number that memory cannot hold would abort the program.
const MOST_REMEMBERED: usize = 1 << 16;
/// Number of sessions that rustls keeps for one peer. iroh's setting counts sessions.
const SESSIONS_PER_PEER: usize = 8;

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            secret_key: None,
            limits: Limits::default(),
            congestion: Congestion::default(),
            n0: true,
            mdns: cfg!(feature = "mdns"),
            relays: Vec::new(),
            roots: Vec::new(),
            nameserver: None,
            directory: None,
            bind_addrs: Vec::new(),
            direct: true,
            peers: Vec::new(),
            paths: PathPolicy::default(),
            gate: GateConfig::default(),
            remembered_peers: REMEMBERED_PEERS,
            requires_post_quantum: false,
        }
    }

    /// Sets the key that peers know this endpoint by. Without it, the endpoint gets a new key, which is lost when
    /// the endpoint is gone.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.secret_key = Some(key);
        self
    }

    /// Sets the limits and timeouts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the congestion control for everything that this endpoint sends, on all its connections. Default:
    /// [`Congestion::Adaptive`].
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Congestion, Endpoint};
    ///
    /// let endpoint = Endpoint::builder().congestion(Congestion::Cubic).bind().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.congestion = congestion;
        self
    }

    /// Turns off relays, address lookup and multicast: peers are reached only by the addresses in their tickets.
    /// Unless [`bind_addr`](Builder::bind_addr) sets another address, the endpoint is bound to loopback only.
    pub fn offline(mut self) -> Self {
        self.n0 = false;
        self.mdns = false;
        if self.bind_addrs.is_empty() {
            self.bind_addrs.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        self
    }

    /// Sets whether n0's public relays and DNS are used. Default: yes, unless [`relay`](Builder::relay) or
    /// [`directory`](Builder::directory) sets others.
    pub fn n0(mut self, on: bool) -> Self {
        self.n0 = on;
        self
    }

    /// Sets whether this endpoint finds peers on the local network, and is found by them, by multicast. Default:
    /// yes, with the feature `mdns`.
    pub fn mdns(mut self, on: bool) -> Self {
        self.mdns = on;
        self
    }

    /// Adds a relay, such as `https://relay.example.org`, to be used in place of n0's relays. May be called
    /// several times.
    ///
    /// A relay over plain `http` cannot tell an endpoint its public address, because QUIC address discovery needs
    /// a certificate. The data of peers behind two NATs then stays on the relay.
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relays.push(url.into());
        self.n0 = false;
        self
    }

    /// Adds a certificate authority, as DER, from which relays and the [`directory`](Builder::directory) may have
    /// their certificates, besides the authorities that browsers trust. May be called several times. Peers have no
    /// certificates from an authority: they are known by their keys alone.
    pub fn trust_root(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.roots.push(certificate.into());
        self
    }

    /// Sets the DNS server to ask, in place of the system's.
    pub fn nameserver(mut self, server: SocketAddr) -> Self {
        self.nameserver = Some(server);
        self
    }

    /// Sets an `iroh-dns-server` through which peers are found by their key alone, in place of n0's servers. This
    /// turns off n0's relays too: [`relay`](Self::relay) sets the relays to use, and without one nothing is
    /// published. This endpoint's relay is published to `pkarr`, such as `https://dns.example.org/pkarr`. Peers
    /// are looked up in the DNS under `origin`, such as `dns.example.org`.
    pub fn directory(mut self, pkarr: impl Into<String>, origin: impl Into<String>) -> Self {
        self.directory = Some((pkarr.into(), origin.into()));
        self.n0 = false;
        self
    }

    /// Binds to this address, in place of all addresses of the machine. At most one for IPv4 and one for IPv6.
    pub fn bind_addr(mut self, addr: SocketAddr) -> Self {
        self.bind_addrs.retain(|bound| bound.is_ipv4() != addr.is_ipv4() || !bound.ip().is_loopback());
        self.bind_addrs.push(addr);
        self
    }

    /// Turns off direct paths: all data goes over relays. For tests, and for endpoints that must not show their
    /// address.
    pub fn relay_only(mut self) -> Self {
        self.direct = false;
        self
    }

    /// Sets which paths data may take, to and from peers that have no policy of their own
    /// ([`Endpoint::set_path_policy`]). Default: [`PathPolicy::RelayAllowed`].
    pub fn path_policy(mut self, policy: PathPolicy) -> Self {
        self.paths = policy;
        self
    }

    /// Adds a peer whose addresses are known in advance.
    pub fn peer(mut self, peer: impl Into<Ticket>) -> Self {
        self.peers.push(peer.into());
        self
    }

    /// Sets the rules about which peers may connect, and which streams they may open. Default: every peer may do
    /// everything. If this is called twice, the second call counts. With rules, a connection that this endpoint
    /// dials can be used a round trip later: when the peer has said which owner it acts for.
    pub fn access(mut self, access: impl Access) -> Self {
        self.gate.set_access(access);
        self
    }

    /// Adds hooks, which are called when a peer is dialled, connected or disconnected. May be called several
    /// times: the hooks are called in the order in which they were added.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.gate.add_hooks(hooks);
        self
    }

    /// Adds a certificate that this endpoint shows to peers, so that they treat it as acting for its owner. May be
    /// called several times: a peer is shown the first certificate that is valid at the time and whose audience
    /// includes the peer.
    pub fn delegation(mut self, delegation: Delegation) -> Self {
        self.gate.delegations.push(delegation);
        self
    }

    /// Sets the clock by which the validity of peers' certificates is checked.
    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: crate::access::Clock) -> Self {
        self.gate.clock = clock;
        self
    }

    /// Sets the number of dialled peers whose sessions are remembered, so that a dial to one of them resumes its
    /// session: the handshake takes less processor time, and repeatable requests
    /// ([`RequestOptions::repeatable`](crate::RequestOptions::repeatable)) travel with its first packets. With more
    /// peers, the one whose first session is the oldest is forgotten. Default: 32; at most 65,536. With 0, no session
    /// is resumed.
    ///
    /// A session is used once, and each connection gives two new ones. They are kept in memory alone: after a restart
    /// of either side the next connection is a new one. A peer that accepts connections remembers 256 sessions, which
    /// are those of its last 128 connections, whatever is set here. A resumed connection is admitted like any other:
    /// the access rules are asked, and certificates are checked.
    ///
    /// Too low: dials take a full handshake. Too high: memory, 100 bytes for each peer from the start, and up to 5 kB
    /// once it is remembered.
    pub fn remembered_peers(mut self, peers: usize) -> Self {
        self.remembered_peers = peers.min(MOST_REMEMBERED);
        self
    }

    /// Refuses every connection whose key exchange was not post-quantum
    /// ([`KeyExchange::is_post_quantum`](crate::KeyExchange::is_post_quantum)), whichever side dialled. Default: such
    /// connections are allowed, and [`PeerInfo::key_exchange`](crate::PeerInfo::key_exchange) tells them.
    ///
    /// A connection that is refused has carried nothing, and ends with [`ConnectionLost::NotPostQuantum`] here and
    /// [`ConnectionLost::PostQuantumRequired`] at the peer. This endpoint sends no requests before the handshake is
    /// done: until then it is not known what was agreed on.
    ///
    /// Two ends that both have a post-quantum key exchange agree on it also without this: both sign what each of them
    /// has offered, so an attacker on the path cannot make them take another one. Packets can be dropped, and then
    /// there is no connection. This is for endpoints that rather have no connection than one with an end that has no
    /// such key exchange. The connections to relays and directories are not affected: they see only what is encrypted
    /// between the ends, and names.
    ///
    /// [`ConnectionLost::NotPostQuantum`]: crate::ConnectionLost::NotPostQuantum
    /// [`ConnectionLost::PostQuantumRequired`]: crate::ConnectionLost::PostQuantumRequired
    pub fn require_post_quantum(mut self) -> Self {
        self.requires_post_quantum = true;
        self
    }

    /// Sets the list of revoked certificates, which are refused although they have not expired.
    pub fn revocations(mut self, revoked: RevocationList) -> Self {
        self.gate.revoked = revoked;
        self
    }

    /// Binds the sockets. This takes milliseconds, with or without a network: relays and lookups are contacted
    /// afterwards. [`Endpoint::status`] reports what cannot be reached.
    ///
    /// # Errors
    ///
    /// [`BindError`] if an address cannot be bound to, or if a relay, a directory, a root certificate or a
    /// delegation is not valid.
    pub async fn bind(mut self) -> Result<Endpoint, BindError> {
        self.limits = self.limits.sane();
        let secret_key = match self.secret_key {
            Some(key) => key,
            None => SecretKey::try_generate().map_err(|_| BindError::Random)?,
        };
        let us = secret_key.public_key();
        check_delegations(&self.gate.delegations, us)?;
        let relays = parse_relays(&self.relays)?;
        let known_relays = Relays {
            configured: self.n0 || !relays.is_empty(),
            discovery: self.n0 || relays.iter().any(|relay| relay.quic.is_some()),
        };
        let static_addrs = MemoryLookup::new();
        for peer in &self.peers {
            static_addrs.add_endpoint_info(peer.to_addr());
        }

        let mut iroh =
            if self.n0 { iroh::Endpoint::builder(presets::N0) } else { iroh::Endpoint::builder(presets::Minimal) };
        iroh = iroh
            .secret_key(key::secret_to_iroh(&secret_key))
            .crypto_provider(tls::provider())
            .max_tls_tickets(self.remembered_peers * SESSIONS_PER_PEER)
            .alpns(vec![ALPN.to_vec(), PROBE_ALPN.to_vec()])
            .transport_config(transport::config(&self.limits, &self.congestion, known_relays.configured))
            .address_lookup(static_addrs.clone());
        // The endpoint gets a handle of this map, so changes that the program makes to it are visible here as
        // well.
        let relays = match (relays.is_empty(), self.n0) {
            (false, _) => RelayMap::from_iter(relays),
            (true, true) => default_relay_mode().relay_map(),
            (true, false) => RelayMap::empty(),
        };
        iroh = iroh.relay_mode(if relays.is_empty() { RelayMode::Disabled } else { RelayMode::Custom(relays.clone()) });
        // The first byte is that of a SEQUENCE (X.690, section 8.9). iroh skips a certificate that it cannot
        // parse, without an error.
        if let Some(at) = self.roots.iter().position(|root| root.first() != Some(&0x30)) {
            return Err(BindError::Root { at });
        }
        if !self.roots.is_empty() {
            let roots = self.roots.iter().map(|root| root.clone().into());
            iroh = iroh.ca_tls_config(CaTlsConfig::default().with_extra_roots(roots));
        }
        if let Some(server) = self.nameserver {
            iroh = iroh.dns_resolver(DnsResolver::with_nameserver(server));
        }
        if let Some((pkarr, origin)) = &self.directory {
            let pkarr = pkarr.parse().map_err(|_| BindError::DirectoryUrl(pkarr.clone()))?;
            iroh = iroh.address_lookup(PkarrPublisher::builder(pkarr));
            iroh = iroh.address_lookup(DnsAddressLookup::builder(origin.clone()));
        }
        if !self.n0 {
            // UPnP asks the router for a port. A program that wants no infrastructure does not want UPnP either.
            iroh = iroh.portmapper_config(PortmapperConfig::Disabled);
        }
        if !self.direct {
            iroh = iroh.clear_ip_transports();
        } else if !self.bind_addrs.is_empty() {
            iroh = iroh.clear_ip_transports();
            for addr in &self.bind_addrs {
                iroh = iroh.bind_addr(*addr).map_err(|_| BindError::Address(*addr))?;
            }
        }
        let iroh = iroh.bind().await.map_err(|error| BindError::Bind(Box::new(error)))?;
        let mdns = self.mdns.then(|| start_mdns(&iroh));

        let limits = Arc::new(self.limits);
        let tasks = Tasks::here();
        let closing = CancellationToken::new();
        let router = Router::new(Arc::clone(&limits), tasks.clone());
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| BindError::Random)?;
        let on_stream = {
            let router = Arc::clone(&router);
            Box::new(move |stream| router.take(stream))
        };
        let shared = Arc::new(Shared {
            limits: Arc::clone(&limits),
            gate: Gate::new(us, self.gate, Arc::clone(&limits)),
            metrics: Arc::new(Metrics::default()),
            policies: Policies::new(self.paths),
            silence: transport::silence(&limits, known_relays.configured),
            lookout: Arc::default(),
            nonce,
            requires_post_quantum: self.requires_post_quantum,
            tasks: tasks.clone(),
            on_stream,
            early: Arc::clone(&router) as Arc<dyn EarlyHandlers>,
            flights: Mutex::new(Flights::new(Instant::now())),
        });
        let peers = Peers::new(iroh.clone(), us, shared, closing.clone());
        tasks.spawn({
            let (iroh, peers, router) = (iroh.clone(), Arc::clone(&peers), Arc::clone(&router));
            async move {
                accept::accept_connections(iroh, Arc::clone(&peers)).await;
                // The iroh endpoint is closed, by a shutdown or by the program (`Endpoint::iroh`): all waits end.
                peers.closing.cancel();
                router.close();
                peers.close_all("the iroh endpoint is closed");
            }
        });
        tasks.spawn(guard::run(Arc::clone(&peers)));
        tasks.spawn(lookout::run(Arc::clone(&peers)));
        tasks.spawn(unused::run(Arc::clone(&peers)));
        if known_relays.configured {
            tasks.spawn(rejoin::run(iroh.clone(), relays, closing.clone()));
        }
        let inner = Inner {
            iroh,
            number: super::next_number(),
            us,
            peers,
            router,
            limits,
            tasks,
            closing,
            closes_sockets: AtomicBool::new(false),
            sockets_closed: CancellationToken::new(),
            static_addrs,
            mdns,
            relays: known_relays,
            #[cfg(feature = "metrics")]
            metrics_server: tokio::sync::Mutex::new(None),
        };
        Ok(Endpoint::new(inner))
    }
}

/// Starts to find peers on the local network. A failure is reported by [`Endpoint::status`], and does not fail
/// `bind`.
#[cfg(feature = "mdns")]
fn start_mdns(iroh: &iroh::Endpoint) -> Result<(), String> {
    let lookup =
        iroh_mdns_address_lookup::MdnsAddressLookup::builder().build(iroh.id()).map_err(|error| error.to_string())?;
    iroh.address_lookup().map_err(|error| error.to_string())?.add(lookup);
    Ok(())
}

#[cfg(not(feature = "mdns"))]
fn start_mdns(_: &iroh::Endpoint) -> Result<(), String> {
    Err("twolane was built without its feature `mdns`".to_owned())
}

/// Returns an error if a certificate is for another node, since peers would not accept it from this one.
pub(super) fn check_delegations(delegations: &[Delegation], us: PublicKey) -> Result<(), BindError> {
    match delegations.iter().find(|delegation| delegation.node() != us) {
        Some(other) => Err(BindError::Delegation { node: other.node(), us }),
        None => Ok(()),
    }
}

fn parse_relays(relays: &[String]) -> Result<Vec<RelayConfig>, BindError> {
    relays.iter().map(|url| parse_relay(url).ok_or_else(|| BindError::RelayUrl(url.clone()))).collect()
}

fn parse_relay(url: &str) -> Option<RelayConfig> {
    let url: RelayUrl = url.parse().ok()?;
    // A relay over plain HTTP has no certificate, and therefore no QUIC address discovery. A probe for it delays
    // the choice of a relay by 3 s.
    Some(if url.scheme() == "http" { RelayConfig::new(url, None) } else { url.into() })
}
