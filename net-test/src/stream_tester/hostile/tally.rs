//! What was counted, by name; and the names of what a peer can be told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use iroh::endpoint::{ConnectionError, TransportErrorCode};

/// Counts by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// Counts that several tasks add to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    counts: Arc<Mutex<Counts>>,
    closed: Arc<AtomicBool>,
}

impl Tally {
    /// Nothing is added any more. What attackers see of their own end is no finding.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    pub(super) fn add(&self, what: &str, n: u64) {
        if self.closed.load(Relaxed) {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(what) {
            Some(count) => *count += n,
            None => drop(counts.insert(what.to_owned(), n)),
        }
    }

    pub(super) fn one(&self, what: &str) {
        self.add(what, 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a lane was reset or stopped with (WIRE.md, section 12).
pub(super) fn lane(code: u64) -> &'static str {
    match code {
        0x00 => "lane_done",
        0x01 => "lane_cancelled",
        0x02 => "lane_failed",
        0x03 => "lane_aborted",
        0x04 => "lane_malformed",
        0x05 => "lane_rejected",
        0x06 => "lane_no_such_lane",
        0x07 => "lane_unknown_kind",
        0x08 => "lane_timed_out",
        0x09 => "lane_internal",
        _ => "lane_unknown_code",
    }
}

/// What a header was answered with (WIRE.md, section 6).
pub(super) fn answer(code: u8) -> &'static str {
    match code {
        0 => "answer_accepted",
        1 => "answer_unknown_protocol",
        2 => "answer_refused",
        3 => "answer_busy",
        4 => "answer_shutting_down",
        5 => "answer_too_large",
        6 => "answer_malformed",
        _ => "answer_unknown_code",
    }
}

/// Which limit had the answer BUSY, by its text.
pub(super) fn busy(text: &str) -> &'static str {
    let limits = [
        ("wait for their header already", "busy_without_header"),
        ("wait to be accepted already", "busy_waiting"),
        ("nobody accepted the stream within", "busy_never_accepted"),
    ];
    limits.iter().find(|(words, _)| text.contains(words)).map_or("busy_for_another_reason", |(_, name)| name)
}

/// What a connection ended with (WIRE.md, section 12).
pub(super) fn closed(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
            0 => "closed_dropped",
            0x100 => "closed_done",
            0x101 => "closed_duplicate",
            0x102 => "closed_replaced",
            0x103 => "closed_protocol_violation",
            0x104 => "closed_hello_timeout",
            0x105 => "closed_version",
            0x106 => "closed_busy",
            0x107 => "closed_closed",
            0x108 => "closed_forbidden",
            0x109 => "closed_bad_delegation",
            0x10a => "closed_not_direct",
            _ => "closed_unknown_code",
        },
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            "closed_refused"
        }
        ConnectionError::ConnectionClosed(_) => "closed_by_transport",
        ConnectionError::TimedOut => "closed_idle",
        ConnectionError::Reset => "closed_reset",
        _ => "closed_here",
    }
}
