//! A link in user space, since not every kernel has netem: two TUN devices, and threads that carry packets between them. No
//! case relies on a link that was not measured first.

mod account;
mod carry;
mod fair;
mod model;
mod neck;
pub mod probe;
mod record;

pub use self::{
    account::Account,
    carry::{Begun, Link, Plug, available},
    model::Shape,
    neck::{Neck, Pauses, Queue},
    record::{BUCKET, LOOK, Record},
};
