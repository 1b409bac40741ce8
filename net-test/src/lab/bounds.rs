//! What was measured, and what is allowed: the one place to adjust after a measurement.
//!
//! A bound is three times what was measured, and at least [`LEAST_MS`] more: less than that is the scheduler's.

use super::{
    fault::Fault,
    figures::{Figure, Figures},
};

/// A figure of a case.
pub(super) struct Bound {
    pub(super) case: &'static str,
    pub(super) figure: Figure,
    /// The median of runs on two cores, which is what README's table says.
    pub(super) measured: f64,
    /// More than this fails.
    pub(super) bound: f64,
}

const fn ms(case: &'static str, figure: Figure, measured: f64, bound: f64) -> Bound {
    Bound { case, figure, measured, bound }
}

use Figure::{Again, Answered, Direct, Moved, Online, Relayed, Stall};

/// In milliseconds.
pub(super) const BOUNDS: &[Bound] = &[
    ms("same-network", Direct, 3000.0, 9000.0),
    ms("same-network", Stall, 1500.0, 4500.0),
];

/// What bounds are apart from what was measured, at least.
#[cfg(test)]
const LEAST_MS: f64 = 100.0;

/// Whether the figures of a case that held are within its bounds.
pub(super) fn check(case: &str, figures: &Figures) -> Result<(), Fault> {
    for Bound { figure, measured, bound, .. } in BOUNDS.iter().filter(|bound| bound.case == case) {
        let name = figure.name();
        let Some(seen) = figures.get(*figure) else {
            return Err(Fault::Not(format!("{name} was not measured")));
        };
        if seen > *bound {
            let from = figures.stall_from_ms.filter(|_| *figure == Stall);
            let from = from.map(|from| format!(", from {from:.0} ms on")).unwrap_or_default();
            return Err(Fault::Slow(format!("{name} is {seen:.0}{from}; {measured:.0} is usual, {bound:.0} allowed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::cases::named;

    #[test]
    fn every_bound_is_for_a_case_and_near_what_was_measured() {
        for Bound { case, figure, measured, bound } in BOUNDS {
            assert!(named(case).is_some(), "{case}");
            let most = (measured * 3.0).max(measured + LEAST_MS);
            assert!(measured < bound && *bound <= most * 1.01, "{case}, {}: {bound} for {measured}", figure.name());
            let same = BOUNDS.iter().filter(|other| other.case == *case && other.figure == *figure);
            assert_eq!(same.count(), 1, "{case}");
        }
    }

    #[test]
    fn what_is_slower_than_its_bound_or_was_not_measured_does_not_hold() {
        let bound = &BOUNDS[0];
        let with = |value| {
            let mut figures = Figures::default();
            for bound in BOUNDS.iter().filter(|other| other.case == bound.case) {
                figures.set(bound.figure, bound.measured);
            }
            if let Some(value) = value {
                figures.set(bound.figure, value);
            }
            check(bound.case, &figures)
        };
        assert_eq!(with(None), Ok(()));
        assert_eq!(with(Some(bound.bound)), Ok(()));
        assert!(matches!(with(Some(bound.bound * 1.1)), Err(Fault::Slow(_))));
        assert!(matches!(check(bound.case, &Figures::default()), Err(Fault::Not(_))));
    }
}
