//! What two endpoints agree on, or an endpoint and a program that has ring alone.

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, HandshakeKind, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};

use super::*;

#[test]
fn what_is_offered_has_what_quic_needs_and_begins_with_a_key_of_32_bytes() {
    let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    // RFC 9001, section 5.2: the first packets of every connection.
    assert!(suites.contains(&CipherSuite::TLS13_AES_128_GCM_SHA256));
    // iroh 1.4 seals the tokens by which an address proves itself with the first suite, and with such a key.
    assert_ne!(suites[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[test]
fn two_ends_agree_on_post_quantum_keys_and_an_end_that_has_none_is_not_asked_twice() {
    let (ours, plain) = (provider(), Arc::new(ring::default_provider()));
    let table = [
        (&ours, &ours, NamedGroup::X25519MLKEM768),
        (&ours, &plain, NamedGroup::X25519),
        (&plain, &ours, NamedGroup::X25519),
    ];
    for (client, server, group) in table {
        let (mut client, mut server) = ends(client, server);
        while client.is_handshaking() || server.is_handshaking() {
            carry(&mut client, &mut server);
            carry(&mut server, &mut client);
        }
        for end in [&client, &server] {
            assert_eq!(end.negotiated_key_exchange_group().map(|agreed| agreed.name()), Some(group));
            assert_eq!(end.handshake_kind(), Some(HandshakeKind::Full), "{group:?}: no HelloRetryRequest");
        }
    }
}

#[test]
fn both_shares_together_fit_into_two_datagrams() {
    let (mut client, mut server) = ends(&provider(), &provider());
    let hello = carry(&mut client, &mut server);
    // QUIC adds some 100 bytes of parameters, and a datagram holds some 1,150 bytes beside its header.
    assert!((1_150..2_000).contains(&hello), "{hello} bytes");
}

/// Creates the two ends of a connection, before its handshake.
fn ends(client: &Arc<CryptoProvider>, server: &Arc<CryptoProvider>) -> (Connection, Connection) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(["peer".to_owned()]).unwrap().self_signed(&key).unwrap();
    let certificate = certificate.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(client))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(Arc::clone(server))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let name = ServerName::try_from("peer").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    (client.into(), server.into())
}

/// Hands over what an end has to say, and returns the number of bytes.
fn carry(from: &mut Connection, to: &mut Connection) -> usize {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
    bytes.len()
}
