//! The limits of the data of a lane that may be in flight or unread at the peer, in chunks and in bytes that all
//! lanes of the connection share, and the limit of the number of lanes.

pub(crate) mod bytes;
pub(crate) mod chunks;
mod lane;
mod lanes;
mod peer;

pub(super) use self::{
    lane::{LaneCredit, Traffic, WriteCredit},
    peer::Tail,
};
pub(crate) use self::{
    lanes::{Grants, OpenCredit, OpenPermit},
    peer::PeerCredit,
};
