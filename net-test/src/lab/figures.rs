//! What a case measures.

use serde::{Deserialize, Serialize};

use super::peer::Done;

/// What a case measured, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// From the command to ask or talk until the first response, the dial included.
    pub(super) ttfb_ms: Option<f64>,
    /// From the command to ask or talk until data arrived directly.
    pub(super) direct_ms: Option<f64>,
    /// What had arrived over the relay by then.
    pub(super) relayed_first_bytes: Option<u64>,
    /// The longest time in which nothing arrived, or a response was waited for.
    pub(super) stall_ms: Option<f64>,
    /// When that began, after the command.
    pub(super) stall_from_ms: Option<f64>,
    /// From the cut of the direct path until data arrived over the relay.
    pub(super) relayed_ms: Option<f64>,
    /// From the moment in which the network was mended until data arrived directly again.
    pub(super) again_ms: Option<f64>,
    /// From the moment in which an address or a mapping changed until data arrived from the new one.
    pub(super) moved_ms: Option<f64>,
    /// From the moment in which the relay came up until a peer was online.
    pub(super) online_ms: Option<f64>,
    /// From the disturbance until a peer that was asked again and again answered.
    pub(super) answered_ms: Option<f64>,
    /// How often it was asked.
    pub(super) tries: Option<u32>,
    /// What the relay sent to clients, by its own count.
    pub(super) relay_bytes: Option<u64>,
    /// What arrived by UDP from others than the services, by the receiving kernel's count.
    pub(super) direct_bytes: Option<u64>,
    /// Bytes of the transfer.
    pub(super) bytes: Option<u64>,
    /// Requests that were answered.
    pub(super) requests: Option<u64>,
    /// The longest for which the machine let a thread of the lab wait.
    pub(super) lag_ms: Option<f64>,
    /// What else is worth knowing.
    pub(super) note: Option<String>,
}

/// The figures that have bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Direct,
    Stall,
    Relayed,
    Again,
    Moved,
    Online,
    Answered,
}

impl Figure {
    /// Its name in an event.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct_ms",
            Self::Stall => "stall_ms",
            Self::Relayed => "relayed_ms",
            Self::Again => "again_ms",
            Self::Moved => "moved_ms",
            Self::Online => "online_ms",
            Self::Answered => "answered_ms",
        }
    }
}

impl Figures {
    pub(super) fn get(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Direct => self.direct_ms,
            Figure::Stall => self.stall_ms,
            Figure::Relayed => self.relayed_ms,
            Figure::Again => self.again_ms,
            Figure::Moved => self.moved_ms,
            Figure::Online => self.online_ms,
            Figure::Answered => self.answered_ms,
        }
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, figure: Figure, value: f64) {
        let place = match figure {
            Figure::Direct => &mut self.direct_ms,
            Figure::Stall => &mut self.stall_ms,
            Figure::Relayed => &mut self.relayed_ms,
            Figure::Again => &mut self.again_ms,
            Figure::Moved => &mut self.moved_ms,
            Figure::Online => &mut self.online_ms,
            Figure::Answered => &mut self.answered_ms,
        };
        *place = Some(value);
    }

    /// Adds what the programs have noticed of a conversation that began at `began_ns`.
    pub(super) fn read(&mut self, done: &Done, began_ns: u64) {
        self.stall_ms = Some(done.longest_ms);
        let longest = done.gaps.iter().max_by(|a, b| a.ms.total_cmp(&b.ms));
        self.stall_from_ms = longest.map(|gap| since(began_ns, gap.at_ns));
        self.bytes = Some(done.bytes);
        self.requests = Some(done.requests);
    }

    pub(super) fn note(&mut self, words: impl AsRef<str>) {
        let note = self.note.get_or_insert_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(words.as_ref());
    }
}

/// Milliseconds between two times in nanoseconds, to the microsecond.
pub(super) fn since(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns.saturating_sub(from_ns) / 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::peer::Gap;

    #[test]
    fn a_stall_is_told_with_the_time_at_which_it_began() {
        let gap = |at_ns, ms| Gap { at_ns, ms };
        let gaps = vec![gap(15_000_000, 250.0), gap(40_000_000, 900.0)];
        let done = Done { identical: true, bytes: 7, requests: 1, gaps, longest_ms: 900.0 };
        let mut figures = Figures::default();
        figures.read(&done, 10_000_000);
        assert_eq!((figures.stall_ms, figures.stall_from_ms), (Some(900.0), Some(30.0)));
    }
}
