//! The order of the cipher suites: those that this machine's processor is good at come first. Pure, except for
//! [`Processor::here`].
//!
//! A rustls server takes the first suite of the client's list that it has. So a machine without AES in its processor
//! leaves out AES-256, and a machine with it puts ChaCha20 before AES-128. Then AES-256 is agreed on where both ends
//! have AES, and ChaCha20 where one end has not, whichever of them dials.

use rustls::{CipherSuite, SupportedCipherSuite};

/// What the processor of this machine is good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processor {
    /// It has instructions for AES and for the multiplication of GCM.
    WithAes,
    /// It has none: AES in software, in constant time, takes several times as long as ChaCha20.
    WithoutAes,
}

impl Processor {
    pub(super) fn here() -> Self {
        if has_aes() { Self::WithAes } else { Self::WithoutAes }
    }

    /// Returns the suites of TLS 1.3 in the order in which they are offered. AES-128 is always among them: QUIC needs
    /// it for its first packets, and every implementation of TLS 1.3 has it (RFC 8446, section 9.1).
    fn preference(self) -> &'static [CipherSuite] {
        const AES_256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
        const AES_128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
        const CHACHA20: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        match self {
            Self::WithAes => &[AES_256, CHACHA20, AES_128],
            Self::WithoutAes => &[CHACHA20, AES_128],
        }
    }

    /// Returns the place of a suite in the list of what is offered. `None` if it is not offered.
    fn place(self, suite: CipherSuite) -> Option<usize> {
        let preference = self.preference();
        let is_tls13 = Self::WithAes.preference().contains(&suite);
        // Suites of TLS 1.2 are for relays and directories, if they are compiled in. They stay as they are.
        let after = (!is_tls13).then_some(preference.len());
        preference.iter().position(|offered| *offered == suite).or(after)
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    // The name stands for both, FEAT_AES and FEAT_PMULL.
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Puts the suites into the order for a processor, and removes those that it is not to offer.
pub(super) fn arrange(suites: &mut Vec<SupportedCipherSuite>, processor: Processor) {
    suites.retain(|suite| processor.place(suite.suite()).is_some());
    suites.sort_by_key(|suite| processor.place(suite.suite()));
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::DEFAULT_CIPHER_SUITES;

    use super::*;

    fn offered(processor: Option<Processor>) -> Vec<CipherSuite> {
        let mut suites = DEFAULT_CIPHER_SUITES.to_vec();
        if let Some(processor) = processor {
            arrange(&mut suites, processor);
        }
        suites.iter().map(SupportedCipherSuite::suite).collect()
    }

    /// Returns the suite that a rustls server and its client agree on.
    fn agreed(client: Option<Processor>, server: Option<Processor>) -> CipherSuite {
        let server = offered(server);
        offered(client).into_iter().find(|suite| server.contains(suite)).expect("a suite that both have")
    }

    #[test]
    fn two_ends_agree_on_what_the_weaker_one_is_good_at_whoever_dials() {
        const AES_256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
        const AES_128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
        const CHACHA20: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        let (strong, weak, plain) = (Some(Processor::WithAes), Some(Processor::WithoutAes), None);
        // The client, the server, and what they agree on. The plain one has the order of rustls, as raw iroh.
        let table = [
            (strong, strong, AES_256),
            (strong, weak, CHACHA20),
            (weak, strong, CHACHA20),
            (weak, weak, CHACHA20),
            (strong, plain, AES_256),
            (plain, strong, AES_256),
            (weak, plain, CHACHA20),
            // rustls offers AES-128 before ChaCha20, and a server cannot have all but AES-128.
            (plain, weak, AES_128),
        ];
        for (client, server, suite) in table {
            assert_eq!(agreed(client, server), suite, "{client:?} dials {server:?}");
        }
    }

    #[test]
    fn the_suites_of_older_versions_of_tls_stay_behind_the_others_as_they_are() {
        let is_tls12 = |suite: &CipherSuite| !Processor::WithAes.preference().contains(suite);
        let before: Vec<_> = offered(None).into_iter().filter(is_tls12).collect();
        for processor in [Processor::WithAes, Processor::WithoutAes] {
            let offered = offered(Some(processor));
            assert_eq!(offered[..processor.preference().len()], *processor.preference());
            assert_eq!(offered[processor.preference().len()..], before[..]);
        }
    }
}
