//! The measured and the allowed figures of the cases. This is the place to adjust after a measurement.
//!
//! A bound is at most three times the measured figure, or the measured figure plus [`LEAST_MS`], which a scheduler
//! may add. Routers are 30 ms from the internet, so the round-trip time between two homes is 120 ms.

use super::{
    fault::Fault,
    figures::{Figure, Figures},
};

pub struct Bound {
    pub case: &'static str,
    pub figure: Figure,
    /// The median of runs on two cores, as in the table of the README.
    pub measured: f64,
    /// The largest figure that passes.
    pub bound: f64,
}

const fn ms(case: &'static str, figure: Figure, measured: f64, bound: f64) -> Bound {
    Bound { case, figure, measured, bound }
}

use Figure::{Again, Answered, Direct, Moved, Online, Relayed, Stall};

/// The bounds in milliseconds: the case, the figure, the measured and the allowed value.
pub const BOUNDS: &[Bound] = &[
    ms("same-network", Direct, 420.0, 1260.0),
    ms("same-network", Stall, 35.0, 235.0),
    ms("local-only", Direct, 660.0, 1980.0),
    ms("local-only", Stall, 35.0, 235.0),
    ms("one-home-nat", Direct, 570.0, 1710.0),
    ms("one-home-nat", Stall, 105.0, 315.0),
    ms("two-home-nats", Direct, 640.0, 1920.0),
    ms("two-home-nats", Stall, 230.0, 690.0),
    ms("by-key-alone", Direct, 650.0, 1950.0),
    ms("by-key-alone", Stall, 200.0, 600.0),
    ms("unequal-ways", Direct, 1040.0, 3120.0),
    ms("unequal-ways", Stall, 350.0, 1050.0),
    ms("random-ports", Direct, 720.0, 2160.0),
    ms("random-ports", Stall, 220.0, 660.0),
    ms("hairpin", Direct, 430.0, 1290.0),
    ms("hairpin", Stall, 60.0, 260.0),
    ms("carrier-nat", Direct, 740.0, 2220.0),
    ms("carrier-nat", Stall, 230.0, 690.0),
    ms("ipv6-only", Direct, 590.0, 1770.0),
    ms("ipv6-only", Stall, 225.0, 675.0),
    ms("symmetric-to-public", Direct, 580.0, 1740.0),
    ms("symmetric-to-public", Stall, 100.0, 300.0),
    ms("symmetric-one-side", Stall, 220.0, 660.0),
    ms("symmetric-both", Stall, 220.0, 660.0),
    ms("symmetric-carrier", Stall, 225.0, 675.0),
    ms("no-hairpin", Stall, 220.0, 660.0),
    // Not measured by itself: its data takes the way of "no-hairpin".
    ms("hidden", Stall, 220.0, 660.0),
    ms("udp-blocked", Stall, 100.0, 300.0),
    ms("ipv4-to-ipv6", Stall, 220.0, 660.0),
    ms("cut-and-healed", Direct, 600.0, 1800.0),
    ms("cut-and-healed", Stall, 3730.0, 5000.0),
    ms("cut-and-healed", Relayed, 3090.0, 4500.0),
    ms("cut-and-healed", Again, 760.0, 2280.0),
    ms("lossy", Direct, 3120.0, 9360.0),
    ms("lossy", Stall, 680.0, 2040.0),
    ms("small-mtu", Direct, 600.0, 1800.0),
    ms("small-mtu", Stall, 240.0, 720.0),
    ms("relay-killed", Direct, 600.0, 1800.0),
    ms("relay-killed", Stall, 230.0, 690.0),
    ms("relay-restarted", Stall, 3870.0, 8000.0),
    ms("relay-restarted", Relayed, 3390.0, 8000.0),
    ms("address-change", Direct, 710.0, 2130.0),
    ms("address-change", Stall, 3050.0, 5000.0),
    ms("address-change", Moved, 1080.0, 3240.0),
    ms("address-change", Again, 1180.0, 3540.0),
    ms("nat-rebinding", Direct, 620.0, 1860.0),
    ms("nat-rebinding", Stall, 1190.0, 3570.0),
    ms("nat-rebinding", Moved, 80.0, 280.0),
    ms("nat-rebinding", Again, 140.0, 420.0),
    ms("idle-mapping", Direct, 200.0, 600.0),
    ms("idle-mapping", Stall, 125.0, 375.0),
    ms("relay-late", Direct, 730.0, 2190.0),
    ms("relay-late", Stall, 230.0, 690.0),
    ms("relay-late", Online, 750.0, 2250.0),
    ms("network-late", Direct, 1430.0, 4290.0),
    ms("network-late", Stall, 140.0, 420.0),
    ms("network-late", Answered, 540.0, 1620.0),
    ms("peer-restarted", Direct, 5200.0, 15000.0),
    ms("peer-restarted", Stall, 170.0, 510.0),
    ms("peer-restarted", Answered, 5810.0, 9000.0),
    // The transfer time of the link, and the overhead of packets.
    ms("many-responses", Answered, 85_000.0, 120_000.0),
    // The data under way takes 4 s, and the first packet after the outage comes up to 8 s after its end.
    ms("bulk-outage", Answered, 4_650.0, 14_000.0),
    ms("killed-twice", Answered, 700.0, 2_100.0),
    ms("killed-and-back", Answered, 1_740.0, 2_500.0),
    ms("dialler-back", Answered, 1_740.0, 2_500.0),
    ms("relayed-and-back", Answered, 2_000.0, 3_000.0),
];

/// A case is void if a thread of the lab was woken later than this.
#[cfg(test)]
const LEAST_MS: f64 = 200.0;

pub fn check(case: &str, figures: &Figures) -> Result<(), Fault> {
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
    use crate::lab::cases::{CASES, named};

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

    /// Cases without a conversation. They have no stall, and the way of their data is not measured.
    const WITHOUT_TALK: [&str; 6] =
        ["many-responses", "bulk-outage", "killed-twice", "killed-and-back", "dialler-back", "relayed-and-back"];

    #[test]
    fn every_case_that_moves_data_has_bounds() {
        for case in CASES.iter().filter(|case| !case.alone) {
            let bounded = |figure| BOUNDS.iter().any(|bound| bound.case == case.name && bound.figure == figure);
            if WITHOUT_TALK.contains(&case.name) {
                assert!(bounded(Answered), "{}", case.name);
                continue;
            }
            assert!(bounded(Stall), "{}", case.name);
            // A case whose data stays on the relay has a pair that goes direct.
            assert!(case.pair.is_some() || bounded(Direct), "{}", case.name);
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
