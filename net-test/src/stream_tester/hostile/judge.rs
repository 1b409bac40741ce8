//! Whether a scene held: its bounds against what was measured. Pure.

use serde::{Deserialize, Serialize};

use super::{scenes::Scene, tally::Counts};

/// What a scene measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The honest peer's requests a second in each window without an attack.
    pub undisturbed: Vec<f64>,
    /// The same, in each window under attack.
    pub attacked: Vec<f64>,
    /// Resident memory of the process at the start, in bytes.
    pub rss_before: u64,
    /// The most there was after that.
    pub rss_peak: u64,
    /// Honest requests that failed.
    pub failed_requests: u64,
    /// Why the first of them did.
    pub first_failure: Option<String>,
    /// The honest peer was connected anew, or more than once.
    pub reconnected: bool,
    /// What the hostile peers were told, and what the endpoint counted.
    pub seen: Counts,
    /// What kept the attack, or the scene, from going on.
    pub broke: Option<String>,
}

impl Measured {
    /// The rate under attack by that without, medians both. `None` if there is nothing to compare.
    pub fn honest_share(&self) -> Option<f64> {
        let (attacked, undisturbed) = (median(&self.attacked)?, median(&self.undisturbed)?);
        (undisturbed > 0.0).then_some(attacked / undisturbed)
    }

    /// By how much memory grew at most, in 10^6 bytes.
    pub fn peak_rss_mb(&self) -> f64 {
        self.rss_peak.saturating_sub(self.rss_before) as f64 / 1e6
    }

    /// Of what the scene needs to see: what is missing, in words.
    pub fn missing(&self, scene: &Scene) -> Vec<String> {
        let count = |name: &str| self.seen.get(name).copied().unwrap_or_default();
        let unseen = scene.needs.iter().filter(|(name, least)| count(name) < *least);
        unseen.map(|(name, least)| format!("{name} was seen {} times of {least}", count(name))).collect()
    }

    /// What did not hold, in words. Empty if everything did.
    pub fn judge(&self, scene: &Scene) -> Vec<String> {
        let mut faults: Vec<_> = self.broke.iter().map(|broke| format!("it broke off: {broke}")).collect();
        if self.undisturbed.is_empty() && !faults.is_empty() {
            // There is nothing to judge.
            return faults;
        }
        match self.honest_share() {
            Some(share) if share >= scene.share => {}
            Some(share) => faults.push(format!("the honest share is {share:.2}, and the bound {}", scene.share)),
            None => faults.push("the honest peer got nothing done even without an attack".to_owned()),
        }
        let peak = self.peak_rss_mb();
        if self.rss_before == 0 || self.rss_peak == 0 {
            faults.push("the system does not tell how much memory is used".to_owned());
        } else if peak > scene.rss_mb {
            faults.push(format!("memory grew by {peak:.1} MB, and the bound is {}", scene.rss_mb));
        }
        if self.failed_requests > 0 {
            let why = self.first_failure.as_deref().unwrap_or("for no known reason");
            faults.push(format!("{} honest requests failed: {why}", self.failed_requests));
        }
        if self.reconnected {
            faults.push("the honest peer's connection was replaced".to_owned());
        }
        faults.extend(self.missing(scene));
        for name in scene.never {
            if let Some(count) = self.seen.get(*name).filter(|count| **count > 0) {
                faults.push(format!("{name} was seen {count} times, and must not be"));
            }
        }
        faults
    }
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_tester::hostile::{attacks, scenes};

    const SCENE: Scene = Scene {
        name: "it",
        sentence: "",
        share: 0.5,
        rss_mb: 10.0,
        needs: &[("lane_timed_out", 3), ("handshakes_refused", 1)],
        never: &["closed_protocol_violation"],
        limits: scenes::unchanged,
        bait: false,
        attack: attacks::silence::after_connect,
    };

    fn good() -> Measured {
        Measured {
            undisturbed: vec![100.0, 90.0, 5_000.0],
            attacked: vec![60.0, 1.0, 70.0],
            rss_before: 50_000_000,
            rss_peak: 60_000_000,
            seen: [("lane_timed_out".into(), 3), ("handshakes_refused".into(), 1)].into(),
            ..Measured::default()
        }
    }

    #[test]
    fn a_measurement_within_every_bound_holds() {
        assert_eq!(good().judge(&SCENE), Vec::<String>::new());
        assert_eq!(good().honest_share(), Some(0.6));
        assert_eq!(good().peak_rss_mb(), 10.0);
    }

    #[test]
    fn nothing_measured_is_nothing_that_holds() {
        assert!(!Measured::default().judge(&SCENE).is_empty());
    }

    #[test]
    fn each_bound_that_is_broken_is_named_alone() {
        type Spoil = fn(&mut Measured);
        let bad: [(&str, Spoil); 13] = [
            ("honest share is 0.49", |it| it.attacked = vec![49.0; 3]),
            ("got nothing done", |it| it.undisturbed = vec![0.0; 3]),
            ("got nothing done", |it| it.attacked.clear()),
            ("grew by 10.1 MB", |it| it.rss_peak += 100_000),
            ("does not tell", |it| it.rss_before = 0),
            ("does not tell", |it| it.rss_peak = 0),
            ("1 honest requests failed: no luck", |it| {
                it.failed_requests = 1;
                it.first_failure = Some("no luck".into());
            }),
            ("connection was replaced", |it| it.reconnected = true),
            ("lane_timed_out was seen 2 times of 3", |it| {
                it.seen.insert("lane_timed_out".into(), 2);
            }),
            ("handshakes_refused was seen 0 times of 1", |it| {
                it.seen.remove("handshakes_refused");
            }),
            ("closed_protocol_violation was seen 1 times", |it| {
                it.seen.insert("closed_protocol_violation".into(), 1);
            }),
            ("broke off: lost", |it| it.broke = Some("lost".into())),
            ("broke off: lost", |it| *it = Measured { broke: Some("lost".into()), ..Measured::default() }),
        ];
        for (words, spoil) in bad {
            let mut measured = good();
            spoil(&mut measured);
            let faults = measured.judge(&SCENE);
            assert!(faults.len() == 1 && faults[0].contains(words), "{words}: {faults:?}");
        }
    }

    #[test]
    fn one_window_that_was_disturbed_by_something_else_does_not_decide() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 1000.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 1000.0]), Some(3.0));
    }
}
