//! The two sides of every comparison behind one trait: twolane, and raw iroh.
//!
//! What both have in common is here: how much may be open, how long a request or an opening may take, what a message is at
//! most. Beyond that each is used as its documentation has it, with its defaults.

use std::{future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::Broken;

/// Streams that a peer may have open, on every side that has streams: with fewer than are in flight, the rest would wait
/// on one side only. (noq has 100 by default, twolane 256.)
pub const STREAMS: u32 = 1_024;
/// No request and no opening takes longer. Every side pays for the timer, as a program would.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A message at most.
pub const MAX_MESSAGE: usize = 1 << 20;

/// What a server does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Sends back what comes, all of it at once.
    Echo,
    /// The same under another name: a second protocol.
    Second,
    /// Moves data: see [`super::bulk`].
    Bulk,
    /// Ends streams with an error: see [`super::errors`].
    Refuse,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Second, Self::Bulk, Self::Refuse];

    /// The protocol, and the ALPN of raw iroh.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "speed-echo/1",
            Self::Second => "speed-second/1",
            Self::Bulk => "speed-bulk/1",
            Self::Refuse => "speed-refuse/1",
        }
    }
}

/// What writes.
pub trait Tx: Send + 'static {
    /// Writes all of it.
    fn write_all(&mut self, data: &[u8]) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Writes all of it, without a copy.
    fn write_chunk(&mut self, data: Bytes) -> impl Future<Output = Result<(), Broken>> + Send;
    /// No more follows.
    fn finish(&mut self) -> Result<(), Broken>;
}

/// What reads.
pub trait Rx: Send + 'static {
    /// What has come; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Broken>> + Send;
    /// All there is.
    fn to_end(&mut self, max: usize) -> impl Future<Output = Result<Bytes, Broken>> + Send;
}

/// A client endpoint, and the server that it talks to.
pub trait Side: Clone + Send + Sync + 'static {
    /// Its writing half of a stream.
    type Tx: Tx;
    /// Its reading half.
    type Rx: Rx;

    /// What it is called in the rows.
    const NAME: &'static str;

    /// How it is set up, where that is not its default, and what it does otherwise than twolane.
    fn settings() -> String;

    /// Starts a server. It runs until the answer is dropped; the text is where it is.
    fn serve() -> impl Future<Output = Result<(Self::Server, String), Broken>> + Send;
    /// A running server.
    type Server: Send;

    /// A client endpoint for a server, not connected to it.
    fn client(server: &str) -> impl Future<Output = Result<Self, Broken>> + Send;
    /// Connects, for a service.
    fn connect(&self, service: Service) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Opens a stream on the connection that is there.
    fn open(&self, service: Service) -> impl Future<Output = Result<(Self::Tx, Self::Rx), Broken>> + Send;
    /// Opens a stream with nothing in it, up to the moment at which the server is known to have taken it.
    fn touch(&self) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Sends a message on a stream of its own, and returns the answer.
    fn request(&self, message: Bytes) -> impl Future<Output = Result<Bytes, Broken>> + Send;
    /// Sends the first message for another service to a server that is connected, and returns the answer: as quickly as the
    /// side can.
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
    /// Closes everything.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A side whose ends can be bound anywhere, for links between machines.
pub trait Anywhere: Side {
    /// [`Side::serve`], bound there. `None` is loopback.
    fn serve_at(at: Option<SocketAddr>) -> impl Future<Output = Result<(Self::Server, String), Broken>> + Send;
    /// [`Side::client`], bound there.
    fn client_at(at: Option<SocketAddr>, server: &str) -> impl Future<Output = Result<Self, Broken>> + Send;
}
