//! How far a transfer is, for whoever shows it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Counts a transfer's bytes, and knows for how long it has been waiting for the peer.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    waiting: Mutex<Option<Instant>>,
}

impl Meter {
    /// Bytes of the file that were written to the stream, or read from it.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// For how long the write that is under way has been waiting, if one is.
    pub fn waiting(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn start_write(&self) {
        *self.lock() = Some(Instant::now());
    }

    pub(super) fn end_write(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
