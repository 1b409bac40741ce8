//! Why a case did not hold.

use std::time::Duration;

/// Why a case did not hold: twolane did not do what it was to do, or the lab did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What was to hold did not.
    #[error("{0}")]
    Not(String),
    /// A program has seen what none may see, however busy the machine is.
    #[error("{0}")]
    Wrong(String),
    /// It held, and took too long.
    #[error("too slow: {0}")]
    Slow(String),
    /// The code that plays the case has panicked.
    #[error("the case has panicked: {0}")]
    Panicked(String),
    /// The lab itself failed: a command, a process of its own.
    #[error("the lab failed: {0}")]
    Lab(String),
    /// Something did not happen in time.
    #[error("{what} within {after:?}: it did not happen")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
    },
}

impl Fault {
    /// The lab's own failure, with what was being done.
    pub fn lab(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Lab(format!("{what}: {error}"))
    }

    /// Whether a machine that was too busy may be why.
    pub fn may_be_late(&self) -> bool {
        !matches!(self, Self::Wrong(_) | Self::Panicked(_))
    }
}

/// Checks what a case is about.
pub fn ensure(held: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    if held { Ok(()) } else { Err(Fault::Not(otherwise())) }
}
