//! One QUIC connection to a peer: its state, and its end. `hello` begins it, `control` carries it on.

mod control;
mod hello;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire},
        },
    },
    time::{Duration, Instant},
};

use iroh::endpoint::{SendStream, Side};
use n0_future::{StreamExt, boxed::BoxFuture};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use twolane_id::PublicKey;

use self::{
    control::{read_control, write_control},
    hello::Admitted,
};
use super::{
    drain::{Counts, Drain},
    early::EarlyHandlers,
    flights::Flights,
    incoming::IncomingStream,
    path::{lookout::Lookout, policy::Policies, silence::Observation, watch as paths},
    table::Generation,
};
use crate::{
    access::Gate,
    error::ConnectionLost,
    events::PathKind,
    limits::{LANES_BEFORE_HELLO, Limits},
    metrics::Metrics,
    stream::{Carrier, Handshake, Quic},
    tasks::Tasks,
    wire::{
        codes::connection as codes,
        control::{Dial, Frame, GoawayReason, Nonce, PeerLimits},
    },
};

/// The state that all links of an endpoint share.
pub(crate) struct Shared {
    pub(crate) limits: Arc<Limits>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) policies: Policies,
    /// The time after which, if a connection is silent, a peer that answers elsewhere is dialled anew.
    pub(crate) silence: Duration,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) nonce: Nonce,
    /// Whether connections with another than a post-quantum key exchange are refused.
    pub(crate) requires_post_quantum: bool,
    pub(crate) tasks: Tasks,
    /// Handles a stream whose header has been read.
    pub(crate) on_stream: Box<dyn Fn(IncomingStream) -> BoxFuture<()> + Send + Sync>,
    /// Handles a request that may be handled before the handshake is done.
    pub(crate) early: Arc<dyn EarlyHandlers>,
    pub(crate) flights: Mutex<Flights>,
}

impl Shared {
    /// Returns whether requests of inbound connections are handled before the handshake is done. Hooks are called
    /// after the handshake and may refuse the connection, so nothing is handled before that if there are hooks.
    pub(crate) fn takes_early(&self) -> bool {
        !self.gate.has_hooks() && self.early.any()
    }
}

/// A message from a link to the table of peers.
#[derive(Debug)]
pub(crate) enum Notice {
    Hello(Nonce),
    Goaway {
        duplicate: bool,
    },
    Path(PathKind),
    /// A direct path was lost, or is wanted, and has to be looked for now.
    LookForDirect,
    /// The peer has shown the certificate of an owner.
    Delegated,
    Closed(ConnectionLost),
}

/// One connection to a peer.
pub(crate) struct Link {
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) generation: Generation,
    shared: Arc<Shared>,
    drain: Mutex<Drain>,
    /// The kind of the path that the handshake took, once it is done.
    first_path: OnceLock<PathKind>,
    peer_limits: OnceLock<PeerLimits>,
    since: Instant,
    /// The number of certificates that the peer has shown.
    shown: AtomicU64,
    presentation: Mutex<Presentation>,
    /// Whether the rules have to be asked about this connection again.
    pub(super) doubtful: AtomicBool,
    /// Whether the rules are being asked.
    pub(super) being_asked: AtomicBool,
    /// Whether the peer, which was silent here, has answered on another connection, and not as another instance.
    pub(super) is_there: AtomicBool,
    /// A value that is dropped when the connection is gone.
    kept: Mutex<Option<Box<dyn std::any::Any + Send + Sync>>>,
    /// Present if the handshake was not done at first. Cancelled when the connection is in use.
    in_use: Option<CancellationToken>,
}

/// What the peer has been shown of this endpoint's certificates.
#[derive(Debug, Default)]
struct Presentation {
    /// The version of the certificates ([`Gate::own_version`]) when the last one was shown.
    version: u64,
    /// The number of DELEGATION frames sent after HELLO.
    frames: u64,
    /// Whether a task waits to show the next one.
    scheduled: bool,
}

/// This side's control stream. A drop closes the connection before it ends the stream: a FIN on it would be a
/// protocol violation (WIRE.md, section 5).
pub(super) struct ControlStream {
    quic: SendStream,
    carrier: Arc<Carrier>,
}

impl Drop for ControlStream {
    fn drop(&mut self) {
        self.carrier.close(ConnectionLost::Closed, codes::DONE, "");
    }
}

/// A connection with its control stream, before its tasks run.
pub(crate) struct Prepared {
    link: Arc<Link>,
    control: ControlStream,
    /// The peer's HELLO, if the peer has been admitted already.
    admitted: Option<Admitted>,
}

impl Link {
    /// Creates the state of a connection. If its handshake is not done, [`Link::handshake`] has to be called before
    /// [`Prepared::start`].
    pub(super) fn new(
        connection: Quic,
        peer: PublicKey,
        generation: Generation,
        shared: &Arc<Shared>,
        dialled: bool,
    ) -> Arc<Self> {
        let (limits, tasks, metrics) = (Arc::clone(&shared.limits), shared.tasks.clone(), Arc::clone(&shared.metrics));
        let in_use = connection.established().is_none().then(CancellationToken::new);
        let carrier = Carrier::new(connection, peer, limits, tasks, metrics, dialled);
        let link = Arc::new(Self {
            carrier: Arc::new(carrier),
            first_path: OnceLock::new(),
            generation,
            shared: Arc::clone(shared),
            drain: Mutex::default(),
            peer_limits: OnceLock::new(),
            since: Instant::now(),
            shown: AtomicU64::new(0),
            presentation: Mutex::default(),
            doubtful: AtomicBool::new(false),
            being_asked: AtomicBool::new(false),
            is_there: AtomicBool::new(false),
            kept: Mutex::new(None),
            in_use,
        });
        // A weak reference: a stream that outlives the endpoint must not keep alive what the program has given to
        // the endpoint.
        let (lookout, itself) = (Arc::clone(&shared.lookout), Arc::downgrade(&link));
        link.carrier.on_stir(move || {
            // Before the handshake is done, its own timeout is the one that counts.
            if itself.upgrade().is_some_and(|link: Arc<Self>| link.connection().established().is_some()) {
                lookout.stir(itself.clone());
            }
        });
        link.note_path();
        link
    }

    /// Waits until the handshake is done.
    ///
    /// Cancel-safe.
    pub(super) async fn handshake(self: &Arc<Self>) -> Result<Handshake, ConnectionLost> {
        if self.connection().established().is_some() {
            return Ok(Handshake::Done);
        }
        let handshake = self.connection().handshake().await?;
        self.note_path();
        if matches!(handshake, Handshake::Done) {
            // What was written before is looked at from now on.
            self.shared.lookout.stir(Arc::downgrade(self));
        }
        Ok(handshake)
    }

    /// Waits until the connection is in use: its handshake is done, and the peer is admitted. Returns false if the
    /// connection ends before that.
    ///
    /// Cancel-safe.
    pub(super) async fn comes_into_use(&self) -> bool {
        let Some(in_use) = &self.in_use else { return true };
        tokio::select! {
            biased;
            () = in_use.cancelled() => true,
            _ = self.connection().closed() => false,
        }
    }

    fn note_path(&self) {
        if let Some(kind) = self.connection().established().and_then(paths::of_handshake) {
            let _ = self.first_path.set(kind);
        }
    }

    /// Keeps a value until the connection is gone.
    pub(crate) fn keep(&self, what: impl std::any::Any + Send + Sync) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(what));
    }

    pub(super) fn connection(&self) -> &Quic {
        &self.carrier.connection
    }

    pub(super) fn peer(&self) -> PublicKey {
        self.carrier.peer
    }

    /// Returns whether this side has dialled the connection.
    pub(super) fn is_dialled(&self) -> bool {
        self.connection().side() == Side::Client
    }

    /// Returns whether the handshake is known to be done.
    pub(crate) fn is_established(&self) -> bool {
        self.connection().established().is_some()
    }

    /// Returns whether the peer has said HELLO.
    pub(super) fn is_known(&self) -> bool {
        self.peer_limits.get().is_some()
    }

    /// Returns the time of silence after which a peer that answers elsewhere is dialled anew, and after which a
    /// shutdown gives up a connection with open streams.
    pub(crate) fn silence(&self) -> Duration {
        self.shared.silence
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.shared.policies
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the number of metadata bytes that the peer takes.
    pub(crate) fn max_metadata(&self) -> u64 {
        self.carrier.max_metadata()
    }

    /// Returns the number of data lanes that may be open to the peer at a time.
    pub(crate) fn max_lanes(&self) -> u64 {
        let ours = self.shared.limits.streams_per_peer;
        let theirs = self.peer_limits.get().map_or(LANES_BEFORE_HELLO, |limits| limits.data_lanes);
        theirs.min(ours)
    }

    /// Returns the number of packets that have come from the peer on this connection.
    pub(crate) fn heard(&self) -> u64 {
        self.connection().stats().udp_rx.datagrams
    }

    /// Returns the number of packets that have come, and the number of frames that were sent and have to be
    /// acknowledged. noq probes for an acknowledgement (RFC 9002, section 6.2.4) with IMMEDIATE_ACK. PATH_CHALLENGE
    /// is left out, since it may go to an address that no endpoint has.
    pub(crate) fn heard_and_sent(&self) -> (u64, u64) {
        let stats = self.connection().stats();
        let sent = &stats.frame_tx;
        (stats.udp_rx.datagrams, sent.stream + sent.ping + sent.immediate_ack)
    }

    /// Returns the figures by which a silence of the peer is judged. `kept`: whether the program keeps the peer
    /// connected.
    pub(super) fn observe(&self, kept: bool) -> Observation {
        // Read first, so that a use that comes later is seen by the next look.
        let uses = self.carrier.uses();
        let (heard, sent) = self.heard_and_sent();
        Observation {
            heard,
            sent,
            uses,
            opened: self.carrier.open_credit.held() > 0,
            kept,
            is_there: self.is_there.swap(false, AcqRel),
            rtt: self.path().map_or(Duration::ZERO, |(_, rtt)| rtt),
        }
    }

    /// Returns the kind and the round-trip time of the path that data takes now. `None` while no path is selected.
    pub(crate) fn path(&self) -> Option<(PathKind, Duration)> {
        let paths = self.connection().established()?.paths();
        paths.iter().find(|path| path.is_selected()).map(|path| (paths::kind(&path), path.rtt()))
    }

    /// Waits until data takes a direct path. Returns false if the connection ends before that.
    pub(crate) async fn becomes_direct(&self) -> bool {
        // A connection is given to callers that wait for a path only when its handshake is done.
        let Some(connection) = self.connection().established() else { return false };
        let mut paths = connection.paths_stream();
        loop {
            if matches!(self.path(), Some((PathKind::Direct, _))) {
                return true;
            }
            if paths.next().await.is_none() {
                return false;
            }
        }
    }

    /// Asks the peer to open no more streams here, and closes the connection once that cuts no stream. Returns false
    /// if the peer was asked before.
    pub(crate) fn start_drain(&self, reason: GoawayReason) -> bool {
        let first = self.lock_drain().goaway();
        if first {
            self.carrier.start_draining();
            self.carrier.outbox.send(Frame::Goaway { reason });
        }
        self.step_drain();
        first
    }

    /// Closes the connection at once.
    pub(crate) fn cut(&self, because: ConnectionLost, code: u64, reason: &str) {
        // The length of a reason that fits into one packet with the rest of the CONNECTION_CLOSE frame and the
        // packet.
        self.carrier.close(because, code, &reason[..reason.floor_char_boundary(1000)]);
    }

    fn lock_drain(&self) -> std::sync::MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step_drain(&self) {
        let carrier = &self.carrier;
        let mut drain = self.lock_drain();
        // A stream is registered before it is counted as accepted, and no stream is opened any more. Read in this
        // order, the counts hold only streams that are live or have ended.
        let accepted = carrier.accepted.load(Acquire);
        let live = carrier.live();
        let opened = carrier.opened.load(Acquire);
        let step = drain.step(live, Counts { opened, accepted });
        drop(drain);
        if let Some(counts) = step.tell {
            carrier.outbox.send(Frame::Drained { opened: counts.opened, accepted: counts.accepted });
        }
        if step.close {
            self.cut(ConnectionLost::PeerDone, codes::DONE, "drained");
        }
    }

    /// Closes the connection for a fault of the peer, with a code and a reason that the peer can read.
    pub(crate) fn cut_for(&self, lost: &ConnectionLost) {
        let (code, reason) = match lost {
            ConnectionLost::Malformed(malformed) => (malformed.connection_code(), lost.to_string()),
            ConnectionLost::HelloTimedOut(_) => (codes::HELLO_TIMEOUT, lost.to_string()),
            ConnectionLost::NotAllowed { reason } => (codes::FORBIDDEN, reason.clone()),
            ConnectionLost::BadDelegation(error) => (codes::BAD_DELEGATION, error.to_string()),
            ConnectionLost::NotPostQuantum { .. } => {
                (codes::NOT_POST_QUANTUM, "the keys have to be agreed on with X25519MLKEM768".to_owned())
            }
            // The connection is gone already.
            _ => return,
        };
        if self.connection().close_reason().is_none() {
            let metrics = &self.shared.metrics;
            match lost {
                ConnectionLost::NotAllowed { .. } | ConnectionLost::NotPostQuantum { .. } => {
                    metrics.connections_refused.inc()
                }
                ConnectionLost::BadDelegation(_) => metrics.delegations_refused.inc(),
                _ => 0,
            };
        }
        self.cut(lost.clone(), code, &reason);
    }
}

impl Prepared {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Returns the nonce of the peer's instance, if its HELLO has come.
    pub(crate) fn nonce(&self) -> Option<Nonce> {
        self.admitted.as_ref().map(|admitted| admitted.nonce)
    }

    /// Returns the nonce of the peer's instance and its numbers of the dial, if it dialled and its HELLO has come.
    pub(crate) fn hello(&self) -> Option<(Nonce, Dial)> {
        self.admitted.as_ref().map(|admitted| (admitted.nonce, admitted.dial))
    }

    /// Fails if the connection has ended while the rules were asked about it.
    fn still_open(self) -> Result<Self, ConnectionLost> {
        match self.link.connection().close_reason() {
            Some(error) => Err(self.link.carrier.lost(error)),
            None => Ok(self),
        }
    }

    /// Starts the link's tasks, which end with the connection. They call `notify`.
    pub(crate) fn start(self, notify: impl Fn(Notice) + Send + Sync + 'static) {
        let Self { link, control, admitted } = self;
        link.in_use.iter().for_each(CancellationToken::cancel);
        let tasks = link.shared.tasks.clone();
        let notify = Arc::new(notify);
        let span = tracing::debug_span!("peer", peer = %link.carrier.peer, connection = link.generation);
        tasks.spawn(write_control(Arc::clone(&link), control).instrument(span.clone()));
        tasks.spawn(read_control(link, admitted, notify).instrument(span));
    }
}
