//! Files between two peers of [`twolane`].
//!
//! - [`single`]: the protocols `file/1` and `file/2`, which send one file over one stream or over several streams.

pub mod single;
