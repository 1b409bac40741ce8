//! Faults of the library that are known: seen for certain, described here, and legal nowhere else. Pure.
//!
//! A run reports how often it has met the first. When a fault is mended, its rule has to go.

use super::{
    cause::Cause,
    judge::let_go,
    orders::Fate,
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

/// A pair that has to dial anew, since one side was banned and let in again or closed the connection, fails to do so once or twice
/// in a minute of chaos with `ConnectionLost::Refused`, "the peer refused to accept a new connection", although neither
/// endpoint is shutting down and no limit of handshakes is near. In each case seen the place had moved before. So it seems to be
/// the endpoint before, which is closing and refuses at an address that the dialler still knows; that is not proven.
pub fn refuses_a_redial(cause: Cause) -> bool {
    matches!(cause, Cause::Fate(Fate::Ban | Fate::Close))
}
