//! The order in which the data lanes of a connection are sent. Pure.

use std::sync::atomic::{AtomicI16, Ordering::Relaxed};

/// Number of written bytes from which on a lane counts as bulk data. Requests and their answers are shorter. At 10
/// Mbit/s this number of bytes is sent in 50 ms.
const BULK: u64 = 64 * 1024;

/// The priority of one data lane. It starts with noq's priority of a new stream, so that short streams cost nothing.
#[derive(Debug, Default)]
pub(super) struct Urgency {
    /// The priority that the program has set.
    priority: AtomicI16,
    bulk: bool,
}

impl Urgency {
    /// Sets the program's priority. Returns the priority for noq.
    pub(super) fn set(&self, priority: i16) -> i32 {
        self.priority.store(priority, Relaxed);
        self.level()
    }

    /// Records that `written` bytes have been written in total. Returns the priority for noq if it changes.
    pub(super) fn wrote(&mut self, written: u64) -> Option<i32> {
        if self.bulk || written < BULK {
            return None;
        }
        self.bulk = true;
        Some(self.level())
    }

    fn level(&self) -> i32 {
        2 * i32::from(self.priority.load(Relaxed)) - i32::from(self.bulk)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::carrier::PRIORITY_ERRORS, *};

    #[test]
    fn a_lane_with_bulk_data_gives_way_to_shorter_ones_of_its_priority_and_to_no_others() {
        let mut bulk = Urgency::default();
        assert_eq!(bulk.wrote(BULK - 1), None);
        let level = bulk.wrote(BULK).unwrap();
        assert_eq!(bulk.wrote(2 * BULK), None);
        let short = Urgency::default();
        assert_eq!(short.level(), 0, "what a new stream has");
        assert!(level < short.level() && level > short.set(-1));
        assert!(bulk.set(1) > short.set(0));
    }

    #[test]
    fn errors_go_before_the_most_urgent_data() {
        let urgency = Urgency::default();
        assert!(urgency.set(i16::MAX) < PRIORITY_ERRORS);
        assert!(urgency.set(i16::MIN) < urgency.set(i16::MIN + 1));
    }
}
