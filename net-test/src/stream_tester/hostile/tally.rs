//! Counts by name, and the names of answers, resets and closes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use iroh::endpoint::{ConnectionError, TransportErrorCode, VarInt};

use crate::wire;

pub type Counts = BTreeMap<String, u64>;

/// Counts that several tasks add to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: Arc<Mutex<Counts>>,
    closed: Arc<AtomicBool>,
}

impl Tally {
    /// Ignores all counts from now on. The end of the attackers themselves is not a finding.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    pub fn add(&self, what: &str, n: u64) {
        if self.closed.load(Relaxed) {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(what) {
            Some(count) => *count += n,
            None => drop(counts.insert(what.to_owned(), n)),
        }
    }

    pub fn one(&self, what: &str) {
        self.add(what, 1);
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns a name such as `lane_timed_out`, from a table of codes.
fn named(kind: &str, codes: &[(&str, u64)], code: u64) -> String {
    let known = codes.iter().find(|(_, known)| *known == code);
    format!("{kind}_{}", known.map_or("unknown_code", |(name, _)| name).to_lowercase())
}

/// Returns the name of the code with which a lane was reset or stopped.
pub fn lane(code: VarInt) -> String {
    named("lane", wire::lane::ALL, code.into_inner())
}

/// Returns the name of the answer to a header.
pub fn answer(code: u64) -> String {
    named("answer", wire::answer::ALL, code)
}

/// Returns the name of the limit that led to the answer BUSY, by its text.
pub fn busy(text: &str) -> &'static str {
    let limits = [
        ("streams without a header is reached", "busy_without_header"),
        ("already wait to be accepted", "busy_waiting"),
        ("open data lanes is exceeded", "busy_over_lanes"),
        ("no call of accept_bi took the stream within", "busy_never_accepted"),
    ];
    limits.iter().find(|(words, _)| text.contains(words)).map_or("busy_for_another_reason", |(_, name)| name)
}

/// Returns the name of the end of a connection.
pub fn closed(error: &ConnectionError) -> String {
    let name = match error {
        ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
            0 => "closed_dropped",
            code => return named("closed", wire::close::ALL, code),
        },
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            "closed_refused"
        }
        ConnectionError::ConnectionClosed(_) => "closed_by_transport",
        ConnectionError::TimedOut => "closed_idle",
        ConnectionError::Reset => "closed_reset",
        _ => "closed_here",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_document() {
        assert_eq!(lane(VarInt::from_u32(7)), "lane_unknown_kind");
        assert_eq!(lane(VarInt::from_u32(77)), "lane_unknown_code");
        assert_eq!(answer(5), "answer_too_large");
        assert_eq!(closed(&ConnectionError::TimedOut), "closed_idle");
    }
}
