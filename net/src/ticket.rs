//! Tickets: the key and the addresses of a peer in one string.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};
use iroh_tickets::{Ticket as _, endpoint::EndpointTicket};
use twolane_id::{ParsePublicKeyError, PublicKey};

use crate::key;

/// A peer's key with the addresses that were known when the ticket was created. One machine shows the ticket, and
/// another machine uses it to dial.
///
/// The text form is iroh's endpoint ticket. A bare id52 is parsed too, as a ticket without addresses: the peer is
/// then found by address lookup. A ticket contains no secret, and grants no rights.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use twolane::Ticket;
///
/// let ticket: Ticket = "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0".parse()?;
/// let ticket = ticket.with_addr("192.0.2.7:4433".parse()?);
/// assert_eq!(ticket.to_string().parse::<Ticket>()?, ticket);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Ticket {
    peer: PublicKey,
    /// The addresses of the peer. `None` while there are none. A ticket is used for each stream, and cloned for
    /// most.
    known: Option<Arc<Known>>,
}

/// The addresses of a peer.
#[derive(Debug)]
struct Known {
    /// The peer's key as iroh's type. The conversion takes 10 µs.
    id: EndpointId,
    addrs: BTreeSet<TransportAddr>,
    /// The number of the endpoint that learned these addresses last.
    told: AtomicU64,
}

static NOWHERE: BTreeSet<TransportAddr> = BTreeSet::new();

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.peer == other.peer && self.addrs() == other.addrs()
    }
}

impl Eq for Ticket {}

/// Why a text is neither a ticket nor an id52.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTicketError {
    /// The text starts like a ticket, but is not a valid ticket.
    #[error("the ticket is damaged: copy the whole ticket again ({0})")]
    Damaged(String),
    /// The ticket's key cannot be the key of a peer.
    #[error("the key in the ticket cannot be the key of a peer")]
    Key,
    /// The text does not start like a ticket, and is not an id52.
    #[error("the text is neither a ticket (endpoint...) nor an id52: {0}")]
    Id52(#[source] ParsePublicKeyError),
}

impl Ticket {
    /// Creates a ticket without addresses.
    pub fn new(peer: PublicKey) -> Self {
        Self { peer, known: None }
    }

    /// Adds an address of the peer.
    #[must_use]
    pub fn with_addr(self, addr: SocketAddr) -> Self {
        self.with(TransportAddr::Ip(addr))
    }

    /// Adds a relay of the peer.
    #[must_use]
    pub fn with_relay(self, relay: RelayUrl) -> Self {
        self.with(TransportAddr::Relay(relay))
    }

    fn with(self, addr: TransportAddr) -> Self {
        let mut addrs = self.addrs().clone();
        addrs.insert(addr);
        Self::of(self.peer, self.id(), addrs)
    }

    fn of(peer: PublicKey, id: EndpointId, addrs: BTreeSet<TransportAddr>) -> Self {
        let known = (!addrs.is_empty()).then(|| Arc::new(Known { id, addrs, told: AtomicU64::new(0) }));
        Self { peer, known }
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.known.as_ref().map_or_else(|| key::to_iroh(&self.peer), |known| known.id)
    }

    /// Returns whether the endpoint with this number knows the addresses in this ticket. (An endpoint forgets no
    /// address.)
    pub(crate) fn is_known_to(&self, endpoint: u64) -> bool {
        self.known.as_ref().is_none_or(|known| known.told.load(Acquire) == endpoint)
    }

    /// Records that the endpoint with this number, which is not 0, knows the addresses in this ticket.
    pub(crate) fn told(&self, endpoint: u64) {
        if let Some(known) = &self.known {
            known.told.store(endpoint, Release);
        }
    }

    /// Returns the key of the peer.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// Returns the addresses and relays of the peer.
    pub fn addrs(&self) -> &BTreeSet<TransportAddr> {
        self.known.as_ref().map_or(&NOWHERE, |known| &known.addrs)
    }

    /// Returns the ticket as iroh's type.
    pub fn to_addr(&self) -> EndpointAddr {
        EndpointAddr::from_parts(self.id(), self.addrs().iter().cloned())
    }

    /// Removes the direct addresses, so that the peer is reached over its relay first.
    #[must_use]
    pub fn relay_only(self) -> Self {
        let relays = self.addrs().iter().filter(|addr| addr.is_relay()).cloned().collect();
        Self::of(self.peer, self.id(), relays)
    }

    /// Creates a ticket from iroh's type. Returns `None` for a key of small order.
    pub fn from_addr(addr: EndpointAddr) -> Option<Self> {
        key::from_iroh(&addr.id).map(|peer| Self::of(peer, addr.id, addr.addrs))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&EndpointTicket::new(self.to_addr()), f)
    }
}

impl FromStr for Ticket {
    type Err = ParseTicketError;

    fn from_str(text: &str) -> Result<Self, ParseTicketError> {
        let text = text.trim();
        let id52 = text.parse::<PublicKey>();
        // The id52 is parsed first: an id52 can begin like a ticket, and no ticket is as short as an id52.
        if id52.is_err() && text.starts_with(EndpointTicket::KIND) {
            let ticket: EndpointTicket = text.parse().map_err(|error| ParseTicketError::Damaged(format!("{error}")))?;
            return Self::from_addr(ticket.endpoint_addr().clone()).ok_or(ParseTicketError::Key);
        }
        id52.map(Self::new).map_err(ParseTicketError::Id52)
    }
}

impl From<PublicKey> for Ticket {
    fn from(peer: PublicKey) -> Self {
        Self::new(peer)
    }
}

impl From<&PublicKey> for Ticket {
    fn from(peer: &PublicKey) -> Self {
        Self::new(*peer)
    }
}

impl From<&Self> for Ticket {
    fn from(ticket: &Self) -> Self {
        ticket.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID52: &str = "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0";

    #[test]
    fn a_ticket_keeps_its_addresses_and_relays() {
        let ticket: Ticket = ID52.parse().expect("an id52");
        let ticket = ticket
            .with_addr("[2001:db8::1]:9".parse().expect("an address"))
            .with_relay("https://relay.example".parse().expect("a relay"));
        let text = ticket.to_string();
        assert!(text.starts_with("endpoint"));
        assert_eq!(text.parse::<Ticket>(), Ok(ticket.clone()));
        assert_eq!(ticket.relay_only().addrs().len(), 1);
    }

    #[test]
    fn each_kind_of_wrong_ticket_says_what_is_wrong() {
        let ticket = ID52.parse::<Ticket>().expect("an id52").to_string();
        assert!(matches!(ticket[..ticket.len() - 3].parse::<Ticket>(), Err(ParseTicketError::Damaged(_))));
        assert!(matches!("endpoint".parse::<Ticket>(), Err(ParseTicketError::Damaged(_))));
        assert!(matches!("".parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
        assert!(matches!(ID52[1..].parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
        assert!(matches!(ID52.replace('q', "z").parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
    }

    #[test]
    fn white_space_around_a_pasted_ticket_does_no_harm() {
        assert!(format!("  {ID52}\n").parse::<Ticket>().is_ok());
    }

    #[test]
    fn what_an_endpoint_was_told_is_remembered_by_every_clone_and_not_by_another_ticket() {
        let bare: Ticket = ID52.parse().expect("an id52");
        assert!(bare.is_known_to(1), "it says nothing of where its peer is");
        let ticket = bare.with_addr("192.0.2.7:4433".parse().expect("an address"));
        assert!(!ticket.is_known_to(1));
        ticket.clone().told(1);
        assert!(ticket.is_known_to(1) && !ticket.is_known_to(2));
        let more = ticket.with_addr("192.0.2.8:4433".parse().expect("an address"));
        assert!(!more.is_known_to(1), "one address of it is new");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(endpoint)?[a-z0-9 ]{0,200}|\\PC{0,50}") {
            let _ = text.parse::<Ticket>();
        }
    }
}
