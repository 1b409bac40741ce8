//! What the reader of a lane has consumed, and which watermarks of its writer that answers (WATERMARK and CONSUMED).

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

/// One lane's account, on the side that reads it. Each method that returns an offset asks for CONSUMED with it.
#[derive(Debug)]
pub(super) struct Consumption {
    /// Data bytes taken from noq.
    read: AtomicU64,
    /// The first offset whose consumption the peer wants to hear of; `u64::MAX` for none. The reader looks at this alone.
    next_mark: AtomicU64,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// In ascending order.
    waiting: VecDeque<u64>,
    /// Nothing more is read: whatever the peer asks about counts as read.
    closed: bool,
}

impl Consumption {
    pub(super) fn new() -> Self {
        Self { read: AtomicU64::new(0), next_mark: AtomicU64::new(u64::MAX), marks: Mutex::default() }
    }

    /// Data bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// The reader has consumed the data before `offset`.
    pub(super) fn report(&self, offset: u64) -> Option<u64> {
        // Sequentially consistent with `on_watermark`, which stores the mark and then loads this: one of the two sees
        // the other.
        self.read.store(offset, SeqCst);
        if offset >= self.next_mark.load(SeqCst) { self.answer(&mut self.lock(), offset) } else { None }
    }

    /// The peer wants to hear when `offset` has been consumed. Of more marks than a writer may have under way, the
    /// last is kept: it is the one that frees the writer.
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

    /// Nothing more is read: the writer may be waiting to hear of what it has written.
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
