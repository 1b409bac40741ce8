//! Tasks that end together.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

/// A program's tasks, to be told and awaited together: the word of fastn-net, as a primitive. It handles no signals
/// and prints nothing. Cheap to clone; all clones are the same.
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

/// How a [`Graceful`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Every task has ended.
    pub finished: bool,
    /// Tasks that had not.
    pub left: usize,
}

impl Graceful {
    /// A group without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that the group waits for. It is not stopped by the group: it looks at
    /// [`cancelled`](Graceful::cancelled).
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until the group is to end. Cancel-safe.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Whether the group is to end.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells every task to end, and waits for nothing.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Tells every task to end and waits for them, at most `deadline`. Cancel-safe: it can be called again.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        self.token.cancel();
        self.tasks.close();
        let finished = timeout(deadline, self.tasks.wait()).await.is_ok();
        Drained { finished, left: self.tasks.len() }
    }
}
