//! The progress of a transfer.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Counts the bytes of a transfer, and measures how long the current write has been waiting for the peer.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    moved: AtomicU64,
    waiting: Mutex<Option<Instant>>,
}

impl Meter {
    /// Returns the number of bytes of files that were written to the streams or read from them, or that need not be.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Returns the number of bytes of files that really travelled: without what was there already, and without zeros.
    /// Counted for [`send`](crate::send()) and [`receive`](crate::receive()).
    pub fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// Returns how long the current write has been waiting. Returns `None` if no write is in progress.
    pub fn waiting(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    pub(super) fn add(&self, bytes: usize) {
        self.add_bytes(bytes as u64);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn add_moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Relaxed);
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
