//! pea2pea over TCP. Each connection is one pipe of messages. Connections are plain, unless [`noise`] or [`tls`]
//! secures them in the handshake.

mod lane;
mod message;
mod node;
pub(crate) mod noise;
pub(crate) mod tls;

use std::{io, net::SocketAddr};

use bytes::Bytes;
use pea2pea::{Connection, Pea2Pea, protocols::Handshake};
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};
use twolane_test::speed::{
    Broken,
    side::{PATIENCE, Service, Side},
};

use self::{
    lane::{LaneEnd, LaneStart},
    message::Message,
    node::Node,
};

pub(crate) trait Security: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    const SETTINGS: &'static str;
    type Codec: Encoder<Message, Error = io::Error> + Decoder<Item = Message, Error = io::Error> + Send;

    /// Makes the security of a server, and the text that its clients need.
    fn server() -> Result<(Self, String), Broken>;
    fn client(server: &str) -> Result<Self, Broken>;
    fn secure<H: Handshake>(
        &self,
        node: &H,
        connection: Connection,
    ) -> impl Future<Output = io::Result<Connection>> + Send;
    /// Called before `writer`.
    fn reader(&self, peer: SocketAddr) -> Self::Codec;
    fn writer(&self, peer: SocketAddr) -> Self::Codec;
}

#[derive(Clone)]
pub(crate) struct Pea<S> {
    node: Node<S>,
    server: SocketAddr,
}

impl<S: Security> Side for Pea<S> {
    type Tx = LaneEnd<S>;
    type Rx = LaneStart;
    type Server = Node<S>;

    const NAME: &'static str = S::NAME;

    fn settings() -> String {
        S::SETTINGS.to_owned()
    }

    async fn serve() -> Result<(Node<S>, String), Broken> {
        let (security, known) = S::server()?;
        let node = Node::start(security, Some(([127, 0, 0, 1], 0).into())).await;
        let address = node.node().toggle_listener().await?.ok_or_else(|| Broken::msg("a node does not listen"))?;
        Ok((node, format!("{address} {known}")))
    }

    async fn client(server: &str) -> Result<Self, Broken> {
        let (address, known) = server.split_once(' ').ok_or_else(|| Broken::msg("an address is too short"))?;
        Ok(Self { node: Node::start(S::client(known)?, None).await, server: address.parse()? })
    }

    /// One connection serves all services.
    async fn connect(&self, _: Service) -> Result<(), Broken> {
        if !self.node.node().is_connected(self.server) {
            self.node.node().connect(self.server).await?;
        }
        Ok(())
    }

    async fn open(&self, service: Service) -> Result<(LaneEnd<S>, LaneStart), Broken> {
        match service {
            Service::Bulk => Ok(self.node.lane(self.server)),
            _ => Err(Broken::msg("pea2pea has no streams, but messages")),
        }
    }

    async fn touch(&self) -> Result<(), Broken> {
        Err(Broken::msg("pea2pea has no streams to open"))
    }

    async fn request(&self, message: Bytes) -> Result<Bytes, Broken> {
        timeout(PATIENCE, self.node.request(self.server, message)).await?
    }

    async fn close(self) {
        self.node.node().shut_down().await;
    }
}
