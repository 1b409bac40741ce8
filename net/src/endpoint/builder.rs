//! The builder of an endpoint.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use iroh::{address_lookup::memory::MemoryLookup, endpoint::default_relay_mode};
use tokio_util::sync::CancellationToken;
use twolane_id::{
    PublicKey, SecretKey,
    delegation::{Delegation, RevocationList},
    storage::revocations,
};

use super::{
    Endpoint, Inner, Relay, Relays, accept, carry_out,
    plan::{Plan, PlannedRelays, Sockets, Surroundings, Wishes},
    proxy::ProxyFrom,
    rejoin,
    revocation_file::RevocationFile,
    router::Router,
    transport,
};
use crate::{
    access::{Access, Gate, GateConfig, Hooks, ShowTo},
    congestion::Congestion,
    error::BindError,
    key,
    limits::Limits,
    metrics::Metrics,
    path_policy::PathPolicy,
    peer::{Peers, Policies, Shared, guard, lookout, unused},
    tasks::Tasks,
    ticket::Ticket,
    wire::{ALPN, PROBE_ALPN},
};

/// The configuration of a new [`Endpoint`]; returned by [`Endpoint::builder`].
///
/// By default the endpoint finds peers through iroh's public infrastructure (n0's relays and DNS) and on the local
/// network (mDNS), and asks the router for a port (UPnP, PCP, NAT-PMP). Its default key is a new one, which is lost
/// when the endpoint is gone.
///
/// The order of the calls means nothing: what the endpoint does follows from all of them together, when it is bound.
/// [`offline`](Builder::offline) and [`relay_only`](Builder::relay_only) hold whatever else is set.
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
    wishes: Wishes,
    roots: Vec<Vec<u8>>,
    peers: Vec<Ticket>,
    paths: PathPolicy,
    gate: GateConfig,
    revocation_file: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            secret_key: None,
            limits: Limits::default(),
            congestion: Congestion::default(),
            wishes: Wishes::default(),
            roots: Vec::new(),
            peers: Vec::new(),
            paths: PathPolicy::default(),
            gate: GateConfig::default(),
            revocation_file: None,
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

    /// Turns off relays, address lookup, multicast, port mapping and DNS: peers are reached only by the addresses in
    /// their tickets. No other setting turns one of them on again, whichever call comes first. Unless
    /// [`bind_addr`](Builder::bind_addr) names an address, the endpoint is bound to loopback only (127.0.0.1): then
    /// nothing leaves the machine.
    pub fn offline(mut self) -> Self {
        self.wishes.offline = true;
        self
    }

    /// Sets whether n0's public infrastructure is used: its directory (pkarr and DNS), where peers are found by their
    /// key alone, and its relays unless [`relay`](Builder::relay) names others. Default: yes, unless `relay` or
    /// [`directory`](Builder::directory) is set.
    pub fn n0(mut self, on: bool) -> Self {
        self.wishes.n0 = Some(on);
        self
    }

    /// Sets whether this endpoint finds peers on the local network, and is found by them, by multicast: everybody there
    /// learns its key. Multicast goes out on all interfaces. Default: yes, with the feature `mdns`, unless
    /// [`bind_addr`](Builder::bind_addr) names an address of an interface.
    pub fn mdns(mut self, on: bool) -> Self {
        self.wishes.mdns = Some(on);
        self
    }

    /// Sets whether routers are asked to forward a port to this endpoint (UPnP, PCP, NAT-PMP; UPnP looks for routers by
    /// multicast, on all interfaces). This needs the feature `portmapper`, and happens only with a relay. Default: yes
    /// with n0's infrastructure, unless [`bind_addr`](Builder::bind_addr) names an address of an interface.
    pub fn port_mapping(mut self, on: bool) -> Self {
        self.wishes.port_mapping = Some(on);
        self
    }

    /// Adds a relay, such as `https://relay.example.org`, to be used in place of n0's relays. May be called several
    /// times: the endpoint connects to the nearest of them, and to that of a peer. A [`Relay`] can have a token. Of two
    /// with the same URL the last one counts.
    ///
    /// A relay over plain `http` cannot tell an endpoint its public address, because QUIC address discovery needs
    /// a certificate. The data of peers behind two NATs then stays on the relay.
    pub fn relay(mut self, relay: impl Into<Relay>) -> Self {
        self.wishes.relays.push(relay.into());
        self
    }

    /// Adds certificate authorities, as DER or PEM, from which relays and the [`directory`](Builder::directory) may
    /// have their certificates, besides the authorities that browsers trust: for a relay with an authority of its own.
    /// May be called several times. Peers have no certificates from an authority: they are known by their keys alone.
    pub fn trust_root(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.roots.push(certificate.into());
        self
    }

    /// Sets the HTTP proxy through which relays and directories are reached, such as `http://proxy.example.org:3128`.
    /// Its scheme is `http` or `https`; a name and a password in it are sent to the proxy. Default: none, and the
    /// environment is not read.
    ///
    /// The proxy is used for TCP (CONNECT). Direct paths, and the packets by which relays tell an endpoint its public
    /// address, are UDP and go around it: see [`relay_only`](Self::relay_only). iroh writes the URL of the proxy to its
    /// log at the level `debug`.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.wishes.proxy = ProxyFrom::Program(url.into());
        self
    }

    /// Takes the [`proxy`](Self::proxy) from the environment, when the endpoint is bound: from `https_proxy`,
    /// `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`, the first that is set. If all servers are relays over plain `http`,
    /// it is `http_proxy` or `HTTP_PROXY` in place of the first two. Without any, there is no proxy.
    ///
    /// There is none either if `no_proxy` or `NO_PROXY` names the hosts of all relays and directories. (There is one
    /// proxy for all of them, so part of them is not enough. Ranges of addresses are not understood.)
    pub fn proxy_from_env(mut self) -> Self {
        self.wishes.proxy = ProxyFrom::Environment;
        self
    }

    /// Sets the DNS server to ask, in place of the system's.
    pub fn nameserver(mut self, server: SocketAddr) -> Self {
        self.wishes.nameserver = Some(server);
        self
    }

    /// Sets whether public DNS resolvers (those of Cloudflare, Google and Quad9) are asked when the system's, or the
    /// [`nameserver`](Self::nameserver), does not answer or answers with an error. They then learn the names of relays
    /// and the keys of peers that are looked up. Default: no.
    pub fn public_resolvers(mut self, on: bool) -> Self {
        self.wishes.public_resolvers = on;
        self
    }

    /// Sets an `iroh-dns-server` through which peers are found by their key alone, in place of n0's servers. This
    /// turns off n0's relays too, unless [`n0`](Self::n0) is set: [`relay`](Self::relay) sets the relays to use, and
    /// without one nothing is published. This endpoint's relay is published to `pkarr`, such as
    /// `https://dns.example.org/pkarr`. Peers are looked up in the DNS under `origin`, such as `dns.example.org`.
    pub fn directory(mut self, pkarr: impl Into<String>, origin: impl Into<String>) -> Self {
        self.wishes.directory = Some((pkarr.into(), origin.into()));
        self
    }

    /// Binds to this address, in place of all addresses of the machine: one for IPv4, one for IPv6, or both. Where none
    /// is named for a family, that family is not used. Two addresses of one family are an error of
    /// [`bind`](Self::bind).
    ///
    /// Packets to and from peers use the address. Unless it is `0.0.0.0` or `::`, multicast and port mapping are off
    /// by default, since they go out on all interfaces. DNS and the connections to relays take the interface that the
    /// system chooses.
    pub fn bind_addr(mut self, addr: SocketAddr) -> Self {
        self.wishes.bind_addrs.push(addr);
        self
    }

    /// Turns off direct paths: all data goes over relays. For tests, and for endpoints that must not show their
    /// address.
    ///
    /// The endpoint has no UDP socket, and peers are told no address but that of its relay. Nothing is sent by
    /// multicast, and no router is asked for a port; no other setting turns these on again. What remains is DNS, and
    /// TCP to relays and directories, which see where it comes from ([`proxy`](Self::proxy)). [`bind`](Self::bind)
    /// fails without a relay.
    pub fn relay_only(mut self) -> Self {
        self.wishes.relay_only = true;
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
    /// called several times: a peer is shown the first certificate that is valid at the time, whose audience includes
    /// the peer, and that is for its eyes ([`show_delegations`](Self::show_delegations)).
    ///
    /// A certificate tells whose machine this is. If it is for some peers only, name them as its audience: then no
    /// other peer is shown it, and no other peer accepts a copy.
    pub fn delegation(mut self, delegation: Delegation) -> Self {
        self.gate.delegations.push(delegation);
        self
    }

    /// Sets to which peers certificates are shown. Default: [`ShowTo::known`], which leaves out strangers that connect
    /// by themselves.
    pub fn show_delegations(mut self, to: ShowTo) -> Self {
        self.gate.show_to = to;
        self
    }

    /// Sets the clock by which the validity of peers' certificates is checked.
    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: crate::access::Clock) -> Self {
        self.gate.clock = clock;
        self
    }

    /// Sets the list of revoked certificates, which are refused although they have not expired. It is kept in memory:
    /// see [`revocation_file`](Self::revocation_file).
    pub fn revocations(mut self, revoked: RevocationList) -> Self {
        self.gate.revoked = revoked;
        self
    }

    /// Keeps the list of revoked certificates in this file, so that a restart loses none of it. [`bind`](Self::bind)
    /// reads the file, creates it if there is none, and adds what [`revocations`](Self::revocations) has set. The
    /// endpoint replaces the file after each change ([`Endpoint::revoke`]), in one step
    /// ([`storage::revocations`](crate::storage::revocations)), and [`shutdown`](Endpoint::shutdown) waits for that
    /// within its deadline. One endpoint at a time may use a file. Default: none.
    ///
    /// ```no_run
    /// # use twolane::PublicKey;
    /// # async fn example(owner: PublicKey, laptop: PublicKey) -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::Endpoint;
    ///
    /// let endpoint = Endpoint::builder().revocation_file("/var/lib/mail/revoked").bind().await?;
    /// endpoint.revoke_node(owner, laptop); // takes effect at once
    /// endpoint.revocations_saved().await?; // and is on the disk now
    /// # Ok(())
    /// # }
    /// ```
    pub fn revocation_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.revocation_file = Some(path.into());
        self
    }

    /// Binds the sockets. This takes milliseconds, with or without a network: relays and lookups are contacted
    /// afterwards. [`Endpoint::status`] reports what cannot be reached.
    ///
    /// # Errors
    ///
    /// [`BindError`] if an address cannot be bound to, if a relay, a directory, a proxy, a root certificate or a
    /// delegation is not valid, if the settings leave no path, or if the file of revocations cannot be used.
    pub async fn bind(mut self) -> Result<Endpoint, BindError> {
        self.limits = self.limits.sane();
        let secret_key = match self.secret_key {
            Some(key) => key,
            None => SecretKey::try_generate().map_err(|_| BindError::Random)?,
        };
        let us = secret_key.public_key();
        check_delegations(&self.gate.delegations, us)?;
        let plan = planned(&self.wishes)?;
        let revocation_file = match self.revocation_file {
            Some(path) => {
                let given = std::mem::take(&mut self.gate.revoked);
                self.gate.revoked = revocations::open_or_create(&path, given).map_err(BindError::Revocations)?;
                Some(RevocationFile::new(path))
            }
            None => None,
        };
        let known_relays = Relays {
            configured: plan.relays != PlannedRelays::None,
            discovery: match &plan.relays {
                PlannedRelays::None => false,
                PlannedRelays::N0 => true,
                PlannedRelays::Own(own) => own.iter().any(|relay| relay.discovers()),
            },
        };
        let static_addrs = MemoryLookup::new();
        for peer in &self.peers {
            static_addrs.add_endpoint_info(peer.to_addr());
        }

        let (iroh, relays) = carry_out::prepare(&plan, &self.roots)?;
        let iroh = iroh
            .secret_key(key::secret_to_iroh(&secret_key))
            .alpns(vec![ALPN.to_vec(), PROBE_ALPN.to_vec()])
            .transport_config(transport::config(&self.limits, &self.congestion, known_relays.configured))
            .address_lookup(static_addrs.clone());
        let iroh = iroh.bind().await.map_err(|error| BindError::Bind {
            addrs: if let Sockets::At(addrs) = &plan.sockets { addrs.clone() } else { Vec::new() },
            source: Box::new(error),
        })?;
        let mdns = plan.mdns.then(|| start_mdns(&iroh));

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
            tasks: tasks.clone(),
            on_stream,
        });
        for peer in &self.peers {
            shared.gate.call(peer.peer());
        }
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
        if let Some(file) = &revocation_file {
            tasks.spawn(Arc::clone(file).run(Arc::clone(&peers.shared.gate), peers.closed.clone()));
        }
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
            revocation_file,
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

/// Makes the plan in the surroundings of this process.
fn planned(wishes: &Wishes) -> Result<Plan, BindError> {
    let n0_relays: Vec<_> = default_relay_mode().relay_map().urls();
    let env = |name: &str| std::env::var(name).ok();
    Plan::make(wishes, &Surroundings { mdns: cfg!(feature = "mdns"), n0_relays: &n0_relays, env: &env })
}
