//! The figures of a case.

use serde::{Deserialize, Serialize};

use super::peer::Done;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Time from the command to ask or talk to the first response, including the dial.
    pub ttfb_ms: Option<f64>,
    /// Time from the command to ask or talk until data arrived over a direct path.
    pub direct_ms: Option<f64>,
    /// Bytes that had arrived over the relay by that time.
    pub relayed_first_bytes: Option<u64>,
    /// The longest time without arriving data, or the longest wait for a response.
    pub stall_ms: Option<f64>,
    /// Time from the command to the beginning of that stall.
    pub stall_from_ms: Option<f64>,
    /// Time from the cut of the direct path until data arrived over the relay.
    pub relayed_ms: Option<f64>,
    /// Time from the repair of the network until data arrived over a direct path again.
    pub again_ms: Option<f64>,
    /// Time from the change of an address or a mapping until data arrived from the new one.
    pub moved_ms: Option<f64>,
    /// Time from the start of the relay until a peer was online.
    pub online_ms: Option<f64>,
    /// Time from the disturbance to the answer of a peer that was asked repeatedly.
    pub answered_ms: Option<f64>,
    /// The number of times that this peer was asked.
    pub tries: Option<u32>,
    /// Bytes that the relay sent to clients, as counted by the relay.
    pub relay_bytes: Option<u64>,
    /// Bytes that arrived by UDP from machines other than the services, as counted by the receiving kernel.
    pub direct_bytes: Option<u64>,
    /// Bytes of the transfer.
    pub bytes: Option<u64>,
    /// The number of answered requests.
    pub requests: Option<u64>,
    /// The longest delay with which the machine woke a thread of the lab.
    pub lag_ms: Option<f64>,
    pub note: Option<String>,
}

macro_rules! bounded {
    ($($name:ident: $field:ident,)*) => {
        /// The figures that have bounds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Figure {
            $($name,)*
        }

        impl Figure {
            /// Returns the name of the figure in an event.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($field),)*
                }
            }
        }

        impl Figures {
            pub fn get(&self, figure: Figure) -> Option<f64> {
                match figure {
                    $(Figure::$name => self.$field,)*
                }
            }

            #[cfg(test)]
            pub fn set(&mut self, figure: Figure, value: f64) {
                match figure {
                    $(Figure::$name => self.$field = Some(value),)*
                }
            }
        }
    };
}

bounded! {
    Direct: direct_ms,
    Stall: stall_ms,
    Relayed: relayed_ms,
    Again: again_ms,
    Moved: moved_ms,
    Online: online_ms,
    Answered: answered_ms,
}

impl Figures {
    /// Adds the results of a conversation that began at `began_ns`.
    pub fn read(&mut self, done: &Done, began_ns: u64) {
        self.stall_ms = Some(done.longest_ms);
        let longest = done.gaps.iter().max_by(|a, b| a.ms.total_cmp(&b.ms));
        self.stall_from_ms = longest.map(|gap| since(began_ns, gap.at_ns));
        self.bytes = Some(done.bytes);
        self.requests = Some(done.requests);
    }

    pub fn note(&mut self, words: impl AsRef<str>) {
        let note = self.note.get_or_insert_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(words.as_ref());
    }
}

/// Returns the milliseconds between two times in nanoseconds, to the microsecond.
pub fn since(from_ns: u64, to_ns: u64) -> f64 {
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
