//! One connection for each peer: the rules (table, glare, backoff, drain, policy, restore, silence) are pure, the rest carries them out.

pub(crate) mod backoff;
mod dial;
pub(crate) mod drain;
mod glare;
pub(crate) mod guard;
mod incoming;
mod info;
mod link;
mod open;
mod paths;
pub(crate) mod patience;
mod peers;
mod policy;
pub(crate) mod probe;
mod restore;
mod silence;
pub(crate) mod table;

pub(crate) use self::{
    incoming::{ACCEPTED, IncomingStream},
    link::{Link, Shared},
    open::{EARLY_BYTES, OpenError, Opening, Within, open},
    peers::{Peers, View},
    policy::Policies,
};
pub use self::{
    info::{PathInfo, PeerInfo},
    policy::PathPolicy,
};
