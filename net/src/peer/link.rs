//! One QUIC connection to a peer: HELLO, the control stream, the streams that come in, and its end.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use iroh::endpoint::{Connection, RecvStream, SendStream, Side};
use n0_future::{StreamExt, boxed::BoxFuture};
use tokio::time::timeout;
use tracing::Instrument;
use twolane_id::PublicKey;

use super::{
    drain::{Counts, Drain},
    incoming::{self, IncomingStream},
    path::{lookout::Lookout, policy::Policies, silence::Sight, watch as paths},
    table::Generation,
};
use crate::{
    access::{Gate, Refused},
    bound::at_once,
    error::ConnectionLost,
    events::PathKind,
    limits::{LANES_BEFORE_HELLO, Limits},
    metrics::Metrics,
    stream::{Carrier, PRIORITY_CONTROL},
    tasks::Tasks,
    wire::{
        KIND_CONTROL, Malformed,
        codes::{connection as codes, lane},
        control::{Dial, Frame, GoawayReason, Hello, Nonce, OWN_UNREAD_CHUNKS, PeerLimits},
        grease, varint,
    },
};

/// DELEGATION frames that a peer may send in a row; after that one a second. Each costs a signature check, some 0.1 ms.
const SHOWN_AT_ONCE: u64 = 8;

/// What the links of an endpoint have in common.
pub(crate) struct Shared {
    pub(crate) limits: Arc<Limits>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) policies: Policies,
    /// After how long a silence on a connection a peer that answers elsewhere is dialled anew.
    pub(crate) silence: Duration,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) nonce: Nonce,
    pub(crate) tasks: Tasks,
    /// Takes a stream whose header has been read.
    pub(crate) on_stream: Box<dyn Fn(IncomingStream) -> BoxFuture<()> + Send + Sync>,
}

/// What a link has to say to the table of peers.
#[derive(Debug)]
pub(crate) enum Notice {
    Hello(Nonce),
    Goaway {
        duplicate: bool,
    },
    Path(PathKind),
    /// A direct path was lost, or is wanted: time to look for one.
    LookForDirect,
    /// The peer has shown whom it acts for.
    Delegated,
    Closed(ConnectionLost),
}

/// One connection.
pub(crate) struct Link {
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) generation: Generation,
    shared: Arc<Shared>,
    drain: Mutex<Drain>,
    /// The way that the handshake took.
    first_path: Option<PathKind>,
    peer_limits: OnceLock<PeerLimits>,
    since: Instant,
    /// DELEGATION frames of the peer.
    shown: AtomicU64,
    /// Which of our certificates the peer was shown.
    presented: AtomicU64,
    /// The rules have to be asked about this connection again.
    pub(super) doubtful: AtomicBool,
    /// They are being asked.
    pub(super) being_asked: AtomicBool,
    /// The peer, which was silent here, has answered on another connection, and not as another instance.
    pub(super) is_there: AtomicBool,
    /// What is given back when the connection is gone.
    kept: Mutex<Option<Box<dyn std::any::Any + Send + Sync>>>,
}

/// This side's control stream. Its connection ends before it does, whoever drops it: a FIN on it would be a fault (WIRE.md, section 5).
struct ControlStream {
    quic: SendStream,
    carrier: Arc<Carrier>,
}

impl Drop for ControlStream {
    fn drop(&mut self) {
        self.carrier.close(ConnectionLost::Closed, codes::DONE, "");
    }
}

/// A connection whose control streams are there, before its tasks run.
pub(crate) struct Prepared {
    link: Arc<Link>,
    control: ControlStream,
    /// If the peer has been admitted already.
    admitted: Option<Admitted>,
}

/// A peer's HELLO, and its control stream with what was read of it.
struct Admitted {
    nonce: Nonce,
    dial: Dial,
    recv: RecvStream,
    buffer: BytesMut,
}

impl Link {
    /// On a connection that this side dialled, HELLO goes out. The peer's is read later, unless there are rules that may
    /// refuse the peer: then nothing is opened before they have been asked.
    pub(crate) async fn enter(self: Arc<Self>, dial: Dial) -> Result<Prepared, ConnectionLost> {
        let control = self.say_hello(dial).await?;
        let admitted = if self.shared.gate.decides() { Some(self.await_hello(|| ()).await?) } else { None };
        Prepared { link: self, control, admitted }.still_open()
    }

    /// A connection that the peer dialled: nothing is said on it before its HELLO has come, which `on_hello` is told, and the
    /// rules allow it.
    pub(crate) async fn accepted(
        connection: Connection,
        peer: PublicKey,
        generation: Generation,
        shared: &Arc<Shared>,
        on_hello: impl FnOnce(),
    ) -> Result<Prepared, ConnectionLost> {
        let link = Self::new(connection, peer, generation, shared, false);
        let admitted = link.await_hello(on_hello).await?;
        // A peer that leaves no room for it would be waited for without end.
        let bound = shared.limits.hello_timeout;
        let control = {
            // Dropped after the connection was closed: the peer reads those words.
            let mut saying = pin!(timeout(bound, link.say_hello(Dial::default())));
            let said = saying.as_mut().await.unwrap_or(Err(ConnectionLost::HelloTimedOut(bound)));
            said.inspect_err(|lost| link.cut_for(lost))?
        };
        Prepared { link, control, admitted: Some(admitted) }.still_open()
    }

    /// A connection whose handshake is done.
    pub(super) fn new(
        connection: Connection,
        peer: PublicKey,
        generation: Generation,
        shared: &Arc<Shared>,
        dialled: bool,
    ) -> Arc<Self> {
        let first_path = paths::of_handshake(&connection);
        let (limits, tasks, metrics) = (Arc::clone(&shared.limits), shared.tasks.clone(), Arc::clone(&shared.metrics));
        let carrier = Carrier::new(connection, peer, limits, tasks, metrics, dialled);
        let link = Arc::new(Self {
            carrier: Arc::new(carrier),
            first_path,
            generation,
            shared: Arc::clone(shared),
            drain: Mutex::default(),
            peer_limits: OnceLock::new(),
            since: Instant::now(),
            shown: AtomicU64::new(0),
            presented: AtomicU64::new(0),
            doubtful: AtomicBool::new(false),
            being_asked: AtomicBool::new(false),
            is_there: AtomicBool::new(false),
            kept: Mutex::new(None),
        });
        // What the user has given to the endpoint is not kept by a stream that outlives it.
        let (lookout, itself) = (Arc::clone(&shared.lookout), Arc::downgrade(&link));
        link.carrier.on_stir(move || lookout.stir(itself.clone()));
        link
    }

    /// Keeps something for as long as the connection is there.
    pub(crate) fn keep(&self, what: impl std::any::Any + Send + Sync) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(what));
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.carrier.connection
    }

    pub(super) fn peer(&self) -> PublicKey {
        self.carrier.peer
    }

    /// This side has dialled it.
    pub(super) fn is_dialled(&self) -> bool {
        self.connection().side() == Side::Client
    }

    /// The peer has said HELLO.
    pub(super) fn is_known(&self) -> bool {
        self.peer_limits.get().is_some()
    }

    /// How long a silence its peer is given before the connection is given up.
    pub(crate) fn silence(&self) -> Duration {
        self.shared.silence
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.shared.policies
    }

    /// Bytes of metadata that the peer takes.
    pub(crate) fn max_metadata(&self) -> u64 {
        self.carrier.max_metadata()
    }

    /// Data lanes that may be open to the peer.
    pub(crate) fn max_lanes(&self) -> u64 {
        let ours = self.shared.limits.streams_per_peer;
        let theirs = self.peer_limits.get().map_or(LANES_BEFORE_HELLO, |limits| limits.data_lanes);
        theirs.min(ours)
    }

    /// Packets that have come from the peer on this connection.
    pub(crate) fn heard(&self) -> u64 {
        self.connection().stats().udp_rx.datagrams
    }

    /// Packets that have come, and frames that were sent and have to be acknowledged. A probe for an acknowledgement (RFC 9002 section
    /// 6.2.4) is IMMEDIATE_ACK in noq; PATH_CHALLENGE, which goes to addresses that may be nobody's, is left out.
    pub(crate) fn heard_and_sent(&self) -> (u64, u64) {
        let stats = self.connection().stats();
        let sent = &stats.frame_tx;
        (stats.udp_rx.datagrams, sent.stream + sent.ping + sent.immediate_ack)
    }

    /// What there is to be seen of it when the peer is silent. `kept`: somebody wants the peer to be connected.
    pub(super) fn sight(&self, kept: bool) -> Sight {
        // First: a write that comes later is seen by the next look.
        let writes = self.carrier.writes();
        let (heard, sent) = self.heard_and_sent();
        Sight {
            heard,
            sent,
            writes,
            opened: self.carrier.open_credit.held() > 0,
            kept,
            is_there: self.is_there.swap(false, AcqRel),
            rtt: self.path().map_or(Duration::ZERO, |(_, rtt)| rtt),
        }
    }

    /// The way that data takes now, and its round trip. `None` while no path is selected.
    pub(crate) fn path(&self) -> Option<(PathKind, Duration)> {
        let paths = self.connection().paths();
        paths.iter().find(|path| path.is_selected()).map(|path| (paths::kind(&path), path.rtt()))
    }

    /// Waits until data takes a direct path. False if the connection ends before that.
    pub(crate) async fn becomes_direct(&self) -> bool {
        let mut paths = self.connection().paths_stream();
        loop {
            if matches!(self.path(), Some((PathKind::Direct, _))) {
                return true;
            }
            if paths.next().await.is_none() {
                return false;
            }
        }
    }

    /// Asks the peer to open nothing more here, and closes the connection once nothing is cut by it. False if it was asked before.
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
        // What a CONNECTION_CLOSE frame has room for in one packet, with what goes along.
        self.carrier.close(because, code, &reason[..reason.floor_char_boundary(1000)]);
    }

    fn lock_drain(&self) -> std::sync::MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step_drain(&self) {
        let carrier = &self.carrier;
        let mut drain = self.lock_drain();
        // A stream is registered before it is counted as accepted, and nothing is opened any more: what is counted in
        // this order is either live or ended.
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

    async fn say_hello(&self, dial: Dial) -> Result<ControlStream, ConnectionLost> {
        let quic = self.connection().open_uni().await.map_err(|error| self.carrier.lost(error))?;
        let _ = quic.set_priority(PRIORITY_CONTROL);
        let mut control = ControlStream { quic, carrier: Arc::clone(&self.carrier) };
        let mut bytes = Vec::with_capacity(64);
        varint::encode(&mut bytes, KIND_CONTROL);
        let ours = &self.shared.limits;
        let limits = PeerLimits {
            data_lanes: ours.streams_per_peer,
            metadata: ours.metadata as u64,
            unread_bytes: ours.unread_bytes,
            unread_chunks: Some(OWN_UNREAD_CHUNKS),
        };
        self.presented.store(self.shared.gate.own_version(), Release);
        let delegation = self.shared.gate.to_present(self.carrier.peer);
        let delegation = delegation.map(|delegation| delegation.to_bytes().into());
        let (nonce, said) = (self.shared.nonce, |value| (value > 0).then_some(value));
        let hello = Hello { nonce, limits, delegation, dial: said(dial.number), knows: said(dial.knows) };
        Frame::Hello(hello).encode_with(&mut bytes, &grease::tail(self.generation));
        control.quic.write_all(&bytes).await.map_err(|error| match error {
            iroh::endpoint::WriteError::ConnectionLost(error) => self.carrier.lost(error),
            // The peer stopped a stream that it may not stop.
            other => ConnectionLost::Transport(other.to_string()),
        })?;
        self.open_reserved_stream();
        Ok(control)
    }

    /// Opens a stream of a kind that every peer has to turn away, in builds that do so and if the peer allows one now.
    fn open_reserved_stream(&self) {
        let Some(bytes) = grease::stream(self.generation) else { return };
        if let Some(Ok(mut stream)) = at_once(self.connection().open_uni()) {
            let _ = at_once(stream.write_all(&bytes));
            let _ = stream.finish();
        }
    }

    /// Reads the peer's control stream up to the end of its HELLO, and asks whether the peer may be connected. On any
    /// fault the connection is closed.
    async fn await_hello(&self, on_hello: impl FnOnce()) -> Result<Admitted, ConnectionLost> {
        let bound = self.shared.limits.hello_timeout;
        let hello = match timeout(bound, self.read_hello()).await {
            Ok(hello) => hello,
            Err(_) => Err(ConnectionLost::HelloTimedOut(bound)),
        };
        if hello.is_ok() {
            on_hello();
        }
        let admitted = match hello {
            Ok(hello) => match self.shared.gate.admit(&self.carrier.identity()).await {
                Ok(()) => Ok(hello),
                Err(Refused(reason)) => Err(ConnectionLost::NotAllowed { reason: reason.into() }),
            },
            Err(lost) => Err(lost),
        };
        admitted.inspect_err(|lost| self.cut_for(lost))
    }

    /// Closes the connection for a fault of the peer, with a code and words that it can read.
    pub(crate) fn cut_for(&self, lost: &ConnectionLost) {
        let (code, reason) = match lost {
            ConnectionLost::Malformed(malformed) => (malformed.connection_code(), lost.to_string()),
            ConnectionLost::HelloTimedOut(_) => (codes::HELLO_TIMEOUT, lost.to_string()),
            ConnectionLost::NotAllowed { reason } => (codes::FORBIDDEN, reason.clone()),
            ConnectionLost::BadDelegation(error) => (codes::BAD_DELEGATION, error.to_string()),
            // It is gone already.
            _ => return,
        };
        if self.connection().close_reason().is_none() {
            let metrics = &self.shared.metrics;
            match lost {
                ConnectionLost::NotAllowed { .. } => metrics.connections_refused.inc(),
                ConnectionLost::BadDelegation(_) => metrics.delegations_refused.inc(),
                _ => 0,
            };
        }
        self.cut(lost.clone(), code, &reason);
    }

    async fn read_hello(&self) -> Result<Admitted, ConnectionLost> {
        loop {
            let mut recv = self.connection().accept_uni().await.map_err(|error| self.carrier.lost(error))?;
            let mut buffer = BytesMut::new();
            let kind = loop {
                if let Some((kind, used)) = varint::decode(&buffer) {
                    buffer.advance(used);
                    break kind;
                }
                self.read_control(&mut recv, &mut buffer).await?;
            };
            if kind != KIND_CONTROL {
                // Of a later version.
                let _ = recv.stop(iroh::endpoint::VarInt::from_u32(lane::UNKNOWN_KIND as u32));
                continue;
            }
            let (kind, first) = self.read_frame(&mut recv, &mut buffer).await?;
            let Frame::Hello(hello) = first else {
                let malformed = Malformed::NotHello { kind };
                return Err(ConnectionLost::Malformed(malformed));
            };
            if let Some(certificate) = &hello.delegation {
                self.take_delegation(certificate)?;
            }
            self.set_peer_limits(hello.limits);
            return Ok(Admitted { nonce: hello.nonce, dial: hello.dial(), recv, buffer });
        }
    }

    /// The next control frame, and its type.
    async fn read_frame(&self, recv: &mut RecvStream, buffer: &mut BytesMut) -> Result<(u64, Frame), ConnectionLost> {
        loop {
            if let Some((frame, used)) = Frame::decode(buffer).map_err(ConnectionLost::Malformed)? {
                let kind = varint::decode(buffer).map_or(0, |(kind, _)| kind);
                buffer.advance(used);
                return Ok((kind, frame));
            }
            self.read_control(recv, buffer).await?;
        }
    }

    /// The peer shows whom it acts for.
    fn take_delegation(&self, certificate: &[u8]) -> Result<(), ConnectionLost> {
        let shown = self.shown.fetch_add(1, Relaxed);
        let max = SHOWN_AT_ONCE + self.since.elapsed().as_secs();
        if shown >= max {
            let malformed = Malformed::TooLong { what: "the series of DELEGATION frames", len: shown + 1, max };
            return Err(ConnectionLost::Malformed(malformed));
        }
        let delegation = self
            .shared
            .gate
            .check_bytes(self.carrier.peer, certificate)
            .map_err(|error| ConnectionLost::BadDelegation(Arc::new(error)))?;
        self.carrier.set_delegation(delegation);
        Ok(())
    }

    /// Shows the peer whom this endpoint acts for now, if that has changed since it was last shown.
    pub(crate) fn present_delegation(&self) {
        let version = self.shared.gate.own_version();
        if self.presented.swap(version, AcqRel) == version {
            return;
        }
        if let Some(delegation) = self.shared.gate.to_present(self.carrier.peer) {
            self.carrier.outbox.send(Frame::Delegation(delegation.to_bytes().into()));
        }
    }

    async fn read_control(&self, recv: &mut RecvStream, buffer: &mut BytesMut) -> Result<(), ConnectionLost> {
        match recv.read_chunk(64 * 1024).await {
            Ok(Some(chunk)) => {
                buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Ok(None) => Err(ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" })),
            Err(iroh::endpoint::ReadError::ConnectionLost(error)) => Err(self.carrier.lost(error)),
            Err(_) => Err(ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" })),
        }
    }

    fn set_peer_limits(&self, limits: PeerLimits) {
        if self.peer_limits.set(limits).is_err() {
            return;
        }
        self.carrier.set_peer_limits(&limits);
    }

    fn on_frame(&self, frame: Frame, notify: &impl Fn(Notice)) -> Result<(), ConnectionLost> {
        let carrier = &self.carrier;
        match frame {
            // Said once, and read already.
            Frame::Hello(_) => {
                return Err(ConnectionLost::Malformed(Malformed::Unexpected { what: "a second HELLO" }));
            }
            Frame::Goaway { reason } => {
                self.lock_drain().on_goaway();
                // Before the table of peers hears of it, so that the answer carries the peer's reason.
                self.start_drain(reason);
                notify(Notice::Goaway { duplicate: reason == GoawayReason::Duplicate });
            }
            Frame::Drained { opened, accepted } => {
                self.lock_drain().on_drained(Counts { opened, accepted });
                self.step_drain();
            }
            Frame::Watermark { lane, offset } => carrier.on_watermark(lane, offset),
            Frame::Consumed { lane, offset } => carrier.on_consumed(lane, offset),
            Frame::Delegation(certificate) => {
                self.take_delegation(&certificate)?;
                notify(Notice::Delegated);
            }
            Frame::MaxLanes { count } => carrier.open_credit.raise(count),
            Frame::Unknown => {}
        }
        Ok(())
    }
}

impl Prepared {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The peer's instance, if its HELLO has come.
    pub(crate) fn nonce(&self) -> Option<Nonce> {
        self.admitted.as_ref().map(|admitted| admitted.nonce)
    }

    /// The peer's instance, and what it said about the dial, if it dialled and its HELLO has come.
    pub(crate) fn hello(&self) -> Option<(Nonce, Dial)> {
        self.admitted.as_ref().map(|admitted| (admitted.nonce, admitted.dial))
    }

    /// A connection that has ended while the rules were asked about it is none.
    fn still_open(self) -> Result<Self, ConnectionLost> {
        match self.link.connection().close_reason() {
            Some(error) => Err(self.link.carrier.lost(error)),
            None => Ok(self),
        }
    }

    /// Starts the link's tasks. They end with the connection. `notify` is called from them.
    pub(crate) fn start(self, notify: impl Fn(Notice) + Send + Sync + 'static) {
        let Self { link, control, admitted } = self;
        let tasks = link.shared.tasks.clone();
        let notify = Arc::new(notify);
        let span = tracing::debug_span!("peer", peer = %link.carrier.peer, connection = link.generation);
        tasks.spawn(write_control(Arc::clone(&link), control).instrument(span.clone()));
        tasks.spawn(read_control(link, admitted, notify).instrument(span));
    }
}

/// Sends the control frames that are queued, and looks whether the connection may end.
async fn write_control(link: Arc<Link>, mut control: ControlStream) {
    let carrier = &link.carrier;
    let (mut bytes, mut batch) = (Vec::new(), link.generation);
    loop {
        tokio::select! {
            () = carrier.outbox.filled.notified() => {
                carrier.outbox.take(&mut bytes);
                batch += 1;
                grease::in_front(batch, &mut bytes);
                // A peer that does not read its control stream gets no more of it; what waits is bounded by its lanes.
                if let Err(error) = control.quic.write_all(&bytes).await {
                    // Stopped, it would leave writers waiting for reports that cannot be asked for. A connection that
                    // is lost has a cause of its own, which whoever reads from it tells.
                    if matches!(error, iroh::endpoint::WriteError::Stopped(_)) {
                        let lost = ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" });
                        link.cut(lost, codes::PROTOCOL_VIOLATION, "the control stream was stopped");
                    }
                    break;
                }
                bytes.clear();
            }
            () = carrier.idle.notified() => link.step_drain(),
            _ = carrier.connection.closed() => break,
        }
    }
}

/// Reads the peer's control stream and watches the paths, until the connection is gone.
async fn read_control(link: Arc<Link>, admitted: Option<Admitted>, notify: Arc<impl Fn(Notice) + Send + Sync>) {
    let lost = tokio::select! {
        lost = run(&link, admitted, &*notify) => lost,
        never = paths::watch(&link, link.first_path, &*notify) => match never {},
    };
    link.cut_for(&lost);
    link.carrier.on_lost();
    drop(link.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
    notify(Notice::Closed(lost));
}

async fn run(link: &Arc<Link>, admitted: Option<Admitted>, notify: &impl Fn(Notice)) -> ConnectionLost {
    let Admitted { mut recv, mut buffer, .. } = match admitted {
        Some(admitted) => admitted,
        None => match link.await_hello(|| ()).await {
            Ok(admitted) => {
                notify(Notice::Hello(admitted.nonce));
                admitted
            }
            Err(lost) => return lost,
        },
    };
    let streams = incoming::accept_streams(Arc::clone(link), Arc::clone(&link.shared));
    link.shared.tasks.spawn(streams.in_current_span());
    loop {
        loop {
            match Frame::decode(&buffer) {
                Ok(Some((frame, used))) => {
                    buffer.advance(used);
                    if let Err(lost) = link.on_frame(frame, notify) {
                        return lost;
                    }
                }
                Ok(None) => break,
                Err(malformed) => return ConnectionLost::Malformed(malformed),
            }
        }
        tokio::select! {
            read = link.read_control(&mut recv, &mut buffer) => if let Err(lost) = read {
                return lost;
            },
            Ok(mut unknown) = link.connection().accept_uni() => {
                // The control stream is the only kind that this version has.
                let _ = unknown.stop(iroh::endpoint::VarInt::from_u32(lane::UNKNOWN_KIND as u32));
            }
        }
    }
}
