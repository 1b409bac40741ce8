//! The reports that wait to be read: bounded in number and in bytes, and a fatal one is never lost behind warnings.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::{error::Report, wire::record::Severity};

/// Bytes of the reports that wait on one stream: two of the largest.
const MAX_BYTES: usize = 128 * 1024;
/// Bytes of the reports that wait on all streams of one peer: 4 MiB. The peer sends them, and nobody here has to read them.
const MAX_BYTES_OF_PEER: usize = 4 << 20;
/// What a report takes beside its text and details: it weighs that at least.
const OVERHEAD: usize = 160;

/// What the reports of one peer weigh, on all its streams together.
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

/// One stream's reports. Shared by the stream and the [`Errors`] handles.
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
    /// For at most `max` reports.
    pub(in crate::stream) fn new(max: usize, budget: Arc<InboxBudget>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), max: max.max(1), budget }
    }

    /// Adds a report; of too many the oldest is dropped, and counted in the next one that is read. A warning for which the
    /// peer's other streams leave no room is dropped and counted as well.
    pub(in crate::stream) fn push(&self, report: Report) {
        let bytes = weight(&report);
        let mut state = self.lock();
        while state.queue.len() >= self.max || (!state.queue.is_empty() && state.bytes + bytes > MAX_BYTES) {
            self.drop_oldest(&mut state);
        }
        // The error that ends a stream is kept beside it anyway, and weighs nothing here.
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

    /// No more reports can come.
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

/// What the peer says on a stream's error lane: warnings, and at most one fatal error or abort.
///
/// Got from [`XStream::errors`](crate::XStream::errors); it can be awaited beside reading and writing. A fatal error
/// also ends reading and writing, whether or not anybody reads it here. Several handles of one stream share one
/// queue. Dropping a handle loses nothing.
#[derive(Debug, Clone)]
pub struct Errors(pub(crate) Arc<Inbox>);

impl Errors {
    /// The next report; `None` once the stream is gone and every report has been read.
    ///
    /// Cancel-safe: a report is taken only when it is returned.
    pub async fn next(&self) -> Option<Report> {
        loop {
            let changed = self.0.changed.notified();
            if let Some(report) = self.0.take() {
                return report;
            }
            changed.await;
        }
    }

    /// The next report if one is there.
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
        // What ends a stream is reported all the same, with how many were missed.
        let last = &streams[999];
        last.0.push(large(Severity::Fatal));
        let mut reports = std::iter::from_fn(|| last.try_next()).collect::<Vec<_>>();
        assert_eq!(reports.pop().map(|report| report.severity), Some(Severity::Fatal));
        drop(streams);
        assert_eq!(budget.0.load(Relaxed), 0);
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
