//! The wait before a peer that could not be reached is dialled again.

use std::time::Duration;

/// Maximum wait before the first redial. A lost packet is no reason to wait longer.
const BASE: Duration = Duration::from_millis(100);
/// Maximum wait before any later redial. A peer that comes back is found within this time.
pub(crate) const CAP: Duration = Duration::from_secs(10);

/// Returns the wait before the next dial, after `failures` failed dials in a row. Exponential with full jitter
/// ("Exponential Backoff And Jitter", Brooker 2015): uniform between zero and the bound, so that peers which lost
/// each other at the same moment do not dial at the same moment. `random` is uniform over all of `u32`.
pub(crate) fn delay(failures: u32, random: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let bound = BASE.saturating_mul(1 << (failures - 1).min(16)).min(CAP);
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Returns a random number for the jitter. Without randomness it is the largest: the longest wait is the safe one.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dial_does_not_wait() {
        assert_eq!(delay(0, u32::MAX), Duration::ZERO);
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let bounds: Vec<_> = (1..=9).map(|failures| delay(failures, u32::MAX).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(delay(u32::MAX, u32::MAX), CAP);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(delay(5, 0), Duration::ZERO);
        let half = delay(5, u32::MAX / 2);
        assert!(half > Duration::from_millis(799) && half < Duration::from_millis(801), "{half:?}");
    }
}
