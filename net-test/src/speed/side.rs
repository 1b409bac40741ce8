//! The two sides of every comparison behind one trait: twolane and raw iroh.
//!
//! Both have the same limits for streams, times and messages, which are defined here. Otherwise each is used as in
//! its documentation, with its defaults.

use std::{future::Future, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, interval, timeout};

use super::Broken;

/// The number of streams that a peer may have open, on every side that has streams. With fewer, requests in flight
/// would wait on one side only. (The default is 100 in noq and 256 in twolane.)
pub const STREAMS: u32 = 1_024;
/// The timeout of each request and of opening each stream. Every side pays for the timer, as a program would.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const MAX_MESSAGE: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Sends back all data that comes, when it has come completely.
    Echo,
    /// Does the same as `Echo`, as a second protocol.
    Second,
    /// Moves data: see [`super::bulk`].
    Bulk,
    /// Ends streams with an error: see [`super::errors`].
    Refuse,
}

impl Service {
    pub const ALL: [Self; 4] = [Self::Echo, Self::Second, Self::Bulk, Self::Refuse];

    /// Returns the name of the protocol, which is also the ALPN of raw iroh.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "speed-echo/1",
            Self::Second => "speed-second/1",
            Self::Bulk => "speed-bulk/1",
            Self::Refuse => "speed-refuse/1",
        }
    }
}

pub trait Tx: Send + 'static {
    fn write_all(&mut self, data: &[u8]) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Writes data without a copy.
    fn write_chunk(&mut self, data: Bytes) -> impl Future<Output = Result<(), Broken>> + Send;
    fn finish(&mut self) -> Result<(), Broken>;
}

pub trait Rx: Send + 'static {
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Broken>> + Send;
    fn to_end(&mut self, max: usize) -> impl Future<Output = Result<Bytes, Broken>> + Send {
        async move {
            let mut all = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                if all.len() + chunk.len() > max {
                    return Err(Broken::msg("a message is too long"));
                }
                all.extend_from_slice(&chunk);
            }
            Ok(all.freeze())
        }
    }
}

pub trait Side: Clone + Send + Sync + 'static {
    type Tx: Tx;
    type Rx: Rx;

    /// The name in the rows.
    const NAME: &'static str;

    /// Returns the settings that are not defaults, and the differences from twolane.
    fn settings() -> String;

    /// Starts a server, which runs until it is dropped. Returns it and its address as text.
    fn serve() -> impl Future<Output = Result<(Self::Server, String), Broken>> + Send;
    type Server: Send;

    /// Shuts a server down, within this time.
    fn end(server: Self::Server, _within: Duration) -> impl Future<Output = ()> + Send {
        async { drop(server) }
    }

    /// Creates a client that is not connected.
    fn client(server: &str) -> impl Future<Output = Result<Self, Broken>> + Send;
    fn connect(&self, service: Service) -> impl Future<Output = Result<(), Broken>> + Send;
    fn open(&self, service: Service) -> impl Future<Output = Result<(Self::Tx, Self::Rx), Broken>> + Send;
    /// Opens an empty stream, and waits until the server is known to have taken it.
    fn touch(&self) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Sends a message on a stream of its own, and returns the answer.
    fn request(&self, message: Bytes) -> impl Future<Output = Result<Bytes, Broken>> + Send;
    /// Sends a message for a service of a server, connected or not, as quickly as the side can, and returns the
    /// answer.
    fn first(&self, service: Service, message: Bytes) -> impl Future<Output = Result<Bytes, Broken>> + Send {
        async move {
            let asked = async {
                self.connect(service).await?;
                let (mut send, mut recv) = self.open(service).await?;
                send.write_chunk(message).await?;
                send.finish()?;
                recv.to_end(MAX_MESSAGE).await
            };
            timeout(PATIENCE, asked).await?
        }
    }
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Calls `look` once a second for this time, and returns its last result.
pub async fn once_a_second(time: Duration, mut look: impl FnMut() -> usize) -> usize {
    let (mut seconds, end) = (interval(Duration::from_secs(1)), Instant::now() + time);
    let mut seen = 0;
    while seconds.tick().await < end {
        seen = look();
    }
    seen
}

/// Implements [`Tx`] and [`Rx`] for the halves of a stream that have the methods of QUIC libraries.
macro_rules! halves {
    ($send:ty, $recv:ty) => {
        impl Tx for $send {
            async fn write_all(&mut self, data: &[u8]) -> Result<(), Broken> {
                Ok(self.write_all(data).await?)
            }

            async fn write_chunk(&mut self, data: Bytes) -> Result<(), Broken> {
                Ok(self.write_chunk(data).await?)
            }

            fn finish(&mut self) -> Result<(), Broken> {
                Ok(self.finish()?)
            }
        }

        impl Rx for $recv {
            async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
                Ok(self.read_chunk(usize::MAX).await?)
            }

            async fn to_end(&mut self, max: usize) -> Result<Bytes, Broken> {
                Ok(Bytes::from(self.read_to_end(max).await?))
            }
        }
    };
}

halves!(twolane::SendStream, twolane::RecvStream);
halves!(iroh::endpoint::SendStream, iroh::endpoint::RecvStream);

/// A side whose ends can be bound to any address, for links between machines.
pub trait Anywhere: Side {
    /// Does the same as [`Side::serve`], bound to `at`. `None` is loopback.
    fn serve_at(at: Option<SocketAddr>) -> impl Future<Output = Result<(Self::Server, String), Broken>> + Send;
    /// Does the same as [`Side::client`], bound to `at`.
    fn client_at(at: Option<SocketAddr>, server: &str) -> impl Future<Output = Result<Self, Broken>> + Send;
}

/// A side whose server a program can watch.
pub trait Watched: Side {
    /// Looks at the server once a second for this time, as a status page does: at the endpoint's status, and at each
    /// connection with its statistics. Returns the number of connections that the last look found.
    fn watch(server: &Self::Server, time: Duration) -> impl Future<Output = usize> + Send;
}
