//! The iroh endpoint under the connections, and how this library dials on it.

use iroh::{
    Watcher,
    endpoint::{ConnectError, ConnectOptions, Connection, QuicTransportConfig},
};
use twolane_id::PublicKey;

use crate::key;

/// Whether data can take a relay when a direct path is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HasRelay {
    Yes,
    No,
    /// The relays are the program's. iroh does not list them, and shows only the one that it has chosen.
    AsChosen,
}

/// The transport configurations of this library's connections.
#[derive(Debug, Clone)]
pub(crate) struct Transports {
    pub(crate) with_relay: QuicTransportConfig,
    pub(crate) without_relay: QuicTransportConfig,
}

/// The iroh endpoint. Other protocols may use it too, so every connection of this library is given its transport
/// configuration when it is made.
#[derive(Debug)]
pub(crate) struct Underlay {
    pub(crate) iroh: iroh::Endpoint,
    pub(crate) transports: Transports,
    relay: HasRelay,
}

impl Underlay {
    pub(crate) fn new(iroh: iroh::Endpoint, transports: Transports, relay: HasRelay) -> Self {
        Self { iroh, transports, relay }
    }

    /// Returns whether data can take a relay now.
    pub(crate) fn has_relay(&self) -> bool {
        match self.relay {
            HasRelay::Yes => true,
            HasRelay::No => false,
            HasRelay::AsChosen => !self.iroh.home_relay_status().get().is_empty(),
        }
    }

    /// Dials a peer. Cancel-safe: a dropped call dials no more.
    pub(crate) async fn connect(&self, peer: PublicKey, alpn: &[u8]) -> Result<Connection, ConnectError> {
        let transports = &self.transports;
        let transport = if self.has_relay() { &transports.with_relay } else { &transports.without_relay };
        let options = ConnectOptions::new().with_transport_config(transport.clone());
        let connecting = self.iroh.connect_with_opts(key::to_iroh(&peer), alpn, options).await?;
        Ok(connecting.await?)
    }
}
