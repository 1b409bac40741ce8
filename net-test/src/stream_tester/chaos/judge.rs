//! What may be seen of a stream or a request whose plan is known. Pure.
//!
//! Some things hold whatever happens: bytes are those of the pattern, an end of data comes after all of them and only if
//! the peer has finished, an error is the one that was planned and comes after exactly the bytes before it. The rest
//! depends on whether something has disturbed the pair: if nothing has, only what was planned is legal.

use twolane::{ConnectionLost, DialError, GetStreamError, ReadError, Reason, RequestError, RequestFailure};

use super::{
    plan::{Answer, Ask, End, Plan, other},
    play::{ReadEnd, Seen, WriteEnd},
};
use crate::stream_tester::role::Side;

/// The code of a stream that was dropped.
const CANCELLED: u64 = 1;
/// The code of a handler that broke.
const INTERNAL: u64 = 9;

/// What is wrong with what one side of a stream saw.
pub fn side(plan: &Plan, side: Side, seen: &Seen, undisturbed: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(reading(plan, side, seen, undisturbed));
    wrong.extend(writing(plan, side, seen, undisturbed));
    wrong.extend(warnings(plan, side, seen, undisturbed));
    wrong
}

fn reading(plan: &Plan, side: Side, seen: &Seen, undisturbed: bool) -> Option<String> {
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
        ReadEnd::Aborted { code: seen_code, text: seen_text } => {
            peer.end == End::Abort && (*seen_code, seen_text) == (code, &text)
        }
        ReadEnd::Reset { code: CANCELLED } => peer.end.drops() || !undisturbed,
        ReadEnd::Reset { code } => !undisturbed && *code != INTERNAL,
        ReadEnd::EndedHere => own.end.tells(),
        ReadEnd::Unread => own.end.drops() || own.end.tells() || (plan.echo && !undisturbed),
        ReadEnd::Lost(_) => !undisturbed,
        ReadEnd::Hung | ReadEnd::Other(_) => false,
    };
    (!legal).then(|| format!("after {} of {} bytes reading ended with {:?}", seen.read, peer.len, seen.read_end))
}

fn writing(plan: &Plan, side: Side, seen: &Seen, undisturbed: bool) -> Option<String> {
    let (own, peer) = (plan.part(side), plan.part(other(side)));
    let legal = match &seen.write_end {
        WriteEnd::Planned => seen.wrote == own.len || (own.end == End::CancelWrite && seen.wrote < own.len),
        WriteEnd::PeerFailed { code } => peer.end.tells() && *code == plan.error_words(other(side)).0,
        WriteEnd::Stopped { code: CANCELLED } => peer.end.drops() || !undisturbed,
        // A record for a stream that the peer has let go of by itself.
        WriteEnd::Stopped { code } => {
            (!undisturbed || (own.end.tells() && peer.end != End::Finish)) && *code != INTERNAL
        }
        WriteEnd::Lost(_) => !undisturbed,
        // Its reading tells why.
        WriteEnd::Unfinished => plan.echo && !undisturbed,
        WriteEnd::Hung | WriteEnd::Other(_) => false,
    };
    (!legal).then(|| format!("after {} of {} bytes writing ended with {:?}", seen.wrote, own.len, seen.write_end))
}

fn warnings(plan: &Plan, side: Side, seen: &Seen, undisturbed: bool) -> Option<String> {
    let planned: Vec<_> = plan.warnings(other(side)).collect();
    let whole = seen.write_end == WriteEnd::Planned && seen.read_end == ReadEnd::End;
    let legal = if whole && undisturbed { seen.warnings == planned } else { planned.starts_with(&seen.warnings) };
    (!legal).then(|| format!("of the warnings {planned:?} came {:?}", seen.warnings))
}

/// What is wrong with what both sides of a stream saw, taken together.
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

/// What is wrong with a stream that the acceptor saw and the opener never had.
pub fn unopened(plan: &Plan, acceptor: &Seen) -> Option<String> {
    let early = acceptor.read <= plan.early && acceptor.read_end != ReadEnd::End;
    (!early).then(|| format!("{} bytes came from an opener that never had the stream", acceptor.read))
}

/// What is wrong with the error of a call that was to open a stream.
pub fn refused(plan: &Plan, error: &GetStreamError, undisturbed: bool) -> Option<String> {
    let legal = match error {
        // It ended before its answer was read.
        GetStreamError::Failed(error) => {
            plan.acceptor.end == End::Abort && error.code() == plan.error_words(Side::Acceptor).0
        }
        GetStreamError::Reset { code: CANCELLED } => plan.acceptor.end.drops() || !undisturbed,
        error => !undisturbed && may_be_disturbed(error),
    };
    (!legal).then(|| format!("the stream was not opened: {error:?}"))
}

/// What is wrong with the answer to a stream of a protocol that nobody serves.
pub fn unknown(error: &GetStreamError, undisturbed: bool) -> Option<String> {
    if error.rejection() == Some(Reason::UnknownProtocol) { None } else { disturbance(error, undisturbed) }
}

/// What is wrong with an error that nothing but a disturbance explains.
pub fn disturbance(error: &GetStreamError, undisturbed: bool) -> Option<String> {
    (undisturbed || !may_be_disturbed(error)).then(|| format!("{error:?}"))
}

/// What a disturbance may do to a call: the connection goes, or the peer says that it shuts down or does not want us.
fn may_be_disturbed(error: &GetStreamError) -> bool {
    match error {
        GetStreamError::Dial { source, .. } => is_disturbed_dial(source),
        GetStreamError::Rejected { rejection, .. } => {
            matches!(rejection.reason, Reason::ShuttingDown | Reason::Refused)
        }
        GetStreamError::Lost(lost) => is_disturbed_connection(lost),
        GetStreamError::TimedOut { .. } => true,
        GetStreamError::Reset { code } => *code != INTERNAL,
        _ => false,
    }
}

fn is_disturbed_dial(error: &DialError) -> bool {
    match error {
        DialError::Lost(lost) => is_disturbed_connection(lost),
        DialError::TimedOut { .. } | DialError::ShuttingDown | DialError::Failed(_) => true,
        _ => false,
    }
}

fn is_disturbed_connection(lost: &ConnectionLost) -> bool {
    !matches!(lost, ConnectionLost::Malformed(_) | ConnectionLost::Version { .. } | ConnectionLost::BadDelegation(_))
}

/// What is wrong with the answer to a request.
pub fn answer(ask: &Ask, result: &Result<bytes::Bytes, RequestError>, undisturbed: bool) -> Option<String> {
    match result {
        Ok(response) => match ask.answer {
            Answer::Data(len) if *response == ask.response(len) => None,
            _ => Some(format!("the response has {} bytes, and is not the planned one", response.len())),
        },
        Err(error) => {
            let planned = error.stream_error().map(|error| (error.code(), error.text().to_owned()));
            let legal = match (&error.cause, planned) {
                (_, Some(words)) => ask.answer == Answer::Error && words == ask.error_words(),
                (RequestFailure::Deadline(_), None) => !undisturbed || ask.deadline_ms.is_some(),
                (RequestFailure::GetStream(error), None) => !undisturbed && may_be_disturbed(error),
                (RequestFailure::Read(ReadError::Lost(lost)), None) => !undisturbed && is_disturbed_connection(lost),
                (RequestFailure::Read(ReadError::Reset { code }), None) => !undisturbed && *code != INTERNAL,
                _ => false,
            };
            (!legal).then(|| format!("the request failed: {error:?}"))
        }
    }
}
