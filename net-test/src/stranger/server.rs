//! The stranger as a server of the protocol [`CONFORM`]: it implements enough of a peer for all checks to run.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    bytes::{Bad, Cursor, Short, read_block, read_varint},
    peer::Target,
    reader::code,
    tls::{DATA_LANES, Identity, peer_of},
};
use crate::{
    conform::CONFORM,
    wire::{self, Record, answer, bound, close, frame, goaway, kind, lane, parameter, severity},
};

/// The time that WIRE.md grants a peer for HELLO, a kind and a header.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    quic: quinn::Endpoint,
    key: [u8; 32],
}

/// The connections of each peer, by the peer's key. Each has the nonce of the peer.
type Peers = Arc<Mutex<HashMap<[u8; 32], Vec<(Arc<Session>, [u8; 16])>>>>;

#[derive(Debug)]
struct Session {
    connection: Connection,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<u64, Arc<Lane>>,
    /// The number of streams whose kind has not come yet, and of data lanes that have not ended.
    live: usize,
    opened: u64,
    accepted: u64,
    said_goaway: bool,
    heard_goaway: bool,
    heard_drained: Option<(u64, u64)>,
    said_drained: Option<(u64, u64)>,
    /// The numbers of the peer's data lanes that are running and that have ended.
    running: u64,
    ended: u64,
}

/// A data lane of the peer.
#[derive(Debug)]
struct Lane {
    /// The record that came on its error lane.
    told: watch::Sender<Told>,
    has_error_lane: Mutex<bool>,
    marks: Mutex<Marks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Fatal(u64),
    Abort,
    Broken,
}

#[derive(Debug, Default)]
struct Marks {
    consumed: u64,
    asked: Vec<u64>,
}

impl Server {
    pub fn start() -> Self {
        let identity = Identity::new(rand::random());
        let quic = quinn::Endpoint::server(identity.server(), SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
        tokio::spawn(accept(quic.clone()));
        Self { quic, key: identity.public() }
    }

    pub fn target(&self) -> Target {
        Target { addr: self.quic.local_addr().expect("a bound socket"), key: self.key }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.quic.close(code(close::DONE), b"");
    }
}

async fn accept(quic: quinn::Endpoint) {
    let (peers, nonce) = (Peers::default(), rand::random());
    while let Some(incoming) = quic.accept().await {
        let peers = Arc::clone(&peers);
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await
                && let Err(code_of) = serve(connection.clone(), nonce, peers).await
            {
                connection.close(code(code_of), b"");
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves a whole connection. The error is the code with which the connection has to be closed.
async fn serve(connection: Connection, own: [u8; 16], peers: Peers) -> Result<(), u64> {
    let (mut control, nonce) =
        timeout(PATIENCE, await_hello(&connection)).await.unwrap_or(Err(close::HELLO_TIMEOUT))?;
    let mut out = connection.open_uni().await.map_err(|_| close::DONE)?;
    let limits = [(parameter::DATA_LANES, DATA_LANES), (parameter::METADATA, bound::METADATA)];
    out.write_all(&wire::greeting(own, &limits)).await.map_err(|_| close::DONE)?;
    let (frames, mut queued) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(frame) = queued.recv().await {
            if out.write_all(&[wire::grease::frame(), frame].concat()).await.is_err() {
                return;
            }
        }
    });
    let session = Arc::new(Session { connection: connection.clone(), frames, state: Mutex::default() });
    let others = {
        let mut peers = lock(&peers);
        let of_peer = peers.entry(peer_of(&connection)).or_default();
        of_peer.retain(|(session, _)| session.connection.close_reason().is_none());
        let others = of_peer.clone();
        of_peer.push((Arc::clone(&session), nonce));
        others
    };
    for (other, its_nonce) in others {
        if its_nonce == nonce {
            other.goaway(goaway::DUPLICATE);
        } else {
            other.connection.close(code(close::REPLACED), b"");
        }
    }
    tokio::spawn(lanes(Arc::clone(&session)));
    tokio::spawn(async move {
        while let Ok(mut unknown) = connection.accept_uni().await {
            let _ = unknown.stop(code(lane::UNKNOWN_KIND));
        }
    });
    loop {
        let (frame_type, body) = read_frame(&mut control).await?;
        session.on_frame(frame_type, &body)?;
    }
}

async fn await_hello(connection: &Connection) -> Result<(RecvStream, [u8; 16]), u64> {
    loop {
        let mut control = connection.accept_uni().await.map_err(|_| close::DONE)?;
        let first = read_varint(&mut control).await.map_err(|_| close::PROTOCOL_VIOLATION)?;
        if first != kind::CONTROL {
            let _ = control.stop(code(lane::UNKNOWN_KIND));
            continue;
        }
        let (frame_type, body) = read_frame(&mut control).await?;
        if frame_type != frame::HELLO {
            return Err(close::PROTOCOL_VIOLATION);
        }
        let mut fields = Cursor(&body);
        let nonce = fields.take(16).and_then(|nonce| nonce.try_into().ok()).ok_or(close::PROTOCOL_VIOLATION)?;
        let known = |id: u64, value: &[u8]| {
            let number = Cursor(value).only_varint();
            match id {
                parameter::DATA_LANES | parameter::METADATA | parameter::DIAL | parameter::KNOWS => {
                    number.map(|_| true)
                }
                parameter::UNREAD_BYTES => number.filter(|number| *number >= 64 << 10).map(|_| true),
                parameter::UNREAD_CHUNKS => number.filter(|number| *number >= 256).map(|_| true),
                // This peer grants nothing to owners.
                parameter::DELEGATION => Some(true),
                _ => Some(false),
            }
        };
        fields.parameters(known).map_err(Bad::closes)?;
        return Ok((control, nonce));
    }
}

async fn read_frame(control: &mut RecvStream) -> Result<(u64, Vec<u8>), u64> {
    let frame_type = read_varint(control).await.map_err(|_| close::PROTOCOL_VIOLATION)?;
    let body = read_block(control, bound::CONTROL_FRAME).await.map_err(|_| close::PROTOCOL_VIOLATION)?;
    Ok((frame_type, body))
}

impl Session {
    fn say(&self, frame: Vec<u8>) {
        let _ = self.frames.send(frame);
    }

    fn goaway(&self, reason: u64) {
        if !std::mem::replace(&mut lock(&self.state).said_goaway, true) {
            self.say(wire::numbers(frame::GOAWAY, &[reason]));
        }
        self.drain();
    }

    fn on_frame(&self, frame_type: u64, body: &[u8]) -> Result<(), u64> {
        let mut fields = Cursor(body);
        let mut number = || fields.varint().ok_or(close::PROTOCOL_VIOLATION);
        match frame_type {
            frame::HELLO => return Err(close::PROTOCOL_VIOLATION),
            frame::GOAWAY => {
                let reason = number()?;
                fields.parameters(|_, _| Some(false)).map_err(Bad::closes)?;
                lock(&self.state).heard_goaway = true;
                self.goaway(reason);
            }
            frame::DRAINED => {
                let counts = (number()?, number()?);
                fields.parameters(|_, _| Some(false)).map_err(Bad::closes)?;
                lock(&self.state).heard_drained = Some(counts);
                self.drain();
            }
            frame::WATERMARK | frame::CONSUMED => {
                let (lane, offset) = (number()?, number()?);
                fields.end().ok_or(close::PROTOCOL_VIOLATION)?;
                if frame_type == frame::WATERMARK {
                    self.on_watermark(lane, offset);
                }
            }
            frame::MAX_LANES => {
                number()?;
                fields.end().ok_or(close::PROTOCOL_VIOLATION)?;
            }
            // DELEGATION has no effect, because this peer grants nothing to owners. All other types are of later
            // versions.
            _ => {}
        }
        Ok(())
    }

    fn on_watermark(&self, id: u64, offset: u64) {
        let known = lock(&self.state).lanes.get(&id).cloned();
        match known {
            Some(lane) => {
                lock(&lane.marks).asked.push(offset);
                self.answer_marks(id, &lane, 0);
            }
            None => self.say(wire::numbers(frame::CONSUMED, &[id, offset])),
        }
    }

    /// Counts `read` more bytes that were read from a lane, and answers the WATERMARKs that they pass.
    fn answer_marks(&self, id: u64, lane: &Lane, read: u64) {
        let mut marks = lock(&lane.marks);
        marks.consumed += read;
        let (before, consumed) = (marks.asked.len(), marks.consumed);
        marks.asked.retain(|mark| *mark > consumed);
        if marks.asked.len() < before {
            self.say(wire::numbers(frame::CONSUMED, &[id, consumed]));
        }
    }

    /// Sends DRAINED if the counts are new. Closes the connection if the counts mirror those of the peer.
    fn drain(&self) {
        let mut state = lock(&self.state);
        if !(state.said_goaway && state.heard_goaway) || state.live > 0 {
            return;
        }
        let counts = (state.opened, state.accepted);
        if state.heard_drained == Some((counts.1, counts.0)) {
            self.connection.close(code(close::DONE), b"drained");
        } else if state.said_drained != Some(counts) {
            state.said_drained = Some(counts);
            self.say(wire::numbers(frame::DRAINED, &[counts.0, counts.1]));
        }
    }

    /// Counts a new data lane. Returns false if the lane exceeds the limit.
    fn begins(&self) -> bool {
        let mut state = lock(&self.state);
        state.running += 1;
        state.running <= DATA_LANES
    }

    /// Removes a stream that is not a data lane.
    fn is_no_lane(&self, id: u64) {
        let mut state = lock(&self.state);
        state.live -= 1;
        state.lanes.remove(&id);
        drop(state);
        self.drain();
    }

    /// Counts the end of a data lane, or of a stream whose kind did not come.
    fn ended(&self, id: u64, begun: bool) {
        let gone = {
            let mut state = lock(&self.state);
            state.live -= 1;
            state.running -= u64::from(begun);
            state.ended += 1;
            self.say(wire::numbers(frame::MAX_LANES, &[DATA_LANES + state.ended]));
            state.lanes.remove(&id)
        };
        if let Some(largest) = gone.and_then(|lane| lock(&lane.marks).asked.iter().max().copied()) {
            self.say(wire::numbers(frame::CONSUMED, &[id, largest]));
        }
        self.drain();
    }
}

async fn lanes(session: Arc<Session>) {
    while let Ok((send, recv)) = session.connection.accept_bi().await {
        let id = u64::from(recv.id());
        {
            let mut state = lock(&session.state);
            state.accepted += 1;
            state.live += 1;
            let lane =
                Lane { told: watch::Sender::new(Told::Nothing), has_error_lane: false.into(), marks: Mutex::default() };
            state.lanes.insert(id, Arc::new(lane));
        }
        let session = Arc::clone(&session);
        tokio::spawn(async move {
            take(&session, id, send, recv).await;
        });
    }
}

/// Handles a stream from its kind to its end.
async fn take(session: &Session, id: u64, mut send: SendStream, mut recv: RecvStream) {
    let header = async {
        let first = read_varint(&mut recv).await?;
        match first {
            kind::DATA => Ok((first, read_block(&mut recv, bound::HEADER).await?)),
            kind::ERROR => Ok((first, wire::varint(read_varint(&mut recv).await?))),
            _ => Ok((first, Vec::new())),
        }
    };
    let Ok(opened) = timeout(PATIENCE, header).await else {
        both(&mut send, &mut recv, lane::TIMED_OUT);
        return session.ended(id, false);
    };
    match opened {
        Ok((kind::DATA, header)) => {
            let busy = (!session.begins()).then_some(answer::BUSY);
            match protocol(&header).and_then(|header| busy.map_or(Ok(header), Err)) {
                Ok((name, mode)) if name == CONFORM => {
                    if send.write_all(&wire::accepted()).await.is_ok() {
                        play(session, id, &mode, &mut send, &mut recv).await;
                    }
                }
                Ok((name, _)) => reject(send, recv, answer::UNKNOWN_PROTOCOL, &name).await,
                Err(code_of) => reject(send, recv, code_of, "").await,
            }
            return session.ended(id, true);
        }
        Ok((kind::ERROR, id_of)) => {
            session.is_no_lane(id);
            return error_lane(session, Cursor(&id_of).varint().unwrap_or_default(), send, recv).await;
        }
        Ok(_) => {
            both(&mut send, &mut recv, lane::UNKNOWN_KIND);
            return session.is_no_lane(id);
        }
        Err(Short::TooLong) => reject(send, recv, answer::TOO_LARGE, "").await,
        Err(Short::End | Short::Fin) => reject(send, recv, answer::MALFORMED, "").await,
        Err(Short::Gone) => drop(send.reset(code(lane::DONE))),
    }
    session.ended(id, false);
}

fn both(send: &mut SendStream, recv: &mut RecvStream, code_of: u64) {
    let _ = send.reset(code(code_of));
    let _ = recv.stop(code(code_of));
}

async fn reject(mut send: SendStream, mut recv: RecvStream, code_of: u64, text: &str) {
    let _ = send.write_all(&wire::rejected(code_of, text)).await;
    let _ = send.finish();
    let _ = recv.stop(code(lane::REJECTED));
}

/// Parses a header. Returns the protocol and the metadata, or the code of a rejection.
fn protocol(header: &[u8]) -> Result<(String, Vec<u8>), u64> {
    let mut fields = Cursor(header);
    let name = fields.block(bound::PROTOCOL).map_err(Bad::rejects)?;
    let metadata = fields.block(bound::METADATA).map_err(Bad::rejects)?;
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(answer::MALFORMED);
    }
    fields.parameters(|_, _| Some(false)).map_err(Bad::rejects)?;
    Ok((String::from_utf8_lossy(name).into_owned(), metadata.to_vec()))
}

/// Does what the metadata ask for.
async fn play(session: &Session, id: u64, mode: &[u8], send: &mut SendStream, recv: &mut RecvStream) {
    let Some(lane_state) = lock(&session.state).lanes.get(&id).cloned() else { return };
    let mut told = lane_state.told.subscribe();
    let mut read = 0;
    match mode {
        b"fail" => {
            let record =
                Record { details: b"/srv".to_vec(), ..Record::new(severity::FATAL, 28, 100_000, "the disk is full") };
            let _ = send.write_all(&[0x5a; 100_000]).await;
            tell(session, id, &record).await;
            let _ = recv.stop(code(lane::FAILED));
            // The bytes must stay until the peer has read them.
            let _ = send.stopped().await;
            let _ = send.reset(code(lane::DONE));
            return;
        }
        b"abort" => {
            let _ = recv.read_chunk(1, true).await;
            let _ = send.write_all(&[0x5a; 10_000]).await;
            tell(session, id, &Record::new(severity::ABORT, 9, 10_000, "never mind")).await;
            let _ = send.reset(code(lane::ABORTED));
            let _ = recv.stop(code(lane::FAILED));
            return;
        }
        b"drop" => {
            let _ = recv.read_chunk(1, true).await;
            return both(send, recv, lane::CANCELLED);
        }
        b"warn" => {
            let _ = send.write_all(b"12345").await;
            tell(session, id, &Record::new(severity::WARNING, 5, 5, "half way")).await;
            let _ = send.finish();
        }
        _ => {}
    }
    loop {
        let limit = match *told.borrow_and_update() {
            Told::Nothing => usize::MAX,
            Told::Fatal(offset) if read < offset => usize::try_from(offset - read).unwrap_or(usize::MAX),
            Told::Fatal(_) | Told::Abort => return both(send, recv, lane::DONE),
            Told::Broken => return both(send, recv, lane::MALFORMED),
        };
        tokio::select! {
            _ = told.changed() => {}
            chunk = recv.read_chunk(limit, true) => match chunk {
                Ok(Some(chunk)) => {
                    read += chunk.bytes.len() as u64;
                    session.answer_marks(id, &lane_state, chunk.bytes.len() as u64);
                    if mode == b"echo" && send.write_all(&chunk.bytes).await.is_err() {
                        // The peer does not read any more, so more data is useless.
                        return both(send, recv, lane::CANCELLED);
                    }
                }
                Ok(None) if mode == b"echo" && *told.borrow() == Told::Nothing => return drop(send.finish()),
                Ok(None) if mode == b"warn" => return,
                Ok(None) | Err(_) => return drop(send.reset(code(lane::DONE))),
            },
        }
    }
}

/// Sends a record on an error lane that this side opens.
async fn tell(session: &Session, id: u64, record: &Record) {
    let Ok((mut errors, _reverse)) = session.connection.open_bi().await else { return };
    lock(&session.state).opened += 1;
    let _ = errors.write_all(&[wire::error_lane(id), record.encode()].concat()).await;
    let _ = errors.finish();
}

/// Handles an error lane of the peer.
async fn error_lane(session: &Session, id: u64, mut send: SendStream, mut recv: RecvStream) {
    let found = lock(&session.state).lanes.get(&id).cloned();
    let found = found.filter(|lane| !std::mem::replace(&mut *lock(&lane.has_error_lane), true));
    let Some(found) = found else {
        return both(&mut send, &mut recv, lane::NO_SUCH_LANE);
    };
    loop {
        let read = read_block(&mut recv, bound::RECORD).await;
        let record = match read {
            Ok(bytes) => severity_of(&bytes),
            Err(Short::TooLong | Short::Fin) => Err(Bad::Malformed),
            Err(Short::End | Short::Gone) => return,
        };
        match record {
            Ok((severity::WARNING, _)) => {}
            Ok((severity::FATAL, offset)) => {
                found.told.send_replace(Told::Fatal(offset));
                return;
            }
            Ok(_) => {
                found.told.send_replace(Told::Abort);
                return;
            }
            Err(bad) => {
                let code_of = if bad == Bad::Unsupported { lane::UNSUPPORTED } else { lane::MALFORMED };
                let _ = recv.stop(code(code_of));
                found.told.send_replace(Told::Broken);
                return;
            }
        }
    }
}

fn severity_of(record: &[u8]) -> Result<(u64, u64), Bad> {
    let mut fields = Cursor(record);
    let mut number = || fields.varint().ok_or(Bad::Malformed);
    let (severity, _code, offset) = (number()?, number()?, number()?);
    let text = fields.block(bound::RECORD_TEXT)?;
    std::str::from_utf8(text).map_err(|_| Bad::Malformed)?;
    fields.block(bound::RECORD_DETAILS)?;
    fields.parameters(|_, _| Some(false))?;
    if severity > severity::ABORT { Err(Bad::Unsupported) } else { Ok((severity, offset)) }
}
