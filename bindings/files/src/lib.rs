//! Files and folders between two peers of [`twolane`].
//!
//! [`FILES.md`](https://github.com/twolane/twolane/blob/main/bindings/files/FILES.md) specifies the protocol `files/1`,
//! for implementations without this crate.
//!
//! # Guarantees
//!
//! - An item, a file or a folder with all that is in it, appears in the receiver's folder whole or not at all.
//! - A transfer that was cut goes on where it was, whichever side was killed, and whenever: what has arrived is compared,
//!   piece by piece, and only the rest is sent. What is there already is not sent at all.
//! - Every piece and every file is verified with BLAKE3. A file that changes while it is sent is noticed; one that only
//!   grows is sent as it was at the start.
//! - Nothing is overwritten unless the receiver's user wants that, and no name does harm where it is stored.
//! - Thousands of small files take no round trip each.
//! - What a peer can make the other side hold is bounded, on the disk by what that side's user allows.
//!
//! # Not in it
//!
//! Links, owners, extended attributes and special files are not sent. Nothing is compressed: a program that knows its
//! data does that better. Two copies of a file under other names are two files.
//!
//! # How it works
//!
//! The sender scans its items ([`OutgoingItem::scan`]), makes an [`offer`] of them, [opens](open) a stream with it, and
//! [sends](send()). The receiver serves [`CONTROL_PROTOCOL`] and [`DATA_PROTOCOL`]: it decides by the [`Offer`] and the
//! peer's key, [adds](Gathering::add) data streams to a [`Gathering`], and [receives](receive()) into an [`Inbox`].
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use twolane::Endpoint;
//! use twolane_files::{CONTROL_PROTOCOL, Gathering, Inbox, Input, Meter, Offer, OutgoingItem, Place, Policy};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (outbox, received) = (dir.path().join("note.txt"), dir.path().join("received"));
//! # std::fs::write(&outbox, "hello")?;
//! let receiver = Endpoint::builder().offline().bind().await?;
//! let ticket = receiver.ticket();
//! let receiving = tokio::spawn(async move {
//!     let (_, stream) = receiver.accept_bi(&[CONTROL_PROTOCOL]).await.unwrap();
//!     let offer = Offer::from_bytes(stream.metadata()).unwrap();
//!     let (inbox, gathering) = (Inbox::open(received).unwrap(), Gathering::default());
//!     let place = Place { inbox: &inbox, gathering: &gathering, policy: &Policy::default() };
//!     let meter = Arc::new(Meter::default());
//!     twolane_files::receive(stream, &offer, place, &meter, |_| {}, std::future::pending()).await.unwrap();
//!     std::fs::read_to_string(inbox.dir().join("note.txt")).unwrap()
//! });
//!
//! let sender = Endpoint::builder().offline().bind().await?;
//! let items = [OutgoingItem::scan(&Input::Path(outbox), None)?];
//! let offer = twolane_files::offer(&items);
//! let stream = twolane_files::open(&sender, ticket, &offer, Duration::from_secs(15)).await?;
//! let (meter, never) = (Meter::default(), std::future::pending());
//! let outcome = twolane_files::send(stream, &sender, &items, &offer, &meter, |_, _| {}, never).await;
//! assert!(outcome.error.is_none());
//! assert_eq!(receiving.await?, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! The decisions are made in files that use no tokio, no clock and no disk: `wire/`, `piece.rs`, `names.rs`,
//! `assembly.rs`, `receiving.rs`, `early.rs` and `send/book.rs`. `store/` is the receiver's folder, `outgoing/` reads at
//! the sender, and `send/` and `receive/` connect them with the streams. [`single`] is `file/1`, a protocol for one file
//! that is simple to speak.

mod assembly;
mod early;
mod error;
mod frames;
mod gather;
mod meter;
mod names;
mod outgoing;
mod piece;
mod policy;
mod reason;
mod receive;
mod receiving;
mod send;
pub mod single;
mod store;
mod wire;

pub use self::{
    error::{ProtocolError, ReceiveError, RefusalDetails, SendError, Unconfirmed, refusal},
    gather::Gathering,
    meter::Meter,
    names::{NameError, StoredName, shown},
    outgoing::{Input, OutgoingItem, ScanError},
    piece::PIECE,
    policy::{Policy, Rehearsal},
    reason::Reason,
    receive::{Place, Progress, Received, Report, receive},
    send::{Fate, Outcome, offer, open, send},
    store::{Existing, Inbox, StoreError},
    wire::{Offer, OfferError},
};

/// The name of the protocol: its control streams.
pub const CONTROL_PROTOCOL: &str = "files/1";
/// The name of the protocol of the data streams of a transfer.
pub const DATA_PROTOCOL: &str = "files-data/1";
