//! One connection for each peer: the rules (table, glare, backoff, drain) are pure, the rest carries them out.

mod backoff;
mod drain;
mod glare;
mod incoming;
mod link;
mod open;
mod peers;
mod table;

pub use self::peers::PeerInfo;
pub(crate) use self::{
    incoming::{ACCEPTED, IncomingStream},
    link::{Link, Shared},
    open::{OpenError, Opening, open},
    peers::Peers,
};
