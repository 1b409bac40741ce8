//! The pure state machines, driven by the sequence of events that the bytes encode. They are compared with models
//! that know only the events and the results.

mod drain;
mod flights;
mod lane;
mod ledger;
mod row;

/// Runs a state machine. The first byte selects the machine, and the other bytes are its events.
pub fn machines(data: &[u8]) {
    let Some((machine, events)) = data.split_first() else {
        return;
    };
    // So that the inputs in the corpus keep their machines, the last one has one byte alone.
    match (machine, machine % 5) {
        (5, _) => flights::run(Events(events)),
        (_, 0) => lane::run(events),
        (_, 1) => ledger::run(Events(events), ledger::Peer::Honest),
        (_, 2) => ledger::run(Events(events), ledger::Peer::Lying),
        (_, 3) => row::run(Events(events)),
        _ => drain::run(events),
    }
}

/// Maximum number of events in one run. Some models check everything so far at each event, which makes longer runs
/// slow. A few hundred events reach the same states as many.
const MAX_EVENTS: usize = 1_000;

/// Events of two bytes each: the action, and its object or its size.
struct Events<'a>(&'a [u8]);

impl Iterator for Events<'_> {
    type Item = (u8, u8);

    fn next(&mut self) -> Option<(u8, u8)> {
        let ([what, which], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some((*what, *which))
    }
}
