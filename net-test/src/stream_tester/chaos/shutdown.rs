//! Shuts an endpoint down, and finds the tasks that never end.

use std::time::Duration;

use twolane::{Endpoint, ShutdownReport};

/// Maximum time of a second shutdown, for tasks that had no time to end in the first one. They take milliseconds.
const ENDING: Duration = Duration::from_secs(5);

/// Returns the report of a shutdown by `deadline`, and the number of tasks that never end. A shutdown whose time
/// runs out leaves its tasks to end in the background, and reports those that have not ended yet. A second shutdown
/// waits for them.
pub async fn shut_down(endpoint: &Endpoint, deadline: Duration) -> (ShutdownReport, usize) {
    let report = endpoint.shutdown(deadline).await;
    let tasks_left = match report.tasks_left {
        0 => 0,
        _ => endpoint.shutdown(ENDING).await.tasks_left,
    };
    (report, tasks_left)
}
