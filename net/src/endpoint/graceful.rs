//! Groups of tasks that end together.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

/// A group of a program's tasks, which are told to end and awaited together. The name is that of fastn-net; here
/// it is a primitive that handles no signals and prints nothing. Cheap to clone; all clones are the same group.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// use std::time::Duration;
/// use twolane::Graceful;
///
/// let graceful = Graceful::new();
/// let worker = graceful.clone();
/// graceful.spawn(async move { worker.cancelled().await });
/// let drained = graceful.shutdown(Duration::from_secs(5)).await;
/// assert_eq!((drained.finished, drained.left), (true, 0));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Graceful {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// The outcome of [`Graceful::shutdown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether every task has ended.
    pub finished: bool,
    /// Number of tasks that had not ended.
    pub left: usize,
}

impl Graceful {
    /// Creates a group without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that the group waits for. The group does not stop the task: the task has to watch
    /// [`cancelled`](Graceful::cancelled).
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until the group is told to end. Cancel-safe.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Returns whether the group was told to end.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells every task to end, and does not wait.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Tells every task to end and waits for the tasks, for at most `deadline`. Cancel-safe: it can be called
    /// again.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        self.token.cancel();
        self.tasks.close();
        let finished = timeout(deadline, self.tasks.wait()).await.is_ok();
        Drained { finished, left: self.tasks.len() }
    }
}
