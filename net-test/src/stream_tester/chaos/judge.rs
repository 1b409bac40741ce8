//! The legal observations of a stream or a request whose plan is known. Pure.
//!
//! Some rules hold in every case. The bytes are those of the pattern. An end of data comes after all bytes, and
//! only if the peer has finished. An error is the planned one, and comes after exactly the bytes before it. All
//! other rules depend on whether a disturbance has affected the pair. On an undisturbed pair, only the planned
//! outcome is legal.

use serde::{Deserialize, Serialize};
use twolane::{DialError, GetStreamError, Reason, RequestError, RequestFailure};

use super::{
    cause::{self, Cause, lane},
    known,
    plan::{Answer, Ask, End, Plan, other},
    play::{ReadEnd, Seen, WriteEnd},
};
use crate::stream_tester::role::Side;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// Only the planned outcome was legal.
    Strictly,
    /// The pair was disturbed, and the outcome was the planned one.
    AsPlanned,
    /// A disturbance explains an outcome that was not planned.
    Forgiven,
}

/// Returns how strictly an outcome was judged, and its faults.
pub fn weigh<F>(causes: &[Cause], faults: impl Fn(&[Cause]) -> F) -> (Judged, Vec<String>)
where
    F: IntoIterator<Item = String>,
{
    let wrong: Vec<_> = faults(causes).into_iter().collect();
    let judged = if causes.is_empty() {
        Judged::Strictly
    } else if wrong.is_empty() && faults(&[]).into_iter().next().is_some() {
        Judged::Forgiven
    } else {
        Judged::AsPlanned
    };
    (judged, wrong)
}

/// Returns the faults in the observations of one side of a stream, after `causes` disturbed the pair.
pub fn side(plan: &Plan, side: Side, seen: &Seen, causes: &[Cause]) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(reading(plan, side, seen, causes));
    wrong.extend(writing(plan, side, seen, causes));
    wrong.extend(warnings(plan, side, seen, causes));
    wrong
}

fn reading(plan: &Plan, side: Side, seen: &Seen, causes: &[Cause]) -> Option<String> {
    let (own, peer) = (plan.part(side), plan.part(other(side)));
    if !seen.intact {
        return Some("the bytes that were read are not those that were written".into());
    }
    if seen.read > peer.len {
        return Some(format!("{} bytes were read, and the peer writes {}", seen.read, peer.len));
    }
    let (code, text) = plan.error_words(other(side));
    let legal = match &seen.read_end {
        ReadEnd::End => peer.end == End::Finish && seen.read == peer.len,
        ReadEnd::Failed { code: seen_code, text: seen_text, offset } => {
            peer.end == End::Fail
                && (*seen_code, seen_text) == (code, &text)
                && (seen.read, *offset) == (peer.len, peer.len)
        }
        // The error overtook data, and then the connection was lost.
        ReadEnd::FailedIncomplete { code: seen_code, text: seen_text, missing } => {
            peer.end == End::Fail
                && (*seen_code, seen_text) == (code, &text)
                && *missing > 0
                && seen.read + missing == peer.len
                && cause::reset(causes, lane::FAILED)
        }
        ReadEnd::Aborted { code: seen_code, text: seen_text } => {
            peer.end == End::Abort && (*seen_code, seen_text) == (code, &text)
        }
        ReadEnd::Reset { code } => (*code == lane::CANCELLED && peer.end.drops()) || cause::reset(causes, *code),
        ReadEnd::EndedHere => own.end.tells(),
        ReadEnd::Unread => own.end.drops() || own.end.tells() || (plan.draft.echo && !causes.is_empty()),
        ReadEnd::Lost(lost) => cause::lost(causes, lost),
        ReadEnd::Hung | ReadEnd::Other(_) => false,
    };
    (!legal).then(|| format!("after {} of {} bytes reading ended with {:?}", seen.read, peer.len, seen.read_end))
}

fn writing(plan: &Plan, side: Side, seen: &Seen, causes: &[Cause]) -> Option<String> {
    let (own, peer) = (plan.part(side), plan.part(other(side)));
    let legal = match &seen.write_end {
        WriteEnd::Planned => seen.wrote == own.len || (own.end == End::CancelWrite && seen.wrote < own.len),
        WriteEnd::PeerFailed { code } => peer.end.tells() && *code == plan.error_words(other(side)).0,
        WriteEnd::Stopped { code } => {
            (*code == lane::CANCELLED && peer.end.drops())
                // The code stops a last record for a stream that the peer has already released.
                || (let_go(*code) && own.end.tells() && peer.end != End::Finish)
                || cause::reset(causes, *code)
        }
        WriteEnd::Unheard { code } => {
            (let_go(*code) && peer.end.drops())
                || known::hides_the_reason(plan, side, seen)
                || cause::reset(causes, *code)
        }
        WriteEnd::Lost(lost) => cause::lost(causes, lost),
        // The reading half shows the reason.
        WriteEnd::Unfinished => plan.draft.echo && (peer.end != End::Finish || !causes.is_empty()),
        WriteEnd::Hung | WriteEnd::Other(_) => false,
    };
    (!legal).then(|| format!("after {} of {} bytes writing ended with {:?}", seen.wrote, own.len, seen.write_end))
}

/// Returns whether the code stops an error lane whose stream is gone.
pub fn let_go(code: u64) -> bool {
    matches!(code, lane::DONE | lane::NO_SUCH_LANE)
}

fn warnings(plan: &Plan, side: Side, seen: &Seen, causes: &[Cause]) -> Option<String> {
    let planned: Vec<_> = plan.warnings(other(side)).collect();
    let legal =
        if seen.hears() && causes.is_empty() { seen.warnings == planned } else { planned.starts_with(&seen.warnings) };
    (!legal).then(|| format!("of the warnings {planned:?} came {:?}", seen.warnings))
}

/// Returns the faults that show only when both sides are compared.
pub fn both(plan: &Plan, opener: &Seen, acceptor: &Seen) -> Vec<String> {
    [(Side::Opener, opener, acceptor), (Side::Acceptor, acceptor, opener)]
        .into_iter()
        .filter_map(|(writer, wrote, read)| {
            let what = match &read.read_end {
                ReadEnd::End => "an end",
                ReadEnd::Failed { .. } => "a failure",
                _ if read.read > wrote.wrote => "more than there was",
                _ => return None,
            };
            let meant = wrote.write_end == WriteEnd::Planned || plan.part(writer).end.tells();
            let legal = meant && read.read == wrote.wrote;
            (!legal).then(|| {
                let Seen { wrote, write_end, .. } = wrote;
                format!(
                    "{what} was read after {} bytes, and the {writer:?} wrote {wrote} and ended with {write_end:?}",
                    read.read
                )
            })
        })
        .collect()
}

/// Returns the fault of a stream that the acceptor saw and whose opener never had it.
pub fn unopened(plan: &Plan, acceptor: &Seen) -> Option<String> {
    let early = acceptor.read <= plan.draft.early && acceptor.read_end != ReadEnd::End;
    (!early).then(|| format!("{} bytes came from an opener that never had the stream", acceptor.read))
}

/// Returns the fault of the error of a call that opens a stream.
pub fn refused(plan: &Plan, error: &GetStreamError, causes: &[Cause]) -> Option<String> {
    let legal = match error {
        // The stream ended before its answer was read.
        GetStreamError::Failed(error) => {
            plan.draft.acceptor.end == End::Abort && error.code() == plan.error_words(Side::Acceptor).0
        }
        GetStreamError::Reset { code: lane::CANCELLED } if plan.draft.acceptor.end.drops() => true,
        error => cause::opening(causes, error),
    };
    (!legal).then(|| format!("the stream was not opened: {error:?}"))
}

pub fn unknown(error: &GetStreamError, causes: &[Cause]) -> Option<String> {
    let legal = error.rejection() == Some(Reason::UnknownProtocol) || cause::opening(causes, error);
    (!legal).then(|| format!("{error:?}"))
}

pub fn dial(error: &DialError, causes: &[Cause]) -> Option<String> {
    (!cause::dial(causes, error)).then(|| format!("{error:?}"))
}

/// Returns the fault of the error with which a denied peer was refused.
pub fn denied(error: &GetStreamError, causes: &[Cause]) -> Option<String> {
    let legal = cause::forbids(error) || cause::opening(causes, error);
    (!legal).then(|| format!("a peer that is denied was told: {error:?}"))
}

pub fn answer(ask: &Ask, result: &Result<bytes::Bytes, RequestError>, causes: &[Cause]) -> Option<String> {
    match result {
        Ok(response) => match ask.wish.answer {
            Answer::Data(len) if *response == ask.response(len) => None,
            _ => Some(format!("the response has {} bytes, and is not the planned one", response.len())),
        },
        Err(error) => {
            let planned = error.stream_error().map(|error| (error.code(), error.text().to_owned()));
            let legal = match (&error.cause, planned) {
                (_, Some(words)) => ask.wish.answer == Answer::Error && words == ask.error_words(),
                (RequestFailure::TimedOut { .. }, None) => {
                    ask.wish.deadline_ms.is_some()
                        || causes.iter().any(|cause| cause.moves() || *cause == Cause::Standstill)
                }
                (RequestFailure::GetStream(error), None) => cause::opening(causes, error),
                (RequestFailure::Read(error), None) => cause::response(causes, error),
                _ => false,
            };
            (!legal).then(|| format!("the request failed: {error:?}"))
        }
    }
}
