//! Noise XX for pea2pea, with the cipher and the hash of pea2pea's examples. Each message is a Noise message.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut, BytesMut};
use pea2pea::{Connection, ConnectionSide, protocols::Handshake};
use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};
use twolane_test::speed::Broken;

use super::{Security, message::Message};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// The length of the longest Noise message.
const MOST: usize = 65_535;
/// The number of bytes that Noise adds to a message.
const TAG: usize = 16;

/// The keys of connections, from the handshake to the first message.
#[derive(Clone, Default)]
pub(crate) struct Noise(Arc<Mutex<HashMap<SocketAddr, Arc<StatelessTransportState>>>>);

impl Security for Noise {
    const NAME: &'static str = "pea2pea Noise";
    const SETTINGS: &'static str = "0.57 over TCP with TCP_NODELAY, Noise_XX_25519_ChaChaPoly_BLAKE2s of snow with ring; \
    its own buffers of 64 KiB and queues of 64 messages; messages of 32 KiB for bulk; requests are numbered messages on \
    its one connection";
    type Codec = Sealed;

    fn server() -> Result<(Self, String), Broken> {
        Ok((Self::default(), String::new()))
    }

    fn client(_: &str) -> Result<Self, Broken> {
        Ok(Self::default())
    }

    async fn secure<H: Handshake>(&self, node: &H, mut connection: Connection) -> io::Result<Connection> {
        let side = !connection.side();
        let keys = shake_hands(node.borrow_stream(&mut connection), side).await?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(connection.addr(), Arc::new(keys));
        Ok(connection)
    }

    fn reader(&self, peer: SocketAddr) -> Sealed {
        Sealed::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned())
    }

    fn writer(&self, peer: SocketAddr) -> Sealed {
        Sealed::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer))
    }
}

/// Makes the handshake: `e`; `e, ee, s, es`; `s, se`.
async fn shake_hands(stream: &mut TcpStream, side: ConnectionSide) -> io::Result<StatelessTransportState> {
    let builder = Builder::new(PATTERN.parse().map_err(io::Error::other)?);
    let key = builder.generate_keypair().map_err(io::Error::other)?.private;
    let builder = builder.local_private_key(&key).map_err(io::Error::other)?;
    let mut noise = match side {
        ConnectionSide::Initiator => builder.build_initiator(),
        ConnectionSide::Responder => builder.build_responder(),
    }
    .map_err(io::Error::other)?;
    while !noise.is_handshake_finished() {
        if noise.is_my_turn() {
            say(stream, &mut noise).await?;
        } else {
            hear(stream, &mut noise).await?;
        }
    }
    noise.into_stateless_transport_mode().map_err(io::Error::other)
}

async fn say(stream: &mut TcpStream, noise: &mut HandshakeState) -> io::Result<()> {
    let mut message = vec![0; MOST];
    let len = noise.write_message(&[], &mut message).map_err(io::Error::other)?;
    stream.write_u16(u16::try_from(len).map_err(io::Error::other)?).await?;
    stream.write_all(&message[..len]).await
}

async fn hear(stream: &mut TcpStream, noise: &mut HandshakeState) -> io::Result<()> {
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    noise.read_message(&message, &mut vec![0; MOST]).map_err(io::Error::other)?;
    Ok(())
}

/// The codec of Noise messages. Each has a length of two bytes before it.
pub(crate) struct Sealed {
    keys: Option<Arc<StatelessTransportState>>,
    nonce: u64,
    frames: LengthDelimitedCodec,
    plain: Vec<u8>,
}

impl Sealed {
    fn new(keys: Option<Arc<StatelessTransportState>>) -> Self {
        let frames = LengthDelimitedCodec::builder().length_field_length(2).max_frame_length(MOST).new_codec();
        Self { keys, nonce: 0, frames, plain: Vec::new() }
    }
}

impl Encoder<Message> for Sealed {
    type Error = io::Error;

    fn encode(&mut self, message: Message, out: &mut BytesMut) -> io::Result<()> {
        let keys = self.keys.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let len = u16::try_from(message.len() + TAG).map_err(io::Error::other)?;
        self.plain.clear();
        message.write(&mut self.plain);
        out.reserve(2 + usize::from(len));
        out.put_u16(len);
        let start = out.len();
        out.resize(start + usize::from(len), 0);
        keys.write_message(self.nonce, &self.plain, &mut out[start..]).map_err(io::Error::other)?;
        self.nonce += 1;
        Ok(())
    }
}

impl Decoder for Sealed {
    type Item = Message;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Message>> {
        let keys = self.keys.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let Some(frame) = self.frames.decode(input)? else { return Ok(None) };
        // The buffer is as large as the sealed message, which is then opened in place.
        let mut plain = BytesMut::zeroed(frame.len());
        let len = keys.read_message(self.nonce, &frame, &mut plain).map_err(io::Error::other)?;
        plain.truncate(len);
        self.nonce += 1;
        Message::read(plain).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::{super::message::Kind, *};

    async fn both_ends() -> (Sealed, Sealed) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        let (here, there) = tokio::join!(
            shake_hands(&mut here, ConnectionSide::Initiator),
            shake_hands(&mut there, ConnectionSide::Responder)
        );
        let sealed = |keys| Sealed::new(Some(Arc::new(keys)));
        (sealed(here.unwrap()), sealed(there.unwrap()))
    }

    #[tokio::test]
    async fn what_is_sealed_is_not_plain_and_can_be_opened() {
        let (mut here, mut there) = both_ends().await;
        let messages = ["a secret", "and another"].map(|text| Message {
            kind: Kind::Request,
            number: 7,
            data: Bytes::from_static(text.as_bytes()),
        });
        let mut wire = BytesMut::new();
        for message in messages.clone() {
            here.encode(message, &mut wire).unwrap();
        }
        assert!(!wire.windows(6).any(|part| part == b"secret"));
        for message in messages {
            assert_eq!(there.decode(&mut wire).unwrap(), Some(message));
        }
        assert_eq!(there.decode(&mut wire).unwrap(), None);
    }

    #[tokio::test]
    async fn a_bit_that_changes_on_the_way_is_an_error() {
        let (mut here, mut there) = both_ends().await;
        let mut wire = BytesMut::new();
        here.encode(Message { kind: Kind::Up, number: 1, data: Bytes::new() }, &mut wire).unwrap();
        wire[5] ^= 1;
        there.decode(&mut wire).unwrap_err();
    }
}
