//! Lanes that carry data as messages.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use pea2pea::protocols::Writing;
use tokio::sync::{mpsc, oneshot};
use twolane_test::speed::{
    Broken,
    side::{Rx, Tx},
};

use super::{
    Security,
    message::{Kind, Message},
    node::Node,
};

/// The number of bytes of data in a message, as in pea2pea's own benchmark of throughput. Noise takes 64 KiB at
/// most.
const PIECE: usize = 32 * 1024;
/// One of this many messages is waited for, a turn later, so that the queue of 64 neither overflows nor becomes
/// empty.
const TURN: usize = 16;

pub(crate) struct LaneEnd<S> {
    node: Node<S>,
    peer: SocketAddr,
    number: u64,
    data: Kind,
    end: Kind,
    sent: usize,
    flushed: Option<oneshot::Receiver<io::Result<()>>>,
}

pub(crate) struct LaneStart(pub(super) mpsc::Receiver<Bytes>);

impl<S: Security> LaneEnd<S> {
    /// Makes the end of a lane that this side opened.
    pub(super) fn up(node: Node<S>, peer: SocketAddr, number: u64) -> Self {
        Self { node, peer, number, data: Kind::Up, end: Kind::UpEnd, sent: 0, flushed: None }
    }

    /// Makes the end of a lane that the peer opened.
    pub(super) fn down(node: Node<S>, peer: SocketAddr, number: u64) -> Self {
        Self { data: Kind::Down, end: Kind::DownEnd, ..Self::up(node, peer, number) }
    }

    async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        let message = Message { kind: self.data, number: self.number, data };
        self.sent += 1;
        if !self.sent.is_multiple_of(TURN) {
            return Ok(self.node.unicast_fast(self.peer, message)?);
        }
        let flushed = self.node.unicast(self.peer, message)?;
        if let Some(earlier) = self.flushed.replace(flushed) {
            earlier.await??;
        }
        Ok(())
    }
}

impl<S: Security> Tx for LaneEnd<S> {
    async fn write_all(&mut self, data: &[u8]) -> Result<(), Broken> {
        for piece in data.chunks(PIECE) {
            self.send(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(())
    }

    async fn write_chunk(&mut self, mut data: Bytes) -> Result<(), Broken> {
        while !data.is_empty() {
            self.send(data.split_to(data.len().min(PIECE))).await?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Broken> {
        let message = Message { kind: self.end, number: self.number, data: Bytes::new() };
        Ok(self.node.unicast_fast(self.peer, message)?)
    }
}

impl Rx for LaneStart {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(self.0.recv().await)
    }
}
