//! One connection for each peer. The modules table, glare, heard, flights, backoff, drain, policy, restore and
//! silence are pure rules. The other modules carry the rules out.

mod announced;
pub(crate) mod backoff;
mod dial;
pub(crate) mod drain;
mod early;
mod entry;
pub(crate) mod flights;
mod glare;
pub(crate) mod guard;
mod heard;
mod hooks;
mod incoming;
mod info;
mod kept;
mod link;
mod open;
mod path;
pub(crate) mod patience;
mod peers;
pub(crate) mod table;
pub(crate) mod unused;

pub(crate) use self::{
    early::{EarlyHandlers, OnStream},
    entry::View,
    flights::Flights,
    incoming::ACCEPTED,
    link::{Link, Shared},
    open::{EARLY_BYTES, OpenError, Opening, Within, open},
    path::{lookout, policy::Policies, probe, silence::Unanswered},
    peers::Peers,
};
pub use self::{
    incoming::IncomingStream,
    info::{PathInfo, PeerInfo},
};
