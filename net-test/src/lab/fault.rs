//! The reasons why a case did not hold.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A check of the case failed.
    #[error("{0}")]
    Not(String),
    /// Wrong data or a broken connection. A busy machine is no excuse for either.
    #[error("{0}")]
    Wrong(String),
    /// A figure is over its bound.
    #[error("too slow: {0}")]
    Slow(String),
    #[error("the case has panicked: {0}")]
    Panicked(String),
    /// The lab itself failed.
    #[error("the lab failed: {0}")]
    Lab(String),
    #[error("{what} within {after:?}: it did not happen")]
    Late { what: String, after: Duration },
}

impl Fault {
    pub fn lab(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Lab(format!("{what}: {error}"))
    }

    /// Returns whether a busy machine can be the reason.
    pub fn may_be_late(&self) -> bool {
        !matches!(self, Self::Wrong(_) | Self::Panicked(_))
    }
}

pub fn ensure(held: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    if held { Ok(()) } else { Err(Fault::Not(otherwise())) }
}
