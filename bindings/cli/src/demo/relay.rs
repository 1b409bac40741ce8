//! A relay on loopback.

use std::net::Ipv4Addr;

use iroh_relay::server::{RelayConfig, Server, ServerConfig};

use crate::{cli::Problem, exit::Exit};

/// The number of keys that the relay remembers. The default of one million takes 56 MB.
const KEYS: usize = 1024;

/// A relay for this machine alone. It uses plain HTTP, because the traffic stays on loopback. Drop stops it.
pub(super) struct Relay {
    server: Server,
    url: String,
}

impl Relay {
    pub(super) async fn start() -> Result<Self, Problem> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Problem::because(Exit::Failure, "the relay cannot start", error)
        };
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        relay.key_cache_capacity = Some(KEYS);
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.map_err(|error| failed(&error))?;
        let addr = server.http_addr().ok_or_else(|| Problem::new(Exit::Failure, "the relay has no address"))?;
        Ok(Self { server, url: format!("http://{addr}") })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) async fn stop(self) {
        // An error is ignored, because the relay serves no clients any more.
        let _ = self.server.shutdown().await;
    }
}
