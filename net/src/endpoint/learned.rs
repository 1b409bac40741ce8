//! Where peers are, as far as tickets have told: the address book that iroh asks at each dial.
//!
//! Tickets come from anybody, so what is learned from them is bounded three times. A peer has as many addresses as fit
//! into one ticket. The addresses of [`Limits::known_peers`] peers are remembered. Those of a peer that has been of no
//! use for [`Limits::address_lifetime`] are forgotten. iroh's own book (`MemoryLookup`) has no such bounds, and panics
//! at a dial if the machine's clock was before 1970 when an address was added.
//!
//! [`Book`] decides, and [`Learned`] keeps it for the endpoint.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use iroh::{
    EndpointAddr, EndpointId, TransportAddr,
    address_lookup::{AddressLookup, EndpointInfo, Error, Item},
};
use n0_future::{StreamExt, boxed::BoxStream, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use crate::{
    limits::Limits,
    ticket::{Ticket, fitting},
};

#[cfg(test)]
mod tests;

/// The name of this book in iroh's counters of lookups.
const PROVENANCE: &str = "twolane_tickets";
/// Maximum time between two looks for what is to be forgotten. Each look goes through all peers, and wakes the process.
/// Ten minutes are little beside the default lifetime of a day.
const LOOK: Duration = Duration::from_secs(600);

/// The address book of one endpoint.
#[derive(Debug)]
pub(super) struct Learned {
    book: Mutex<Book>,
    /// The number under which tickets note that this book has their addresses: a call with such a ticket does not look
    /// into the book. The number changes when anything is forgotten, so that every ticket tells its addresses again.
    number: AtomicU64,
    /// The time between two looks for what is to be forgotten.
    look: Duration,
}

impl Learned {
    /// Creates a book. `fixed` are the peers that the program has named when it made the endpoint. They are not
    /// forgotten unless the program says so.
    pub(super) fn new(limits: &Limits, fixed: &[Ticket]) -> Arc<Self> {
        let mut book = Book { peers: HashMap::new(), max: limits.known_peers, lifetime: limits.address_lifetime };
        fixed.iter().for_each(|ticket| book.fix(ticket, Instant::now()));
        // An eighth of the lifetime, so that a peer is forgotten at most that much later.
        let look = LOOK.min(limits.address_lifetime / 8);
        Arc::new(Self { book: Mutex::new(book), number: AtomicU64::new(next_number()), look })
    }

    /// Takes over the addresses of a ticket. Returns whether one of them is new. `in_use` says whether a peer is
    /// connected, or kept: such a peer is not forgotten to make room.
    pub(super) fn learn(&self, ticket: &Ticket, in_use: impl Fn(&PublicKey) -> bool) -> bool {
        // Read before the book is changed. If something is forgotten meanwhile, the ticket notes a number that does not
        // count any more, and tells its addresses again.
        let number = self.number.load(Acquire);
        if ticket.is_known_under(number) {
            return false;
        }
        let news = self.change(|book| book.learn(ticket, Instant::now(), in_use));
        ticket.told(number);
        news
    }

    /// Forgets the addresses of a peer. Returns whether there were any.
    pub(super) fn forget(&self, peer: &PublicKey) -> bool {
        self.change(|book| {
            let forgot = book.peers.remove(peer.as_bytes()).is_some();
            (forgot, forgot)
        })
    }

    fn look(&self, in_use: impl Fn(&PublicKey) -> bool) {
        self.change(|book| ((), book.forget_the_old(Instant::now(), in_use)));
    }

    /// Changes the book. `change` returns a result, and whether it has forgotten anything.
    fn change<R>(&self, change: impl FnOnce(&mut Book) -> (R, bool)) -> R {
        let mut book = self.lock();
        let (result, forgot) = change(&mut book);
        if forgot {
            // With the book still locked: whoever reads the new number finds the book without what was forgotten.
            self.number.store(next_number(), Release);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressLookup for Learned {
    fn resolve(&self, id: EndpointId) -> Option<BoxStream<Result<Item, Error>>> {
        let addrs = self.lock().peers.get(id.as_bytes())?.addrs.clone();
        let info = EndpointInfo::from(EndpointAddr::from_parts(id, addrs));
        Some(stream::iter(Some(Ok(Item::new(info, PROVENANCE, None)))).boxed())
    }
}

/// Forgets from time to time what is to be forgotten, until `closing` is cancelled.
pub(super) async fn run(learned: Arc<Learned>, in_use: impl Fn(&PublicKey) -> bool, closing: CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(learned.look) => learned.look(&in_use),
            () = closing.cancelled() => return,
        }
    }
}

/// Returns a number under which no ticket of this process has noted anything yet. It is not 0, which is the number in
/// a new ticket.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// The decisions. Pure: the time comes in.
#[derive(Debug)]
struct Book {
    peers: HashMap<[u8; PublicKey::LENGTH], Entry>,
    /// Maximum number of peers: at least one more than the program has fixed.
    max: usize,
    lifetime: Duration,
}

#[derive(Debug)]
struct Entry {
    peer: PublicKey,
    /// Those of the latest ticket come first. All of them fit into one ticket, so an entry has at most 32, and about
    /// 4 KiB.
    addrs: Vec<TransportAddr>,
    /// When the peer was last of use: a ticket told of it, or it was connected or kept.
    used: Instant,
    /// Whether the program has named the peer when it made the endpoint.
    fixed: bool,
}

impl Book {
    /// Adds a peer that stays until the program forgets it.
    fn fix(&mut self, ticket: &Ticket, now: Instant) {
        if ticket.addrs().is_empty() {
            return;
        }
        if !self.peers.contains_key(ticket.peer().as_bytes()) {
            // Fixed peers take no places of learned ones.
            self.max = self.max.saturating_add(1);
        }
        self.learn(ticket, now, |_| false);
        if let Some(entry) = self.peers.get_mut(ticket.peer().as_bytes()) {
            entry.fixed = true;
        }
    }

    /// Takes over the addresses of a ticket. Returns whether one of them is new, and whether something else was
    /// forgotten for it.
    fn learn(&mut self, ticket: &Ticket, now: Instant, in_use: impl Fn(&PublicKey) -> bool) -> (bool, bool) {
        let peer = ticket.peer();
        if let Some(entry) = self.peers.get_mut(peer.as_bytes()) {
            entry.used = now;
            if ticket.addrs().iter().all(|addr| entry.addrs.contains(addr)) {
                return (false, false);
            }
            let all: Vec<_> = ticket.addrs().iter().chain(&entry.addrs).cloned().collect();
            let before = std::mem::replace(&mut entry.addrs, fitting(ticket.id(), all));
            return (true, before.iter().any(|addr| !entry.addrs.contains(addr)));
        }
        if ticket.addrs().is_empty() {
            return (false, false);
        }
        let forgot = self.peers.len() >= self.max && self.make_room(in_use);
        let addrs = ticket.addrs().iter().cloned().collect();
        self.peers.insert(*peer.as_bytes(), Entry { peer, addrs, used: now, fixed: false });
        (true, forgot)
    }

    /// Forgets an eighth of the peers: those that were of no use for the longest time, and that are not in use now. If
    /// all are in use, one of them has to go: it stays connected, and only its addresses are forgotten. Fixed peers
    /// stay. An eighth at a time, since looking for them takes a look at all of them.
    fn make_room(&mut self, in_use: impl Fn(&PublicKey) -> bool) -> bool {
        let mut oldest: Vec<_> =
            self.peers.values().filter(|entry| !entry.fixed).map(|entry| (entry.used, entry.peer)).collect();
        oldest.sort_unstable();
        let wanted = (self.max / 8).max(1);
        let mut gone: Vec<_> = oldest.iter().map(|(_, peer)| *peer).filter(|peer| !in_use(peer)).take(wanted).collect();
        if gone.is_empty() {
            gone.extend(oldest.first().map(|(_, peer)| *peer));
        }
        for peer in &gone {
            self.peers.remove(peer.as_bytes());
        }
        !gone.is_empty()
    }

    /// Forgets the peers that were of no use for the lifetime. Returns whether there were any.
    fn forget_the_old(&mut self, now: Instant, in_use: impl Fn(&PublicKey) -> bool) -> bool {
        let (before, lifetime) = (self.peers.len(), self.lifetime);
        self.peers.retain(|_, entry| {
            if in_use(&entry.peer) {
                entry.used = now;
            }
            entry.fixed || now.saturating_duration_since(entry.used) < lifetime
        });
        self.peers.len() < before
    }
}
