//! An endpoint on an iroh endpoint that is the program's.
//!
//! An endpoint that was bound owns its iroh endpoint: it accepts on it, and closes it. An attached endpoint owns none,
//! and gets its connections from the program (`handler.rs`). Either of the two ends with its iroh endpoint:
//!
//! | what happens | bound | attached |
//! | --- | --- | --- |
//! | `Endpoint::shutdown` | GOAWAY, streams run out, the iroh endpoint is closed | the same, and it stays open |
//! | the last handle is dropped | connections and the iroh endpoint are closed | connections are closed |
//! | the iroh endpoint is closed | every wait ends: shutting down | the same |
//! | iroh's `Router` is shut down | - | as `Endpoint::shutdown`, then the `Router` closes the iroh endpoint |
//! | a connection comes after the end | refused | refused by the filter; turned away by the handler |

use std::{
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Instant,
};

use iroh::{
    EndpointId,
    address_lookup::{AddressLookup, Error, Item},
};
use n0_future::boxed::BoxStream;

use super::{
    Builder, Endpoint, Relays,
    bind::{check_clock, check_delegations},
    learned::Learned,
    parts::{self, Parts},
    revocation_file::RevocationFile,
};
use crate::{error::BindError, key, tasks::Tasks, ticket::Ticket};

/// The state of an endpoint that is attached to an iroh endpoint of the program.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) since: Instant,
    /// Whether the program has a way to give it connections: peers cannot reach it before.
    pub(super) accepts: AtomicBool,
}

/// Lets iroh find the peers whose addresses this endpoint has been told, for as long as the endpoint is there. iroh
/// offers no way to take a lookup back.
#[derive(Debug)]
struct WhileThere(Weak<Learned>);

impl AddressLookup for WhileThere {
    fn resolve(&self, id: EndpointId) -> Option<BoxStream<Result<Item, Error>>> {
        self.0.upgrade()?.resolve(id)
    }
}

impl Builder {
    /// Makes an endpoint on an iroh endpoint that the program has, beside its other protocols. They share one key, one
    /// socket and one connection to a relay. Returns at once.
    ///
    /// The network is that of the iroh endpoint: its key, addresses, relays and lookups. Options of this builder
    /// about them are errors. All others hold as for [`bind`](Builder::bind). The addresses of a
    /// [`Ticket`](crate::Ticket) that this endpoint learns serve all protocols of the iroh endpoint.
    ///
    /// The endpoint dials by itself. It is given inbound connections by the program: by iroh's `Router`
    /// ([`Endpoint::route`]), or by an accept loop of the program ([`Endpoint::take_incoming`]). A `Router` accepts
    /// with the transport configuration of the iroh endpoint: [`Builder::transport_config`] has one that fits.
    ///
    /// The iroh endpoint remains the program's. If it is closed, this endpoint ends, and its peers are told.
    /// [`Endpoint::shutdown`] and dropping the last handle close the connections of this endpoint, and leave the
    /// iroh endpoint open. Another endpoint can be attached afterwards; peers take it for a restarted one. Two at
    /// the same time would push each other out, as any two endpoints with one key do.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::net::Ipv4Addr;
    /// # use iroh::endpoint::PortmapperConfig;
    /// use std::time::Duration;
    /// use iroh::{RelayMode, endpoint::presets};
    /// use twolane::Endpoint;
    ///
    /// let iroh = iroh::Endpoint::builder(presets::Minimal)
    /// #   .portmapper_config(PortmapperConfig::Disabled)
    /// #   .clear_ip_transports()
    /// #   .bind_addr((Ipv4Addr::LOCALHOST, 0))?
    ///     .relay_mode(RelayMode::Disabled)
    ///     .bind()
    ///     .await?;
    /// let endpoint = Endpoint::builder().attach(&iroh)?;
    ///
    /// # let server = Endpoint::builder().offline().bind().await?;
    /// # server.serve_requests("upper/1", |request| async move { Ok(request.body.to_ascii_uppercase().into()) })?;
    /// # let ticket = server.ticket();
    /// let response = endpoint.request(ticket, "upper/1", "quiet", Duration::from_secs(5)).await?;
    /// assert_eq!(response, "QUIET");
    ///
    /// endpoint.shutdown(Duration::from_secs(5)).await;
    /// assert!(!iroh.is_closed());
    /// # iroh.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError::Attached`] if an option about the network was set, [`BindError::IrohClosed`],
    /// [`BindError::NoRuntime`] outside a tokio runtime, [`BindError::Delegation`] if a certificate is for another key,
    /// [`BindError::Revocations`] if the file of revocations cannot be used, and [`BindError::Clock`] if the machine's
    /// clock shows a time before 1970.
    pub fn attach(mut self, iroh: &iroh::Endpoint) -> Result<Endpoint, BindError> {
        if let Some(option) = self.of_network {
            return Err(BindError::Attached { option });
        }
        check_clock(&self.gate)?;
        let tasks = Tasks::try_here().ok_or(BindError::NoRuntime)?;
        // Never an error: the key of an endpoint comes from a secret one, and is not of small order.
        let us = key::from_iroh(&iroh.id()).ok_or(BindError::IrohClosed)?;
        check_delegations(&self.gate.delegations, us)?;
        let revocation_file = RevocationFile::open(self.revocation_file, &mut self.gate)?;
        let limits = self.limits.sane();
        let learned = Learned::new(&limits, &self.peers);
        // An error means that it is closed.
        iroh.address_lookup().map_err(|_| BindError::IrohClosed)?.add(WhileThere(Arc::downgrade(&learned)));
        let endpoint = parts::start(Parts {
            iroh: iroh.clone(),
            attached: Some(Attached { since: Instant::now(), accepts: AtomicBool::new(false) }),
            us,
            limits,
            congestion: self.congestion,
            paths: self.paths,
            gate: self.gate,
            tasks,
            named: self.peers.iter().map(Ticket::peer).collect(),
            learned,
            revocation_file,
            mdns: None,
            // Unknown; what iroh finds tells.
            relays: Relays { configured: false, discovery: false },
        })?;
        let inner = endpoint.inner();
        let (closed, peers, router) = (iroh.closed(), Arc::clone(&inner.peers), Arc::clone(&inner.router));
        inner.tasks.spawn(async move {
            tokio::select! {
                () = closed => parts::end(&peers, &router),
                () = peers.closing.cancelled() => {}
            }
        });
        Ok(endpoint)
    }
}
