//! The error of making an endpoint: of binding it, or of attaching it to an iroh endpoint.

use twolane_id::PublicKey;

use super::{AlsoAcceptError, Fault};

/// The reason why an endpoint could not be bound, or attached to an iroh endpoint.
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
    /// An endpoint that is attached to an iroh endpoint has that endpoint's network, and this option is about a network
    /// of its own.
    #[error(
        "Builder::{option} is for endpoints that are bound: the network of an attached endpoint is that of its iroh endpoint, and is set on iroh's builder"
    )]
    Attached {
        /// The method of [`Builder`](crate::Builder) that was called.
        option: &'static str,
    },
    /// The iroh endpoint to attach to is closed.
    #[error("the iroh endpoint is closed: attach to one that is open")]
    IrohClosed,
    /// The call was not made on a tokio runtime.
    #[error("there is no tokio runtime here: call this function in a task of the runtime of the iroh endpoint")]
    NoRuntime,
    /// A protocol that is to be accepted beside this library's is not valid, or is there twice.
    #[error("another protocol cannot be accepted")]
    AlsoAccept(#[from] AlsoAcceptError),
    /// The operating system provides no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// The clock of this machine shows a time before 1970. TLS, the tickets of relays and the address directory count
    /// from 1970, and the libraries for them panic at an earlier time.
    #[error("the clock of this machine shows a time before 1970: set it")]
    Clock,
}

impl BindError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bind(_) | Self::Random | Self::Clock => Fault::Local,
            Self::Address(_)
            | Self::RelayUrl(_)
            | Self::Root { .. }
            | Self::DirectoryUrl(_)
            | Self::Delegation { .. }
            | Self::Attached { .. }
            | Self::IrohClosed
            | Self::NoRuntime
            | Self::AlsoAccept(_) => Fault::Caller,
        }
    }

    /// Returns whether the same call may succeed later, because the address of a socket may be free then, or the clock
    /// may be set.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind(_) | Self::Clock)
    }
}
