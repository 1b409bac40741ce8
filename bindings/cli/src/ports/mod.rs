//! Streams for other programs: `expose`, `forward` and `pipe`.
//!
//! The protocol `port/1`: the metadata of the opener is the name of a service, 1 to 255 bytes of UTF-8. The acceptor
//! connects to the service, and refuses the stream, with the reason, if there is none. The data of the stream is what the
//! two programs say, in both directions:
//!
//! - the end of a direction is the end of the data (a half-close);
//! - a connection that was reset, on either side, aborts the stream with the code 1, and a stream that ends in any other
//!   way than with the end of its data resets the connection: a program never takes cut data for all of it.
//!
//! Each connection is a stream of the one connection between the two peers, and no handshake.

mod address;
mod bridge;
pub mod expose;
pub mod forward;
mod local;
pub mod pipe;

pub use self::address::{Listen, PeerService, Service, Target};

/// The name of the protocol.
pub const PROTOCOL: &str = "port/1";
/// The code of a connection that was reset.
pub const RESET: u64 = 1;

/// The name of the service that `pipe` serves and asks for, if none is named.
const PIPE: &str = "pipe";
