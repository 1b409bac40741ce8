//! The error of making an endpoint: of binding it, or of attaching it to an iroh endpoint.

use std::{fmt, net::SocketAddr};

use twolane_id::{PublicKey, storage::revocations::RevocationFileError};

use super::{AlsoAcceptError, Fault};

/// The reason why an endpoint could not be bound, or attached to an iroh endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A socket could not be bound.
    #[error(
        "the endpoint could not be bound{}: the address may be in use, or may not belong to this machine",
        Named(addrs)
    )]
    Bind {
        /// The addresses that the program has named. Empty if any address was good.
        addrs: Vec<SocketAddr>,
        /// The error of iroh.
        source: Box<iroh::endpoint::BindError>,
    },
    /// An address to bind to is not valid.
    #[error("the address {0} cannot be bound to")]
    Address(SocketAddr),
    /// There are two addresses of one family to bind to.
    #[error("an endpoint has one address of each family, and cannot be bound to both {first} and {second}")]
    TwoAddresses {
        /// The address that was named first.
        first: SocketAddr,
        /// The other one.
        second: SocketAddr,
    },
    /// No path would be left: direct paths are turned off, and there is no relay.
    #[error("relay_only turns off direct paths, and {}", if *offline {
        "offline turns off relays: use one of the two"
    } else {
        "there is no relay: set one with Builder::relay"
    })]
    NoPath {
        /// Whether relays are turned off as well.
        offline: bool,
    },
    /// A relay's address is not a URL of `https` or `http`.
    #[error("{0:?} is not the URL of a relay, such as https://relay.example.org")]
    RelayUrl(String),
    /// The token for a relay cannot be sent. It is not repeated here.
    #[error("the token for the relay {url:?} cannot be sent: it has visible ASCII characters, without spaces")]
    RelayToken {
        /// The URL of the relay.
        url: String,
    },
    /// The proxy cannot be used. Its URL is not repeated here, because it may have a password in it.
    #[error("the proxy of {from} cannot be used: name one by its URL, such as http://proxy.example.org:3128")]
    Proxy {
        /// Where the URL comes from: `Builder::proxy`, or the name of an environment variable.
        from: &'static str,
    },
    /// A certificate that is to be trusted as a root cannot be read.
    #[error("root {at} is not a certificate, in DER form or as PEM (-----BEGIN CERTIFICATE-----)")]
    Root {
        /// The index of the call of `trust_root`, from 0.
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
    /// The file of revoked certificates cannot be read, or cannot be written to. An endpoint that does not know what is
    /// revoked accepts nobody.
    #[error("the file of revoked certificates cannot be used")]
    Revocations(#[source] RevocationFileError),
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
            Self::Bind { .. } | Self::Revocations(_) | Self::Random | Self::Clock => Fault::Local,
            Self::Address(_)
            | Self::TwoAddresses { .. }
            | Self::NoPath { .. }
            | Self::RelayUrl(_)
            | Self::RelayToken { .. }
            | Self::Proxy { .. }
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
        matches!(self, Self::Bind { .. } | Self::Clock)
    }
}

/// Shows the addresses that were to be bound to.
struct Named<'a>(&'a [SocketAddr]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, addr) in self.0.iter().enumerate() {
            write!(f, "{}{addr}", if nth == 0 { " to " } else { " and " })?;
        }
        Ok(())
    }
}
