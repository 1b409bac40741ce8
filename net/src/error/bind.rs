//! The error of binding an endpoint.

use twolane_id::{PublicKey, storage::revocations::RevocationFileError};

use super::Fault;

/// The reason why an endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A socket could not be bound.
    #[error("the endpoint could not be bound: the address may be in use, or may not belong to this machine")]
    Bind(#[source] Box<iroh::endpoint::BindError>),
    /// An address to bind to is not valid.
    #[error("the address {0} cannot be bound to")]
    Address(std::net::SocketAddr),
    /// A relay's address is not a URL.
    #[error("{0:?} is not the URL of a relay, such as https://relay.example.org")]
    RelayUrl(String),
    /// A certificate that is to be trusted as a root is not in DER form.
    #[error("root {at} is not a certificate in DER form: decode a PEM certificate (-----BEGIN CERTIFICATE-----) first")]
    Root {
        /// The index of the certificate, from 0.
        at: usize,
    },
    /// A directory's address is not a URL.
    #[error("{0:?} is not the URL of a directory, such as https://dns.example.org/pkarr")]
    DirectoryUrl(String),
    /// The certificate is for another key than the key of the endpoint.
    #[error("the certificate is for the node {node}, but this endpoint is {us}: issue a certificate for this key")]
    Delegation {
        /// The node that the certificate is for.
        node: PublicKey,
        /// This endpoint.
        us: PublicKey,
    },
    /// The file of revoked certificates cannot be read, or cannot be written to. An endpoint that does not know what is
    /// revoked accepts nobody.
    #[error("the file of revoked certificates cannot be used")]
    Revocations(#[source] RevocationFileError),
    /// The operating system provides no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

impl BindError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bind(_) | Self::Revocations(_) | Self::Random => Fault::Local,
            Self::Address(_)
            | Self::RelayUrl(_)
            | Self::Root { .. }
            | Self::DirectoryUrl(_)
            | Self::Delegation { .. } => Fault::Caller,
        }
    }

    /// Returns whether the same call may succeed later, because the address of a socket may be free then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind(_))
    }
}
