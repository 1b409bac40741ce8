//! Tickets.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    net::SocketAddr,
};

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyString, PyType},
};
use twolane::TransportAddr;

use crate::{
    error::Problem,
    key::{self, PeerId},
};

/// A peer's key with the addresses that were known when the ticket was made. One machine shows it and another
/// machine uses it.
///
/// Made from its text, or from an id52 or a `PeerId`, which gives a ticket without addresses. `str()` returns the
/// text. A ticket is not secret, and grants no access.
///
/// Raises `InvalidTicket` (a `ValueError`) if the value is neither a ticket nor a key.
#[pyclass(frozen, eq, module = "twolane", name = "Ticket")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) twolane::Ticket);

#[pymethods]
impl Ticket {
    #[new]
    #[pyo3(signature = (peer, *, addrs = None, relays = None))]
    fn new(peer: &Bound<'_, PyAny>, addrs: Option<Vec<String>>, relays: Option<Vec<String>>) -> PyResult<Self> {
        let mut ticket = ticket_from(peer)?;
        for addr in addrs.unwrap_or_default() {
            ticket = ticket.with_addr(socket_addr(&addr)?);
        }
        for relay in relays.unwrap_or_default() {
            let url = relay.parse().map_err(|_| {
                Problem::new("InvalidTicket", format!("{relay} is not the URL of a relay, such as https://example.org"))
            })?;
            ticket = ticket.with_relay(url);
        }
        Ok(Self(ticket))
    }

    /// The peer.
    #[getter]
    fn peer(&self) -> PeerId {
        PeerId(self.0.peer())
    }

    /// The peer's addresses, such as `192.0.2.7:4433`.
    #[getter]
    fn addrs(&self) -> Vec<String> {
        let ip = |addr: &_| if let TransportAddr::Ip(addr) = addr { Some(addr.to_string()) } else { None };
        self.0.addrs().iter().filter_map(ip).collect()
    }

    /// The URLs of the peer's relays.
    #[getter]
    fn relays(&self) -> Vec<String> {
        let relay = |addr: &_| if let TransportAddr::Relay(url) = addr { Some(url.to_string()) } else { None };
        self.0.addrs().iter().filter_map(relay).collect()
    }

    /// Returns the ticket without direct addresses, so that the peer is reached over its relay first.
    fn relay_only(&self) -> Self {
        Self(self.0.clone().relay_only())
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Ticket('{}')", self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.peer().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (String,)) {
        (slf.get_type(), (slf.get().__str__(),))
    }
}

/// Returns the ticket of a peer that is given as a `PeerId`, a `Ticket` or the text of either.
pub(crate) fn ticket_from(value: &Bound<'_, PyAny>) -> PyResult<twolane::Ticket> {
    if let Ok(peer) = value.cast::<PeerId>() {
        return Ok(twolane::Ticket::new(peer.get().0));
    }
    if let Ok(ticket) = value.cast::<Ticket>() {
        return Ok(ticket.get().0.clone());
    }
    let Ok(text) = value.cast::<PyString>() else {
        let name = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a PeerId, a Ticket, or the text of one is needed, not {name}")));
    };
    Ok(text.to_str()?.parse().map_err(|error: twolane::ParseTicketError| Problem::of("InvalidTicket", &error))?)
}

/// Parses an address with its port.
pub(crate) fn socket_addr(text: &str) -> PyResult<SocketAddr> {
    let wrong =
        || Problem::new("InvalidOption", format!("{text:?} is not an address with a port, such as 0.0.0.0:4433"));
    Ok(text.parse().map_err(|_| wrong())?)
}

/// Returns peers, each given in a form that `key::peer_from` accepts.
pub(crate) fn peers_from(values: &[Bound<'_, PyAny>]) -> PyResult<Vec<twolane::PublicKey>> {
    values.iter().map(|value| Ok(key::peer_from(value)?.0)).collect()
}
