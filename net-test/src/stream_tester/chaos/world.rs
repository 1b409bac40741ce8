//! The places, and the endpoint that each place has now.

use std::{
    collections::HashMap,
    future::Future,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use twolane::{AccessList, BindError, Endpoint, Limits, PublicKey, SecretKey, Ticket};

use super::{
    books::Books,
    cause::Cause,
    hook_book::HookBook,
    judge,
    ledger::Ledger,
    pairs::Pairs,
    plan::number_of,
    play::bounded,
    serve,
    standstill::Standstills,
    tally::{Kind, Tally},
    trials::Trials,
};
use crate::stream_tester::lock;

/// The number of orders that may wait for one disturbed pair. The first finds out that the pair is calm again, and
/// the second is ready at that moment.
const WAITING: u64 = 2;
/// The number of the actor whose streams have no order. It is larger than the numbers of all places and fates.
const PROBES: usize = 0xffff;

#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub pairs: Pairs,
    pub ledger: Ledger,
    pub tally: Tally,
    pub trials: Arc<Trials>,
    pub standstills: Standstills,
    /// Cancelled when the actors are to end.
    pub stop: CancellationToken,
    /// Cancelled when calls in progress are to be dropped, after every pair was disturbed.
    give_up: Mutex<CancellationToken>,
    pub tasks: TaskTracker,
    /// The tasks in `accept_bi`. They end with their endpoint.
    pub acceptors: TaskTracker,
    places: Vec<Place>,
    shelf: Mutex<Vec<Arc<Books>>>,
    bans: Mutex<HashMap<(usize, usize), u64>>,
    /// The number of orders in progress, for each pair of places.
    under_way: Vec<AtomicU64>,
    next_ban: AtomicU64,
    next_probe: AtomicU64,
}

/// A key, and the endpoint that has it now.
#[derive(Debug)]
pub struct Place {
    key: SecretKey,
    pub id: PublicKey,
    /// The peers that may connect.
    pub list: AccessList,
    /// Locked during a restart.
    pub restart: tokio::sync::Mutex<()>,
    ticket: Mutex<Ticket>,
    life: Mutex<Option<Life>>,
    lives: AtomicU64,
}

#[derive(Debug)]
pub struct Life {
    pub endpoint: Endpoint,
    pub books: Arc<Books>,
    /// Cancelled when holders must release the endpoint.
    pub leave: CancellationToken,
    pub holders: TaskTracker,
}

/// An order of one place with another. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Turn<'a>(&'a AtomicU64);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A handle to the endpoint of a place, for one call.
#[derive(Debug)]
pub struct Held {
    pub endpoint: Endpoint,
    pub books: Arc<Books>,
    leave: CancellationToken,
    give_up: CancellationToken,
    // Must be dropped after the endpoint.
    _token: TaskTrackerToken,
}

#[derive(Debug)]
pub enum Ended<T> {
    With(T),
    /// The call was dropped, because its endpoint or the run is to end.
    Left,
    /// The call took longer than [`PATIENCE`](super::PATIENCE).
    Hung,
}

/// Returns the limits. All endpoints have one address, and may come back at once.
fn limits() -> Limits {
    Limits { handshakes: 4_096, handshakes_per_address: 4_096, ..Limits::default() }
}

impl World {
    pub async fn new(seed: u64, places: usize) -> Result<Arc<Self>, BindError> {
        let world = Arc::new(Self {
            seed,
            pairs: Pairs::new(places),
            ledger: Ledger::default(),
            tally: Tally::default(),
            trials: Arc::default(),
            standstills: Standstills::default(),
            stop: CancellationToken::new(),
            give_up: Mutex::default(),
            tasks: TaskTracker::new(),
            acceptors: TaskTracker::new(),
            places: (0..places).map(|n| Place::new(seed, n)).collect(),
            shelf: Mutex::default(),
            bans: Mutex::default(),
            under_way: (0..places * places).map(|_| AtomicU64::new(0)).collect(),
            next_ban: AtomicU64::new(1),
            next_probe: AtomicU64::default(),
        });
        for place in 0..places {
            world.revive(place).await?;
        }
        Ok(world)
    }

    pub fn places(&self) -> usize {
        self.places.len()
    }

    pub fn place(&self, n: usize) -> &Place {
        &self.places[n]
    }

    /// Returns the endpoint of a place, if there is one now.
    pub fn hold(&self, n: usize) -> Option<Held> {
        let life = self.place(n).lock_life();
        let life = life.as_ref()?;
        Some(Held {
            endpoint: life.endpoint.clone(),
            books: Arc::clone(&life.books),
            leave: life.leave.clone(),
            give_up: lock(&self.give_up).clone(),
            _token: life.holders.token(),
        })
    }

    pub async fn revive(self: &Arc<Self>, n: usize) -> Result<(), BindError> {
        let place = self.place(n);
        let hooks = HookBook::default();
        let builder = Endpoint::builder().offline().secret_key(place.key.clone()).limits(limits());
        let endpoint = builder.access(place.list.clone()).hooks(hooks.clone()).bind().await?;
        let world = Arc::clone(self);
        let watch = tokio::spawn(hooks.clone().watch(endpoint.events(), move || world.standstills.count()));
        let name = (n, place.lives.fetch_add(1, Relaxed));
        let books = Arc::new(Books::new(name, Arc::clone(endpoint.metrics()), hooks, watch));
        lock(&self.shelf).push(Arc::clone(&books));
        serve::install(self, n, &endpoint, &books);
        *lock(&place.ticket) = endpoint.ticket();
        let (leave, holders) = (CancellationToken::new(), TaskTracker::new());
        holders.close();
        *place.lock_life() = Some(Life { endpoint, books, leave, holders });
        if let Some(held) = self.hold(n) {
            self.acceptors.spawn(serve::accept(Arc::clone(self), n, held));
        }
        Ok(())
    }

    /// Returns the books of all endpoints that are not retired.
    pub fn books(&self) -> Vec<Arc<Books>> {
        lock(&self.shelf).clone()
    }

    pub fn retire(&self) -> Vec<Arc<Books>> {
        let lives = |books: &Arc<Books>| {
            self.place(books.name.0).lock_life().as_ref().is_some_and(|life| Arc::ptr_eq(&life.books, books))
        };
        let (alive, gone) = std::mem::take(&mut *lock(&self.shelf)).into_iter().partition(lives);
        lock(&self.shelf).extend::<Vec<_>>(alive);
        gone
    }

    /// Records that these lives of a place may have read a request that did not reach a handler.
    pub fn unsure(&self, place: usize, lives: Range<u64>, len: u64) {
        for books in lock(&self.shelf).iter().filter(|books| books.name.0 == place && lives.contains(&books.name.1)) {
            books.bounds().received.add_between(0, len);
        }
    }

    /// Drops every call in progress.
    pub fn give_up(&self) {
        std::mem::take(&mut *lock(&self.give_up)).cancel();
    }

    pub fn place_of(&self, key: &PublicKey) -> Option<usize> {
        self.places.iter().position(|place| place.id == *key)
    }

    /// Returns the number of a stream that no order opens.
    pub fn probe(&self) -> u64 {
        number_of(PROBES, self.next_probe.fetch_add(1, Relaxed))
    }

    /// Records a ban. Must be called after the list denies the peer.
    pub fn ban(&self, at: usize, of: usize) {
        lock(&self.bans).insert((at, of), self.next_ban.fetch_add(1, Relaxed));
    }

    /// Removes a ban. Must be called before the list allows the peer.
    pub fn lift(&self, at: usize, of: usize) {
        lock(&self.bans).remove(&(at, of));
    }

    /// Returns the number of the ban at one place against another.
    pub fn banned(&self, at: usize, of: usize) -> Option<u64> {
        lock(&self.bans).get(&(at, of)).copied()
    }

    /// Starts an order of one place with another. Returns `None` if two orders already wait for the
    /// disturbed pair. An order that waits for a peer that moved takes as long as a dial.
    pub fn turn(&self, from: usize, to: usize) -> Option<Turn<'_>> {
        let count = &self.under_way[from * self.places() + to];
        let waiting = count.fetch_add(1, Relaxed) >= WAITING && !self.pairs.calm(from, to);
        let turn = Turn(count);
        (!waiting).then_some(turn)
    }

    /// Judges an outcome. Returns true if it is legal.
    pub fn judge<F: IntoIterator<Item = String>>(
        &self,
        kind: Kind,
        (from, to): (usize, usize),
        plan: &impl std::fmt::Debug,
        causes: &[Cause],
        faults: impl Fn(&[Cause]) -> F,
    ) -> bool {
        let (judged, wrong) = judge::weigh(causes, faults);
        self.tally.judged(kind, judged);
        let legal = wrong.is_empty();
        for wrong in wrong {
            self.wrong(from, to, plan, format!("{kind:?}, disturbed by {causes:?}: {wrong}"));
        }
        legal
    }

    /// Records a violation between two places.
    pub fn wrong(&self, actor: usize, with: usize, plan: &impl std::fmt::Debug, seen: impl Into<String>) {
        let plan = format!("{plan:?}; between {actor} and {with}: {}", self.pairs.past(actor, with));
        self.tally.wrong(Some(actor), plan, seen);
    }
}

impl Place {
    fn new(seed: u64, n: usize) -> Self {
        // The keys come from the seed, because they decide which of two simultaneous dials stays.
        let mut bytes = [0; 32];
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"key").update(&seed.to_le_bytes()).update(&(n as u64).to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        let key = SecretKey::from_bytes(&bytes);
        let id = key.public_key();
        Self {
            key,
            id,
            list: AccessList::everybody(),
            restart: tokio::sync::Mutex::default(),
            ticket: Mutex::new(Ticket::new(id)),
            life: Mutex::default(),
            lives: AtomicU64::default(),
        }
    }

    /// Returns the address of the place's latest endpoint.
    pub fn ticket(&self) -> Ticket {
        lock(&self.ticket).clone()
    }

    pub fn life_now(&self) -> u64 {
        self.lives.load(Relaxed).saturating_sub(1)
    }

    pub fn take(&self) -> Option<Life> {
        self.lock_life().take()
    }

    fn lock_life(&self) -> MutexGuard<'_, Option<Life>> {
        lock(&self.life)
    }
}

impl Held {
    /// Runs a call that has a timeout in the library.
    pub async fn call<T>(&self, what: impl Future<Output = T>) -> Ended<T> {
        tokio::select! {
            done = bounded(what) => done.map_or(Ended::Hung, Ended::With),
            () = self.leave.cancelled() => Ended::Left,
            () = self.give_up.cancelled() => Ended::Left,
        }
    }

    /// Waits until the endpoint must be released.
    pub async fn left(&self) {
        self.leave.cancelled().await;
    }
}

impl Life {
    /// Drops the endpoint once it has no holders. Returns false if a holder does not release it in time.
    pub async fn end(self, within: Duration) -> bool {
        self.leave.cancel();
        tokio::time::timeout(within, self.holders.wait()).await.is_ok()
    }
}
