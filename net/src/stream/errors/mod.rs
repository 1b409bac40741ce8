//! The error lane: the records that this side sends, those that it receives, and a failed lane's last bytes.

mod inbox;
mod lane;
mod linger;
mod report;

pub(crate) use self::lane::accept;
pub use self::{
    inbox::Errors,
    report::{DetailsTooLarge, Report, StreamError},
};
pub(super) use self::{
    inbox::Inbox,
    lane::{ErrorOut, send},
    linger::linger,
};
