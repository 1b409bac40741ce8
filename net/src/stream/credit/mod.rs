//! How much of a lane's data may be on its way or unread at the peer: in chunks, and in bytes beside the other lanes.

pub(crate) mod bytes;
pub(crate) mod chunks;
