//! Known faults of the library. They have been observed, are described here, and are legal only here. Pure.
//!
//! A run reports how often it has met the first fault. When a fault is corrected, its rule has to be removed.

use twolane::{ConnectionLost, DialError};

use super::{
    cause::Cause,
    judge::let_go,
    orders::Fate,
    plan::{Plan, other},
    play::{ReadEnd, Seen, WriteEnd},
};
use crate::stream_tester::role::Side;

/// Returns whether a warning returned the wrong error. `SendStream::warn` promises, "if the stream has failed, the
/// reason". While the peer's fatal record is in flight, the peer has already closed the lane of warnings. The call
/// then returns `WriteError::Stopped` with DONE or NO_SUCH_LANE, whose text says "gave no reason". The reason is
/// read a moment later.
pub fn hides_the_reason(plan: &Plan, side: Side, seen: &Seen) -> bool {
    let stopped = matches!(seen.write_end, WriteEnd::Unheard { code } if let_go(code));
    let told = matches!(seen.read_end, ReadEnd::Failed { .. } | ReadEnd::Aborted { .. });
    stopped && told && plan.part(other(side)).end.tells()
}

/// Returns whether the fault explains a refused dial. The pair has to dial anew, because one side was banned and
/// let in again, or closed the connection. One of the two places has moved before. In this case the dial fails with
/// `ConnectionLost::Refused` once or twice in a minute of chaos. Every refusal comes from an endpoint that is
/// closing: in each of two runs, none of about 200 refusals came from a limit. So the refusal comes from the
/// previous endpoint, at an address that the dialler still knows. It ends a dial that the endpoint at the new
/// address would have accepted.
pub fn refuses_a_redial(causes: &[Cause], error: &DialError) -> bool {
    let has = |wanted: &[Cause]| causes.iter().any(|cause| wanted.contains(cause));
    matches!(error, DialError::Lost(ConnectionLost::Refused))
        && has(&[Cause::MovedBefore])
        && has(&[Cause::Fate(Fate::Ban), Cause::Fate(Fate::Close)])
}
