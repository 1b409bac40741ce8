//! The status of an endpoint in the network: what it can reach, and by which peers it can be reached.

use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use iroh::{TransportAddr, Watcher, unstable_net_report::NetReport};
use tokio::time::{sleep_until, timeout};

use super::{
    Endpoint, Inner,
    reach::{self, Facts, Found, Obstacle, Reach, Relays},
};

/// The time after which an iroh endpoint of the program that has shown no relay has none. iroh's first look at its
/// relays takes up to 5 s if nothing answers, and there is a report after it.
const FIRST_LOOK: Duration = Duration::from_secs(6);

/// The status of an endpoint in the network. Something that cannot be reached is reported here, and is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The peers that can reach the endpoint.
    pub reach: Reach,
    /// The obstacles to a better reach. Empty if there are none.
    pub obstacles: Vec<Obstacle>,
    /// The local sockets.
    pub sockets: Vec<SocketAddr>,
    /// The addresses at which peers may reach this endpoint, as far as they are known.
    pub addrs: Vec<SocketAddr>,
    /// The relays: whether this endpoint is connected to them, and how far they are. Empty if none is configured,
    /// or none has answered yet.
    pub relays: Vec<RelayStatus>,
    /// What the network lets through. `None` until a relay was asked, and without a relay.
    pub network: Option<Network>,
    /// Whether peers on the local network are found. `None` if that is turned off, or is the business of the iroh
    /// endpoint that this endpoint is attached to; the reason if it does not work.
    pub local_network: Option<Result<(), String>>,
}

impl Status {
    /// Returns whether the endpoint is connected to a relay, so that peers anywhere can find it.
    pub fn is_online(&self) -> bool {
        self.relays.iter().any(|relay| relay.connected)
    }

    /// Returns whether peers anywhere can reach this endpoint directly, as far as that depends on this side.
    pub fn is_direct_capable(&self) -> bool {
        self.reach == Reach::Direct
    }
}

/// The status of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The URL of the relay.
    pub url: String,
    /// Whether peers are told to meet this endpoint at this relay. It is the nearest relay.
    pub home: bool,
    /// Whether this endpoint is connected to the relay now.
    pub connected: bool,
    /// The shortest round-trip time to the relay that was measured, over HTTPS or UDP. `None` if none was
    /// measured.
    pub latency: Option<Duration>,
    /// The reason why this endpoint is not connected to the relay.
    pub last_error: Option<String>,
}

/// What the network lets through, as the relays have seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// Whether UDP over IPv4 went to a relay and back.
    pub ipv4: bool,
    /// Whether UDP over IPv6 went to a relay and back.
    pub ipv6: bool,
    /// The IPv4 address of this endpoint, as a relay sees it.
    pub public_ipv4: Option<SocketAddr>,
    /// The IPv6 address of this endpoint, as a relay sees it.
    pub public_ipv6: Option<SocketAddr>,
    /// Whether two relays see this endpoint at different addresses or ports. Hole punching does not work between
    /// two NATs that behave like this. `None` if there were not two relays to compare.
    pub nat_varies: Option<bool>,
}

impl Endpoint {
    /// Returns the current status of this endpoint in the network.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Endpoint, Reach};
    ///
    /// let endpoint = Endpoint::builder().offline().bind().await?;
    /// let status = endpoint.status();
    /// assert_eq!(status.reach, Reach::ThisMachine);
    /// for obstacle in &status.obstacles {
    ///     println!("{obstacle}"); // what to do about it
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        let inner = self.inner();
        let report = inner.iroh.net_report().get();
        let addrs: Vec<_> = inner
            .iroh
            .addr()
            .addrs
            .into_iter()
            .filter_map(|addr| match addr {
                TransportAddr::Ip(addr) => Some(addr),
                _ => None,
            })
            .collect();
        let sockets = inner.iroh.bound_sockets();
        let (reach, obstacles) = reach::judge(facts(inner, &sockets, &addrs, report.as_ref()));
        Status {
            reach,
            obstacles,
            sockets,
            addrs,
            relays: relays(inner, report.as_ref()),
            network: report.as_ref().map(network),
            local_network: inner.mdns.clone(),
        }
    }

    /// Waits until it is known which peers can reach this endpoint, for at most `within`, and returns the status
    /// at that time. That takes some seconds after [`bind`](crate::Builder::bind), and no time later.
    ///
    /// Cancel-safe.
    pub async fn settled(&self, within: Duration) -> Status {
        let inner = self.inner();
        let (mut reports, mut relays) = (inner.iroh.net_report(), inner.iroh.home_relay_status());
        let mut addrs = inner.iroh.watch_addr();
        let known = async {
            while self.status().reach == Reach::Unknown {
                tokio::select! {
                    _ = reports.updated() => {}
                    _ = relays.updated() => {}
                    _ = addrs.updated() => {}
                    () = inner.first_look() => {}
                }
            }
        };
        let _ = timeout(within, known).await;
        self.status()
    }
}

impl Inner {
    /// Waits until an attached endpoint knows that its iroh endpoint has no relay, if it is not known by now.
    async fn first_look(&self) {
        match self.attached.as_ref().map(|attached| attached.since + FIRST_LOOK).filter(|by| *by > Instant::now()) {
            Some(by) => sleep_until(by.into()).await,
            None => pending().await,
        }
    }
}

fn facts(inner: &Inner, sockets: &[SocketAddr], addrs: &[SocketAddr], report: Option<&NetReport>) -> Facts {
    let home = inner.iroh.home_relay_status().get();
    let denied = home.iter().find_map(|relay| relay.auth_denied_reason());
    let error = home.iter().find_map(|relay| relay.last_error());
    let configured = match &inner.attached {
        None => inner.relays.configured,
        Some(attached) => !home.is_empty() || report.is_some() || attached.since.elapsed() < FIRST_LOOK,
    };
    let discovery = match &inner.attached {
        None => inner.relays.discovery,
        // A relay over plain HTTP has no address discovery.
        Some(_) => home.iter().any(|relay| relay.url().scheme() == "https"),
    };
    let relays = if !configured {
        Relays::None
    } else if home.iter().any(|relay| relay.is_connected()) {
        Relays::Connected
    } else if let Some(reason) = denied {
        Relays::Denied(reason.to_owned())
    } else if let Some(error) = error {
        Relays::Failed(error.to_string())
    } else if home.is_empty() && report.is_some_and(|report| report.preferred_relay.is_none()) {
        // All relays were asked, and there was none to choose.
        Relays::Failed("no relay answers".into())
    } else {
        Relays::Trying
    };
    Facts {
        shut: match &inner.attached {
            Some(attached) if !attached.accepts.load(Relaxed) => Some(Obstacle::NotRouted),
            Some(_) if inner.inbound.unfit.load(Relaxed) => Some(Obstacle::RouterTransport),
            _ => None,
        },
        direct: !sockets.is_empty(),
        loopback: !sockets.is_empty() && sockets.iter().all(|socket| socket.ip().is_loopback()),
        // Without any other address iroh reports those of loopback. No address at all means that iroh has not
        // looked yet.
        address: (!addrs.is_empty()).then(|| addrs.iter().any(|addr| !addr.ip().is_loopback())),
        relays,
        discovery,
        found: report.map(|report| Found {
            udp: report.has_udp(),
            nat_varies: report.mapping_varies_by_dest() == Some(true),
            captive_portal: report.captive_portal == Some(true),
        }),
    }
}

fn relays(inner: &Inner, report: Option<&NetReport>) -> Vec<RelayStatus> {
    let mut latencies = BTreeMap::<String, Duration>::new();
    for (_, url, latency) in report.iter().flat_map(|report| report.relay_latency.iter()) {
        let shortest = latencies.entry(url.to_string()).or_insert(latency);
        *shortest = latency.min(*shortest);
    }
    let mut relays: Vec<_> = inner
        .iroh
        .home_relay_status()
        .get()
        .iter()
        .map(|relay| RelayStatus {
            url: relay.url().to_string(),
            home: true,
            connected: relay.is_connected(),
            latency: latencies.remove(relay.url().as_str()),
            last_error: relay.last_error().map(|error| format!("{error:#}")),
        })
        .collect();
    let others = latencies.into_iter().map(|(url, latency)| RelayStatus {
        url,
        home: false,
        connected: false,
        latency: Some(latency),
        last_error: None,
    });
    relays.extend(others);
    relays
}

fn network(report: &NetReport) -> Network {
    Network {
        ipv4: report.udp_v4,
        ipv6: report.udp_v6,
        public_ipv4: report.global_v4.map(Into::into),
        public_ipv6: report.global_v6.map(Into::into),
        nat_varies: report.mapping_varies_by_dest(),
    }
}
