//! A thread that wakes every 2 ms, as the timers of the flows do. Its lateness shows whether a run had enough
//! processor time. A congestion controller that is woken late paces late, and would be blamed for that.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::stats::percentile;

const TICK: Duration = Duration::from_millis(2);
const WINDOW: Duration = Duration::from_millis(500);
/// The percentile of the wake-ups in a window. The 99th leaves out 5 ms of the 500 ms.
const OF_A_WINDOW: f64 = 0.99;
/// The percentile of the windows in a run. A tenth of the windows may be bad: a build that starts on the machine does
/// not change the mean of a minute.
const OF_A_RUN: f64 = 0.9;
/// The maximum lateness of a run. In runs with more lateness, a Cubic flow got up to twice the share of other
/// runs. Runs with less lateness agreed.
pub const MOST: Duration = Duration::from_millis(5);

/// The thread that measures lateness. It ends when this is dropped.
#[derive(Debug)]
pub struct Canary {
    /// The end of each window, and its lateness.
    windows: Arc<Mutex<Vec<(Instant, Duration)>>>,
    end: Arc<AtomicBool>,
}

impl Canary {
    pub fn start() -> Self {
        let canary = Self { windows: Arc::default(), end: Arc::default() };
        let (windows, end) = (Arc::clone(&canary.windows), Arc::clone(&canary.end));
        thread::spawn(move || {
            while !end.load(Relaxed) {
                let window = window();
                windows.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), window));
            }
        });
        canary
    }

    /// Returns the lateness of a run.
    pub fn late(&self, begun: Instant, ended: Instant) -> Duration {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let within = windows.iter().filter(|(at, _)| (begun..=ended + WINDOW).contains(at));
        let mut seconds: Vec<f64> = within.map(|(_, late)| late.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        Duration::from_secs_f64(percentile(&seconds, OF_A_RUN))
    }

    #[cfg(test)]
    fn of(windows: Vec<(Instant, Duration)>) -> Self {
        Self { windows: Arc::new(Mutex::new(windows)), end: Arc::default() }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

fn window() -> Duration {
    let (begun, mut late) = (Instant::now(), Vec::new());
    while begun.elapsed() < WINDOW {
        let slept = Instant::now();
        thread::sleep(TICK);
        late.push(slept.elapsed().saturating_sub(TICK).as_secs_f64());
    }
    late.sort_by(f64::total_cmp);
    Duration::from_secs_f64(percentile(&late, OF_A_WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_run_is_late_when_more_than_a_tenth_of_its_windows_were() {
        let begun = Instant::now();
        let windows =
            |late: usize| (0..20).map(move |n| (begun + WINDOW * n, if (n as usize) < late { 9 * MS } else { MS }));
        let late = |count| Canary::of(windows(count).collect()).late(begun, begun + 10 * WINDOW * 2);
        assert_eq!((late(0), late(2), late(3)), (MS, MS, 9 * MS));
    }

    #[test]
    fn what_was_before_or_after_a_run_does_not_count() {
        let begun = Instant::now();
        let canary = Canary::of(vec![(begun, 9 * MS), (begun + 10 * WINDOW, MS), (begun + 30 * WINDOW, 9 * MS)]);
        assert_eq!(canary.late(begun + WINDOW, begun + 20 * WINDOW), MS);
    }
}
