//! A swarm, and the task that drives it.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    core::upgrade::Version,
    request_response::{self, Message, OutboundRequestId, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
};
use tokio::sync::{mpsc, oneshot};
use twolane_test::speed::Broken;

use super::codec::Codec;

/// The idle timeout. It is longer than a measurement: by default libp2p closes an idle connection after seconds.
const IDLE: Duration = Duration::from_secs(3600);
/// The maximum number of commands on their way to the task. It is at least the number of requests in flight.
const QUEUE: usize = 1024;

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: libp2p_stream::Behaviour,
    requests: Toggle<request_response::Behaviour<Codec>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Whether the node uses the request-response behaviour.
    pub(super) requests: bool,
    /// Whether a protocol is used before the peer has confirmed that it speaks it.
    pub(super) lazy: bool,
}

enum Command {
    Dial(PeerId, Multiaddr, oneshot::Sender<Result<(), Broken>>),
    Request(PeerId, Bytes, oneshot::Sender<Result<Bytes, Broken>>),
    Close,
}

#[derive(Clone)]
pub(crate) struct Node {
    id: PeerId,
    control: libp2p_stream::Control,
    commands: mpsc::Sender<Command>,
}

impl Node {
    pub(super) fn start(how: How) -> Result<Self, Broken> {
        Ok(Self::drive(swarm(how)?))
    }

    pub(super) async fn listen(how: How) -> Result<(Self, Multiaddr), Broken> {
        let mut swarm = swarm(how)?;
        swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return Ok((Self::drive(swarm), address));
            }
        }
    }

    fn drive(swarm: Swarm<Behaviour>) -> Self {
        let (commands, asked) = mpsc::channel(QUEUE);
        let (id, control) = (*swarm.local_peer_id(), swarm.behaviour().streams.new_control());
        tokio::spawn(Driver { swarm, dials: Vec::new(), requests: HashMap::new() }.run(asked));
        Self { id, control, commands }
    }

    pub(super) fn id(&self) -> PeerId {
        self.id
    }

    pub(super) fn control(&self) -> libp2p_stream::Control {
        self.control.clone()
    }

    /// Connects, unless the peer is connected already.
    pub(super) async fn dial(&self, peer: PeerId, address: Multiaddr) -> Result<(), Broken> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Dial(peer, address, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(super) async fn request(&self, peer: PeerId, message: Bytes) -> Result<Bytes, Broken> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Request(peer, message, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(super) async fn close(self) {
        if self.commands.send(Command::Close).await.is_ok() {
            self.commands.closed().await;
        }
    }
}

fn swarm(how: How) -> Result<Swarm<Behaviour>, Broken> {
    let requests = how.requests.then(|| {
        let protocols = [(StreamProtocol::new("/speed-request/1"), ProtocolSupport::Full)];
        request_response::Behaviour::new(protocols, request_response::Config::default())
    });
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| Behaviour { streams: libp2p_stream::Behaviour::new(), requests: requests.into() })?
        .with_swarm_config(|config| {
            let config = config.with_idle_connection_timeout(IDLE);
            if how.lazy { config.with_substream_upgrade_protocol_override(Version::V1Lazy) } else { config }
        })
        .build())
}

struct Driver {
    swarm: Swarm<Behaviour>,
    dials: Vec<(PeerId, oneshot::Sender<Result<(), Broken>>)>,
    requests: HashMap<OutboundRequestId, oneshot::Sender<Result<Bytes, Broken>>>,
}

impl Driver {
    async fn run(mut self, mut asked: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = asked.recv() => match command {
                    Some(Command::Dial(peer, address, done)) => self.dial(peer, address, done),
                    Some(Command::Request(peer, message, done)) => self.request(peer, message, done),
                    Some(Command::Close) | None => return,
                },
                event = self.swarm.select_next_some() => self.handle(event),
            }
        }
    }

    fn dial(&mut self, peer: PeerId, address: Multiaddr, done: oneshot::Sender<Result<(), Broken>>) {
        if self.swarm.is_connected(&peer) {
            let _ = done.send(Ok(()));
            return;
        }
        match self.swarm.dial(DialOpts::peer_id(peer).addresses(vec![address]).build()) {
            Ok(()) => self.dials.push((peer, done)),
            Err(error) => drop(done.send(Err(error.into()))),
        }
    }

    fn request(&mut self, peer: PeerId, message: Bytes, done: oneshot::Sender<Result<Bytes, Broken>>) {
        match self.swarm.behaviour_mut().requests.as_mut() {
            Some(requests) => drop(self.requests.insert(requests.send_request(&peer, message), done)),
            None => drop(done.send(Err(Broken::msg("this swarm has no requests")))),
        }
    }

    /// Handles an event. The caller may have gone in the meantime.
    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                for (_, done) in self.dials.extract_if(.., |(peer, _)| *peer == peer_id) {
                    let _ = done.send(Ok(()));
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                for (_, done) in self.dials.extract_if(.., |(peer, _)| *peer == peer_id) {
                    let _ = done.send(Err(Broken::msg(error.to_string())));
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.requested(event),
            _ => {}
        }
    }

    fn requested(&mut self, event: request_response::Event<Bytes, Bytes>) {
        match event {
            request_response::Event::Message { message: Message::Request { request, channel, .. }, .. } => {
                if let Some(requests) = self.swarm.behaviour_mut().requests.as_mut() {
                    let _ = requests.send_response(channel, request);
                }
            }
            request_response::Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(done) = self.requests.remove(&request_id) {
                    let _ = done.send(Ok(response));
                }
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(done) = self.requests.remove(&request_id) {
                    let _ = done.send(Err(error.into()));
                }
            }
            _ => {}
        }
    }
}

fn gone() -> Broken {
    Broken::msg("a swarm has ended")
}
