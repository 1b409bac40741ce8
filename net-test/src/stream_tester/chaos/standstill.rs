//! Checks whether the machine and the library leave the processor to the tested code.
//!
//! A machine that stands still makes timeouts expire that nothing else would. That is a cause which explains late
//! outcomes, and nothing else. A library that occupies a worker of the runtime looks the same from within the
//! runtime. So a separate thread watches each worker. If a batch of polls took long without waiting for a
//! processor, it is the library's fault.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::{cause::Cause, world::World};

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// A delay longer than this is a standstill. On an idle machine, timers are late by 1 ms. With eight compilers on
/// two cores they are mostly late by 50 to 250 ms. If they are late by more than that, calls with timeouts of 10 s
/// exceed them by 4 to 7 s.
const STANDSTILL: Duration = Duration::from_secs(1);
/// The number of looks that are remembered. Together they are longer than any call may take.
const REMEMBERED: usize = 600;
/// The time in seconds for which one standstill is allowed, as on a busy machine. With more standstills, too few
/// outcomes are judged strictly.
const SECONDS_FOR_ONE: u64 = 20;

#[derive(Debug, Default)]
pub struct Standstills {
    count: AtomicU64,
    worst_ms: AtomicU64,
    waited_us: AtomicU64,
}

impl Standstills {
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Returns the time for which threads waited for a processor. Nothing can be expected of the library in that
    /// time.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Relaxed))
    }

    /// Returns the longest time for which a worker or the watch itself made no progress.
    pub fn worst_ms(&self) -> u64 {
        self.worst_ms.load(Relaxed)
    }
}

/// Returns the number of standstills that a run of this many seconds may have.
pub fn allowed(seconds: u64) -> u64 {
    1 + seconds / SECONDS_FOR_ONE
}

#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// The time since the previous look.
    wall: Duration,
    /// The time that one worker of the runtime spent on the work that it has finished since then.
    held: Duration,
    /// The time for which a thread waited for a processor during that work.
    waited: Duration,
    /// The time for which a thread has waited since the previous look.
    waited_now: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Machine,
    Library,
}

impl Look {
    /// Returns the time by which a worker's finished work exceeds the time between two looks. It can exceed it only
    /// if the work began before the first look.
    fn batch(&self) -> Duration {
        self.held.saturating_sub(self.wall)
    }

    fn late(&self) -> Duration {
        self.batch().max(self.wall.saturating_sub(LOOK))
    }

    fn verdict(&self) -> Verdict {
        if self.batch() > STANDSTILL && self.waited < self.held / 2 {
            Verdict::Library
        } else if self.late() > STANDSTILL {
            Verdict::Machine
        } else {
            Verdict::Fine
        }
    }
}

#[derive(Debug)]
pub struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(world: &Arc<World>) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (world, metrics) = (Arc::clone(world), Handle::current().metrics());
        let watching = move || {
            let mut looks = Looks::new(metrics);
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                note(&world, looks.look());
            }
        };
        Self { stop: Some(stop), thread: thread::Builder::new().name("watch".into()).spawn(watching).ok() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Joining the thread releases its world. A panic in it is counted with the others.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Looks {
    metrics: RuntimeMetrics,
    last: Instant,
    busy: Vec<Duration>,
    waits: Waits,
    /// The time between two looks, and the time for which a thread waited in it.
    past: VecDeque<(Duration, Duration)>,
}

impl Looks {
    fn new(metrics: RuntimeMetrics) -> Self {
        let busy = busy(&metrics);
        Self { metrics, last: Instant::now(), busy, waits: Waits::now(), past: VecDeque::with_capacity(REMEMBERED) }
    }

    fn look(&mut self) -> Look {
        let (now, busy, waits) = (Instant::now(), busy(&self.metrics), Waits::now());
        let wall = now - self.last;
        let held = busy.iter().zip(&self.busy).map(|(now, before)| now.saturating_sub(*before)).max();
        if self.past.len() == REMEMBERED {
            self.past.pop_back();
        }
        let waited_now = waits.since(&self.waits, wall);
        self.past.push_front((wall, waited_now));
        (self.last, self.busy, self.waits) = (now, busy, waits);
        let held = held.unwrap_or_default();
        let mut left = held;
        let within = self.past.iter().take_while(|(wall, _)| {
            let before = left;
            left = left.saturating_sub(*wall);
            !before.is_zero()
        });
        Look { wall, held, waited: within.map(|(_, waited)| *waited).sum(), waited_now }
    }
}

fn busy(metrics: &RuntimeMetrics) -> Vec<Duration> {
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).collect()
}

/// The time for which each thread has waited for a processor, if the system reports it, and the processor time of
/// the process.
struct Waits {
    threads: Option<Vec<(String, Duration)>>,
    process: ProcessTime,
}

impl Waits {
    fn now() -> Self {
        Self { threads: waits(), process: ProcessTime::now() }
    }

    fn since(&self, before: &Self, wall: Duration) -> Duration {
        let Some((now, before)) = self.threads.as_ref().zip(before.threads.as_ref()) else {
            // A worker that has the processor does not wait for it.
            return wall.saturating_sub(self.process.duration_since(before.process));
        };
        let waited = |(thread, now): &(String, Duration)| {
            let before = before.iter().find(|(other, _)| other == thread).map_or(Duration::ZERO, |(_, before)| *before);
            now.saturating_sub(before)
        };
        now.iter().map(waited).max().unwrap_or_default()
    }
}

/// Reads the kernel's own count (/proc/<pid>/schedstat, second column, nanoseconds).
fn waits() -> Option<Vec<(String, Duration)>> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?.filter_map(Result::ok);
    let waits: Vec<_> = threads
        .filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanoseconds = text.split(' ').nth(1)?.parse().ok()?;
            Some((thread.file_name().into_string().ok()?, Duration::from_nanos(nanoseconds)))
        })
        .collect();
    (!waits.is_empty()).then_some(waits)
}

fn note(world: &World, look: Look) {
    let late = look.late();
    world.standstills.worst_ms.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Relaxed);
    let waited = u64::try_from(look.waited_now.as_micros()).unwrap_or(u64::MAX);
    world.standstills.waited_us.fetch_add(waited, Relaxed);
    match look.verdict() {
        Verdict::Fine => {}
        Verdict::Machine => {
            world.standstills.count.fetch_add(1, Relaxed);
            for place in 0..world.places() {
                drop(world.pairs.disturb_all(place, Cause::Standstill));
            }
        }
        Verdict::Library => world.tally.wrong(
            None,
            "the runtime",
            format!(
                "a worker was kept for {late:?} and more, and waited for a processor for {:?} of it: something blocks",
                look.waited
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(wall: u64, held: u64, waited: u64) -> Look {
        let [wall, held, waited] = [wall, held, waited].map(Duration::from_millis);
        Look { wall, held, waited, waited_now: Duration::ZERO }
    }

    #[test]
    fn a_worker_that_waited_is_the_machines_fault_and_one_that_did_not_is_the_librarys() {
        for (seen, verdict) in [
            (look(101, 100, 0), Verdict::Fine),
            (look(100, 900, 0), Verdict::Fine),
            (look(100, 2_000, 100), Verdict::Library),
            (look(100, 2_000, 1_500), Verdict::Machine),
            // The machine slept while a worker was working. No thread waited, and the watch was late.
            (look(2_000, 2_000, 0), Verdict::Machine),
        ] {
            assert_eq!(seen.verdict(), verdict, "{seen:?}");
        }
    }

    #[tokio::test]
    async fn a_standstill_disturbs_every_pair_and_a_moment_disturbs_none() {
        let world = World::new(1, 3).await.unwrap();
        let sight = world.pairs.sight(0, 2);
        note(&world, look(1_000, 0, 0));
        assert_eq!(world.pairs.causes(0, 2, sight), []);
        note(&world, look(2_100, 0, 0));
        assert_eq!(world.pairs.causes(0, 2, sight), [Cause::Standstill; 2]);
        assert_eq!((world.standstills.count(), world.standstills.worst_ms()), (1, 2_000));
        super::super::settle::settle(&world).await;
        assert_eq!(world.tally.violations().0, []);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_blocks_is_found_while_the_other_one_works() {
        let world = World::new(1, 2).await.unwrap();
        let watch = Watch::start(&world);
        tokio::spawn(async { thread::sleep(STANDSTILL * 2) }).await.unwrap();
        let found = || world.tally.violations().1 + world.standstills.count() > 0;
        assert!(crate::stream_tester::scale::footprint::until(Duration::from_secs(30), found).await);
        drop(watch);
        super::super::settle::settle(&world).await;
    }
}
