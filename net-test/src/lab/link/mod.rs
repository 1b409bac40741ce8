//! A userspace link, since not every kernel has netem. It consists of two TUN devices and threads that carry packets
//! between them. Every link is measured before a case relies on it.

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
