//! The error lane: the records that this side sends, the records that it receives, and the last bytes of a failed
//! data lane.

mod inbox;
mod linger;
mod queue;
mod reader;
mod sender;

pub use self::inbox::Errors;
pub(crate) use self::reader::accept;
pub(super) use self::{
    inbox::{Inbox, InboxBudget},
    linger::linger,
    reader::LONG_RECORDS,
    sender::{ErrorLane, end, warn},
};
