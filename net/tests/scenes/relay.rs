//! A relay on loopback, for endpoints that start there or have nothing else.

use std::net::Ipv4Addr;

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use twolane::{Builder, Endpoint, Limits, Ticket};

/// Plain HTTP, as nobody else is on the way. Dropped, it stops.
pub(crate) struct Relay {
    _server: Server,
    url: String,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        // Its default of a million keys costs 56 MB.
        relay.key_cache_capacity = Some(64);
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.unwrap();
        let url = format!("http://{}", server.http_addr().unwrap());
        Self { _server: server, url }
    }

    /// An endpoint on loopback that also has this relay.
    pub(crate) fn builder(&self, limits: Limits) -> Builder {
        let loopback = (Ipv4Addr::LOCALHOST, 0).into();
        Endpoint::builder().limits(limits).mdns(false).bind_addr(loopback).relay(&self.url)
    }

    /// Where `endpoint` is found by way of the relay alone.
    pub(crate) fn ticket(&self, endpoint: &Endpoint) -> Ticket {
        Ticket::new(endpoint.id()).with_relay(self.url.parse().unwrap())
    }
}
