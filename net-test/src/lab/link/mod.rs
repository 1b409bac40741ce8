//! A link in user space, since not every kernel has netem: two TUN devices, and threads that carry packets between them.
//!
//! - `model`: what becomes of a packet, pure;
//! - `carry`: the threads;
//! - `account`: what became of every packet, by the model and by the kernels at both ends;
//! - `probe`: what a link really does, measured with packets of the lab's own. No case relies on a link that was not
//!   measured first.

mod account;
mod carry;
mod model;
pub(super) mod probe;

pub(super) use self::{
    account::Account,
    carry::{Begun, Link, Plug, available},
    model::Shape,
};
