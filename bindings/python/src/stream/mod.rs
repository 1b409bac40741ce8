//! The stream with a data lane and an error lane.
//!
//! `recv_side` and `send_side` are the state of the two directions, and `inner` holds both. `object` is the Python
//! object, of which `read` and `write` have the methods that move data.

mod inner;
mod object;
mod read;
mod recv_side;
mod send_side;
mod write;

pub(crate) use self::{
    object::{Stream, stream_error},
    write::Write,
};
