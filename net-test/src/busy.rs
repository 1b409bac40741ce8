//! Measures the load that other processes put on the machine during a measurement. Too high a load makes the result
//! void.

use std::{collections::BTreeSet, fs, process};

/// The largest share of all processors that other processes may take. The daemons of a quiet machine take 1 %. A
/// load of 10 % changes a rate by as much as the difference between two libraries.
const MOST: f64 = 0.1;
/// The smallest number of ticks that gives a verdict. The kernel counts in ticks of 10 ms, and a share of fewer
/// ticks is not accurate. With fewer ticks, the previous verdict is kept.
const FEWEST: u64 = 30;

/// Counts of ticks since the machine started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    /// Ticks of all processors, idle or busy.
    all: u64,
    /// Ticks of processes, and of other virtual machines on the same processors. Interrupts, in which the kernel
    /// handles packets, are not counted, because they belong to no process.
    busy: u64,
    /// Ticks of this process and its descendants.
    own: u64,
}

#[derive(Debug)]
pub struct Watch {
    last: Sample,
    verdict: Option<String>,
}

impl Watch {
    /// Starts to watch the load. Returns `None` if the kernel does not report it.
    pub fn start() -> Option<Self> {
        Some(Self { last: Sample::now()?, verdict: None })
    }

    /// Returns the reason why a measurement since the last call is void, or `None` if it is valid.
    pub fn lap(&mut self) -> Option<String> {
        let now = Sample::now().unwrap_or(self.last);
        if now.all.saturating_sub(self.last.all) >= FEWEST {
            self.verdict = judge(share(self.last, now));
            self.last = now;
        }
        self.verdict.clone()
    }
}

fn judge(share: f64) -> Option<String> {
    (share > MOST).then(|| format!("others took {:.0} % of the machine", share * 100.0))
}

/// Returns the share of all processors that other processes took between two samples.
fn share(before: Sample, after: Sample) -> f64 {
    let ticks = |pick: fn(&Sample) -> u64| pick(&after).saturating_sub(pick(&before));
    let others = ticks(|sample| sample.busy).saturating_sub(ticks(|sample| sample.own));
    others as f64 / ticks(|sample| sample.all).max(1) as f64
}

impl Sample {
    fn now() -> Option<Self> {
        let (all, busy) = processors(&fs::read_to_string("/proc/stat").ok()?)?;
        // A process may end while its file is read.
        let lines = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            entry.file_name().to_str()?.parse::<u32>().ok()?;
            fs::read_to_string(entry.path().join("stat")).ok()
        });
        Some(Self { all, busy, own: tree(process::id(), lines.filter_map(|line| of_process(&line))) })
    }
}

/// Parses the first line of /proc/stat. Returns the ticks of all processors, and the ticks of processes.
fn processors(stat: &str) -> Option<(u64, u64)> {
    let ticks: Option<Vec<u64>> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, waits, irq, softirq, stolen, ..] = ticks?[..] else { return None };
    let busy = user + nice + system + stolen;
    Some((busy + idle + waits + irq + softirq, busy))
}

/// Parses a line of /proc/PID/stat. Returns the process id, the parent's id, and the ticks of the process and of
/// its children that have ended.
fn of_process(line: &str) -> Option<(u32, u32, u64)> {
    let (pid, _) = line.split_once(' ')?;
    // The name in brackets may contain any character.
    let words: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: Option<Vec<u64>> = words.get(11..15)?.iter().map(|word| word.parse().ok()).collect();
    Some((pid.parse().ok()?, words.get(1)?.parse().ok()?, ticks?.iter().sum()))
}

fn tree(root: u32, processes: impl Iterator<Item = (u32, u32, u64)>) -> u64 {
    let processes: Vec<_> = processes.collect();
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        for (pid, parent, _) in &processes {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            return processes.iter().filter(|(pid, ..)| family.contains(pid)).map(|process| process.2).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_nobodys_and_stolen_time_is_others() {
        let stat = "cpu  100 10 50 800 5 3 7 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(processors(stat), Some((995, 180)));
        assert_eq!(processors("cpu  1 2\n"), None);
    }

    #[test]
    fn a_process_has_the_ticks_of_its_children_too_whatever_its_name_is() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7\n";
        assert_eq!(of_process(line), Some((42, 7, 100)));
        assert_eq!(of_process("42 (x) S 7"), None);
    }

    #[test]
    fn a_family_is_whoever_descends_from_the_first() {
        let processes = [(1, 0, 1), (5, 3, 16), (2, 1, 2), (3, 2, 4), (4, 1, 8)];
        assert_eq!(tree(2, processes.into_iter()), 2 + 4 + 16);
    }

    #[test]
    fn what_others_take_is_what_is_void_over_a_tenth() {
        let before = Sample::default();
        let own = Sample { all: 200, busy: 200, own: 190 };
        assert_eq!((share(before, own), judge(share(before, own))), (0.05, None));
        let others = Sample { all: 200, busy: 150, own: 100 };
        assert_eq!(judge(share(before, others)).as_deref(), Some("others took 25 % of the machine"));
        let more_than_counted = Sample { all: 200, busy: 100, own: 103 };
        assert_eq!(share(before, more_than_counted), 0.0);
    }

    #[test]
    fn this_process_and_its_children_are_its_own() {
        if let Some(mut watch) = Watch::start() {
            let before = Sample::now().unwrap();
            let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
            assert!(process::Command::new("sh").args(["-c", spin]).status().unwrap().success());
            assert!(Sample::now().unwrap().own > before.own, "{watch:?}");
            watch.lap();
        }
    }
}
