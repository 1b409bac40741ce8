//! How long a peer may take for data of any length. Pure.
//!
//! A timeout for each piece alone lets a peer send one byte at a time for as long as it likes. A timeout for the
//! whole cuts honest peers on slow links. Here the limit is on the rate, with patience for pauses.

use std::time::Duration;

/// The rate below which a peer uses up its patience, in bytes a second. It is half the rate of the slowest usable
/// link: on a link of 1 kB/s, data of any length gets through.
pub(super) const SLOWEST: u32 = 512;

/// Number of pauses of maximum length that a peer may make, one after the other, with almost no data between them.
const PAUSES: u32 = 6;

/// The remaining patience with a peer. Time spent waiting uses it up, and every byte gives some back.
#[derive(Debug)]
pub(super) struct Pace {
    pause: Duration,
    left: Duration,
}

impl Pace {
    /// Creates the full patience: six times `pause`, which is also the longest single wait. The patience never
    /// exceeds its start value, so that data which came fast does not allow hours of silence later.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, left: pause.saturating_mul(PAUSES) }
    }

    /// Returns the maximum time for the next piece.
    pub(super) fn bound(&self) -> Duration {
        self.left.min(self.pause)
    }

    /// Returns whether [`Pace::bound`] is short because of the rate, and not because of the limit on a pause.
    pub(super) fn is_too_slow(&self) -> bool {
        self.left < self.pause
    }

    /// Records that `bytes` bytes came after a wait of `waited`.
    pub(super) fn came(&mut self, bytes: usize, waited: Duration) {
        let gained = Duration::from_secs(bytes as u64) / SLOWEST;
        self.left = self.left.saturating_sub(waited).saturating_add(gained).min(self.pause.saturating_mul(PAUSES));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    /// Receives pieces, each after a wait, until one takes too long. Then returns the time until that moment.
    fn receive(pieces: impl IntoIterator<Item = (usize, Duration)>) -> Result<(), Duration> {
        let (mut pace, mut time) = (Pace::new(PAUSE), Duration::ZERO);
        for (bytes, wait) in pieces {
            if wait > pace.bound() {
                return Err(time + pace.bound());
            }
            time += wait;
            pace.came(bytes, wait);
        }
        Ok(())
    }

    #[test]
    fn a_peer_that_drips_is_let_go_after_six_pauses_whatever_it_sent_before() {
        let drips = || std::iter::repeat_n((1, Duration::from_millis(9_900)), 1_000_000);
        let alone = receive(drips()).unwrap_err();
        assert!(alone >= PAUSE * 6 && alone < PAUSE * 7, "{alone:?}");
        let after_much = receive([(16 << 20, PAUSE)].into_iter().chain(drips())).unwrap_err();
        assert!(after_much >= PAUSE * 7 && after_much < PAUSE * 8, "{after_much:?}");
    }

    #[test]
    fn a_silent_peer_is_let_go_after_one_pause() {
        assert_eq!(receive([(0, PAUSE + Duration::from_nanos(1))]), Err(PAUSE));
        let mut pace = Pace::new(PAUSE);
        assert!(!pace.is_too_slow());
        (0..6).for_each(|_| pace.came(1, Duration::from_millis(9_900)));
        assert!(pace.is_too_slow());
    }

    proptest! {
        #[test]
        fn a_peer_at_one_kilobyte_a_second_is_never_let_go(millis in prop::collection::vec(1..10_000u64, 1..2_000)) {
            let pieces = millis.into_iter().map(|millis| (millis as usize, Duration::from_millis(millis)));
            prop_assert_eq!(receive(pieces), Ok(()));
        }

        #[test]
        fn no_peer_takes_longer_than_its_bytes_and_six_pauses(
            pieces in prop::collection::vec((0..10_000usize, 0..10_000u64), 0..500),
        ) {
            let (mut pace, mut time, mut bytes) = (Pace::new(PAUSE), Duration::ZERO, 0);
            for (len, millis) in pieces {
                let wait = Duration::from_millis(millis).min(pace.bound());
                time += wait;
                pace.came(len, wait);
                bytes += len as u64;
                prop_assert!(time <= PAUSE * 6 + Duration::from_secs(bytes) / SLOWEST + Duration::from_micros(1));
            }
        }
    }
}
