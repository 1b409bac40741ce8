//! TLS 1.3 for pea2pea. The server has a certificate that the client knows, and each message has a length before
//! it.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{BufMut, BytesMut};
use data_encoding::HEXLOWER;
use pea2pea::{Connection, ConnectionSide, protocols::Handshake};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};
use twolane_test::speed::Broken;

use super::{Security, message::Message};

const NAME: &str = "localhost";

#[derive(Clone)]
pub(crate) enum Tls {
    Server(TlsAcceptor),
    Client(TlsConnector),
}

impl Security for Tls {
    const NAME: &'static str = "pea2pea TLS";
    const SETTINGS: &'static str = "0.57 over TCP with TCP_NODELAY, TLS 1.3 of rustls with ring; its own buffers of 64 \
    KiB and queues of 64 messages; messages of 32 KiB for bulk; requests are numbered messages on its one connection";
    type Codec = Framed;

    fn server() -> Result<(Self, String), Broken> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let known = HEXLOWER.encode(cert.der());
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok((Self::Server(Arc::new(config).into()), known))
    }

    fn client(server: &str) -> Result<Self, Broken> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(HEXLOWER.decode(server.as_bytes())?))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::Client(Arc::new(config).into()))
    }

    async fn secure<H: Handshake>(&self, node: &H, mut connection: Connection) -> io::Result<Connection> {
        let stream = node.take_stream(&mut connection);
        match (self, !connection.side()) {
            (Self::Server(acceptor), ConnectionSide::Responder) => {
                let stream = acceptor.accept(stream).await?;
                node.return_stream(&mut connection, stream);
            }
            (Self::Client(connector), ConnectionSide::Initiator) => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                let stream = connector.connect(name, stream).await?;
                node.return_stream(&mut connection, stream);
            }
            _ => return Err(io::Error::other("clients connect to servers")),
        }
        Ok(connection)
    }

    fn reader(&self, _: SocketAddr) -> Framed {
        Framed(LengthDelimitedCodec::new())
    }

    fn writer(&self, peer: SocketAddr) -> Framed {
        self.reader(peer)
    }
}

/// The codec of messages. Each has a length of four bytes before it.
pub(crate) struct Framed(LengthDelimitedCodec);

impl Encoder<Message> for Framed {
    type Error = io::Error;

    /// Encodes without a copy. The encoder of tokio-util's codec needs the message in one piece.
    fn encode(&mut self, message: Message, out: &mut BytesMut) -> io::Result<()> {
        let len = u32::try_from(message.len()).map_err(io::Error::other)?;
        out.reserve(4 + message.len());
        out.put_u32(len);
        message.write(out);
        Ok(())
    }
}

impl Decoder for Framed {
    type Item = Message;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Message>> {
        self.0.decode(input)?.map(Message::read).transpose()
    }
}
