//! The paths to a peer: which of them data may take, when a better one is looked for, and when silence means that
//! none is left.

mod held;
pub(crate) mod lookout;
pub(crate) mod policy;
pub(crate) mod probe;
mod restore;
pub(crate) mod silence;
pub(super) mod watch;

pub(super) use self::held::Probes;
