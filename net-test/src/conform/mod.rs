//! Whether a peer keeps to `net/WIRE.md`: checks laid out by its sections, which know no implementation.
//!
//! Each [`Check`] dials the peer with a key of its own, as the [`stranger`](crate::stranger), and fails by a panic that says
//! what was found. What a peer does on its own account, and not in answer, is asked for with the protocol
//! [`CONFORM`]: [`subject`] serves it with the library. Without it a peer cannot be asked to fail a stream.

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

/// A stream of this protocol does what its metadata say:
///
/// - `echo`: what is read is written back, up to FIN;
/// - `fail`: 100,000 bytes are written, then the stream fails with the code 28, the text "the disk is full" and the details
///   "/srv";
/// - `abort`: once a byte was read, 10,000 bytes are written, then the stream is aborted with the code 9 and the text "never mind";
/// - `warn`: 5 bytes are written, then a warning with the code 5 and the text "half way", then FIN;
/// - `drop`: the stream is dropped once a byte was read.
pub const CONFORM: &str = "conform/1";

/// The peer that is checked.
#[derive(Debug, Clone, Copy)]
pub struct Subject(pub Target);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One rule, or a few of the same kind.
#[derive(Debug)]
pub struct Check {
    /// The section of WIRE.md, and what it is about.
    pub name: &'static str,
    /// What the peer has to do.
    pub sentence: &'static str,
    play: fn(Subject) -> Running,
}

/// What a check has found.
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

/// All of them, in the order of the sections.
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

    /// A connection on which both sides have said HELLO.
    async fn greeted(self) -> Stranger {
        self.socket().dial(self.0, NONCE).await
    }
}
