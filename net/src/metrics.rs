//! Counters, and their export as OpenMetrics text.

use std::sync::Arc;

use iroh_metrics::{Counter, MetricsGroup, Registry};

use crate::Endpoint;

/// The counters of an endpoint since it was bound; returned by [`Endpoint::metrics`]. All of them only grow.
///
/// When nothing is connected or under way, the counts of beginnings and ends are equal: `connections_dialled` +
/// `connections_accepted` = `connections_closed`, `peers_connected` = `peers_disconnected`, `streams_opened` +
/// `streams_accepted` = `streams_ended`.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "twolane")]
#[non_exhaustive]
pub struct Metrics {
    /// Times that a peer became connected.
    pub peers_connected: Counter,
    /// Times that a peer became disconnected.
    pub peers_disconnected: Counter,
    /// Connections that this endpoint dialled.
    pub connections_dialled: Counter,
    /// Connections that peers dialled, and that this endpoint admitted.
    pub connections_accepted: Counter,
    /// Connections whose key exchange was post-quantum, whichever side dialled them.
    pub connections_post_quantum: Counter,
    /// Connections that have ended, whichever side dialled them.
    pub connections_closed: Counter,
    /// Connections made only to have iroh look for a direct path again.
    pub path_probes: Counter,
    /// Connections made to ask a silent peer which instance of it is running.
    pub instances_asked: Counter,
    /// Dials that led to no connection, or to one that ended before the peer sent HELLO.
    pub dials_failed: Counter,
    /// Inbound handshakes refused at a limit, and silent connections that made room for others.
    pub handshakes_refused: Counter,
    /// Inbound handshakes whose address had to be proved first (QUIC Retry).
    pub handshakes_retried: Counter,
    /// Inbound handshakes that led to no admitted connection.
    pub handshakes_failed: Counter,
    /// Connections turned away at the limit of connected peers, of peers from one place, or of connections of one peer.
    pub peers_busy: Counter,
    /// Connections that the rules did not allow, or no longer allow.
    pub connections_refused: Counter,
    /// Certificates that were not valid when they were presented, or are no longer valid.
    pub delegations_refused: Counter,
    /// Requests of peers that were handled before the handshake was done ([`ServeOptions::repeatable`]).
    ///
    /// [`ServeOptions::repeatable`]: crate::ServeOptions::repeatable
    pub requests_early: Counter,
    /// Requests that this endpoint sent before the handshake was done ([`RequestOptions::repeatable`]).
    ///
    /// [`RequestOptions::repeatable`]: crate::RequestOptions::repeatable
    pub requests_sent_early: Counter,
    /// Connections that this endpoint dialled and whose peer dropped what was sent before the handshake was done. It
    /// was sent again.
    pub early_rejected: Counter,
    /// Inbound connections whose first packets had come before: copies that somebody has recorded. Nothing of them was
    /// handled early.
    pub flights_repeated: Counter,
    /// Streams that this endpoint opened, and that the peer accepted.
    pub streams_opened: Counter,
    /// Streams that peers opened, and that this endpoint accepted.
    pub streams_accepted: Counter,
    /// Streams that have ended, whichever side opened them.
    pub streams_ended: Counter,
    /// Streams that this endpoint opened, and that the peer rejected.
    pub streams_rejected_by_peer: Counter,
    /// Streams that peers opened, and that this endpoint rejected for any reason.
    pub streams_rejected: Counter,
    /// Streams that this endpoint failed to open for a reason other than the peer's answer.
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
    /// Returns the counters of this endpoint.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner().peers.shared.metrics
    }

    /// Returns every counter, this library's (`twolane_...`) and iroh's, as OpenMetrics text.
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
        // Writing to a string cannot fail.
        let _ = self.registry().encode_openmetrics_to_writer(&mut text);
        text.push_str("# EOF\n");
        text
    }

    /// Serves [`Endpoint::openmetrics`] over HTTP at `addr`, until the endpoint is closed. Returns the address
    /// that was bound, with the port that was chosen if `addr` has port 0. There is no access control: bind to
    /// loopback, or to a trusted network.
    ///
    /// # Errors
    ///
    /// Returns an error if the address cannot be bound to, or if the endpoint already serves its metrics, or is closed.
    #[cfg(feature = "metrics")]
    pub async fn serve_metrics(&self, addr: std::net::SocketAddr) -> std::io::Result<std::net::SocketAddr> {
        let taken = || {
            std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "the endpoint already serves its metrics, or is closed",
            )
        };
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
