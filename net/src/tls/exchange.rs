//! The key exchange of a connection.

use std::{any::Any, fmt};

use noq_proto::crypto::rustls::HandshakeData;
use rustls::NamedGroup;

/// The key exchange with which the two ends of a connection have agreed on its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyExchange {
    /// X25519 together with ML-KEM-768. Whoever records the connection has to break both to read it, and ML-KEM holds
    /// against quantum computers.
    X25519MlKem768,
    /// X25519 alone. Whoever records the connection can read it with a large quantum computer.
    X25519,
    /// Another one, with its number in the registry "TLS Supported Groups" of IANA.
    Other(u16),
}

impl KeyExchange {
    /// Returns whether a quantum computer does not help to read a recorded connection.
    pub fn is_post_quantum(&self) -> bool {
        matches!(self, Self::X25519MlKem768)
    }

    /// Reads what QUIC says about a handshake that is done.
    pub(crate) fn of(handshake: Option<Box<dyn Any>>) -> Option<Self> {
        let data = handshake?.downcast::<HandshakeData>().ok()?;
        data.negotiated_key_exchange_group.map(Self::from)
    }
}

impl From<NamedGroup> for KeyExchange {
    fn from(group: NamedGroup) -> Self {
        match group {
            NamedGroup::X25519MLKEM768 => Self::X25519MlKem768,
            NamedGroup::X25519 => Self::X25519,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519MlKem768 => f.write_str("X25519MLKEM768"),
            Self::X25519 => f.write_str("X25519"),
            Self::Other(number) => write!(f, "group {number:#06x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exchange_with_ml_kem_holds_against_quantum_computers() {
        let table = [
            (NamedGroup::X25519MLKEM768, "X25519MLKEM768", true),
            (NamedGroup::X25519, "X25519", false),
            (NamedGroup::secp256r1, "group 0x0017", false),
        ];
        for (group, name, holds) in table {
            let exchange = KeyExchange::from(group);
            assert_eq!((exchange.to_string(), exchange.is_post_quantum()), (name.to_owned(), holds));
        }
    }
}
