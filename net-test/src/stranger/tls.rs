//! Raw public keys (RFC 7250) for stock rustls and quinn, as section 2 of WIRE.md specifies.

use std::{sync::Arc, time::Duration};

use quinn::{
    ClientConfig, ServerConfig, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        ring::{default_provider, sign::any_eddsa_type},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::wire::ALPN;

/// The bytes before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The bytes before a secret key in PKCS #8.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The number of data lanes that the peer may open. It is announced in HELLO, and determines the QUIC stream limit.
pub const DATA_LANES: u64 = 16;
const BIDI_STREAMS: u32 = 3 * DATA_LANES as u32;

#[derive(Debug, Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    pub fn new(seed: [u8; 32]) -> Self {
        let pkcs8 = [&PKCS8_PREFIX[..], &seed].concat();
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("an Ed25519 key");
        let spki = key.public_key().expect("its public half").as_ref().to_vec();
        Self(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key)))
    }

    pub fn public(&self) -> [u8; 32] {
        key_of(&self.0.cert[0])
    }

    /// Returns the bytes that are presented in place of a certificate.
    pub fn presented(&self) -> Vec<u8> {
        self.0.cert[0].to_vec()
    }

    /// Returns the configuration of a client that resumes no session.
    pub fn client(&self, server: [u8; 32]) -> ClientConfig {
        self.client_with(server, Resumption::disabled())
    }

    /// Returns the configuration of a client that resumes the sessions of the connections that it is used for.
    pub fn returning_client(&self, server: [u8; 32]) -> ClientConfig {
        self.client_with(server, Resumption::in_memory_sessions(8))
    }

    fn client_with(&self, server: [u8; 32], resumption: Resumption) -> ClientConfig {
        let expected = Some(server);
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { expected }))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.0))));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.enable_sni = false;
        tls.enable_early_data = true;
        tls.resumption = resumption;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("the suites of QUIC")));
        config.transport_config(transport());
        config
    }

    pub fn server(&self) -> ServerConfig {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(Arc::new(Verifier { expected: None }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.0))));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config =
            ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("the suites of QUIC")));
        config.transport_config(transport());
        config
    }
}

/// Returns the peer's key, from the handshake.
pub fn peer_of(connection: &quinn::Connection) -> [u8; 32] {
    let identity = connection.peer_identity().expect("a peer with a key");
    let keys = identity.downcast::<Vec<CertificateDer<'static>>>().expect("rustls hands over what was presented");
    assert_eq!(keys.len(), 1);
    key_of(&keys[0])
}

fn key_of(spki: &[u8]) -> [u8; 32] {
    let key = spki.strip_prefix(&SPKI_PREFIX).expect("an Ed25519 key");
    key.try_into().expect("32 bytes")
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(BIDI_STREAMS.into())
        .max_concurrent_uni_streams(8u32.into())
        .stream_receive_window(2_000_000u32.into())
        .keep_alive_interval(Some(Duration::from_secs(5)))
        .max_idle_timeout(Some(Duration::from_secs(20).try_into().expect("20 s fit")));
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Accepts the expected key, or any key if none is expected. The peer has to sign with the key.
#[derive(Debug)]
struct Verifier {
    expected: Option<[u8; 32]>,
}

impl Verifier {
    fn check(&self, end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = end_entity.strip_prefix(&SPKI_PREFIX).filter(|key| key.len() == 32);
        match (key, self.expected) {
            (Some(_), None) if intermediates.is_empty() => Ok(()),
            (Some(key), Some(expected)) if intermediates.is_empty() && *key == expected => Ok(()),
            _ => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }
}

/// The methods that both verifier traits need.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            spki: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = default_provider().signature_verification_algorithms;
            verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(&spki[..]), signed, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    signatures! {}
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    signatures! {}
}
