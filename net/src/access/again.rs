//! How often a question is asked again that the rules leave unanswered, after a change. Pure.

use std::time::{Duration, Instant};

/// The first pause between two tries. A rule that asks a database is slow for the moment in which all its peers are
/// asked about at once.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause, up to which the pauses double.
const LONGEST: Duration = Duration::from_secs(10);

/// The tries to get one answer.
#[derive(Debug, Default)]
pub(super) struct Again {
    begun: Option<Instant>,
    tries: u32,
}

impl Again {
    /// Records that a try that began at `began` was not answered by `now`. Returns the pause before the next try.
    /// `None`: `patience` is over, counted from the begin of the first try.
    pub(super) fn unanswered(&mut self, began: Instant, now: Instant, patience: Duration) -> Option<Duration> {
        let left = patience.saturating_sub(now.saturating_duration_since(*self.begun.get_or_insert(began)));
        if left.is_zero() {
            return None;
        }
        let pause = FIRST.saturating_mul(1 << self.tries.min(8)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        // The last try is at the end.
        Some(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_and_the_last_try_is_when_the_patience_is_over() {
        let (begun, patience, each) = (Instant::now(), Duration::from_secs(60), Duration::from_secs(1));
        let (mut again, mut at, mut tries) = (Again::default(), begun, Vec::new());
        loop {
            tries.push((at - begun).as_millis());
            let Some(pause) = again.unanswered(at, at + each, patience) else { break };
            at += each + pause;
        }
        assert_eq!(tries, [0, 1_500, 3_500, 6_500, 11_500, 20_500, 31_500, 42_500, 53_500, 60_000]);
    }

    #[test]
    fn without_patience_there_is_one_try() {
        let begun = Instant::now();
        assert_eq!(Again::default().unanswered(begun, begun, Duration::ZERO), None);
    }
}
