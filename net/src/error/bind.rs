//! Why there is no endpoint.

use twolane_id::PublicKey;

use super::Fault;

/// Why an endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A socket could not be bound.
    #[error("the endpoint could not be bound: is the address in use, or not one of this machine?")]
    Bind(#[source] Box<iroh::endpoint::BindError>),
    /// An address to bind to is not valid.
    #[error("the address {0} cannot be bound to")]
    Address(std::net::SocketAddr),
    /// A relay's address is not a URL.
    #[error("{0:?} is not the URL of a relay, such as https://relay.example.org")]
    RelayUrl(String),
    /// What is to be trusted as a root is no certificate in DER form.
    #[error(
        "root {at} is no certificate in DER form: what begins with -----BEGIN CERTIFICATE----- has to be decoded first"
    )]
    Root {
        /// Which one, from 0.
        at: usize,
    },
    /// A directory's address is not a URL.
    #[error("{0:?} is not the URL of a directory, such as https://dns.example.org/pkarr")]
    DirectoryUrl(String),
    /// A certificate is for another key than the endpoint's.
    #[error("the certificate is for the node {node}, and this endpoint is {us}: have one issued for this key")]
    Delegation {
        /// The node that it is for.
        node: PublicKey,
        /// This endpoint.
        us: PublicKey,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

impl BindError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bind(_) | Self::Random => Fault::Us,
            Self::Address(_)
            | Self::RelayUrl(_)
            | Self::Root { .. }
            | Self::DirectoryUrl(_)
            | Self::Delegation { .. } => Fault::Caller,
        }
    }

    /// Whether the same call may work later: a socket's address may be free then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind(_))
    }
}
