//! rust-libp2p over QUIC, without ping and identify.

mod codec;
mod halves;
mod node;

use std::{
    io,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::time::timeout;
use twolane_test::speed::{
    Broken, bulk,
    side::{MAX_MESSAGE, PATIENCE, Service, Side},
};

use self::{
    halves::{ReadHalf, WriteHalf},
    node::{How, Node},
};

/// The number of attempts for a request whose streams are dropped. With 16 requests in flight or more, two in a
/// hundred streams were dropped. A hundred in a row are not by chance.
const ATTEMPTS: usize = 100;

pub(crate) trait Flavour: Send + Sync + 'static {
    const NAME: &'static str;
    const SETTINGS: &'static str;
    const HOW: How;
}

/// A stream of libp2p-stream for each request.
pub(crate) struct Streams;
/// The request-response behaviour with its defaults.
pub(crate) struct Requests;
/// The request-response behaviour with its fastest settings.
pub(crate) struct Lazy;

impl Flavour for Streams {
    const NAME: &'static str = "rust-libp2p streams";
    const SETTINGS: &'static str = "0.57 over QUIC, ping and identify off; its own windows of 10 MB a stream and 15 MB a \
    connection, 256 streams; ChaCha20-Poly1305 of aws-lc, the first of its ciphers; a stream of libp2p-stream for each \
    request, and another one for a request whose stream the server has dropped (its queue holds one that is new)";
    const HOW: How = How { requests: false, lazy: false };
}

impl Flavour for Requests {
    const NAME: &'static str = "rust-libp2p requests";
    const SETTINGS: &'static str = "as rust-libp2p streams, with request-response in place of libp2p-stream, at its own limit of 100 \
    requests at a time";
    const HOW: How = How { requests: true, lazy: false };
}

impl Flavour for Lazy {
    const NAME: &'static str = "rust-libp2p lazy requests";
    const SETTINGS: &'static str = "as rust-libp2p requests, with V1Lazy for the negotiation of protocols, which is not the \
    default and saves a round trip";
    const HOW: How = How { requests: true, lazy: true };
}

pub(crate) struct Libp2p<F> {
    node: Node,
    peer: PeerId,
    address: Multiaddr,
    sent: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    flavour: PhantomData<F>,
}

impl<F> Clone for Libp2p<F> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            peer: self.peer,
            address: self.address.clone(),
            sent: Arc::clone(&self.sent),
            dropped: Arc::clone(&self.dropped),
            flavour: PhantomData,
        }
    }
}

impl<F: Flavour> Side for Libp2p<F> {
    type Tx = WriteHalf;
    type Rx = ReadHalf;
    type Server = Node;

    const NAME: &'static str = F::NAME;

    fn settings() -> String {
        F::SETTINGS.to_owned()
    }

    async fn serve() -> Result<(Node, String), Broken> {
        let (node, address) = Node::listen(F::HOW).await?;
        for service in [Service::Echo, Service::Second, Service::Bulk] {
            let mut streams = node.control().accept(protocol(service))?;
            tokio::spawn(async move {
                // A task for each stream, as in libp2p's examples. A stream that is not taken at once is dropped.
                while let Some((_, stream)) = streams.next().await {
                    tokio::spawn(async move {
                        // The client reports a stream that breaks.
                        let _ = match service {
                            Service::Bulk => {
                                let (send, recv) = halves::split(stream);
                                bulk::serve(send, recv).await
                            }
                            _ => echo(stream).await,
                        };
                    });
                }
            });
        }
        let text = format!("{address}/p2p/{}", node.id());
        Ok((node, text))
    }

    async fn client(server: &str) -> Result<Self, Broken> {
        let (address, peer) = server.rsplit_once("/p2p/").ok_or_else(|| Broken::msg("an address has no peer"))?;
        let (address, peer) = (address.parse()?, peer.parse()?);
        Ok(Self {
            node: Node::start(F::HOW)?,
            peer,
            address,
            sent: Arc::default(),
            dropped: Arc::default(),
            flavour: PhantomData,
        })
    }

    /// One connection serves every protocol.
    async fn connect(&self, _: Service) -> Result<(), Broken> {
        self.node.dial(self.peer, self.address.clone()).await
    }

    async fn open(&self, service: Service) -> Result<(WriteHalf, ReadHalf), Broken> {
        Ok(halves::split(self.stream(service).await?))
    }

    async fn touch(&self) -> Result<(), Broken> {
        let mut stream = self.stream(Service::Echo).await?;
        stream.close().await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }

    async fn request(&self, message: Bytes) -> Result<Bytes, Broken> {
        if F::HOW.requests {
            return timeout(PATIENCE, self.node.request(self.peer, message)).await?;
        }
        timeout(PATIENCE, self.exchange(message)).await?
    }

    async fn close(self) {
        self.node.close().await;
    }
}

impl<F> Libp2p<F> {
    /// Returns the number of requests, and of those that were sent again because the server had dropped their
    /// streams.
    pub(crate) fn requests(&self) -> (u64, u64) {
        (self.sent.load(Relaxed), self.dropped.load(Relaxed))
    }

    async fn exchange(&self, message: Bytes) -> Result<Bytes, Broken> {
        self.sent.fetch_add(1, Relaxed);
        for _ in 0..ATTEMPTS {
            match exchange(self.stream(Service::Echo).await?, &message).await {
                // The server has dropped the stream: its end of the stream is closed, or it does not read any more.
                Ok(answer) if answer.is_empty() && !message.is_empty() => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                other => return Ok(other?),
            }
            self.dropped.fetch_add(1, Relaxed);
        }
        Err(Broken::msg("the server drops every stream"))
    }

    async fn stream(&self, service: Service) -> Result<Stream, Broken> {
        Ok(self.node.control().open_stream(self.peer, protocol(service)).await?)
    }
}

fn protocol(service: Service) -> StreamProtocol {
    StreamProtocol::new(match service {
        Service::Echo => "/speed-echo/1",
        Service::Second => "/speed-second/1",
        Service::Bulk => "/speed-bulk/1",
        Service::Refuse => "/speed-refuse/1",
    })
}

async fn echo(mut stream: Stream) -> Result<(), Broken> {
    let message = read_all(&mut stream, 0).await?;
    stream.write_all(&message).await?;
    Ok(stream.close().await?)
}

async fn exchange(mut stream: Stream, message: &[u8]) -> io::Result<Bytes> {
    stream.write_all(message).await?;
    stream.close().await?;
    read_all(&mut stream, message.len()).await
}

async fn read_all(stream: &mut Stream, expected: usize) -> io::Result<Bytes> {
    let mut message = Vec::with_capacity(expected);
    stream.take(MAX_MESSAGE as u64).read_to_end(&mut message).await?;
    Ok(message.into())
}
