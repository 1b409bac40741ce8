//! A link in user space, since not every kernel has netem: two TUN devices, and threads that carry packets between them.
//!
//! - `model`: what becomes of a packet, pure;
//! - `carry`: the threads;
//! - `probe`: what a link really does, measured with packets of the lab's own. No case relies on a link that was not
//!   measured first.

mod carry;
mod model;
pub(super) mod probe;

pub(super) use self::{
    carry::{Link, Plug, available},
    model::Shape,
};
