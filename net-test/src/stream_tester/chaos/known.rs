//! Faults of the library that are known: seen for certain, described here, and legal nowhere else. Pure.
//!
//! A run reports how often it has met the first. When a fault is mended, its rule has to go.

use twolane::{ConnectionLost, DialError};

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

/// A pair has to dial anew, since one side was banned and let in again or closed the connection, and one of the two has moved
/// before: then the dial fails once or twice in a minute of chaos with `ConnectionLost::Refused`. Every refusal comes from an
/// endpoint that is closing (of some 200 in each of two runs none came from a limit), so it is the endpoint before, at an
/// address that the dialler still knows: its refusal ends a dial that the endpoint at the new address would have taken.
pub fn refuses_a_redial(causes: &[Cause], error: &DialError) -> bool {
    let has = |wanted: &[Cause]| causes.iter().any(|cause| wanted.contains(cause));
    matches!(error, DialError::Lost(ConnectionLost::Refused))
        && has(&[Cause::MovedBefore])
        && has(&[Cause::Fate(Fate::Ban), Cause::Fate(Fate::Close)])
}
