//! Peer-to-peer streams by public key, with two lanes each: one for data, one for errors.
//!
//! An [`Endpoint`] has a key and dials other endpoints by their keys: through NATs, and with the help of a relay
//! where that is needed ([iroh](https://docs.rs/iroh) does that part). Two endpoints share one encrypted
//! connection, whichever of them dialled, for all the protocols that they speak. For each stream,
//! [`get_stream`](Endpoint::get_stream) and [`accept_bi`](Endpoint::accept_bi) agree on a [`Protocol`] in one
//! round trip. If the acceptor refuses the stream, the opener gets a clear answer. Every stream is an [`XStream`]:
//! besides its data lane it has an error lane. On the error lane, either side can report an error immediately,
//! even while the data lane is full or idle.
//!
//! # Guarantees
//!
//! - The end of data means success. A stream that was dropped, cancelled or lost never looks complete.
//! - A fatal error arrives after exactly the bytes that were written before it. If some of these bytes were lost,
//!   the error says how many.
//! - One stream that fails, is slow or carries malformed data affects no other stream.
//! - Every wait for a peer has a timeout, and every buffer has a limit ([`Limits`]). A reader that pauses slows
//!   down its writer, and nothing else. A hostile peer gets a typed answer, and costs other peers nothing but
//!   processor time of this machine.
//! - The access rules ([`Access`], [`AccessList`]) decide which peers may connect and which streams they may open,
//!   before any stream is handled. A peer that is no longer allowed is disconnected at once.
//!
//! [`INVARIANTS.md`](https://github.com/twolane/twolane/blob/main/net/INVARIANTS.md) has the complete list of
//! guarantees: where each rule is enforced, and which test fails when the rule is broken.
//! [`WIRE.md`](https://github.com/twolane/twolane/blob/main/net/WIRE.md) specifies the wire format, for
//! implementations without this library.
//!
//! # Scope
//!
//! The library offers streams with an error lane, and requests with a response. It has no discovery by topic, no
//! gossip, no DHT of its own, no storage and no RPC framework. Datagrams and everything else in QUIC are available
//! through [`Endpoint::iroh`].
//!
//! # Lifecycle
//!
//! [`Endpoint::builder`] configures an endpoint. [`bind`](Builder::bind) returns within milliseconds, whatever the
//! state of the network. [`Endpoint::status`] reports how the endpoint can be reached, and [`Endpoint::events`]
//! reports what happens to its peers. [`Endpoint::shutdown`] ends everything in order. A [`Ticket`] contains the
//! key and the addresses of an endpoint in one string.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use twolane::Endpoint;
//!
//! // On one machine. `offline` is for trying this out; without it, the endpoint finds peers on any network.
//! let server = Endpoint::builder().offline().bind().await?;
//! server.serve("greet/1", |mut stream| async move {
//!     if let Ok(name) = stream.next_string().await {
//!         let _ = stream.send_string(&format!("hello {name}")).await;
//!         let _ = stream.finish();
//!     }
//! })?;
//! let ticket = server.ticket().to_string();
//!
//! // On the other machine.
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
//! An async function is called cancel-safe in this documentation if its future can be dropped before it is ready
//! and nothing is lost: the next call continues where the dropped call stopped. The documentation of each function
//! says whether it is cancel-safe.
//!
//! # Modules
//!
//! `wire` turns bytes into values. `error` has the error types. `access` has the rules about which peers may do
//! what. `stream` is the two-lane stream. `peer` keeps one connection to each peer. `endpoint` is the API that a
//! program uses. Each of these modules uses only the modules before it; `endpoint` also uses `congestion`, which
//! decides how fast QUIC sends. The decisions are made in files that use no tokio, no clock and no socket:
//! `access/rules.rs`, `access/pairing.rs`, `stream/read_half.rs`, `stream/write_half.rs`, `stream/credit/`,
//! `stream/errors/queue.rs`, `peer/table.rs`, `peer/glare.rs`, `peer/heard.rs`, `peer/backoff.rs`,
//! `peer/drain.rs`, `peer/path/policy.rs`, `peer/path/restore.rs`, `peer/path/silence.rs`, `congestion/`,
//! `endpoint/admission.rs`, `endpoint/by_source.rs`, `endpoint/pace.rs`, `endpoint/waiting.rs` and
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
/// An address at which a peer can be reached: iroh's type, as it is used in a [`Ticket`].
pub use iroh::TransportAddr;
pub use twolane_id::{PublicKey, SecretKey, Signature, delegation, storage};

pub use self::{
    access::{Access, AccessList, Hooks, Identity, StreamRequest, Verdict},
    congestion::{Congestion, ParseCongestionError},
    endpoint::{
        AlreadyServed, Builder, Connection, Drained, Endpoint, Graceful, Keep, KeepState, Network, Obstacle, Reach,
        RelayStatus, Request, RequestOptions, ServeError, ShutdownReport, Status, StreamOptions, get_endpoint,
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
