//! When a connection is so silent that its peer is dialled anew: pure, with time as input.
//!
//! A peer that was switched off and is back, perhaps in another network, knows nothing of its old connections and cannot
//! say so: for a stateless reset (RFC 9000 section 10.3) it would need a key from before, and iroh makes a new one at each
//! start. What is sent on such a connection goes nowhere until the idle timeout. A new one shows at once who is there:
//! another instance of the peer ends the old connection, and the same one lets it drain, whoever dialled it: the new dial says
//! that it knew the old one.

use std::time::{Duration, Instant};

/// How long nothing has been heard on one connection.
#[derive(Debug)]
pub(super) struct Silence {
    patience: Duration,
    heard: u64,
    since: Option<Instant>,
}

impl Silence {
    /// `patience` covers at least one packet that keeps the connection alive.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, heard: 0, since: None }
    }

    /// How often to look, so that a silence is noticed at most a quarter late.
    pub(super) fn every(&self) -> Duration {
        self.patience / 4
    }

    /// A look: `heard` packets have come in all, and a stream of this side's `waits` for something. Whether the peer is to be
    /// dialled, which is said once in each patience.
    pub(super) fn is_too_long(&mut self, heard: u64, waits: bool, now: Instant) -> bool {
        if heard != self.heard || !waits {
            (self.heard, self.since) = (heard, None);
        }
        let since = *self.since.get_or_insert(now);
        let too_long = waits && now.duration_since(since) >= self.patience;
        if too_long {
            self.since = Some(now);
        }
        too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The looks at which it is said, of one each second.
    fn said(looks: impl IntoIterator<Item = (u64, bool)>) -> Vec<u32> {
        let (start, mut silence) = (Instant::now(), Silence::new(4 * SECOND));
        assert_eq!(silence.every(), SECOND);
        let said =
            (0..).zip(looks).map(|(n, (heard, waits))| (n, silence.is_too_long(heard, waits, start + n * SECOND)));
        said.filter(|(_, said)| *said).map(|(n, _)| n).collect()
    }

    #[test]
    fn after_four_silent_seconds_it_is_said_once_in_each_patience() {
        assert_eq!(said([(7, true); 14]), [4, 8, 12]);
    }

    #[test]
    fn a_single_packet_begins_it_anew() {
        assert_eq!(said((0..20).map(|n| (n / 4, true))), [] as [u32; 0]);
        assert_eq!(said((0..10).map(|n| (u64::from(n > 2), true))), [7]);
    }

    #[test]
    fn nobody_who_waits_means_nothing_to_find_out() {
        assert_eq!(said([(7, false); 30]), [] as [u32; 0]);
        // From the moment on at which somebody waits.
        assert_eq!(said((0..12).map(|n| (7, n > 5))), [9]);
    }
}
