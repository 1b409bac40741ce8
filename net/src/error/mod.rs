//! The errors, one type for each operation. Every error tells which party is at fault ([`Fault`]), whether a retry
//! can help, and which limit was reached. Text of a peer is shown with [`Shown`](crate::words::Shown), and is
//! unchanged in the error's fields.

mod attach;
mod bind;
mod data;
mod lost;
mod open;
mod report;
mod request;
mod saved;
#[cfg(test)]
mod tests;

pub use self::{
    attach::{AlsoAcceptError, RouteError},
    bind::BindError,
    data::{NextError, ReadError, WriteError},
    lost::ConnectionLost,
    open::{AcceptError, AnswerError, DialError, GetStreamError},
    report::{DetailsTooLarge, Report, StreamError},
    request::{Phase, RequestError, RequestFailure},
    saved::RevocationsNotSaved,
};
use crate::wire::codes::lane;

/// The party at fault for an error, which is the party that can correct it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The program that called the library.
    Caller,
    /// The peer, or its program.
    Peer,
    /// The network between this endpoint and the peer.
    Network,
    /// This library, its configuration, or the machine it runs on.
    Local,
}

fn lane_code(code: u64) -> String {
    match code {
        lane::DONE => "done".into(),
        lane::CANCELLED => "cancelled".into(),
        lane::FAILED | lane::ABORTED => "failed, and the reason did not arrive".into(),
        lane::MALFORMED => "malformed data".into(),
        lane::REJECTED => "rejected".into(),
        lane::TIMED_OUT => "timed out".into(),
        lane::INTERNAL => "its handler failed".into(),
        lane::UNSUPPORTED => "not supported".into(),
        code => format!("code {code:#x}"),
    }
}
