//! A relay on loopback, for endpoints that start with it or have no other path.

use std::net::{Ipv4Addr, SocketAddr};

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use twolane::{Builder, Endpoint, Limits, Ticket};

/// A relay with plain HTTP, because its traffic stays on this machine. Dropping it stops it.
pub(crate) struct Relay {
    _server: Server,
    pub(crate) addr: SocketAddr,
    pub(crate) url: String,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts a relay whose configuration `change` changes.
    pub(crate) async fn start_with(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        // The default of a million keys costs 56 MB.
        relay.key_cache_capacity = Some(64);
        change(&mut relay);
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.unwrap();
        let addr = server.http_addr().unwrap();
        Self { _server: server, addr, url: format!("http://{addr}") }
    }

    /// Returns the builder of an endpoint on loopback that also has this relay.
    pub(crate) fn builder(&self, limits: Limits) -> Builder {
        let loopback = (Ipv4Addr::LOCALHOST, 0).into();
        Endpoint::builder().limits(limits).mdns(false).bind_addr(loopback).relay(&self.url)
    }

    /// Returns a ticket that finds `endpoint` through the relay only.
    pub(crate) fn ticket(&self, endpoint: &Endpoint) -> Ticket {
        Ticket::new(endpoint.id()).with_relay(self.url.parse().unwrap()).unwrap()
    }
}
