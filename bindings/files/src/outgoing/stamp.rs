//! How a sender notices that a file changes while it is sent.

use std::{
    fs::Metadata,
    time::{Duration, SystemTime},
};

/// Age of the last change of a file below which its time says nothing: the clock of a file system may have steps of 2 s
/// (FAT), and a change in the same step has the same time.
const STEP: Duration = Duration::from_secs(2);

/// The state of an open file, as far as the system notes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// The time of the last change of anything, which no program can set.
    changed: Option<(i64, i64)>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let changed = None;
        Self { len: metadata.len(), modified: metadata.modified().ok(), changed }
    }

    /// Returns whether the file has certainly not changed between this stamp, taken at `at`, and a later one.
    pub(super) fn vouches_for(self, later: Self, at: SystemTime) -> bool {
        let is_old = |time: SystemTime| at.duration_since(time).is_ok_and(|age| age >= STEP);
        self == later && self.modified.is_some_and(is_old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_rests_and_has_rested_is_vouched_for() {
        let now = SystemTime::now();
        let old = Stamp { len: 5, modified: Some(now - STEP), changed: Some((7, 0)) };
        assert!(old.vouches_for(old, now));
        for later in [
            Stamp { len: 6, ..old },
            Stamp { modified: Some(now), ..old },
            Stamp { changed: Some((7, 1)), ..old },
        ] {
            assert!(!old.vouches_for(later, now), "{later:?}");
        }
        for fresh in [
            Stamp { modified: Some(now - STEP + Duration::from_nanos(1)), ..old },
            Stamp { modified: Some(now + STEP), ..old },
            Stamp { modified: None, ..old },
        ] {
            assert!(!fresh.vouches_for(fresh, now), "{fresh:?}");
        }
    }
}
