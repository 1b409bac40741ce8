//! Shutting an endpoint down, and learning of the tasks that never end.

use std::time::Duration;

use twolane::{Endpoint, ShutdownReport};

/// The bound of a second shutdown, for tasks that had no time to end in the first: they take milliseconds.
const ENDING: Duration = Duration::from_secs(5);

/// The report of a shutdown by `deadline`, and the tasks that go on for good. A shutdown whose time
/// runs out leaves the end of its tasks to the background, and reports those that have not ended yet: a second one waits for them.
pub async fn shut_down(endpoint: &Endpoint, deadline: Duration) -> (ShutdownReport, usize) {
    let report = endpoint.shutdown(deadline).await;
    let tasks_left = match report.tasks_left {
        0 => 0,
        _ => endpoint.shutdown(ENDING).await.tasks_left,
    };
    (report, tasks_left)
}
