//! What a case measures.

use serde::{Deserialize, Serialize};

use super::peer::{Done, Said};

/// What a case measured, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// From the command to talk until the first response, the dial included.
    pub(super) ttfb_ms: Option<f64>,
    /// From the command to talk until data took a direct path.
    pub(super) direct_ms: Option<f64>,
    /// The longest time in which nothing arrived, or a response was waited for.
    pub(super) stall_ms: Option<f64>,
    /// What the relay sent to clients, by its own count.
    pub(super) relay_bytes: Option<u64>,
    /// What the dialling machine exchanged with others than the relay, by its kernel's count.
    pub(super) direct_bytes: Option<u64>,
    /// Bytes of the transfer.
    pub(super) bytes: Option<u64>,
    /// Requests that were answered.
    pub(super) requests: Option<u64>,
    /// From the moment in which the network was mended until data took a direct path again.
    pub(super) again_ms: Option<f64>,
    /// What else is worth knowing.
    pub(super) note: Option<String>,
}

impl Figures {
    /// Adds what the peer that began the conversation has said, which was told to at `began_ns`.
    pub(super) fn read(&mut self, log: &[Said], began_ns: u64) {
        let before = log.iter().rev().find_map(|said| match said {
            Said::Path { direct, at_ns } if *at_ns < began_ns => Some(*direct),
            _ => None,
        });
        if before == Some(true) {
            self.direct_ms = Some(0.0);
        }
        for said in log {
            match said {
                Said::FirstByte { at_ns } if *at_ns >= began_ns => {
                    self.ttfb_ms.get_or_insert_with(|| since(began_ns, *at_ns));
                }
                Said::Path { direct: true, at_ns } if *at_ns >= began_ns => {
                    self.direct_ms.get_or_insert_with(|| since(began_ns, *at_ns));
                }
                Said::Done(done) => self.read_done(done),
                _ => {}
            }
        }
    }

    pub(super) fn note(&mut self, words: impl AsRef<str>) {
        let note = self.note.get_or_insert_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(words.as_ref());
    }

    fn read_done(&mut self, done: &Done) {
        self.stall_ms = Some(done.longest_ms);
        self.bytes = Some(done.bytes);
        self.requests = Some(done.requests);
    }
}

/// Milliseconds between two times in nanoseconds, to the microsecond.
pub(super) fn since(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns.saturating_sub(from_ns) / 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_counts_and_what_was_before_the_conversation_does_not() {
        let mut figures = Figures::default();
        figures.read(
            &[
                Said::Path { direct: false, at_ns: 5_000_000 },
                Said::FirstByte { at_ns: 6_000_000 },
                Said::Path { direct: false, at_ns: 11_000_000 },
                Said::FirstByte { at_ns: 12_000_000 },
                Said::Path { direct: true, at_ns: 13_500_000 },
                Said::Path { direct: true, at_ns: 19_000_000 },
            ],
            10_000_000,
        );
        assert_eq!(figures.ttfb_ms, Some(2.0));
        assert_eq!(figures.direct_ms, Some(3.5));
        assert_eq!(figures.stall_ms, None);
    }

    #[test]
    fn a_conversation_on_a_connection_that_is_direct_already_is_direct_at_once() {
        let mut figures = Figures::default();
        figures.read(&[Said::Path { direct: true, at_ns: 5 }, Said::FirstByte { at_ns: 3_000_010 }], 10);
        assert_eq!((figures.direct_ms, figures.ttfb_ms), (Some(0.0), Some(3.0)));
    }
}
