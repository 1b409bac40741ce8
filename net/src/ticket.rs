//! Tickets: the key and the addresses of a peer in one string.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
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
/// Whoever writes a ticket decides where its reader sends packets, so a ticket is bounded: it has at most
/// [`MAX_ADDRS`](Self::MAX_ADDRS) addresses, and its text at most [`MAX_TEXT`](Self::MAX_TEXT) bytes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use twolane::Ticket;
///
/// let ticket: Ticket = "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0".parse()?;
/// let ticket = ticket.with_addr("192.0.2.7:4433".parse()?)?;
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
    /// The number under which an endpoint learned these addresses last: `endpoint/learned.rs`.
    told: AtomicU64,
}

static NOWHERE: BTreeSet<TransportAddr> = BTreeSet::new();

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.peer == other.peer && self.addrs() == other.addrs()
    }
}

impl Eq for Ticket {}

/// Why there is no ticket with these contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The key cannot be the key of a peer, because it is of small order.
    #[error("the key in the ticket cannot be the key of a peer")]
    Key,
    /// The text would be longer than that of any ticket.
    #[error("the ticket has {len} bytes of text, and the limit is {max}: use one with fewer addresses")]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
        /// The limit, [`Ticket::MAX_TEXT`].
        max: usize,
    },
    /// There are more addresses than a ticket has.
    #[error("the ticket has {found} addresses, and the limit is {max}: use one with fewer addresses")]
    TooManyAddresses {
        /// The number of different addresses and relays.
        found: usize,
        /// The limit, [`Ticket::MAX_ADDRS`].
        max: usize,
    },
}

/// Why a text is neither a ticket nor an id52.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTicketError {
    /// The text starts like a ticket, but is not a valid ticket.
    #[error("the ticket is damaged: copy the whole ticket again ({0})")]
    Damaged(String),
    /// The text is too long for a ticket, or is one whose contents cannot be used.
    #[error(transparent)]
    Content(#[from] TicketError),
    /// The text does not start like a ticket, and is not an id52.
    #[error("the text is neither a ticket (endpoint...) nor an id52: {0}")]
    Id52(#[source] ParsePublicKeyError),
}

impl Ticket {
    /// Maximum length of the text form in bytes: 4 KiB. A ticket with 32 addresses of IPv6 has about 1,140. The rest
    /// is for the names of relays.
    pub const MAX_TEXT: usize = 4096;

    /// Maximum number of different addresses and relays. A dial sends its first packets to each of them, 1,200 bytes at
    /// a time: with any number of addresses, a ticket could make its reader flood others, or search the reader's own
    /// network. A machine with a relay, two routers and a few virtual networks has about ten.
    pub const MAX_ADDRS: usize = 32;

    /// Creates a ticket without addresses.
    pub fn new(peer: PublicKey) -> Self {
        Self { peer, known: None }
    }

    /// Adds an address of the peer.
    ///
    /// # Errors
    ///
    /// [`TicketError::TooManyAddresses`] or [`TicketError::TooLong`] if it does not fit.
    pub fn with_addr(self, addr: SocketAddr) -> Result<Self, TicketError> {
        self.with(TransportAddr::Ip(addr))
    }

    /// Adds a relay of the peer.
    ///
    /// # Errors
    ///
    /// The same as for [`with_addr`](Self::with_addr).
    pub fn with_relay(self, relay: RelayUrl) -> Result<Self, TicketError> {
        self.with(TransportAddr::Relay(relay))
    }

    fn with(self, addr: TransportAddr) -> Result<Self, TicketError> {
        let (id, mut addrs) = (self.id(), self.addrs().clone());
        addrs.insert(addr);
        check(id, &addrs)?;
        Ok(Self::unchecked(self.peer, id, addrs))
    }

    /// Makes a ticket of addresses that fit into one.
    fn unchecked(peer: PublicKey, id: EndpointId, addrs: BTreeSet<TransportAddr>) -> Self {
        let known = (!addrs.is_empty()).then(|| Arc::new(Known { id, addrs, told: AtomicU64::new(0) }));
        Self { peer, known }
    }

    /// Makes a ticket of those addresses that fit. Where not all do, relays go first, then addresses that can be
    /// reached from everywhere, then those of private networks.
    pub(crate) fn of_those_that_fit(peer: PublicKey, addrs: impl IntoIterator<Item = TransportAddr>) -> Self {
        let mut addrs: Vec<_> = addrs.into_iter().collect();
        addrs.sort_by_key(rank);
        let id = key::to_iroh(&peer);
        Self::unchecked(peer, id, fitting(id, addrs).into_iter().collect())
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.known.as_ref().map_or_else(|| key::to_iroh(&self.peer), |known| known.id)
    }

    /// Returns whether an endpoint has learned the addresses in this ticket under this number.
    pub(crate) fn is_known_under(&self, number: u64) -> bool {
        self.known.as_ref().is_none_or(|known| known.told.load(Acquire) == number)
    }

    /// Records that an endpoint has learned the addresses in this ticket under this number, which is not 0.
    pub(crate) fn told(&self, number: u64) {
        if let Some(known) = &self.known {
            known.told.store(number, Release);
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
        Self::unchecked(self.peer, self.id(), relays)
    }

    /// Creates a ticket from iroh's type.
    ///
    /// # Errors
    ///
    /// [`TicketError`] for a key of small order, and for addresses that do not fit into a ticket.
    pub fn from_addr(addr: EndpointAddr) -> Result<Self, TicketError> {
        // The size first, as for a text.
        check(addr.id, &addr.addrs)?;
        let peer = key::from_iroh(&addr.id).ok_or(TicketError::Key)?;
        Ok(Self::unchecked(peer, addr.id, addr.addrs))
    }
}

/// Returns those of `addrs` that fit into one ticket, each once. Earlier ones go first.
pub(crate) fn fitting(id: EndpointId, addrs: impl IntoIterator<Item = TransportAddr>) -> Vec<TransportAddr> {
    let (mut taken, mut set) = (Vec::new(), BTreeSet::new());
    for addr in addrs {
        if set.len() == Ticket::MAX_ADDRS {
            break;
        }
        if set.insert(addr.clone()) {
            match check(id, &set) {
                Ok(()) => taken.push(addr),
                Err(_) => drop(set.remove(&addr)),
            }
        }
    }
    taken
}

fn check(id: EndpointId, addrs: &BTreeSet<TransportAddr>) -> Result<(), TicketError> {
    let (len, max) = (text_len(id, addrs), Ticket::MAX_TEXT);
    if len > max {
        return Err(TicketError::TooLong { len, max });
    }
    let (found, max) = (addrs.len(), Ticket::MAX_ADDRS);
    if found > max { Err(TicketError::TooManyAddresses { found, max }) } else { Ok(()) }
}

/// Returns the length of the text of a ticket: the word, and one character for every five bits.
fn text_len(id: EndpointId, addrs: &BTreeSet<TransportAddr>) -> usize {
    let ticket = EndpointTicket::new(EndpointAddr::from_parts(id, addrs.iter().cloned()));
    EndpointTicket::KIND.len() + (ticket.encode_bytes().len() * 8).div_ceil(5)
}

/// Orders addresses by how likely a stranger can use them. The most likely ones have the lowest rank.
fn rank(addr: &TransportAddr) -> u8 {
    match addr {
        TransportAddr::Relay(_) => 0,
        TransportAddr::Ip(addr) if !is_private(addr.ip()) => 1,
        _ => 2,
    }
}

/// Returns whether an address can be used only within some network: RFC 6890 lists them.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// Returns whether an address is behind a carrier's NAT: 100.64.0.0/10 (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
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
        // The length is checked before anything is decoded, because the text may come from anybody.
        let (len, max) = (text.len(), Self::MAX_TEXT);
        if len > max {
            return Err(TicketError::TooLong { len, max }.into());
        }
        let id52 = text.parse::<PublicKey>();
        // The id52 is parsed first: an id52 can begin like a ticket, and no ticket is as short as an id52.
        if id52.is_err() && text.starts_with(EndpointTicket::KIND) {
            let ticket: EndpointTicket = text.parse().map_err(|error| ParseTicketError::Damaged(format!("{error}")))?;
            return Ok(Self::from_addr(ticket.endpoint_addr().clone())?);
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
mod tests;
