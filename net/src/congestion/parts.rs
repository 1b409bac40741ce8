//! The corrections, each of which can be left out.

/// The corrections that are made: all of them, except in measurements of what each is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) app_limited: bool,
    pub(super) bandwidth_hold: bool,
    pub(super) company: bool,
    pub(super) inflight_cap: bool,
    pub(super) pacing_catch_up: bool,
    pub(super) probe_rtt_skip: bool,
    pub(super) random_loss: bool,
    pub(super) standing_queue: bool,
    pub(super) startup_pacing: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            app_limited: true,
            bandwidth_hold: true,
            company: true,
            inflight_cap: true,
            pacing_catch_up: true,
            probe_rtt_skip: true,
            random_loss: true,
            standing_queue: true,
            startup_pacing: true,
        }
    }
}

#[cfg(any(test, feature = "unstable-transport"))]
impl Parts {
    /// The names as in CONGESTION.md.
    pub(super) const NAMES: [&str; 9] = [
        "app-limited",
        "bandwidth-hold",
        "company",
        "inflight-cap",
        "pacing-catch-up",
        "probe-rtt-skip",
        "random-loss",
        "standing-queue",
        "startup-pacing",
    ];

    /// Returns all parts but the one with this name. `None` if no part has it.
    pub(super) fn without(mut self, name: &str) -> Option<Self> {
        let part = match name {
            "app-limited" => &mut self.app_limited,
            "bandwidth-hold" => &mut self.bandwidth_hold,
            "company" => &mut self.company,
            "inflight-cap" => &mut self.inflight_cap,
            "pacing-catch-up" => &mut self.pacing_catch_up,
            "probe-rtt-skip" => &mut self.probe_rtt_skip,
            "random-loss" => &mut self.random_loss,
            "standing-queue" => &mut self.standing_queue,
            "startup-pacing" => &mut self.startup_pacing,
            _ => return None,
        };
        *part = false;
        Some(self)
    }
}
