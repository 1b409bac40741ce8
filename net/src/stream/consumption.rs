//! The data that the reader of a lane has consumed, and the answers to the watermarks of the peer's writer (WATERMARK
//! and CONSUMED).

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use super::credit::chunks::MAX_MARKS;

/// The account of one lane, on the side that reads it. If a method returns an offset, the caller must send CONSUMED
/// with that offset.
#[derive(Debug)]
pub(super) struct Consumption {
    /// Number of data bytes taken from noq.
    read: AtomicU64,
    /// The smallest offset about whose consumption the peer has asked; `u64::MAX` if there is none. The reader loads
    /// only this field.
    next_mark: AtomicU64,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Unanswered watermarks, in ascending order.
    waiting: VecDeque<u64>,
    /// Nothing more is read: all data that the peer asks about counts as read.
    closed: bool,
}

impl Consumption {
    pub(super) fn new() -> Self {
        Self { read: AtomicU64::new(0), next_mark: AtomicU64::new(u64::MAX), marks: Mutex::default() }
    }

    /// Returns the number of data bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Records that the reader has consumed the data before `offset`.
    pub(super) fn report(&self, offset: u64) -> Option<u64> {
        // Sequentially consistent with `on_watermark`, which stores the mark and then loads this value. At least one
        // of the two methods sees the store of the other.
        self.read.store(offset, SeqCst);
        if offset >= self.next_mark.load(SeqCst) { self.answer(&mut self.lock(), offset) } else { None }
    }

    /// Records that the peer asks for a report when the data before `offset` has been consumed. If the peer sends
    /// more marks than a writer may have under way, the last one is kept, because it is the one that frees the
    /// writer.
    pub(super) fn on_watermark(&self, offset: u64) -> Option<u64> {
        let mut marks = self.lock();
        if marks.closed {
            return Some(offset);
        }
        let read = self.read.load(SeqCst);
        if offset <= read {
            return Some(read);
        }
        if marks.waiting.len() > MAX_MARKS {
            marks.waiting.pop_back();
        }
        let at = marks.waiting.partition_point(|mark| *mark <= offset);
        marks.waiting.insert(at, offset);
        self.next_mark.store(marks.waiting[0], SeqCst);
        // The reader may have passed the mark while it was being set.
        let read = self.read.load(SeqCst);
        self.answer(&mut marks, read)
    }

    /// Records that nothing more is read. The peer's writer may be waiting for a report about the data that it has
    /// written.
    pub(super) fn close(&self) -> Option<u64> {
        let mut marks = self.lock();
        marks.closed = true;
        self.next_mark.store(u64::MAX, SeqCst);
        std::mem::take(&mut marks.waiting).back().copied()
    }

    fn answer(&self, marks: &mut Marks, offset: u64) -> Option<u64> {
        let passed = marks.waiting.partition_point(|mark| *mark <= offset);
        if passed == 0 {
            return None;
        }
        marks.waiting.drain(..passed);
        self.next_mark.store(marks.waiting.front().copied().unwrap_or(u64::MAX), SeqCst);
        Some(offset)
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_answered_when_it_is_passed_and_at_once_if_it_was() {
        let consumption = Consumption::new();
        assert_eq!(consumption.on_watermark(100), None);
        assert_eq!(consumption.report(99), None);
        assert_eq!(consumption.report(120), Some(120));
        assert_eq!(consumption.report(130), None);
        assert_eq!(consumption.on_watermark(110), Some(130));
    }

    #[test]
    fn a_reader_that_stops_answers_every_mark_and_every_later_one() {
        let consumption = Consumption::new();
        consumption.report(10);
        assert_eq!(consumption.on_watermark(100), None);
        assert_eq!(consumption.on_watermark(300), None);
        assert_eq!(consumption.close(), Some(300));
        assert_eq!(consumption.close(), None);
        assert_eq!(consumption.on_watermark(500), Some(500));
    }

    #[test]
    fn of_too_many_marks_the_last_is_kept() {
        let consumption = Consumption::new();
        for mark in 1..=100 {
            assert_eq!(consumption.on_watermark(mark * 10), None);
        }
        assert_eq!(consumption.lock().waiting.len(), MAX_MARKS + 1);
        assert_eq!(consumption.close(), Some(1_000));
    }
}
