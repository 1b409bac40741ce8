//! How much of a lane's data may be on its way or unread at the peer: in chunks, in bytes beside the other lanes of the
//! connection, and how many lanes there may be.

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
