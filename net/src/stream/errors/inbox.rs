//! The reports that wait to be read. Their number and their bytes are limited, and a fatal report is never lost
//! behind warnings.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::{error::Report, wire::record::Severity};

/// Maximum number of bytes of the reports that wait on one stream: two of the largest.
const MAX_BYTES: usize = 128 * 1024;
/// Maximum number of bytes of the reports that wait on all streams of one peer: 4 MiB. The peer sends the reports,
/// and the program on this side need not read them.
const MAX_BYTES_OF_PEER: usize = 4 << 20;
/// Memory cost of a report without its text and details, in bytes. It is the minimum weight of a report.
const OVERHEAD: usize = 160;

/// The weight of the reports of one peer, on all its streams together.
#[derive(Debug, Default)]
pub(in crate::stream) struct InboxBudget(AtomicUsize);

impl InboxBudget {
    fn take(&self, bytes: usize) -> bool {
        let take = |taken| Some(taken + bytes).filter(|sum| *sum <= MAX_BYTES_OF_PEER);
        self.0.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

/// The reports of one stream. The stream and the [`Errors`] handles share them.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    max: usize,
    budget: Arc<InboxBudget>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Report>,
    bytes: usize,
    missed: u64,
    closed: bool,
}

impl Inbox {
    /// Creates an inbox for at most `max` reports.
    pub(in crate::stream) fn new(max: usize, budget: Arc<InboxBudget>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), max: max.max(1), budget }
    }

    /// Adds a report. If there are too many, the oldest one is dropped, and counted in the next report that is read.
    /// A warning for which the peer's other streams leave no room is dropped and counted as well.
    pub(in crate::stream) fn push(&self, report: Report) {
        let bytes = weight(&report);
        let mut state = self.lock();
        while state.queue.len() >= self.max || (!state.queue.is_empty() && state.bytes + bytes > MAX_BYTES) {
            self.drop_oldest(&mut state);
        }
        // The error that ends a stream is stored outside the inbox anyway, and has no weight here.
        let warning = report.severity == Severity::Warning;
        while warning && !self.budget.take(bytes) {
            if state.queue.is_empty() {
                state.missed += 1;
                return;
            }
            self.drop_oldest(&mut state);
        }
        if warning {
            state.bytes += bytes;
        }
        state.queue.push_back(report);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Records that no more reports can come.
    pub(in crate::stream) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    fn take(&self) -> Option<Option<Report>> {
        let mut state = self.lock();
        match self.pop(&mut state) {
            Some(report) => Some(Some(Report { missed: std::mem::take(&mut state.missed), ..report })),
            None => state.closed.then_some(None),
        }
    }

    fn drop_oldest(&self, state: &mut State) {
        state.missed += u64::from(self.pop(state).is_some());
    }

    fn pop(&self, state: &mut State) -> Option<Report> {
        let report = state.queue.pop_front()?;
        if report.severity == Severity::Warning {
            let bytes = weight(&report);
            state.bytes -= bytes;
            self.budget.give_back(bytes);
        }
        Some(report)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(state.bytes);
    }
}

fn weight(report: &Report) -> usize {
    OVERHEAD + report.error.text().len() + report.error.details().len()
}

/// The reports that the peer sends on the error lane of a stream: warnings, and at most one fatal error or abort.
///
/// It is returned by [`XStream::errors`](crate::XStream::errors), and can be awaited beside reading and writing. A
/// fatal error also ends reading and writing, whether or not the program reads it here. Several handles of one stream
/// share one queue. Dropping a handle loses nothing.
#[derive(Debug, Clone)]
pub struct Errors(pub(crate) Arc<Inbox>);

impl Errors {
    /// Waits for the next report. Returns `None` once the stream is gone and every report has been read.
    ///
    /// Cancel-safe: a report is removed only when it is returned.
    pub async fn next(&self) -> Option<Report> {
        loop {
            let changed = self.0.changed.notified();
            if let Some(report) = self.0.take() {
                return report;
            }
            changed.await;
        }
    }

    /// Returns the next report, if there is one.
    pub fn try_next(&self) -> Option<Report> {
        self.0.take().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Severity, StreamError};

    fn report(code: u64) -> Report {
        Report { severity: Severity::Warning, error: Arc::new(StreamError::new(code, "")), missed: 0 }
    }

    fn large(severity: Severity) -> Report {
        let error = StreamError::new(1, "").with_details(vec![0; 60 << 10]).expect("60 KiB are allowed");
        Report { severity, error: Arc::new(error), missed: 0 }
    }

    fn inbox(max: usize, budget: &Arc<InboxBudget>) -> Errors {
        Errors(Arc::new(Inbox::new(max, Arc::clone(budget))))
    }

    #[test]
    fn a_thousand_streams_of_large_warnings_hold_four_mebibytes_and_give_them_back() {
        let budget = Arc::new(InboxBudget::default());
        let streams: Vec<_> = (0..1_000).map(|_| inbox(64, &budget)).collect();
        for _ in 0..64 {
            streams.iter().for_each(|errors| errors.0.push(large(Severity::Warning)));
        }
        let held = |errors: &Errors| errors.0.lock().queue.len();
        let reports: usize = streams.iter().map(held).sum();
        assert!(reports * (60 << 10) <= MAX_BYTES_OF_PEER, "{reports} reports are held");
        assert!(streams.iter().all(|errors| held(errors) <= 2));
        // The error that ends a stream is reported nevertheless, with the number of missed reports.
        let last = &streams[999];
        last.0.push(large(Severity::Fatal));
        let mut reports = std::iter::from_fn(|| last.try_next()).collect::<Vec<_>>();
        assert_eq!(reports.pop().map(|report| report.severity), Some(Severity::Fatal));
        drop(streams);
        assert_eq!(budget.0.load(Relaxed), 0);
    }

    #[test]
    fn large_warnings_of_one_stream_hold_a_hundred_and_twenty_eight_kibibytes() {
        let errors = inbox(64, &Arc::default());
        (0..10).for_each(|_| errors.0.push(large(Severity::Warning)));
        let reports: Vec<_> = std::iter::from_fn(|| errors.try_next()).collect();
        assert_eq!((reports.len(), reports[0].missed), (2, 8));
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_warnings_are_dropped_and_counted() {
        let errors = inbox(3, &Arc::default());
        for code in 0..10 {
            errors.0.push(report(code));
        }
        let first = errors.next().await.expect("a report");
        assert_eq!((first.error.code(), first.missed), (7, 7));
        let second = errors.next().await.expect("a report");
        assert_eq!((second.error.code(), second.missed), (8, 0));
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_still_read() {
        let errors = inbox(3, &Arc::default());
        errors.0.push(report(1));
        errors.0.close();
        assert_eq!(errors.next().await.map(|report| report.error.code()), Some(1));
        assert_eq!(errors.next().await, None);
    }
}
