//! The cryptography of the handshake: which cipher suites and key exchanges this endpoint offers, and in which order.
//! The primitives are those of ring, and ML-KEM is that of libcrux.

mod ciphers;
mod exchange;
mod hybrid;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use self::exchange::KeyExchange;
use self::{ciphers::Processor, hybrid::X25519MlKem768};

/// Returns what an endpoint on this machine offers.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    ciphers::arrange(&mut provider.cipher_suites, Processor::here());
    // A client sends the share of the first one, and that of X25519 with it. A server takes the first one of the
    // client's list that it has.
    provider.kx_groups.insert(0, &X25519MlKem768);
    Arc::new(provider)
}

#[cfg(test)]
mod tests;
