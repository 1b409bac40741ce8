//! The number of tasks and open files of this process, and its memory. Compared before and after a run, they show
//! leaks.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use peak_alloc::PeakAlloc;
use tokio::{
    runtime::Handle,
    time::{interval, timeout},
};

/// The pause between two checks of a condition that is not notified, such as a counter of the runtime or of the
/// system.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The number of tasks of the runtime that have not ended.
    pub tasks: usize,
    /// The number of open files and sockets, if the system lists them.
    pub files: Option<usize>,
    /// The number of allocated bytes. It is 0 in a program without the counting allocator.
    pub heap: u64,
    /// The resident memory in bytes, if the system reports it.
    pub resident: Option<u64>,
}

impl Footprint {
    /// Measures the process. Must be called on a runtime.
    pub fn now() -> Self {
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: open_files(),
            heap: PeakAlloc.current_usage() as u64,
            resident: resident(),
        }
    }

    /// Waits until there are no more tasks and files than in `self`. Otherwise returns a description of what is
    /// left.
    pub async fn returns(&self, within: Duration) -> Vec<String> {
        until(within, || left(self, &Self::now()).is_empty()).await;
        left(self, &Self::now())
    }
}

pub fn left(before: &Footprint, after: &Footprint) -> Vec<String> {
    let mut left = Vec::new();
    if after.tasks > before.tasks {
        left.push(format!("{} tasks run, and {} did before", after.tasks, before.tasks));
    }
    if let (Some(before), Some(after)) = (before.files, after.files)
        && after > before
    {
        left.push(format!("{after} files and sockets are open, and {before} were before"));
    }
    left
}

/// Waits until a condition holds that is not notified. Returns false if it does not hold in time.
pub async fn until(within: Duration, holds: impl Fn() -> bool) -> bool {
    let waiting = async {
        let mut look = interval(LOOK);
        while !holds() {
            look.tick().await;
        }
    };
    timeout(within, waiting).await.is_ok()
}

fn open_files() -> Option<usize> {
    descriptors().map(|open| open.len())
}

/// Returns the numbers of the open files. The listing itself opens a file.
fn descriptors() -> Option<Vec<String>> {
    let listing = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(listing.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect())
}

fn resident() -> Option<u64> {
    memory_stats::memory_stats().map(|memory| memory.physical_mem as u64)
}

/// Counts panics, wherever they are caught. A panic in a task does not end the process.
#[derive(Debug, Clone, Copy)]
pub struct Panics(u64);

static PANICS: AtomicU64 = AtomicU64::new(0);

impl Panics {
    /// Starts to count panics. The previous panic hook still runs.
    pub fn watch() -> Self {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Relaxed);
            before(panic);
        }));
        Self(PANICS.load(Relaxed))
    }

    pub fn count(&self) -> u64 {
        PANICS.load(Relaxed) - self.0
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;

    use super::*;

    #[tokio::test]
    async fn a_task_that_goes_on_is_left_and_one_that_ends_is_not() {
        // Files belong to the process, and other tests open some.
        let before = Footprint { files: None, ..Footprint::now() };
        let task = tokio::spawn(std::future::pending::<()>());
        let left = before.returns(Duration::from_millis(50)).await;
        assert!(left.len() == 1 && left[0].contains("tasks"), "{left:?}");
        task.abort();
        assert!(before.returns(Duration::from_secs(30)).await.is_empty());
    }

    #[test]
    fn more_open_files_are_named() {
        let before = Footprint { files: Some(10), ..Footprint::default() };
        assert!(left(&before, &before).is_empty());
        let after = Footprint { files: Some(11), ..before };
        assert!(left(&before, &after)[0].contains("11 files"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_open_socket_and_resident_memory_are_counted() {
        // Only these sockets are checked, because other tests open and close files at the same time.
        let sockets: Vec<_> = (0..64).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let open = descriptors().unwrap();
        assert!(sockets.iter().all(|socket| open.contains(&socket.as_raw_fd().to_string())), "{open:?}");
        assert!(open_files().unwrap() > sockets.len());
        assert!(resident().unwrap() > 1 << 20);
    }
}
