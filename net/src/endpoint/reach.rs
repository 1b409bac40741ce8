//! By which peers an endpoint can be reached, and what is in the way. Pure.

use std::fmt;

use crate::words::Shown;

/// The peers that can reach an endpoint, as far as the endpoint can tell alone. Whether two peers find a direct
/// path also depends on the other peer: [`PeerInfo::path`](crate::PeerInfo::path) has the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// Not known yet. It takes some seconds to find out after the endpoint was bound, and after the network
    /// changed.
    Unknown,
    /// Any peer, directly: the endpoint is connected to a relay, and packets get through.
    Direct,
    /// Any peer, but only through a relay.
    RelayOnly,
    /// Peers in the local network, and peers that are told the endpoint's addresses. No relay helps other peers.
    LocalNetwork,
    /// Programs on this machine.
    ThisMachine,
    /// No peer.
    Nobody,
}

impl Reach {
    /// Returns a short name for use by programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Direct => "direct",
            Self::RelayOnly => "relay_only",
            Self::LocalNetwork => "local_network",
            Self::ThisMachine => "this_machine",
            Self::Nobody => "nobody",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it is not known yet whether other peers can reach this endpoint",
            Self::Direct => "other peers can reach this endpoint directly",
            Self::RelayOnly => "other peers can reach this endpoint only through a relay",
            Self::LocalNetwork => {
                "peers in the local network can reach this endpoint, and those that are told its addresses"
            }
            Self::ThisMachine => "only programs on this machine can reach this endpoint",
            Self::Nobody => "other peers cannot reach this endpoint at all",
        })
    }
}

/// An obstacle that keeps an endpoint from being reached, or from being reached directly. Its text says what to
/// do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Obstacle {
    /// The endpoint is attached to an iroh endpoint of the program, and the program gives it no connections.
    NotRouted,
    /// iroh's `Router` accepts connections for the endpoint with another transport configuration than one of
    /// [`Builder::transport_config`](crate::Builder::transport_config), so that the endpoint turns them away.
    RouterTransport,
    /// This machine has no address except loopback.
    NoNetwork,
    /// The endpoint has no relay.
    NoRelay,
    /// No relay was reached.
    RelayUnreachable {
        /// The last attempt, and its result.
        error: String,
    },
    /// The relay does not admit this endpoint.
    RelayDenied {
        /// The reason that the relay gave.
        reason: String,
    },
    /// The endpoint is configured to use relays only ([`Builder::relay_only`](crate::Builder::relay_only)).
    DirectOff,
    /// The endpoint is bound to loopback.
    LoopbackOnly,
    /// No UDP packet came back from any relay.
    UdpBlocked,
    /// Whether UDP gets through is not known, because none of the relays can tell.
    NoAddressDiscovery,
    /// The NAT gives this endpoint another port for every destination.
    NatVaries,
    /// Something answers in place of the relays.
    CaptivePortal,
}

impl Obstacle {
    /// Returns a short name for use by programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotRouted => "not_routed",
            Self::RouterTransport => "router_transport",
            Self::NoNetwork => "no_network",
            Self::NoRelay => "no_relay",
            Self::RelayUnreachable { .. } => "relay_unreachable",
            Self::RelayDenied { .. } => "relay_denied",
            Self::DirectOff => "direct_off",
            Self::LoopbackOnly => "loopback_only",
            Self::UdpBlocked => "udp_blocked",
            Self::NoAddressDiscovery => "no_address_discovery",
            Self::NatVaries => "nat_varies",
            Self::CaptivePortal => "captive_portal",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRouted => f.write_str(
                "the endpoint is given no connections of its iroh endpoint: add it to the Router (Endpoint::route)",
            ),
            Self::RouterTransport => f.write_str(
                "the Router accepts with a transport configuration that does not keep this library's limits: bind the iroh endpoint with the configuration that Builder::transport_config returns",
            ),
            Self::NoNetwork => f.write_str("this machine has no network: connect it to one"),
            Self::NoRelay => {
                f.write_str("no relay is configured: peers behind other NATs need a relay to connect (Builder::relay)")
            }
            Self::RelayUnreachable { error } => {
                let remedy = "check the internet connection, and that HTTPS is not blocked";
                write!(f, "no relay could be reached ({}): {remedy}", Shown(error))
            }
            Self::RelayDenied { reason } => {
                write!(f, "the relay refuses this endpoint ({}): ask its operator, or use another relay", Shown(reason))
            }
            Self::DirectOff => f.write_str("direct paths are turned off (Builder::relay_only)"),
            Self::LoopbackOnly => f.write_str("the endpoint is bound to loopback: bind it to a network address"),
            Self::UdpBlocked => f.write_str("UDP is blocked: allow it in the firewall, at least outbound"),
            Self::NoAddressDiscovery => {
                f.write_str("the relays cannot tell this endpoint its public address: use a relay with https")
            }
            Self::NatVaries => f.write_str(
                "the NAT uses another port for every destination: data to a peer behind such a NAT stays on the relay",
            ),
            Self::CaptivePortal => {
                f.write_str("a captive portal answers in place of the relays: log in to this network first")
            }
        }
    }
}

/// The state of the endpoint's relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Relays {
    /// The endpoint has no relay.
    None,
    /// No relay has answered yet.
    Trying,
    Connected,
    Denied(String),
    Failed(String),
}

/// The findings of the last network report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether a packet went to a relay and back over UDP.
    pub(super) udp: bool,
    pub(super) nat_varies: bool,
    pub(super) captive_portal: bool,
}

/// Everything that is known about how the endpoint can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// What keeps every inbound connection from the endpoint, if anything does.
    pub(super) shut: Option<Obstacle>,
    /// Whether direct paths are allowed.
    pub(super) direct: bool,
    /// Whether every socket is bound to loopback.
    pub(super) loopback: bool,
    /// Whether there is an address that other machines may reach. `None` until that was looked up.
    pub(super) address: Option<bool>,
    pub(super) relays: Relays,
    /// Whether a relay is configured that can tell whether UDP gets through.
    pub(super) discovery: bool,
    pub(super) found: Option<Found>,
}

/// Derives from the facts which peers can reach the endpoint, and what the obstacles are.
pub(super) fn judge(facts: Facts) -> (Reach, Vec<Obstacle>) {
    if let Some(obstacle) = facts.shut {
        return (Reach::Nobody, vec![obstacle]);
    }
    let mut obstacles = Vec::new();
    let reach = match facts.relays {
        Relays::Connected => {
            if !facts.direct {
                obstacles.push(Obstacle::DirectOff);
                return (Reach::RelayOnly, obstacles);
            }
            if facts.loopback {
                obstacles.push(Obstacle::LoopbackOnly);
                return (Reach::RelayOnly, obstacles);
            }
            let Some(found) = facts.found else {
                return (Reach::Unknown, obstacles);
            };
            if found.udp {
                obstacles.extend(found.nat_varies.then_some(Obstacle::NatVaries));
                return (Reach::Direct, obstacles);
            }
            obstacles.push(if facts.discovery { Obstacle::UdpBlocked } else { Obstacle::NoAddressDiscovery });
            return (Reach::RelayOnly, obstacles);
        }
        Relays::Trying => return (Reach::Unknown, obstacles),
        _ if !facts.direct => Reach::Nobody,
        _ if facts.loopback => Reach::ThisMachine,
        _ => match facts.address {
            Some(true) => Reach::LocalNetwork,
            Some(false) => {
                obstacles.push(Obstacle::NoNetwork);
                Reach::Nobody
            }
            None => return (Reach::Unknown, obstacles),
        },
    };
    match facts.relays {
        Relays::None => obstacles.push(Obstacle::NoRelay),
        Relays::Denied(reason) => obstacles.push(Obstacle::RelayDenied { reason }),
        Relays::Failed(error) if !obstacles.contains(&Obstacle::NoNetwork) => {
            obstacles.push(Obstacle::RelayUnreachable { error });
        }
        _ => {}
    }
    if facts.loopback {
        obstacles.push(Obstacle::LoopbackOnly);
    }
    if facts.found.is_some_and(|found| found.captive_portal) {
        obstacles.push(Obstacle::CaptivePortal);
    }
    (reach, obstacles)
}

#[cfg(test)]
mod tests {
    use super::{Obstacle as O, *};

    /// Returns the facts of an endpoint on a network, with a relay that it is connected to.
    fn facts() -> Facts {
        Facts {
            shut: None,
            direct: true,
            loopback: false,
            address: Some(true),
            relays: Relays::Connected,
            discovery: true,
            found: Some(Found { udp: true, nat_varies: false, captive_portal: false }),
        }
    }

    const BLOCKED: Found = Found { udp: false, nat_varies: false, captive_portal: false };

    #[test]
    fn each_set_of_facts_means_one_thing() {
        let (failed, denied) = (|| Relays::Failed("refused".into()), || Relays::Denied("no".into()));
        let unreachable = || O::RelayUnreachable { error: "refused".into() };
        for (facts, reach, obstacles) in [
            (facts(), Reach::Direct, vec![]),
            (Facts { shut: Some(O::NotRouted), ..facts() }, Reach::Nobody, vec![O::NotRouted]),
            (Facts { shut: Some(O::RouterTransport), ..facts() }, Reach::Nobody, vec![O::RouterTransport]),
            (
                Facts { found: Some(Found { nat_varies: true, ..facts().found.unwrap() }), ..facts() },
                Reach::Direct,
                vec![O::NatVaries],
            ),
            (Facts { found: None, ..facts() }, Reach::Unknown, vec![]),
            (Facts { found: Some(BLOCKED), ..facts() }, Reach::RelayOnly, vec![O::UdpBlocked]),
            (
                Facts { found: Some(BLOCKED), discovery: false, ..facts() },
                Reach::RelayOnly,
                vec![O::NoAddressDiscovery],
            ),
            (Facts { direct: false, ..facts() }, Reach::RelayOnly, vec![O::DirectOff]),
            (Facts { loopback: true, ..facts() }, Reach::RelayOnly, vec![O::LoopbackOnly]),
            (Facts { relays: Relays::Trying, found: None, ..facts() }, Reach::Unknown, vec![]),
            (Facts { relays: Relays::Trying, address: Some(false), ..facts() }, Reach::Unknown, vec![]),
            (Facts { relays: failed(), address: None, ..facts() }, Reach::Unknown, vec![]),
            (Facts { relays: failed(), ..facts() }, Reach::LocalNetwork, vec![unreachable()]),
            (Facts { relays: failed(), address: Some(false), ..facts() }, Reach::Nobody, vec![O::NoNetwork]),
            (Facts { relays: failed(), direct: false, ..facts() }, Reach::Nobody, vec![unreachable()]),
            (
                Facts { relays: failed(), loopback: true, ..facts() },
                Reach::ThisMachine,
                vec![unreachable(), O::LoopbackOnly],
            ),
            (
                Facts { relays: failed(), found: Some(Found { captive_portal: true, ..BLOCKED }), ..facts() },
                Reach::LocalNetwork,
                vec![unreachable(), O::CaptivePortal],
            ),
            (Facts { relays: denied(), ..facts() }, Reach::LocalNetwork, vec![O::RelayDenied { reason: "no".into() }]),
            (Facts { relays: Relays::None, found: None, ..facts() }, Reach::LocalNetwork, vec![O::NoRelay]),
            (
                Facts { relays: Relays::None, found: None, loopback: true, address: Some(false), ..facts() },
                Reach::ThisMachine,
                vec![O::NoRelay, O::LoopbackOnly],
            ),
            (
                Facts { relays: Relays::None, found: None, address: Some(false), ..facts() },
                Reach::Nobody,
                vec![O::NoNetwork, O::NoRelay],
            ),
        ] {
            assert_eq!(judge(facts.clone()), (reach, obstacles), "{facts:?}");
        }
    }

    #[test]
    fn the_words_of_a_relay_do_not_act_on_a_terminal() {
        let words = || crate::words::HOSTILE.to_owned();
        for obstacle in [O::RelayDenied { reason: words() }, O::RelayUnreachable { error: words() }] {
            assert!(crate::words::is_harmless(&obstacle.to_string()), "{obstacle:?}");
        }
    }

    #[test]
    fn whoever_cannot_be_reached_directly_is_told_why() {
        for direct in [true, false] {
            for loopback in [true, false] {
                for address in [None, Some(true), Some(false)] {
                    for relays in [Relays::None, Relays::Trying, Relays::Connected, Relays::Failed(String::new())] {
                        for found in [None, Some(BLOCKED), facts().found] {
                            for shut in [None, Some(O::NotRouted), Some(O::RouterTransport)] {
                                let relays = relays.clone();
                                let facts = Facts { shut, direct, loopback, address, relays, discovery: true, found };
                                let (reach, obstacles) = judge(facts.clone());
                                let told = !obstacles.is_empty() || matches!(reach, Reach::Direct | Reach::Unknown);
                                assert!(told, "{facts:?}: {reach:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
