//! Checks whether a peer keeps to `net/WIRE.md`. The checks follow the sections of the document and depend on no
//! implementation.
//!
//! Each [`Check`] dials the peer with a key of its own, as the [`stranger`](crate::stranger). It fails by a panic
//! whose message says what was found. Some behaviour of a peer is not an answer to anything, for example failing a
//! stream. A check asks for it with the protocol [`CONFORM`], which [`subject`] serves with the library. A peer
//! that does not serve this protocol cannot be asked to fail a stream.

#![expect(clippy::expect_used, clippy::panic, reason = "a check fails by a panic")]

mod control;
mod data;
mod ends;
mod errors;
mod run;
pub mod subject;

use std::{any::Any, future::Future, pin::Pin};

pub use self::run::{Args, main};
use crate::stranger::peer::{NONCE, Socket, Stranger, Target};

/// The protocol whose streams do what their metadata say:
///
/// - `echo`: writes back the data that it reads, up to FIN;
/// - `fail`: writes 100,000 bytes, then fails the stream with the code 28, the text "the disk is full" and the
///   details "/srv";
/// - `abort`: reads a byte, writes 10,000 bytes, then aborts the stream with the code 9 and the text "never mind";
/// - `warn`: writes 5 bytes, sends a warning with the code 5 and the text "half way", then sends FIN;
/// - `drop`: reads a byte, then drops the stream.
pub const CONFORM: &str = "conform/1";

/// The peer that is checked.
#[derive(Debug, Clone, Copy)]
pub struct Subject(pub Target);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check of one rule, or of a few rules of the same kind.
#[derive(Debug)]
pub struct Check {
    /// The section of WIRE.md and its topic.
    pub name: &'static str,
    /// The behaviour that the peer must show.
    pub sentence: &'static str,
    play: fn(Subject) -> Running,
}

/// The result of a check. The error says what was found.
pub type Verdict = Result<(), String>;

/// Makes a list of checks from async functions.
macro_rules! checks {
    ($($name:literal: $sentence:literal => $play:path),* $(,)?) => {
        &[$($crate::conform::Check {
            name: $name,
            sentence: $sentence,
            play: |subject| Box::pin($play(subject)),
        }),*]
    };
}
use checks;

/// Returns all checks, in the order of the sections.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [control::CHECKS, data::CHECKS, errors::CHECKS, ends::CHECKS].into_iter().flatten()
}

impl Check {
    pub async fn of(&self, subject: Subject) -> Verdict {
        match tokio::spawn((self.play)(subject)).await {
            Ok(()) => Ok(()),
            Err(failed) => Err(failed.try_into_panic().map_or_else(|_| "cancelled".to_owned(), |panic| words(&*panic))),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a check broke").to_owned()
}

impl Subject {
    fn socket(self) -> Socket {
        Socket::fresh(self.0)
    }

    /// Makes a connection on which both sides have sent HELLO.
    async fn greeted(self) -> Stranger {
        self.socket().dial(self.0, NONCE).await
    }
}
