//! The two ends of a noq connection.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use iroh::endpoint::ControllerFactory;
use noq_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, FourTuple, ServerConfig,
    StreamId, Transmit, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::wire::Wire;
use crate::limits::Limits;

/// The number of packets that noq's driver asks for at a time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// An end of the connection.
pub(super) struct End {
    /// The number of its connection among those that share the link.
    number: usize,
    endpoint: Endpoint,
    pub(super) connection: Option<(ConnectionHandle, Connection)>,
    peer: SocketAddr,
    /// The time until which the end does nothing.
    pub(super) awake: Instant,
    /// Packets that have arrived.
    pub(super) inbox: Vec<Vec<u8>>,
    /// The streams of the peer that are being read.
    pub(super) open: Vec<StreamId>,
    /// The stream on which it sends as fast as it can.
    pub(super) bulk: Option<StreamId>,
}

impl End {
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().expect("there is a connection").1
    }

    /// Takes the packets that have arrived.
    pub(super) fn receive(&mut self, now: Instant, out: &mut Wire) {
        for packet in std::mem::take(&mut self.inbox) {
            self.packet(now, &packet, out);
        }
    }

    fn packet(&mut self, now: Instant, packet: &[u8], out: &mut Wire) {
        let (path, mut answer) = (FourTuple::new(self.peer, None), Vec::new());
        match self.endpoint.handle(now, path, None, BytesMut::from(packet), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut answer, None);
                self.connection = Some(accepted.map_err(|error| error.cause).expect("the connection is accepted"));
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.connection().handle_event(event),
            Some(DatagramEvent::Response(transmit)) => put(now, self.number, &transmit, &answer, out),
            None => {}
        }
    }

    pub(super) fn send(&mut self, now: Instant, out: &mut Wire) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut packets = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, AT_ONCE, &mut packets) {
            put(now, self.number, &transmit, &packets, out);
            packets.clear();
        }
        while connection.poll().is_some() {}
    }

    /// Writes as much bulk data as there is room for.
    pub(super) fn fill(&mut self) {
        let Some(id) = self.bulk else { return };
        let mut stream = self.connection().send_stream(id);
        while stream.write(&[0; 64 * 1024]).is_ok() {}
    }

    pub(super) fn timer(&self) -> Option<Instant> {
        self.connection.as_ref().and_then(|(_, connection)| connection.poll_timeout())
    }
}

fn put(now: Instant, number: usize, transmit: &Transmit, packets: &[u8], out: &mut Wire) {
    let packets = &packets[..transmit.size];
    for packet in packets.chunks(transmit.segment_size.unwrap_or(transmit.size)) {
        out.send(now, number, packet);
    }
}

/// Reads a stream. Returns the number of bytes that were there, and whether the stream has ended.
pub(super) fn read(connection: &mut Connection, id: StreamId) -> (u64, bool) {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return (0, true) };
    let mut bytes = 0;
    let ended = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => bytes += chunk.bytes.len() as u64,
            Ok(None) | Err(noq_proto::ReadError::Reset(_)) => break true,
            Err(noq_proto::ReadError::Blocked) => break false,
        }
    };
    // The frames that it asks to send are sent anyway.
    let _ = chunks.finalize();
    (bytes, ended)
}

/// Creates a client that connects, and its server.
pub(super) fn ends(
    now: Instant,
    number: usize,
    seed: u64,
    factory: Arc<dyn ControllerFactory + Send + Sync>,
) -> (End, End) {
    // Signatures of these keys have one length, so the packets of two runs have the same sizes.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = rcgen::CertificateParams::new(["peer".to_owned()]).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate").der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate with its key");
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(Limits::STREAM_WINDOW))
        .send_window(Limits::SEND_WINDOW)
        .max_idle_timeout(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(10_000))
        .max_concurrent_uni_streams(VarInt::from_u32(10_000))
        .congestion_controller_factory(factory);
    let transport = Arc::new(transport);
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).expect("a client")));
    client.transport_config(Arc::clone(&transport));
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).expect("a server")));
    server.transport_config(transport);
    let mut config = EndpointConfig::default();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    config.rng_seed(Some(bytes));
    let config = Arc::new(config);
    let addr = |last| SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 1));
    let end = |server, peer| End {
        number,
        endpoint: Endpoint::new(Arc::clone(&config), server, true),
        connection: None,
        peer: addr(peer),
        awake: now,
        inbox: Vec::new(),
        open: Vec::new(),
        bulk: None,
    };
    let (mut one, other) = (end(None, 2), end(Some(Arc::new(server)), 1));
    one.connection = Some(one.endpoint.connect(now, client, addr(2), "peer").expect("a connection is begun"));
    (one, other)
}
