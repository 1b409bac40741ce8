//! Medians, percentiles and intervals. All functions are pure.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// The number of samples that have to lie beyond a percentile. With fewer samples, the percentile depends on
/// chance.
const BEYOND: f64 = 10.0;
/// The smallest number of values that has a 95 % interval. With four values, the median of their distribution lies
/// outside their range in one case of eight.
const FEWEST: usize = 5;
/// The number of resamples of the bootstrap. More resamples change the bounds by less than 1 % of their distance.
const RESAMPLES: usize = 2_000;

/// Returns the median. It is the mean of the two middle values if the number of values is even, and 0 if there are
/// none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Returns the percentile by nearest rank, or 0 if there are no values.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// Returns the percentile, if at least `BEYOND` values lie beyond it.
pub fn tail(sorted: &[f64], part: f64) -> Option<f64> {
    // Parts such as 0.999 are not exact in binary.
    let beyond = (1.0 - part) * sorted.len() as f64 + 1e-6;
    (beyond >= BEYOND).then(|| percentile(sorted, part))
}

/// Returns the interval that contains the median of the distribution in 95 of 100 cases, by the percentile
/// bootstrap. The same values always give the same interval. For five values the interval is their range, which
/// contains the median in 94 cases. For fewer values it is `None`.
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < FEWEST {
        return None;
    }
    let mut rng = SmallRng::seed_from_u64(1);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = values.iter().map(|_| values[rng.random_range(0..values.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Some((percentile(&medians, 0.025), percentile(&medians, 0.975)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 500.0);
        assert_eq!(percentile(&values, 0.999), 999.0);
        assert_eq!(percentile(&values, 1.0), 1000.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }

    #[test]
    fn a_tail_has_ten_values_beyond_it() {
        let values = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(tail(&values(1_000), 0.99), Some(990.0));
        assert_eq!(tail(&values(999), 0.99), None);
        assert_eq!(tail(&values(10_000), 0.999), Some(9_990.0));
        assert_eq!(tail(&values(9_999), 0.999), None);
    }

    #[test]
    fn an_interval_is_wide_where_values_lie_apart_and_the_same_each_time() {
        let narrow: Vec<f64> = (0..15).map(|n| 1.0 + f64::from(n % 5) / 1000.0).collect();
        let wide: Vec<f64> = (0..15).map(|n| 1.0 + f64::from(n % 5) / 10.0).collect();
        let width = |values: &[f64]| interval(values).map(|(low, high)| high - low).unwrap();
        assert!(width(&narrow) < 0.004 && width(&wide) > 0.1, "{} {}", width(&narrow), width(&wide));
        assert_eq!(interval(&wide), interval(&wide));
    }

    #[test]
    fn one_value_that_is_far_off_moves_no_bound_and_five_have_their_range() {
        let mut values: Vec<f64> = (0..21).map(f64::from).collect();
        let before = interval(&values);
        values[20] = 1e9;
        assert_eq!(interval(&values), before);
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some((1.0, 5.0)));
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0]), None);
    }

    /// Draws samples from a known distribution. The interval has to contain the median of the distribution in about
    /// 95 of 100 cases.
    #[test]
    fn an_interval_has_the_median_in_it_in_about_95_of_100_cases() {
        let mut rng = SmallRng::seed_from_u64(7);
        let has = |_: &u32| {
            let values: Vec<f64> = (0..25).map(|_| rng.random_range(0.0..1.0)).collect();
            interval(&values).is_some_and(|(low, high)| (low..=high).contains(&0.5))
        };
        let held = (0..200).filter(has).count();
        assert!((180..=199).contains(&held), "{held} of 200");
    }
}
