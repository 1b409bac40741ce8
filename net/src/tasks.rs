//! The tasks of an endpoint that outlive a call.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// The tasks of one endpoint. They run on the runtime on which the endpoint was bound, whichever thread spawns
/// them: a handle may be dropped on a thread that has no runtime.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
}

impl Tasks {
    /// Creates the tasks of an endpoint. Has to be called on the runtime on which the tasks are to run.
    pub(crate) fn here() -> Self {
        Self { tracker: TaskTracker::new(), runtime: Handle::current() }
    }

    /// Like [`Tasks::here`]. Returns `None` where there is no runtime.
    pub(crate) fn try_here() -> Option<Self> {
        Some(Self { tracker: TaskTracker::new(), runtime: Handle::try_current().ok()? })
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn_on(task, &self.runtime)
    }

    /// Runs a task that [`Tasks::ended`] does not wait for, so that the task may call `ended`.
    pub(crate) fn spawn_last(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits until every task has ended.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
