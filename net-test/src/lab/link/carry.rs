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

use tun_rs::{DeviceBuilder, InterruptEvent, SyncDevice};

use super::model::{Counts, Fate, Model, Shape, seeds};
use crate::lab::{fault::Fault, netns::Netns};

/// The largest IP packet; a TUN device gives one at a time.
const PACKET: usize = 65_536;
/// How often a thread that waits for nothing looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// What arrives within so little is given in one go. At 500 Mbit/s that is ten packets, and a thread that woke for each would
/// take the processor from those whose packets they are. The shortest delay of a case is a hundred times as long.
const AT_ONCE: Duration = Duration::from_micros(200);
/// What the device holds until the thread reads it. The default of 500 packets is 12 ms at 500 Mbit/s, and the machine's
/// scheduler may let the thread wait for longer: the device would drop what the model does not know of.
const DEVICE_QUEUE: u32 = 20_000;

/// Where an end of a link goes.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Plug {
    pub(in crate::lab) netns: Netns,
    /// The name that the interface gets.
    pub(in crate::lab) interface: String,
}

/// A link between two namespaces. Dropped, it ends; its interfaces go with it.
#[derive(Debug)]
pub(in crate::lab) struct Link {
    there: Arc<Lane>,
    back: Arc<Lane>,
}

/// One direction.
struct Lane {
    state: Mutex<State>,
    changed: Condvar,
    end: AtomicBool,
    interrupt: InterruptEvent,
    begun: Instant,
}

struct State {
    model: Model,
    /// What is on its way, the next to arrive on top. The number keeps the order of those that arrive at the same time.
    on_the_way: BinaryHeap<Reverse<(Duration, u64, Vec<u8>)>>,
    number: u64,
}

impl Link {
    /// A link of the same shape in both directions. The interfaces are there and have no addresses.
    pub(in crate::lab) fn start(one: &Plug, other: &Plug, shape: Shape, seed: u64) -> Result<Self, Fault> {
        let (one, other) = (Arc::new(open(one)?), Arc::new(open(other)?));
        let (seed_there, seed_back) = seeds(seed);
        let there = carry(Arc::clone(&one), Arc::clone(&other), Model::new(shape, seed_there))?;
        let back = carry(other, one, Model::new(shape, seed_back))?;
        Ok(Self { there, back })
    }

    /// What was done to packets from the first end to the second.
    pub(in crate::lab) fn there(&self) -> Counts {
        self.there.lock().model.counts()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for lane in [&self.there, &self.back] {
            lane.end.store(true, Relaxed);
            lane.changed.notify_all();
            // A reader that cannot be woken looks by itself when the next packet comes.
            let _ = lane.interrupt.trigger();
        }
    }
}

/// Whether links can be made on this machine.
pub(in crate::lab) fn available() -> Result<(), String> {
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
        state: Mutex::new(State { model, on_the_way: BinaryHeap::new(), number: 0 }),
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
    /// Takes packets from a device, until the link ends.
    fn take(&self, device: &SyncDevice) {
        let mut buffer = vec![0; PACKET];
        while !self.end.load(Relaxed) {
            // As long as there are packets nobody asks whether there are.
            let received = match device.recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    device.recv_intr(&mut buffer, &self.interrupt)
                }
                received => received,
            };
            let len = match received {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The device is gone, with its namespace.
                Err(_) => return,
            };
            let packet = &buffer[..len];
            let mut state = self.lock();
            let (arrives, times) = match state.model.packet(self.begun.elapsed(), len) {
                Fate::Arrives(at) => (at, 1),
                Fate::Twice(at) => (at, 2),
                Fate::Lost | Fate::Overflowed | Fate::TooLarge => continue,
            };
            let is_next = state.on_the_way.peek().is_none_or(|Reverse((next, ..))| arrives < *next);
            for _ in 0..times {
                let number = state.number;
                state.number += 1;
                state.on_the_way.push(Reverse((arrives, number, packet.to_vec())));
            }
            drop(state);
            if is_next {
                self.changed.notify_one();
            }
        }
    }

    /// Gives packets to a device when their time has come, until the link ends.
    fn give(&self, device: &SyncDevice) {
        let mut due = Vec::new();
        loop {
            let mut state = self.lock();
            let mut now = self.begun.elapsed();
            loop {
                if self.end.load(Relaxed) {
                    return;
                }
                let wait = match state.on_the_way.peek() {
                    Some(Reverse((arrives, ..))) if *arrives <= now => break,
                    Some(Reverse((arrives, ..))) => (*arrives - now).max(AT_ONCE),
                    None => LOOK,
                };
                let waited = self.changed.wait_timeout(state, wait.min(LOOK));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                now = self.begun.elapsed();
            }
            while let Some(Reverse((arrives, ..))) = state.on_the_way.peek()
                && *arrives <= now
            {
                due.extend(state.on_the_way.pop().map(|Reverse((.., packet))| packet));
            }
            drop(state);
            for packet in due.drain(..) {
                // An interface that is down takes nothing, like a cable that is not plugged in.
                let _ = device.send(&packet);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("counts", &self.lock().model.counts()).finish_non_exhaustive()
    }
}
