//! Peer-to-peer streams by public key, with two lanes each: one for data, one for errors.
//!
//! An [`Endpoint`] has a key and dials others by theirs, through NATs and with a relay's help where that is needed
//! ([iroh](https://docs.rs/iroh) does that part). Two endpoints share one encrypted connection, whoever dialled and
//! however many protocols they speak: [`get_stream`](Endpoint::get_stream) and [`accept_bi`](Endpoint::accept_bi)
//! agree on a [`Protocol`] for each stream, in one round trip, with a clear answer when it is no. Every stream is an
//! [`XStream`]: beside its data lane it has an error lane, on which either side can say what went wrong, at once,
//! even while the data lane is full or idle.
//!
//! # What holds
//!
//! - An end of data means success. What was dropped, cancelled or lost never looks complete.
//! - A fatal error arrives after exactly the bytes that were written before it; if some were lost, it says how many.
//! - One stream's failure, slowness or garbage touches no other stream.
//! - Every wait for a peer has a bound, and every buffer a limit ([`Limits`]). A reader that pauses slows its writer
//!   down, and nothing else. A hostile peer gets a typed answer, and costs others nothing but the machine's time.
//! - Who may connect, and open what, is asked before any stream ([`Access`], [`AccessList`]); who is not allowed any more
//!   is cut off at once.
//!
//! [`INVARIANTS.md`](https://github.com/twolane/twolane/blob/main/net/INVARIANTS.md) has the whole list, with where
//! each rule is enforced and which test fails when it is broken;
//! [`WIRE.md`](https://github.com/twolane/twolane/blob/main/net/WIRE.md) is the wire format, for whoever wants to speak
//! it without this library.
//!
//! # What it is not
//!
//! No discovery by topic, no gossip, no DHT of its own, no storage, no RPC framework: a stream, its error lane and a
//! request with its response are what there is. For datagrams and everything else in QUIC, [`Endpoint::iroh`] is there.
//!
//! # Lifecycle
//!
//! [`Endpoint::builder`] configures, [`bind`](Builder::bind) returns in milliseconds whatever the network is like,
//! [`Endpoint::status`] tells what can be reached, [`Endpoint::events`] what happens, and
//! [`Endpoint::shutdown`] ends it all in order. A [`Ticket`] says who and where an endpoint is, in one string.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use twolane::Endpoint;
//!
//! // On one machine. `offline` is for trying it out; without it, peers are found on any network.
//! let server = Endpoint::builder().offline().bind().await?;
//! server.serve("greet/1", |mut stream| async move {
//!     if let Ok(name) = stream.next_string().await {
//!         let _ = stream.send_string(&format!("hello {name}")).await;
//!         let _ = stream.finish();
//!     }
//! })?;
//! let ticket = server.ticket().to_string();
//!
//! // On the other.
//! let client = Endpoint::builder().offline().bind().await?;
//! let ticket: twolane::Ticket = ticket.parse()?;
//! let mut stream = client.get_stream(ticket, "greet/1").await?;
//! stream.send_string("world").await?;
//! assert_eq!(stream.next_string().await?, "hello world");
//!
//! client.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Cancel safety
//!
//! An async function here is called cancel-safe if its future can be dropped before it is ready with nothing lost:
//! calling it again goes on where it was. Each says whether it is.
//!
//! # Where things are
//!
//! `wire` turns bytes into values, `error` says what went wrong, `access` asks who may, `stream` is the two-lane stream,
//! `peer` keeps one connection to each peer, and `endpoint` is what a program holds; each uses those before it alone, and
//! `endpoint` also `congestion`, which says how fast QUIC sends. The rules are in files without tokio, clock or socket:
//! `access/rules.rs`, `access/pairing.rs`, `stream/read_half.rs`, `stream/write_half.rs`, `stream/credit/`, `stream/errors/queue.rs`, `peer/table.rs`, `peer/glare.rs`, `peer/heard.rs`, `peer/backoff.rs`,
//! `peer/drain.rs`, `peer/path/policy.rs`, `peer/path/restore.rs`, `peer/path/silence.rs`, `congestion/`,
//! `endpoint/admission.rs`, `endpoint/crowd.rs`, `endpoint/pace.rs`, `endpoint/waiting.rs` and
//! `endpoint/waiting_streams.rs`.

mod access;
mod bound;
mod congestion;
mod endpoint;
mod error;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod key;
mod limits;
mod metrics;
mod path_policy;
mod peer;
mod protocol;
mod stream;
mod tasks;
mod ticket;
mod wire;
mod words;

#[cfg(feature = "unstable-transport")]
#[doc(hidden)]
pub use self::endpoint::unstable_transport;
/// Where a peer can be reached: iroh's type, in a [`Ticket`].
pub use iroh::TransportAddr;
pub use twolane_id::{PublicKey, SecretKey, Signature, delegation, storage};

pub use self::{
    access::{Access, AccessList, Hooks, Identity, StreamRequest, Verdict},
    congestion::{Congestion, ParseCongestionError},
    endpoint::{
        AlreadyServed, Builder, Connection, Drained, Endpoint, Graceful, Keep, KeepState, Network, Obstacle, Reach,
        RelayStatus, Request, ServeError, ShutdownReport, Status, StreamOptions, get_endpoint,
    },
    error::{
        AcceptError, AnswerError, BindError, ConnectionLost, DetailsTooLarge, DialError, Fault, GetStreamError,
        NextError, Phase, ReadError, Report, RequestError, RequestFailure, StreamError, WriteError,
    },
    events::{Event, Events, PathKind},
    limits::Limits,
    metrics::Metrics,
    path_policy::PathPolicy,
    peer::{IncomingStream, PathInfo, PeerInfo},
    protocol::{InvalidProtocol, Protocol},
    stream::{Errors, MAX_LINE, RecvStream, SendJsonError, SendStream, XStream},
    ticket::{ParseTicketError, Ticket},
    wire::{
        ALPN, Malformed,
        record::Severity,
        status::{Reason, Rejection},
    },
};
