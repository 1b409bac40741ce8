//! The opener's side of a case.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use twolane::{
    Endpoint, GetStreamError, Limits, NextError, ReadError, RequestError, SendJsonError, StreamOptions, Ticket,
    WriteError, XStream,
};

use super::{
    ask::{Ask, OPENER_TAKES, REQUESTS},
    check::{self, Mismatch},
    pattern,
    player::{Part, play},
    role::{PROTOCOL, Role, Script, Side, Step},
    seen::{Ending, Seen, Sum},
};

/// Maximum time for one script. Each case has its own timeout, which ends the script first.
const PLAY: Duration = Duration::from_secs(180);
/// Maximum time for a request that has no timeout of its own.
const REQUEST: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("there was no stream")]
    Open(#[from] GetStreamError),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("the {0:?} did not come to the end of its script")]
    Unfinished(Side),
    #[error("the acceptor's report did not come")]
    Report(#[source] NextError),
    #[error("a read failed")]
    Read(#[from] NextError),
    #[error("a write failed")]
    Write(#[from] WriteError),
    #[error("a request failed")]
    Request(#[source] Box<RequestError>),
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
    #[error("the connection was lost meanwhile, which no case does")]
    Lost,
    #[error("{0}")]
    In(&'static str, #[source] Box<Self>),
    #[error("the case broke: {0}")]
    Broke(String),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error.into())
    }
}

impl From<SendJsonError> for Fault {
    fn from(error: SendJsonError) -> Self {
        Self::Broke(error.to_string())
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        Self::Request(Box::new(error))
    }
}

/// Opens streams to one acceptor.
#[derive(Debug)]
pub struct Tester {
    pub endpoint: Endpoint,
    pub peer: Ticket,
    /// The number of bytes that the running case has read, for the progress display.
    pub meter: AtomicU64,
    next: AtomicU64,
}

/// The content of a stream's header in addition to the role.
#[derive(Debug, Clone, Copy, Default)]
pub struct Along {
    pub early: u64,
    /// The length to which the role is padded.
    pub metadata: Option<usize>,
    /// Whether no report is asked from the acceptor.
    pub unreported: bool,
}

#[derive(Debug)]
pub struct Opened {
    pub stream: XStream,
    pub id: u64,
    pub metadata: Sum,
}

/// The observations of both sides.
#[derive(Debug)]
pub struct Played {
    /// The observations of the side that the case is named after.
    pub active: Seen,
    pub passive: Seen,
    active_seed: u64,
    passive_seed: u64,
}

impl Tester {
    pub fn new(endpoint: Endpoint, peer: Ticket) -> Self {
        Self { endpoint, peer, meter: AtomicU64::new(0), next: AtomicU64::new(1) }
    }

    pub fn limits(connect_timeout: Duration) -> Limits {
        Limits { connect_timeout, request_bytes: OPENER_TAKES, ..Limits::default() }
    }

    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Opens a stream whose acceptor performs `steps`.
    pub async fn open(&self, steps: Vec<Step>, along: Along) -> Result<Opened, Fault> {
        let id = self.number();
        let mut script = Script { id, report: !along.unreported, steps, pad: String::new() };
        let mut metadata = Role::Play(script.clone()).to_bytes();
        if let Some(len) = along.metadata {
            // The base is the length with a pad of one byte, because the pad adds the name of its field too.
            script.pad = "x".into();
            let with_pad = Role::Play(script.clone()).to_bytes().len();
            script.pad = "x".repeat((len + 1).saturating_sub(with_pad));
            metadata = Role::Play(script).to_bytes();
        }
        let early = usize::try_from(along.early).unwrap_or(usize::MAX);
        let sum = Sum::of(&metadata);
        let options = StreamOptions {
            metadata: metadata.into(),
            early_data: pattern::bytes(Script::seed(id, Side::Opener), early).into(),
            ..StreamOptions::default()
        };
        let stream = self.endpoint.get_stream_with(&self.peer, PROTOCOL, options).await?;
        Ok(Opened { stream, id, metadata: sum })
    }

    pub async fn report(&self, id: u64) -> Result<Seen, Fault> {
        let metadata = Role::Report { id }.to_bytes().into();
        let options = StreamOptions { metadata, ..StreamOptions::default() };
        let mut stream = self.endpoint.get_stream_with(&self.peer, PROTOCOL, options).await?;
        stream.next_json().await.map_err(Fault::Report)
    }

    /// Performs both scripts of a case on a new stream: the active script on `side`, the passive one on the other
    /// side. The case checks the observations.
    pub async fn play(&self, side: Side, active: Vec<Step>, passive: Vec<Step>) -> Result<Played, Fault> {
        self.play_along(side, active, passive, Along::default()).await
    }

    pub async fn play_along(
        &self,
        side: Side,
        active: Vec<Step>,
        passive: Vec<Step>,
        along: Along,
    ) -> Result<Played, Fault> {
        let (ours, theirs) = if side == Side::Opener { (active, passive) } else { (passive, active) };
        let Opened { stream, id, metadata } = self.open(theirs, along).await?;
        let (opener_seed, acceptor_seed) = (Script::seed(id, Side::Opener), Script::seed(id, Side::Acceptor));
        let part = Part { seed: opener_seed, early: along.early, within: PLAY, meter: &self.meter };
        let opener = Box::pin(play(stream, &ours, part)).await;
        let acceptor = if along.unreported {
            Seen { finished: true, ..Seen::default() }
        } else {
            Box::pin(self.report(id)).await?
        };
        if !along.unreported {
            check::equal("the metadata that arrived", &acceptor.metadata, &metadata)?;
        }
        for (side, seen) in [(Side::Opener, &opener), (Side::Acceptor, &acceptor)] {
            if !seen.finished {
                return Err(Fault::Unfinished(side));
            }
        }
        Ok(match side {
            Side::Opener => {
                Played { active: opener, passive: acceptor, active_seed: opener_seed, passive_seed: acceptor_seed }
            }
            Side::Acceptor => {
                Played { active: acceptor, passive: opener, active_seed: acceptor_seed, passive_seed: opener_seed }
            }
        })
    }

    pub async fn ask(&self, ask: &Ask, bytes: &[u8]) -> Result<Bytes, RequestError> {
        self.ask_within(ask, bytes, REQUEST).await
    }

    pub async fn ask_within(&self, ask: &Ask, bytes: &[u8], within: Duration) -> Result<Bytes, RequestError> {
        self.endpoint.request(&self.peer, REQUESTS, ask.to_body(bytes), within).await
    }

    /// Checks with an echo request that other streams still work.
    pub async fn still_there(&self) -> Result<(), Fault> {
        let response = self.ask(&Ask::Echo, b"still there?").await?;
        Ok(check::equal("a request on another stream", &response, &Bytes::from_static(b"still there?"))?)
    }

    /// Counts bytes that a case moved without a script.
    pub fn count(&self, bytes: u64) {
        self.meter.fetch_add(bytes, Relaxed);
    }
}

impl Played {
    /// Checks that the active side read the first `len` bytes of the passive side, and then `end`.
    pub fn active_read(&self, len: u64, end: &Ending) -> Result<(), Mismatch> {
        check::lane("what the active side read", &self.active.read, self.passive_seed, len, end)
    }

    /// Checks that the active side read back the first `len` bytes that it had written, and then their end.
    pub fn active_read_back(&self, len: u64) -> Result<(), Mismatch> {
        check::lane("what came back", &self.active.read, self.active_seed, len, &Ending::End)
    }

    /// Checks that the passive side read the first `len` bytes of the active side, and then `end`.
    pub fn passive_read(&self, len: u64, end: &Ending) -> Result<(), Mismatch> {
        check::lane("what the passive side read", &self.passive.read, self.active_seed, len, end)
    }

    /// Checks that the passive side was told that the active side dropped its data, after at most `max` bytes.
    pub fn passive_saw_reset(&self, max: u64) -> Result<(), Mismatch> {
        check::dropped("what the passive side read", &self.passive.read, self.active_seed, max)
    }

    /// Checks how writing ended at both sides.
    pub fn wrote(&self, active: &Ending, passive: &Ending) -> Result<(), Mismatch> {
        check::equal("how writing ended for the active side", &self.active.written.end, active)?;
        check::equal("how writing ended for the passive side", &self.passive.written.end, passive)
    }

    /// Checks that all calls on the error lane succeeded at both sides, and that neither side received a report.
    pub fn quiet(&self) -> Result<(), Mismatch> {
        for (what, seen) in [("the active side", &self.active), ("the passive side", &self.passive)] {
            check::equal(&format!("what {what} said"), &seen.said, &Ending::Open)?;
            check::heard(what, &seen.reports, &[])?;
        }
        Ok(())
    }
}
