//! A node, and its handling of messages.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use pea2pea::{
    Config, Connection, ConnectionSide, Pea2Pea,
    protocols::{Handshake, Reading, Writing},
};
use tokio::sync::{mpsc, oneshot};
use twolane_test::speed::{Broken, bulk};

use super::{
    Security,
    lane::{LaneEnd, LaneStart},
    message::{Kind, Message},
};

/// The maximum number of connections, as many as an endpoint of twolane takes by default. pea2pea's default is one
/// for each IP address, which would refuse the second dial if both sides are on one machine.
const CONNECTIONS: u16 = 1024;
/// The number of messages of a lane that wait for the reader. It is the same as in pea2pea's own queues.
const DEPTH: usize = 64;

#[derive(Clone)]
pub(crate) struct Node<S> {
    node: pea2pea::Node,
    security: S,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    numbers: AtomicU64,
    requests: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    lanes: Mutex<HashMap<(SocketAddr, u64), mpsc::Sender<Bytes>>>,
}

impl<S: Security> Node<S> {
    pub(super) async fn start(security: S, listener_addr: Option<SocketAddr>) -> Self {
        let node = pea2pea::Node::new(Config {
            listener_addr,
            max_connections: CONNECTIONS,
            max_connections_per_ip: CONNECTIONS,
            ..Config::default()
        });
        let node = Self { node, security, shared: Arc::default() };
        node.enable_handshake().await;
        node.enable_reading().await;
        node.enable_writing().await;
        node
    }

    pub(super) async fn request(&self, peer: SocketAddr, data: Bytes) -> Result<Bytes, Broken> {
        let number = self.shared.numbers.fetch_add(1, Relaxed);
        let (done, answer) = oneshot::channel();
        lock(&self.shared.requests).insert(number, done);
        self.unicast_fast(peer, Message { kind: Kind::Request, number, data })?;
        Ok(answer.await?)
    }

    pub(super) fn lane(&self, peer: SocketAddr) -> (LaneEnd<S>, LaneStart) {
        let number = self.shared.numbers.fetch_add(1, Relaxed);
        let (lane, start) = mpsc::channel(DEPTH);
        lock(&self.shared.lanes).insert((peer, number), lane);
        (LaneEnd::up(self.clone(), peer, number), LaneStart(start))
    }

    /// Returns the lane with this number. A new lane is served.
    fn lane_of(&self, source: SocketAddr, number: u64) -> mpsc::Sender<Bytes> {
        let mut lanes = lock(&self.shared.lanes);
        let lane = lanes.entry((source, number)).or_insert_with(|| {
            let (lane, start) = mpsc::channel(DEPTH);
            let end = LaneEnd::down(self.clone(), source, number);
            // The client reports a lane that breaks.
            tokio::spawn(async move { drop(bulk::serve(end, LaneStart(start)).await) });
            lane
        });
        lane.clone()
    }
}

impl<S: Security> Pea2Pea for Node<S> {
    fn node(&self) -> &pea2pea::Node {
        &self.node
    }
}

impl<S: Security> Handshake for Node<S> {
    async fn perform_handshake(&self, mut connection: Connection) -> io::Result<Connection> {
        // Small messages and answers are sent without a delay.
        self.borrow_stream(&mut connection).set_nodelay(true)?;
        self.security.secure(self, connection).await
    }
}

impl<S: Security> Reading for Node<S> {
    type Message = Message;
    type Codec = S::Codec;

    fn codec(&self, peer: SocketAddr, _: ConnectionSide) -> S::Codec {
        self.security.reader(peer)
    }

    async fn process_message(&self, source: SocketAddr, message: Message) {
        let Message { kind, number, data } = message;
        match kind {
            Kind::Request => {
                // The queue takes all requests in flight. If an answer cannot be sent, the client notices that it
                // is missing.
                let _ = self.unicast_fast(source, Message { kind: Kind::Answer, number, data });
            }
            Kind::Answer => {
                let done = lock(&self.shared.requests).remove(&number);
                if let Some(done) = done {
                    let _ = done.send(data);
                }
            }
            // Waiting here holds up the sender.
            Kind::Up => drop(self.lane_of(source, number).send(data).await),
            Kind::Down => {
                let lane = lock(&self.shared.lanes).get(&(source, number)).cloned();
                if let Some(lane) = lane {
                    let _ = lane.send(data).await;
                }
            }
            Kind::UpEnd | Kind::DownEnd => drop(lock(&self.shared.lanes).remove(&(source, number))),
        }
    }
}

impl<S: Security> Writing for Node<S> {
    type Message = Message;
    type Codec = S::Codec;

    fn codec(&self, peer: SocketAddr, _: ConnectionSide) -> S::Codec {
        self.security.writer(peer)
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
