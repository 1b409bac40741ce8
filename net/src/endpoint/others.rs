//! The protocols of others that an endpoint accepts beside its own: handlers of iroh, by ALPN.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use iroh::{
    endpoint::{Accepting, AlpnError, QuicTransportConfig, ServerConfig},
    protocol::DynProtocolHandler,
};
use n0_future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Endpoint, transport};
use crate::{
    error::AlsoAcceptError,
    peer::Underlay,
    tasks::Tasks,
    wire::{ALPN, PROBE_ALPN},
    words::Shown,
};

/// The handlers of the other protocols, and the configurations with which connections of any protocol are accepted.
#[derive(Debug)]
pub(super) struct Others {
    table: RwLock<Table>,
    /// Cancelled when every handler has ended. What is left of their connections ends then.
    ended: CancellationToken,
}

#[derive(Debug)]
struct Table {
    /// In the order in which they were added. Of several ALPNs that a client offers, the first one counts.
    handlers: Vec<(Vec<u8>, Arc<dyn DynProtocolHandler>)>,
    configs: Configs,
    /// Whether the handlers were told to end. No handler is added afterwards.
    ending: bool,
}

/// The configurations with which a connection is accepted. They name all ALPNs: which one a connection is for is known
/// only later.
#[derive(Debug)]
struct Configs {
    with_relay: Arc<ServerConfig>,
    without_relay: Arc<ServerConfig>,
}

impl Table {
    fn handler(&self, alpn: &[u8]) -> Option<&Arc<dyn DynProtocolHandler>> {
        self.handlers.iter().find(|(its, _)| its == alpn).map(|(_, handler)| handler)
    }
}

impl Configs {
    fn new<'a>(underlay: &Underlay, others: impl Iterator<Item = &'a Vec<u8>>) -> Self {
        let ours = [ALPN, PROBE_ALPN].map(<[u8]>::to_vec);
        let alpns: Vec<_> = ours.into_iter().chain(others.cloned()).collect();
        let config = |transport: &QuicTransportConfig| {
            let builder = underlay.iroh.create_server_config_builder(alpns.clone());
            Arc::new(builder.set_transport_config(transport.clone()).build())
        };
        let transports = &underlay.transports;
        Self { with_relay: config(&transports.with_relay), without_relay: config(&transports.without_relay) }
    }
}

impl Others {
    /// Starts without a handler.
    pub(super) fn new(underlay: &Underlay) -> Self {
        let configs = Configs::new(underlay, std::iter::empty());
        let table = Table { handlers: Vec::new(), configs, ending: false };
        Self { table: RwLock::new(table), ended: CancellationToken::new() }
    }

    /// Adds a handler. Connections that begin from now on can be for its protocol.
    pub(super) fn add(
        &self,
        underlay: &Underlay,
        alpn: Vec<u8>,
        handler: Box<dyn DynProtocolHandler>,
    ) -> Result<(), AlsoAcceptError> {
        if !(1..=255).contains(&alpn.len()) {
            return Err(AlsoAcceptError::Length { len: alpn.len() });
        }
        let mut table = self.write();
        if table.ending {
            return Err(AlsoAcceptError::ShuttingDown);
        }
        if alpn == ALPN || alpn == PROBE_ALPN || table.handler(&alpn).is_some() {
            return Err(AlsoAcceptError::Taken { alpn: String::from_utf8_lossy(&alpn).into_owned() });
        }
        table.handlers.push((alpn, Arc::from(handler)));
        let configs = Configs::new(underlay, table.handlers.iter().map(|(alpn, _)| alpn));
        table.configs = configs;
        Ok(())
    }

    /// Returns the configuration with which the next connection is accepted. `relayed`: whether data can take a relay
    /// when a direct path is cut.
    pub(super) fn server_config(&self, relayed: bool) -> Arc<ServerConfig> {
        let table = self.read();
        Arc::clone(if relayed { &table.configs.with_relay } else { &table.configs.without_relay })
    }

    /// Returns the handler of a connection, once its ALPN is known. `None` if the connection is for this library.
    pub(super) async fn handler_of(
        &self,
        accepting: &mut Accepting,
    ) -> Result<Option<Arc<dyn DynProtocolHandler>>, AlpnError> {
        if self.read().handlers.is_empty() {
            return Ok(None);
        }
        let alpn = accepting.alpn().await?;
        Ok(self.read().handler(&alpn).cloned())
    }

    /// Gives a connection to its handler, and returns when the handler has ended, or when all handlers have. `place`
    /// is the place of the handshake. A handler may do all of its work within the handshake, as iroh allows, so the
    /// place is given back after `bound` at the latest.
    pub(super) async fn hand_over(
        &self,
        accepting: Accepting,
        handler: &dyn DynProtocolHandler,
        bound: Duration,
        place: impl Send,
    ) {
        let handling = async {
            let mut place = Some(place);
            let mut shaking = handler.on_accepting(accepting);
            let shaken = match timeout(bound, &mut shaking).await {
                Ok(shaken) => shaken,
                Err(_) => {
                    drop(place.take());
                    shaking.await
                }
            };
            drop(place);
            let connection = match shaken {
                Ok(connection) => connection,
                Err(error) => return tracing::debug!(error = %Shown(error), "another protocol's handshake failed"),
            };
            transport::leave_to_others(&connection);
            if let Err(error) = handler.accept(connection).await {
                tracing::debug!(error = %Shown(error), "another protocol's handler failed");
            }
        };
        self.ended.run_until_cancelled(handling).await;
    }

    /// Tells the handlers to end, once, and waits until they have. Then ends what is left of their connections.
    ///
    /// Cancel-safe: the handlers end without the call too.
    pub(super) async fn end(&self, tasks: &Tasks) {
        let handlers = {
            let mut table = self.write();
            let first = !std::mem::replace(&mut table.ending, true);
            // A handler may hold what holds this table.
            first.then(|| std::mem::take(&mut table.handlers))
        };
        if let Some(handlers) = handlers {
            // Dropped when the task ends, also if a handler panics.
            let ended = self.ended.clone().drop_guard();
            if !handlers.is_empty() {
                tasks.spawn_last(async move {
                    let _ended = ended;
                    join_all(handlers.iter().map(|(_, handler)| handler.shutdown())).await;
                });
            }
        }
        self.ended.cancelled().await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    /// Accepts another protocol on the iroh endpoint of this endpoint: connections with the ALPN `alpn` go to
    /// `handler`, which is any handler that iroh's `Router` takes. It is called as a `Router` calls it: for each
    /// connection, and when this endpoint shuts down. The limits on handshakes under way
    /// ([`Limits::handshakes`](crate::Limits::handshakes)) hold for its connections too; this library's rules, hooks
    /// and other limits do not.
    ///
    /// [`Endpoint::iroh`] is the iroh endpoint on which such a protocol dials. Both share one key, one socket and one
    /// connection to a relay.
    ///
    /// The endpoint keeps the handler until it shuts down. A handler that holds a clone of this endpoint keeps it
    /// alive until then.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use iroh::{
    ///     endpoint::Connection,
    ///     protocol::{AcceptError, ProtocolHandler},
    /// };
    /// use twolane::Endpoint;
    ///
    /// #[derive(Debug)]
    /// struct Hello;
    ///
    /// impl ProtocolHandler for Hello {
    ///     async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
    ///         let mut stream = connection.open_uni().await?;
    ///         stream.write_all(b"hello").await.map_err(AcceptError::from_err)?;
    ///         stream.finish()?;
    ///         connection.closed().await;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server = Endpoint::builder().offline().bind().await?;
    /// server.also_accept(b"hello/1", Hello)?;
    ///
    /// let client = Endpoint::builder().offline().bind().await?;
    /// let connection = client.iroh().connect(server.ticket().to_addr(), b"hello/1").await?;
    /// assert_eq!(connection.accept_uni().await?.read_to_end(100).await?, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AlsoAcceptError`] if the ALPN is not valid or is taken, if this endpoint is attached to an iroh endpoint
    /// of the program ([`Builder::attach`](crate::Builder::attach)), or once it shuts down.
    pub fn also_accept(
        &self,
        alpn: impl AsRef<[u8]>,
        handler: impl Into<Box<dyn DynProtocolHandler>>,
    ) -> Result<(), AlsoAcceptError> {
        let inner = self.inner();
        if inner.attached.is_some() {
            return Err(AlsoAcceptError::Attached);
        }
        inner.inbound.others.add(&inner.peers.underlay, alpn.as_ref().to_vec(), handler.into())
    }
}
