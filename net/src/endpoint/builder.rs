//! The builder of an endpoint.

use std::{net::SocketAddr, path::PathBuf};

use iroh::{endpoint::QuicTransportConfig, protocol::DynProtocolHandler};
use twolane_id::{
    SecretKey,
    delegation::{Delegation, RevocationList},
};

use super::{Relay, plan::Wishes, proxy::ProxyFrom, transport};
#[cfg(doc)]
use crate::Endpoint;
use crate::{
    access::{Access, GateConfig, Hooks, ShowTo},
    congestion::Congestion,
    limits::Limits,
    path_policy::PathPolicy,
    ticket::Ticket,
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
    pub(super) secret_key: Option<SecretKey>,
    pub(super) limits: Limits,
    pub(super) congestion: Congestion,
    pub(super) wishes: Wishes,
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) also_accept: Vec<(Vec<u8>, Box<dyn DynProtocolHandler>)>,
    /// The first option about the network of an endpoint that is bound, if there was one.
    pub(super) of_network: Option<&'static str>,
    pub(super) peers: Vec<Ticket>,
    pub(super) paths: PathPolicy,
    pub(super) gate: GateConfig,
    pub(super) revocation_file: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            secret_key: None,
            limits: Limits::default(),
            congestion: Congestion::default(),
            wishes: Wishes::default(),
            roots: Vec::new(),
            also_accept: Vec::new(),
            of_network: None,
            peers: Vec::new(),
            paths: PathPolicy::default(),
            gate: GateConfig::default(),
            revocation_file: None,
        }
    }

    /// Notes that an option about the network was set.
    fn of_network(mut self, option: &'static str) -> Self {
        self.of_network.get_or_insert(option);
        self
    }

    /// Sets the key that peers know this endpoint by. Without it, the endpoint gets a new key, which is lost when
    /// the endpoint is gone.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.secret_key = Some(key);
        self.of_network("secret_key")
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
        self.of_network("offline")
    }

    /// Sets whether n0's public infrastructure is used: its directory (pkarr and DNS), where peers are found by their
    /// key alone, and its relays unless [`relay`](Builder::relay) names others. Default: yes, unless `relay` or
    /// [`directory`](Builder::directory) is set.
    pub fn n0(mut self, on: bool) -> Self {
        self.wishes.n0 = Some(on);
        self.of_network("n0")
    }

    /// Sets whether this endpoint finds peers on the local network, and is found by them, by multicast: everybody there
    /// learns its key. Multicast goes out on all interfaces. Default: yes, with the feature `mdns`, unless
    /// [`bind_addr`](Builder::bind_addr) names an address of an interface.
    pub fn mdns(mut self, on: bool) -> Self {
        self.wishes.mdns = Some(on);
        self.of_network("mdns")
    }

    /// Sets whether routers are asked to forward a port to this endpoint (UPnP, PCP, NAT-PMP; UPnP looks for routers by
    /// multicast, on all interfaces). This needs the feature `portmapper`, and happens only with a relay. Default: yes
    /// with n0's infrastructure, unless [`bind_addr`](Builder::bind_addr) names an address of an interface.
    pub fn port_mapping(mut self, on: bool) -> Self {
        self.wishes.port_mapping = Some(on);
        self.of_network("port_mapping")
    }

    /// Adds a relay, such as `https://relay.example.org`, to be used in place of n0's relays. May be called several
    /// times: the endpoint connects to the nearest of them, and to that of a peer. A [`Relay`] can have a token. Of two
    /// with the same URL the last one counts.
    ///
    /// A relay over plain `http` cannot tell an endpoint its public address, because QUIC address discovery needs
    /// a certificate. The data of peers behind two NATs then stays on the relay.
    pub fn relay(mut self, relay: impl Into<Relay>) -> Self {
        self.wishes.relays.push(relay.into());
        self.of_network("relay")
    }

    /// Adds certificate authorities, as DER or PEM, from which relays and the [`directory`](Builder::directory) may
    /// have their certificates, besides the authorities that browsers trust: for a relay with an authority of its own.
    /// May be called several times. Peers have no certificates from an authority: they are known by their keys alone.
    pub fn trust_root(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.roots.push(certificate.into());
        self.of_network("trust_root")
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
        self.of_network("proxy")
    }

    /// Takes the [`proxy`](Self::proxy) from the environment, when the endpoint is bound: from `https_proxy`,
    /// `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`, the first that is set. If all servers are relays over plain `http`,
    /// it is `http_proxy` or `HTTP_PROXY` in place of the first two. Without any, there is no proxy.
    ///
    /// There is none either if `no_proxy` or `NO_PROXY` names the hosts of all relays and directories. (There is one
    /// proxy for all of them, so part of them is not enough. Ranges of addresses are not understood.)
    pub fn proxy_from_env(mut self) -> Self {
        self.wishes.proxy = ProxyFrom::Environment;
        self.of_network("proxy_from_env")
    }

    /// Sets the DNS server to ask, in place of the system's.
    pub fn nameserver(mut self, server: SocketAddr) -> Self {
        self.wishes.nameserver = Some(server);
        self.of_network("nameserver")
    }

    /// Sets whether public DNS resolvers (those of Cloudflare, Google and Quad9) are asked when the system's, or the
    /// [`nameserver`](Self::nameserver), does not answer or answers with an error. They then learn the names of relays
    /// and the keys of peers that are looked up. Default: no.
    pub fn public_resolvers(mut self, on: bool) -> Self {
        self.wishes.public_resolvers = on;
        self.of_network("public_resolvers")
    }

    /// Sets an `iroh-dns-server` through which peers are found by their key alone, in place of n0's servers. This
    /// turns off n0's relays too, unless [`n0`](Self::n0) is set: [`relay`](Self::relay) sets the relays to use, and
    /// without one nothing is published. This endpoint's relay is published to `pkarr`, such as
    /// `https://dns.example.org/pkarr`. Peers are looked up in the DNS under `origin`, such as `dns.example.org`.
    pub fn directory(mut self, pkarr: impl Into<String>, origin: impl Into<String>) -> Self {
        self.wishes.directory = Some((pkarr.into(), origin.into()));
        self.of_network("directory")
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
        self.of_network("bind_addr")
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
        self.of_network("relay_only")
    }

    /// Accepts another protocol on the iroh endpoint of this endpoint, from the start; see [`Endpoint::also_accept`],
    /// which does the same later, for handlers that need the iroh endpoint. May be called several times.
    ///
    /// ```
    /// # use iroh::{endpoint::Connection, protocol::{AcceptError, ProtocolHandler}};
    /// # #[derive(Debug)]
    /// # struct Blobs;
    /// # impl ProtocolHandler for Blobs {
    /// #     async fn accept(&self, _: Connection) -> Result<(), AcceptError> { Ok(()) }
    /// # }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoint = twolane::Endpoint::builder().offline().also_accept(b"/blobs/1", Blobs).bind().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn also_accept(mut self, alpn: impl AsRef<[u8]>, handler: impl Into<Box<dyn DynProtocolHandler>>) -> Self {
        self.also_accept.push((alpn.as_ref().to_vec(), handler.into()));
        self.of_network("also_accept")
    }

    /// Sets which paths data may take, to and from peers that have no policy of their own
    /// ([`Endpoint::set_path_policy`]). Default: [`PathPolicy::RelayAllowed`].
    pub fn path_policy(mut self, policy: PathPolicy) -> Self {
        self.paths = policy;
        self
    }

    /// Adds a peer whose addresses are known in advance. The endpoint remembers them until
    /// [`Endpoint::forget_peer`] is called.
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

    /// Sets the clock by which the validity of peers' certificates is checked, and with which the endpoint is bound.
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
    /// reads the file, creates it if there is none, and adds what [`revocations`](Self::revocations) has set; so does
    /// [`attach`](Self::attach). The endpoint replaces the file after each change ([`Endpoint::revoke`]), in one step
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

    /// Returns a transport configuration for an iroh endpoint that this endpoint is going to be attached to
    /// ([`attach`](Builder::attach)). It has the limits and the congestion control of this builder, and room for other
    /// protocols. `relays`: whether the iroh endpoint has a relay, so that a direct path may be given up sooner
    /// ([`Limits::path_timeout`]).
    ///
    /// It is needed if iroh's `Router` accepts for the endpoint ([`Endpoint::route`]): a `Router` accepts every
    /// connection with the configuration of its iroh endpoint. The configuration of another builder will do, if its
    /// [`Limits::unread_bytes`] and [`Limits::idle_timeout`] are no larger.
    pub fn transport_config(&self, relays: bool) -> QuicTransportConfig {
        transport::marked(&self.limits.clone().sane(), &self.congestion, relays)
    }
}
