//! The error of waiting until revocations are on the disk.

use std::sync::Arc;

use twolane_id::storage::revocations::RevocationFileError;

use super::Fault;

/// The reason why it is not certain that the revoked certificates are on the disk.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationsNotSaved {
    /// The endpoint keeps them in memory only.
    #[error("no file is configured for revoked certificates: set one with Builder::revocation_file")]
    NoFile,
    /// The last try to write them failed. The endpoint goes on trying.
    #[error("the revoked certificates could not be written to the disk")]
    Failed(#[source] Arc<RevocationFileError>),
    /// The endpoint was closed before they were written.
    #[error("the endpoint was closed before the revoked certificates were written")]
    Closed,
}

impl RevocationsNotSaved {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoFile | Self::Closed => Fault::Caller,
            Self::Failed(_) => Fault::Local,
        }
    }

    /// Returns whether the same call may succeed later, because the disk may have room then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}
