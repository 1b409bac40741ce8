//! Tells BBR again that a sender has no more to send, when BBR has forgotten it: pure.
//!
//! BBR does not take the bandwidth sample of a sender that has no more to send for all that the path carries. noq's
//! BBR3 (1.4.0) forgets that the sender is one when the data that was then in flight has arrived, and learns it
//! again only from the next acknowledgement (in the draft, section 4.1.2.4, the two steps follow each other). So
//! every second request was taken for all that the path carries, and bulk after some requests went at 0.1 MB/s over
//! 100 ms.

/// The state, as BBR counts it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AppLimited {
    delivered: u64,
    /// The number of delivered bytes at which BBR forgets the state.
    until: Option<u64>,
}

impl AppLimited {
    pub(super) fn on_ack(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// To be called after acknowledgements that BBR was told of. Returns whether BBR has forgotten a state that
    /// still holds.
    pub(super) fn is_forgotten(&mut self, in_flight: u64, app_limited: bool, acknowledged: bool) -> bool {
        if !acknowledged {
            return false;
        }
        let passed = self.until.is_some_and(|until| self.delivered > until);
        if passed {
            self.until = None;
        }
        if app_limited && self.until.is_none() {
            self.until = Some((self.delivered + in_flight).max(1));
        }
        passed && app_limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bbr_is_told_again_only_when_it_has_forgotten() {
        let mut limited = AppLimited::default();
        assert!(!limited.is_forgotten(100, true, true));
        limited.on_ack(100);
        assert!(!limited.is_forgotten(50, true, true), "what was on its way has just arrived");
        limited.on_ack(50);
        assert!(limited.is_forgotten(0, true, true));
        limited.on_ack(50);
        assert!(!limited.is_forgotten(0, false, true), "there is more to send");
        assert!(!limited.is_forgotten(0, true, false), "nothing was acknowledged");
    }
}
