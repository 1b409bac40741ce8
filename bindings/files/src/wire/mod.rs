//! Bytes in, values out: the frames of `files/1`, as FILES.md specifies them. This module does no I/O.

mod codec;
mod frame;
mod offer;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    codec::{Malformed, header},
    frame::{Attributes, FromReceiver, FromSender, MAX_BASE, MAX_BODY, piece_header},
    offer::PartOffer,
};
pub use self::offer::{Offer, OfferError};
