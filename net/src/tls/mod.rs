//! The cryptography of the handshake: which cipher suites and key exchanges this endpoint offers, and in which order.
//! The primitives are those of ring.

mod ciphers;
mod exchange;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

use self::ciphers::Processor;
pub use self::exchange::KeyExchange;

/// Returns what an endpoint on this machine offers.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    ciphers::arrange(&mut provider.cipher_suites, Processor::here());
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    use super::*;

    #[test]
    fn what_is_offered_has_what_quic_needs_and_begins_with_a_key_of_32_bytes() {
        let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        // RFC 9001, section 5.2: the first packets of every connection.
        assert!(suites.contains(&CipherSuite::TLS13_AES_128_GCM_SHA256));
        // iroh 1.4 seals the tokens by which an address proves itself with the first suite, and with such a key.
        assert_ne!(suites[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}
