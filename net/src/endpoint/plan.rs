//! What an endpoint does on the network, from everything that the program has asked for. Pure.
//!
//! The calls of the builder only record what was asked. The plan is made once, when the endpoint is bound, so the order
//! of the calls means nothing. Two options take things away, and no other option gives them back:
//!
//! | option | takes away |
//! | --- | --- |
//! | `offline` | relays, directories, DNS, multicast, port mapping; without an address to bind to, all but loopback |
//! | `relay_only` | sockets for direct paths, and with them multicast and port mapping |

use std::net::{Ipv4Addr, SocketAddr};

use iroh::RelayUrl;

use super::{
    proxy::ProxyFrom,
    relay::{Checked, Relay},
};
use crate::error::BindError;

/// What the program has asked for. `None`: nothing was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub(super) offline: bool,
    pub(super) relay_only: bool,
    pub(super) n0: Option<bool>,
    pub(super) mdns: Option<bool>,
    pub(super) port_mapping: Option<bool>,
    pub(super) relays: Vec<Relay>,
    /// The URL to publish at, and the DNS origin to look up under.
    pub(super) directory: Option<(String, String)>,
    pub(super) bind_addrs: Vec<SocketAddr>,
    pub(super) nameserver: Option<SocketAddr>,
    pub(super) public_resolvers: bool,
    pub(super) proxy: ProxyFrom,
}

/// What the endpoint does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) relays: PlannedRelays,
    /// Whether this endpoint publishes at n0's directory, and looks up peers there.
    pub(super) n0_directory: bool,
    pub(super) directory: Option<(RelayUrl, String)>,
    pub(super) sockets: Sockets,
    /// Whether peers on the local network are looked for, and told that this endpoint is there.
    pub(super) mdns: bool,
    /// Whether routers are asked to forward a port.
    pub(super) port_mapping: bool,
    pub(super) dns: Dns,
    pub(super) proxy: Option<RelayUrl>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PlannedRelays {
    None,
    /// n0's public relays.
    N0,
    Own(Vec<Checked>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sockets {
    /// No direct paths.
    None,
    /// One for each family, on all addresses of the machine.
    Any,
    /// These and no others, at most one for each family.
    At(Vec<SocketAddr>),
}

/// The DNS servers that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dns {
    None,
    /// Those of the system, and after them public ones if the program has asked for that.
    System {
        public: bool,
    },
    /// This one, and after it public ones if the program has asked for that.
    Server {
        at: SocketAddr,
        public: bool,
    },
}

/// What the plan depends on beside the wishes.
pub(super) struct Surroundings<'a> {
    /// Whether multicast is built in.
    pub(super) mdns: bool,
    /// n0's public relays.
    pub(super) n0_relays: &'a [RelayUrl],
    /// Returns the value of an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Plan {
    /// Makes the plan. A wish that cannot be used is an error also where another wish makes it void, except for a
    /// proxy, which the environment may have named.
    pub(super) fn make(wishes: &Wishes, around: &Surroundings<'_>) -> Result<Self, BindError> {
        let own = wishes.relays.iter().map(Relay::checked).collect::<Result<Vec<_>, _>>()?;
        let directory = wishes.directory.as_ref().map(|(pkarr, origin)| match pkarr.parse::<RelayUrl>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok((url, origin.clone())),
            _ => Err(BindError::DirectoryUrl(pkarr.clone())),
        });
        let directory = directory.transpose()?;
        let addrs = one_of_each_family(&wishes.bind_addrs)?;
        let online = !wishes.offline;
        let n0 = online && wishes.n0.unwrap_or(own.is_empty() && directory.is_none());
        let relays = match own.is_empty() {
            _ if !online => PlannedRelays::None,
            false => PlannedRelays::Own(own),
            true if n0 => PlannedRelays::N0,
            true => PlannedRelays::None,
        };
        if wishes.relay_only && relays == PlannedRelays::None {
            return Err(BindError::NoPath { offline: wishes.offline });
        }
        let directory = directory.filter(|_| online);
        let sockets = if wishes.relay_only {
            Sockets::None
        } else if !addrs.is_empty() {
            Sockets::At(addrs)
        } else if online {
            Sockets::Any
        } else {
            Sockets::At(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
        };
        let (may_multicast, everywhere) = match &sockets {
            Sockets::None => (false, false),
            Sockets::Any => (online, true),
            // Multicast and port mapping go out on every interface. An address says that the program wants one.
            Sockets::At(addrs) => (online, addrs.iter().any(|addr| addr.ip().is_unspecified())),
        };
        let public = wishes.public_resolvers;
        let dns = match wishes.nameserver {
            _ if !online => Dns::None,
            Some(at) => Dns::Server { at, public },
            None => Dns::System { public },
        };
        let servers = servers(&relays, directory.as_ref(), around);
        let proxy = if online { wishes.proxy.find(&servers, around.env)? } else { None };
        Ok(Self {
            n0_directory: n0,
            directory,
            mdns: may_multicast && wishes.mdns.unwrap_or(around.mdns && everywhere),
            // A program that wants no public infrastructure does not want UPnP either.
            port_mapping: may_multicast && wishes.port_mapping.unwrap_or(n0 && everywhere),
            relays,
            sockets,
            dns,
            proxy,
        })
    }
}

/// Returns the servers that a proxy would be for.
fn servers(relays: &PlannedRelays, directory: Option<&(RelayUrl, String)>, around: &Surroundings<'_>) -> Vec<RelayUrl> {
    let mut servers = match relays {
        PlannedRelays::None => Vec::new(),
        PlannedRelays::N0 => around.n0_relays.to_vec(),
        PlannedRelays::Own(own) => own.iter().map(|relay| relay.url.clone()).collect(),
    };
    servers.extend(directory.map(|(url, _)| url.clone()));
    servers
}

/// Returns the addresses, each once. iroh has one socket for each family.
fn one_of_each_family(addrs: &[SocketAddr]) -> Result<Vec<SocketAddr>, BindError> {
    let mut bound = Vec::<SocketAddr>::new();
    for addr in addrs {
        match bound.iter().find(|bound| bound.is_ipv4() == addr.is_ipv4()) {
            Some(first) if first == addr => {}
            Some(first) => return Err(BindError::TwoAddresses { first: *first, second: *addr }),
            None => bound.push(*addr),
        }
    }
    Ok(bound)
}

#[cfg(test)]
mod tests;
