//! The pure machines, driven by whatever sequence of events the bytes spell, against models that know only what was
//! done to them and what they answered.

mod drain;
mod lane;
mod ledger;
mod row;

/// The first byte chooses the machine, the others are its events.
pub fn machines(data: &[u8]) {
    let Some((machine, events)) = data.split_first() else {
        return;
    };
    match machine % 5 {
        0 => lane::run(events),
        1 => ledger::run(Events(events), ledger::Peer::Honest),
        2 => ledger::run(Events(events), ledger::Peer::Lying),
        3 => row::run(Events(events)),
        _ => drain::run(events),
    }
}

/// Most events in one run. Some models look at everything so far with each event, which makes more than this slow, and
/// what many events reach, a few hundred do.
const MAX_EVENTS: usize = 1_000;

/// Two bytes an event: what happens, and to which or how much.
struct Events<'a>(&'a [u8]);

impl Iterator for Events<'_> {
    type Item = (u8, u8);

    fn next(&mut self) -> Option<(u8, u8)> {
        let ([what, which], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some((*what, *which))
    }
}
