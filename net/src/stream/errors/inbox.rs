//! The reports that wait to be read: bounded, and a fatal one is never lost behind warnings.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::report::Report;

/// One stream's reports. Shared by the stream and the [`Errors`] handles.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    max: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Report>,
    missed: u64,
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(max: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), max: max.max(1) }
    }

    /// Adds a report; of too many the oldest is dropped, and counted in the next one that is read.
    pub(crate) fn push(&self, report: Report) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.queue.len() == self.max {
            state.queue.pop_front();
            state.missed += 1;
        }
        state.queue.push_back(report);
        drop(state);
        self.changed.notify_waiters();
    }

    /// No more reports can come.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_waiters();
    }

    fn take(&self) -> Option<Option<Report>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.queue.pop_front() {
            Some(report) => Some(Some(Report { missed: std::mem::take(&mut state.missed), ..report })),
            None => state.closed.then_some(None),
        }
    }
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

    #[tokio::test]
    async fn the_oldest_of_too_many_warnings_are_dropped_and_counted() {
        let errors = Errors(Arc::new(Inbox::new(3)));
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
        let errors = Errors(Arc::new(Inbox::new(3)));
        errors.0.push(report(1));
        errors.0.close();
        assert_eq!(errors.next().await.map(|report| report.error.code()), Some(1));
        assert_eq!(errors.next().await, None);
    }
}
