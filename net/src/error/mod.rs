//! Errors, one type for each operation. Every error says whose fault it is ([`Fault`]), whether trying again can
//! help, and which bound was hit. A peer's words in an error are shown with [`Shown`](crate::words::Shown), and are in its fields
//! as they came.

mod bind;
mod data;
mod lost;
mod open;
mod report;
mod request;
#[cfg(test)]
mod tests;

pub use self::{
    bind::BindError,
    data::{NextError, ReadError, WriteError},
    lost::ConnectionLost,
    open::{AcceptError, AnswerError, DialError, GetStreamError},
    report::{DetailsTooLarge, Report, StreamError},
    request::{Phase, RequestError, RequestFailure},
};
use crate::wire::codes::lane;

/// Whose fault an error is, and so who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The program that called.
    Caller,
    /// The peer, or the program behind it.
    Peer,
    /// The network between the two.
    Network,
    /// This library, its configuration, or the machine it runs on.
    Us,
}

fn lane_code(code: u64) -> String {
    match code {
        lane::DONE => "done".into(),
        lane::CANCELLED => "cancelled".into(),
        lane::FAILED | lane::ABORTED => "failed, and the reason did not arrive".into(),
        lane::MALFORMED => "it could not read what was sent".into(),
        lane::REJECTED => "rejected".into(),
        lane::TIMED_OUT => "timed out".into(),
        lane::INTERNAL => "its handler broke".into(),
        lane::UNSUPPORTED => "it does not know what was asked for".into(),
        code => format!("code {code:#x}"),
    }
}
