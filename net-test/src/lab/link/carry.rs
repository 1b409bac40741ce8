//! The threads that carry packets from one TUN device to another.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::OpenOptions,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tun_rs::{DeviceBuilder, InterruptEvent, SyncDevice};

use super::{
    account::{Account, Device, Given, LATE},
    model::{Counts, Fate, Model, Shape, seeds},
    record::Record,
};
use crate::lab::{fault::Fault, netns::Netns};

/// The size of the largest IP packet. A TUN device returns one packet at a time.
const PACKET: usize = 65_536;
/// The time after which an idle thread checks whether the link has ended.
const LOOK: Duration = Duration::from_millis(200);
/// Packets that arrive within this time are given together: ten at 500 Mbit/s. A thread that woke for each packet
/// would take processor time from the senders. The time used is at most a tenth of the delay.
const AT_ONCE: Duration = Duration::from_micros(200);
/// Maximum time for packets under way after their senders have ended. A delay of 150 ms and a queue of 100 ms fit in.
const SETTLING: Duration = Duration::from_secs(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// The queue length of the device, in packets. The default of 500 packets is 12 ms at 500 Mbit/s. The scheduler may
/// let the thread wait for longer, and the device would then drop packets that the model does not know of.
const DEVICE_QUEUE: u32 = 20_000;

#[derive(Debug, Clone)]
pub struct Plug {
    pub netns: Netns,
    pub interface: String,
}

/// A link between two namespaces. It ends when it is dropped, and its interfaces are removed.
#[derive(Debug)]
pub struct Link {
    there: Arc<Lane>,
    back: Arc<Lane>,
    ends: [Plug; 2],
    /// The shape of the direction from the first end to the second, and the shape of the way back.
    shapes: [Shape; 2],
}

/// The counters of the devices before a load.
#[derive(Debug, Clone, Copy)]
pub struct Begun([Device; 2]);

/// One direction of a link.
struct Lane {
    state: Mutex<State>,
    changed: Condvar,
    end: AtomicBool,
    interrupt: InterruptEvent,
    begun: Instant,
    at_once: Duration,
}

struct State {
    model: Model,
    /// Packets under way. The next one to arrive is on top. The number keeps the order of packets that arrive at the
    /// same time.
    on_the_way: BinaryHeap<Reverse<(Duration, u64, Vec<u8>)>>,
    number: u64,
    given: Given,
}

impl Link {
    /// Starts a link of the same shape in both directions. Its interfaces exist afterwards, without addresses.
    pub fn start(one: &Plug, other: &Plug, shape: Shape, seed: u64) -> Result<Self, Fault> {
        Self::start_unequal(one, other, [shape; 2], seed)
    }

    /// Starts a link with one shape from the first end to the second, and another one for the way back.
    pub fn start_unequal(one: &Plug, other: &Plug, shapes: [Shape; 2], seed: u64) -> Result<Self, Fault> {
        let ends = [one.clone(), other.clone()];
        let (one, other) = (Arc::new(open(one)?), Arc::new(open(other)?));
        let (seed_there, seed_back) = seeds(seed);
        let there = carry(Arc::clone(&one), Arc::clone(&other), Model::new(shapes[0], seed_there))?;
        let back = carry(other, one, Model::new(shapes[1], seed_back))?;
        Ok(Self { there, back, ends, shapes })
    }

    /// Restarts the models with another seed, when no packet is under way any more. Earlier packets then have no
    /// influence.
    pub async fn begin(&self, seed: u64) -> Result<Begun, Fault> {
        let (seed_there, seed_back) = seeds(seed);
        let quiet = async {
            loop {
                self.there.reset(Model::new(self.shapes[0], seed_there));
                self.back.reset(Model::new(self.shapes[1], seed_back));
                let begun = Begun(self.devices()?);
                // A kernel may send a packet of its own at any time, so the check is repeated.
                if [&self.there, &self.back].iter().all(|lane| lane.is_unused()) {
                    return Ok(begun);
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let late = |_| Fault::Late { what: "a link without packets".into(), after: SETTLING };
        timeout(SETTLING, quiet).await.map_err(late)?
    }

    /// Returns the accounts of both directions since `begun`. Waits until all packets have arrived, or for a limited
    /// time if some are missing.
    pub async fn settle(&self, begun: Begun) -> Result<[Account; 2], Fault> {
        let until = Instant::now() + SETTLING;
        loop {
            let accounts = self.account(begun)?;
            sleep(BETWEEN_LOOKS).await;
            let same = self.account(begun)? == accounts;
            if (same && accounts.iter().all(Account::balances)) || Instant::now() > until {
                return Ok(accounts);
            }
        }
    }

    fn account(&self, begun: Begun) -> Result<[Account; 2], Fault> {
        let [one, other] = self.devices()?;
        let (one, other) = (one.since(begun.0[0]), other.since(begun.0[1]));
        let account = |lane: &Lane, from, to| {
            let state = lane.lock();
            Account { counts: state.model.counts(), given: state.given, from, to }
        };
        Ok([account(&self.there, one, other), account(&self.back, other, one)])
    }

    fn devices(&self) -> Result<[Device; 2], Fault> {
        Ok([Device::of(&self.ends[0])?, Device::of(&self.ends[1])?])
    }

    /// Records from now on what passes the neck. The steps and pauses of the link also count from now on.
    pub fn record(&self) {
        for lane in [&self.there, &self.back] {
            let mut state = lane.lock();
            let now = lane.begun.elapsed();
            state.pass(now);
            state.model.begin(now);
        }
    }

    /// Returns the record of the direction from the first end to the second, if it has a neck.
    pub fn recorded(&self) -> Option<Record> {
        let mut state = self.there.lock();
        let now = self.there.begun.elapsed();
        state.pass(now);
        state.model.end(now)
    }

    /// Returns the counts of the direction from the first end to the second.
    pub fn there(&self) -> Counts {
        self.there.lock().model.counts()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for lane in [&self.there, &self.back] {
            lane.end.store(true, Relaxed);
            lane.changed.notify_all();
            // A reader that cannot be woken sees the end when the next packet comes.
            let _ = lane.interrupt.trigger();
        }
    }
}

pub fn available() -> Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    opened.map(drop).map_err(|error| format!("/dev/net/tun cannot be opened, so there are no links: {error}"))
}

fn open(plug: &Plug) -> Result<SyncDevice, Fault> {
    let build = || {
        DeviceBuilder::new()
            .name(plug.interface.as_str())
            .mtu(1500)
            .tx_queue_len(DEVICE_QUEUE)
            .enable(true)
            .build_sync()
    };
    let device = plug.netns.inside(build)?.map_err(|error| Fault::lab("a TUN device", error))?;
    device.set_nonblocking(true).map_err(|error| Fault::lab("a TUN device", error))?;
    Ok(device)
}

fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>, model: Model) -> Result<Arc<Lane>, Fault> {
    let interrupt = InterruptEvent::new().map_err(|error| Fault::lab("a link", error))?;
    let lane = Arc::new(Lane {
        at_once: model.delay().div_f64(10.0).min(AT_ONCE),
        state: Mutex::new(State { model, on_the_way: BinaryHeap::new(), number: 0, given: Given::default() }),
        changed: Condvar::new(),
        end: AtomicBool::new(false),
        interrupt,
        begun: Instant::now(),
    });
    let (taking, giving) = (Arc::clone(&lane), Arc::clone(&lane));
    thread::spawn(move || taking.take(&from));
    thread::spawn(move || giving.give(&to));
    Ok(lane)
}

impl Lane {
    /// Takes packets from a device until the link ends.
    fn take(&self, device: &SyncDevice) {
        let mut buffer = vec![0; PACKET];
        while !self.end.load(Relaxed) {
            // `recv` does not block. The thread waits in `recv_intr` only if there is no packet.
            let received = match device.recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    device.recv_intr(&mut buffer, &self.interrupt)
                }
                received => received,
            };
            let len = match received {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The device no longer exists, because its namespace has ended.
                Err(_) => return,
            };
            let packet = &buffer[..len];
            let mut state = self.lock();
            let (now, before) = (self.begun.elapsed(), state.next());
            if state.model.has_neck() {
                state.pass(now);
                state.model.push(now, packet);
                state.pass(now);
            } else {
                let fate = state.model.packet(now, len);
                state.take(fate, packet);
            }
            let after = state.next();
            drop(state);
            if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
                self.changed.notify_one();
            }
        }
    }

    /// Gives packets to a device at their arrival times, until the link ends.
    fn give(&self, device: &SyncDevice) {
        let mut due = Vec::new();
        loop {
            let mut state = self.lock();
            let mut now = self.begun.elapsed();
            loop {
                if self.end.load(Relaxed) {
                    return;
                }
                state.pass(now);
                if state.on_the_way.peek().is_some_and(|Reverse((arrives, ..))| *arrives <= now) {
                    break;
                }
                let wait = state.next().map_or(LOOK, |next| next.saturating_sub(now).max(self.at_once));
                let waited = self.changed.wait_timeout(state, wait.min(LOOK));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                now = self.begun.elapsed();
            }
            while let Some(Reverse((arrives, ..))) = state.on_the_way.peek()
                && *arrives <= now
            {
                due.extend(state.on_the_way.pop().map(|Reverse((arrives, _, packet))| (arrives, packet)));
            }
            drop(state);
            let mut given = Given::default();
            for (arrives, packet) in due.drain(..) {
                let late = self.begun.elapsed().saturating_sub(arrives);
                given.packets += 1;
                given.late += u64::from(late > LATE);
                given.latest = given.latest.max(late);
                // An interface that is down takes no packets, like a cable that is not plugged in.
                given.refused += u64::from(device.send(&packet).is_err());
            }
            self.lock().given.add(given);
        }
    }

    /// Returns whether no packet is under way and none has come since the last reset.
    fn is_unused(&self) -> bool {
        let state = self.lock();
        state.on_the_way.is_empty() && state.model.counts() == Counts::default() && state.given == Given::default()
    }

    fn reset(&self, model: Model) {
        let mut state = self.lock();
        (state.model, state.given) = (model, Given::default());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends the packets that have left the neck on their way.
    fn pass(&mut self, now: Duration) {
        while let Some((fate, packet)) = self.model.next(now) {
            self.take(fate, &packet);
        }
    }

    fn take(&mut self, fate: Fate, packet: &[u8]) {
        let (arrives, times) = match fate {
            Fate::Arrives(at) => (at, 1),
            Fate::Twice(at) => (at, 2),
            Fate::Lost | Fate::Overflowed | Fate::TooLarge => return,
        };
        for _ in 0..times {
            self.on_the_way.push(Reverse((arrives, self.number, packet.to_vec())));
            self.number += 1;
        }
    }

    /// Returns the arrival time of the next packet, or the earliest possible one of a packet that is still in the
    /// neck.
    fn next(&self) -> Option<Duration> {
        let on_the_way = self.on_the_way.peek().map(|Reverse((arrives, ..))| *arrives);
        on_the_way.into_iter().chain(self.model.next_arrives()).min()
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("counts", &self.lock().model.counts()).finish_non_exhaustive()
    }
}
