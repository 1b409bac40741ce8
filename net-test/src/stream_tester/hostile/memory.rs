//! How much memory this process has in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use memory_stats::memory_stats;
use tokio::{task::AbortHandle, time::interval};

/// How often to look: memory that is taken and given back to the system between two looks, some 10 MB at the rate of
/// loopback, goes unseen.
const EVERY: Duration = Duration::from_millis(10);

/// Watches resident memory. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Watch {
    before: u64,
    peak: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Watch {
    /// From now on.
    pub(super) fn start() -> Self {
        let before = resident();
        let peak = Arc::new(AtomicU64::new(before));
        let seen = Arc::clone(&peak);
        let task = tokio::spawn(async move {
            let mut tick = interval(EVERY);
            loop {
                tick.tick().await;
                seen.fetch_max(resident(), Relaxed);
            }
        });
        Self { before, peak, task: task.abort_handle() }
    }

    /// Bytes at the start, and the most since. Both 0 where the system does not tell.
    pub(super) fn growth(&self) -> (u64, u64) {
        self.peak.fetch_max(resident(), Relaxed);
        (self.before, self.peak.load(Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn resident() -> u64 {
    memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_that_is_taken_is_seen() {
        let watch = Watch::start();
        let taken = vec![1u8; 32 << 20];
        let (before, peak) = watch.growth();
        // Other tests of the same process may give some back meanwhile.
        assert!(before > 0 && peak >= before + (24 << 20), "{before} {peak} {}", taken[0]);
    }
}
