//! Measures the delay with which the machine wakes a thread. Measurements of the lab are late by the same time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(10);
/// The shortest delay that is recorded. Shorter ones are usual for a scheduler.
const WORTH: Duration = Duration::from_millis(5);

/// A ticker on its own thread. The thread ends when this is dropped.
#[derive(Debug)]
pub struct Lag {
    seen: Arc<Mutex<Vec<(Instant, Duration)>>>,
    end: Arc<AtomicBool>,
}

impl Lag {
    pub fn watch() -> Self {
        let lag = Self { seen: Arc::default(), end: Arc::default() };
        let (seen, end) = (Arc::clone(&lag.seen), Arc::clone(&lag.end));
        thread::spawn(move || {
            while !end.load(Relaxed) {
                let slept = Instant::now();
                thread::sleep(TICK);
                let late = slept.elapsed().saturating_sub(TICK);
                if late >= WORTH {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push((slept, late));
                }
            }
        });
        lag
    }

    /// Returns the longest delay that ended after `begun`.
    pub fn worst_since(&self, begun: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = |&(slept, late): &(Instant, Duration)| slept + TICK + late >= begun;
        seen.iter().filter(|lag| ends(lag)).map(|(_, late)| *late).max().unwrap_or_default()
    }

    #[cfg(test)]
    pub fn of(lags: &[(Instant, Duration)]) -> Self {
        Self { seen: Arc::new(Mutex::new(lags.to_vec())), end: Arc::default() }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ended_later_counts() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let lag = Lag::of(&[(begun, second / 2), (begun + 2 * second, second / 4)]);
        assert_eq!(lag.worst_since(begun), second / 2);
        assert_eq!(lag.worst_since(begun + second), second / 4);
        assert_eq!(lag.worst_since(begun + 3 * second), Duration::ZERO);
    }
}
