//! Faults of the library that are known: seen for certain, described here, and legal nowhere else. Pure.
//!
//! A run reports how often it has met one. When the fault is mended, its rule has to go.

use super::{
    judge::let_go,
    plan::{Plan, other},
    play::{ReadEnd, Seen, WriteEnd},
};
use crate::stream_tester::role::Side;

/// `SendStream::warn` promises, "if the stream has failed, the reason". While the peer's fatal record is on its way, the lane of
/// warnings is already closed at the peer: the call then returns `WriteError::Stopped` with DONE or NO_SUCH_LANE, whose words
/// are "gave no reason", and the reason is read a moment later.
pub fn hides_the_reason(plan: &Plan, side: Side, seen: &Seen) -> bool {
    let stopped = matches!(seen.write_end, WriteEnd::Unheard { code } if let_go(code));
    let told = matches!(seen.read_end, ReadEnd::Failed { .. } | ReadEnd::Aborted { .. });
    stopped && told && plan.part(other(side)).end.tells()
}
