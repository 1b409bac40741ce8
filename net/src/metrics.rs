//! Counters, in OpenMetrics text for whoever collects it.

use std::sync::Arc;

use iroh_metrics::{Counter, MetricsGroup, Registry};

use crate::Endpoint;

/// What an endpoint has counted since it was bound; got from [`Endpoint::metrics`]. All only grow.
///
/// When nothing is connected or under way, what begins and what ends is equal: `connections_dialled` +
/// `connections_accepted` = `connections_closed`, `peers_connected` = `peers_disconnected`, `streams_opened` +
/// `streams_accepted` = `streams_ended`.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "twolane")]
#[non_exhaustive]
pub struct Metrics {
    /// Peers that were not connected, and then were.
    pub peers_connected: Counter,
    /// Peers that were connected, and then were not.
    pub peers_disconnected: Counter,
    /// Connections that this endpoint dialled.
    pub connections_dialled: Counter,
    /// Connections that peers dialled, and that were admitted.
    pub connections_accepted: Counter,
    /// Of both, those that have ended.
    pub connections_closed: Counter,
    /// Connections made for nothing else than to have a direct path looked for again.
    pub path_probes: Counter,
    /// Connections made to ask a silent peer which instance of it is there.
    pub instances_asked: Counter,
    /// Dials that led to no connection, or to one that ended before the peer said HELLO.
    pub dials_failed: Counter,
    /// Inbound handshakes turned away at a limit, and connections that said nothing when others came.
    pub handshakes_refused: Counter,
    /// Inbound handshakes that were asked to prove their address first.
    pub handshakes_retried: Counter,
    /// Inbound handshakes that came to nothing.
    pub handshakes_failed: Counter,
    /// Connections turned away because as many peers as allowed were connected, or that peer had as many as one may have.
    pub peers_busy: Counter,
    /// Connections that the rules did not allow, or did not allow any more.
    pub connections_refused: Counter,
    /// Certificates that did not hold when they were presented, or do not hold any more.
    pub delegations_refused: Counter,
    /// Streams opened here, and accepted by the peer.
    pub streams_opened: Counter,
    /// Streams opened by peers, and accepted here.
    pub streams_accepted: Counter,
    /// Of both, those that have ended.
    pub streams_ended: Counter,
    /// Streams opened here that the peer turned away.
    pub streams_rejected_by_peer: Counter,
    /// Streams opened by peers and turned away here, for whatever reason.
    pub streams_rejected: Counter,
    /// Streams opened here that came to nothing for another reason than the peer's answer.
    pub streams_failed: Counter,
    /// Data bytes written to streams that have ended.
    pub data_bytes_sent: Counter,
    /// Data bytes read from streams that have ended.
    pub data_bytes_received: Counter,
    /// Records sent on error lanes: warnings, fatal errors and aborts.
    pub records_sent: Counter,
    /// Records received on error lanes.
    pub records_received: Counter,
}

impl Endpoint {
    /// What has been counted so far.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner().peers.shared.metrics
    }

    /// Every counter, this library's (`twolane_...`) and iroh's, as OpenMetrics text.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoint = twolane::Endpoint::builder().offline().bind().await?;
    /// assert!(endpoint.openmetrics().contains("twolane_streams_opened_total 0"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = self.registry().encode_openmetrics_to_writer(&mut text);
        text.push_str("# EOF\n");
        text
    }

    /// Serves [`Endpoint::openmetrics`] over HTTP at `addr`, until the endpoint is closed. The answer is the address
    /// that was bound, for a port 0. There is no access control: bind to loopback, or to a network that is trusted.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound to, or there is a server already.
    #[cfg(feature = "metrics")]
    pub async fn serve_metrics(&self, addr: std::net::SocketAddr) -> std::io::Result<std::net::SocketAddr> {
        let taken =
            || std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the endpoint serves its metrics already");
        let place = &self.inner().metrics_server;
        if place.lock().await.is_some() {
            return Err(taken());
        }
        let registry = Arc::new(std::sync::RwLock::new(self.registry()));
        let server = iroh_metrics::service::MetricsServer::spawn(addr, registry).await?;
        let bound = server.local_addr();
        let mut place = place.lock().await;
        if place.is_some() || self.inner().closing.is_cancelled() {
            return Err(taken());
        }
        *place = Some(server);
        Ok(bound)
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register(Arc::clone(self.metrics()) as Arc<dyn MetricsGroup>);
        registry.sub_registry_with_prefix("iroh").register_all(self.iroh().metrics());
        registry
    }
}
