//! What an endpoint can reach, and by which it can be reached.

use std::net::SocketAddr;

use iroh::{TransportAddr, Watcher};

use super::Endpoint;

/// How an endpoint stands in the network. What is not reachable is said here, and fails nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Local sockets.
    pub sockets: Vec<SocketAddr>,
    /// Addresses at which peers may reach us, as far as known.
    pub addrs: Vec<SocketAddr>,
    /// Relays, and whether they know us. Empty if none is configured, or none was chosen yet.
    pub relays: Vec<RelayStatus>,
    /// Whether peers on the local network are found: `None` if that is off, the reason if it does not work.
    pub local_network: Option<Result<(), String>>,
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Its URL.
    pub url: String,
    /// Whether it knows us now.
    pub connected: bool,
    /// Why it does not.
    pub last_error: Option<String>,
}

impl Endpoint {
    /// How this endpoint stands in the network now.
    pub fn status(&self) -> Status {
        let inner = self.inner();
        let relays = inner.iroh.home_relay_status().get();
        Status {
            sockets: inner.iroh.bound_sockets(),
            addrs: inner
                .iroh
                .addr()
                .addrs
                .into_iter()
                .filter_map(|addr| match addr {
                    TransportAddr::Ip(addr) => Some(addr),
                    _ => None,
                })
                .collect(),
            relays: relays
                .iter()
                .map(|relay| RelayStatus {
                    url: relay.url().to_string(),
                    connected: relay.is_connected(),
                    last_error: relay.last_error().map(|error| error.to_string()),
                })
                .collect(),
            local_network: inner.mdns.clone(),
        }
    }
}
