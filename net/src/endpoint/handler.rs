//! Inbound connections on an iroh endpoint that is the program's: through iroh's `Router`, or through an accept loop of
//! the program.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use iroh::{
    endpoint::{Accepting, Connection, Incoming},
    protocol::{AcceptError, IncomingFilter, ProtocolHandler, RouterBuilder},
};

use super::{Endpoint, accept::offers_ours};
use crate::{
    error::RouteError,
    wire::{ALPN, PROBE_ALPN},
};

/// Default of [`RouterHandler::drain`]: ten round trips over a satellite, in which short streams end. iroh's
/// `Router` has no deadline of its own, and whoever shuts it down expects that it ends.
const DRAIN: Duration = Duration::from_secs(5);

/// The handler of an attached endpoint's connections for iroh's `Router`; returned by [`Endpoint::handler`].
///
/// Within the handshake it keeps to the limits on handshakes ([`Limits::handshakes`](crate::Limits::handshakes),
/// [`Limits::hello_timeout`](crate::Limits::hello_timeout)), and afterwards to all others. When the `Router` shuts
/// down, the handler shuts its endpoint down in order, before the `Router` closes the iroh endpoint.
///
/// It holds a clone of the endpoint. Dropping it closes nothing, unless it is the last one.
#[derive(Debug, Clone)]
pub struct RouterHandler {
    endpoint: Endpoint,
    drain: Duration,
}

impl RouterHandler {
    /// Sets the deadline of the endpoint's [`shutdown`](Endpoint::shutdown) when the `Router` shuts down. Default: 5 s.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Returns a filter for the `Router`, which decides about a connection at its first packet. It refuses what is over
    /// the limits on handshakes before that has cost a handshake, and lets addresses prove themselves while many
    /// handshakes are under way (QUIC Retry). Without it, an attacker can take all places for handshakes from forged
    /// addresses.
    ///
    /// It accepts connections of other protocols. Only while many handshakes of this endpoint are under way, a dialler
    /// whose protocol the first packet does not tell has to prove its address, too.
    ///
    /// A `Router` has one filter. A program that has its own asks this one first.
    pub fn incoming_filter(&self) -> IncomingFilter {
        let inbound = Arc::clone(&self.endpoint.inner().inbound);
        Arc::new(move |incoming: &Incoming| inbound.filter(incoming))
    }
}

impl ProtocolHandler for RouterHandler {
    async fn on_accepting(&self, accepting: Accepting) -> Result<Connection, AcceptError> {
        self.endpoint.inner().inbound.shake_hands(accepting).await.map_err(AcceptError::from_err)
    }

    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        self.endpoint.inner().inbound.admit_routed(connection).await;
        Ok(())
    }

    async fn shutdown(&self) {
        self.endpoint.shutdown(self.drain).await;
    }
}

impl Endpoint {
    /// The ALPNs that an endpoint accepts: [`ALPN`](crate::ALPN), and that of connections that carry no data, by which
    /// peers look for direct paths and find out that this endpoint was restarted. An accept loop of the program gives
    /// both to iroh.
    pub const ALPNS: [&'static [u8]; 2] = [ALPN, PROBE_ALPN];

    /// Returns the handler of this endpoint's connections for iroh's `Router`, if the endpoint is attached to an iroh
    /// endpoint ([`Builder::attach`](crate::Builder::attach)). It has to be given to the `Router` for each of
    /// [`Endpoint::ALPNS`]; [`Endpoint::route`] does that, and sets the filter too.
    ///
    /// A `Router` accepts every connection with the transport configuration of its iroh endpoint, which has to be that
    /// of [`Builder::transport_config`](crate::Builder::transport_config). iroh shows it on connections only. If it is
    /// another one, peers that dial this endpoint are turned away, the log says so, and [`Endpoint::status`] has
    /// [`Obstacle::RouterTransport`](crate::Obstacle::RouterTransport). Connections that this endpoint dials, or takes
    /// in [`Endpoint::take_incoming`], have a configuration of their own.
    ///
    /// # Errors
    ///
    /// [`RouteError::NotAttached`].
    pub fn handler(&self) -> Result<RouterHandler, RouteError> {
        let inner = self.inner();
        let attached = inner.attached.as_ref().ok_or(RouteError::NotAttached)?;
        attached.accepts.store(true, Relaxed);
        Ok(RouterHandler { endpoint: self.clone(), drain: DRAIN })
    }

    /// Has iroh's `Router` accept the connections of this endpoint: gives it [`Endpoint::handler`] for each of
    /// [`Endpoint::ALPNS`], and sets [`RouterHandler::incoming_filter`]. Handlers of other protocols are added
    /// before or after this call.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use iroh::{RelayMode, endpoint::presets, protocol::Router};
    /// use twolane::Endpoint;
    ///
    /// let builder = Endpoint::builder();
    /// let iroh = iroh::Endpoint::builder(presets::Minimal)
    /// #   .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
    /// #   .clear_ip_transports()
    /// #   .bind_addr((std::net::Ipv4Addr::LOCALHOST, 0))?
    ///     .relay_mode(RelayMode::Disabled)
    ///     .transport_config(builder.transport_config(false)) // false: this iroh endpoint has no relay
    ///     .bind()
    ///     .await?;
    /// let endpoint = builder.attach(&iroh)?;
    /// let router = endpoint.route(Router::builder(iroh.clone()))?.spawn();
    /// assert_eq!(endpoint.id().as_bytes(), iroh.id().as_bytes());
    ///
    /// router.shutdown().await?; // ends `endpoint` in order, and closes `iroh`
    /// assert!(endpoint.accept().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`Endpoint::handler`].
    pub fn route(&self, router: RouterBuilder) -> Result<RouterBuilder, RouteError> {
        let handler = self.handler()?;
        let router = router.incoming_filter(handler.incoming_filter());
        Ok(Self::ALPNS.into_iter().fold(router, |router, alpn| router.accept(alpn, handler.clone())))
    }

    /// Takes a connection that an accept loop of the program has got from the iroh endpoint to which this endpoint is
    /// attached, if it is for this endpoint. Otherwise returns it. Connections that are taken have this endpoint's
    /// transport configuration and limits, whatever those of the iroh endpoint are.
    ///
    /// A connection is for this endpoint if its first packet offers one of [`Endpoint::ALPNS`]. A ClientHello of
    /// TLS may take several packets, and the first one may not tell. Such a connection is returned. Once its ALPN
    /// is known, the program gives it to [`Endpoint::handler`].
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use iroh::{RelayMode, endpoint::presets};
    /// # use twolane::Endpoint;
    /// # let iroh = iroh::Endpoint::builder(presets::Minimal)
    /// #     .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
    /// #     .clear_ip_transports()
    /// #     .bind_addr((std::net::Ipv4Addr::LOCALHOST, 0))?
    /// #     .relay_mode(RelayMode::Disabled)
    /// #     .bind()
    /// #     .await?;
    /// let endpoint = Endpoint::builder().attach(&iroh)?;
    /// iroh.set_alpns(Endpoint::ALPNS.map(<[u8]>::to_vec).into()); // and those of other protocols
    /// let accepting = tokio::spawn({
    ///     let (iroh, endpoint) = (iroh.clone(), endpoint.clone());
    ///     async move {
    ///         while let Some(incoming) = iroh.accept().await {
    ///             if let Some(other) = endpoint.take_incoming(incoming) {
    ///                 other.refuse(); // or accept it for another protocol
    ///             }
    ///         }
    ///     }
    /// });
    /// # iroh.close().await;
    /// # accepting.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_incoming(&self, incoming: Incoming) -> Option<Incoming> {
        let inner = self.inner();
        let Some(attached) = &inner.attached else { return Some(incoming) };
        attached.accepts.store(true, Relaxed);
        if offers_ours(&incoming) != Some(true) {
            return Some(incoming);
        }
        inner.inbound.take(incoming);
        None
    }
}
