//! One connection for each peer: the rules (table, glare, heard, backoff, drain, policy, restore, silence) are pure, the rest carries them out.

pub(crate) mod backoff;
mod dial;
pub(crate) mod drain;
mod glare;
pub(crate) mod guard;
mod heard;
mod incoming;
mod info;
mod link;
mod open;
mod path;
mod peers;
pub(crate) mod table;

pub(crate) use self::{
    incoming::{ACCEPTED, IncomingStream},
    link::{Link, Shared},
    open::{OpenError, Opening, Within, open},
    path::{policy::Policies, probe},
    peers::{Peers, View},
};
pub use self::{
    info::{PathInfo, PeerInfo},
    path::policy::PathPolicy,
};
