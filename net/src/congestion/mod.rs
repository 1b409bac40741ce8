//! Congestion control: corrections of noq's controllers, each with its reason. CONGESTION.md has what each is worth.
//!
//! [`ByDistance`](by_distance) uses BBR3 over a distance, and Cubic where the peer is near. Over a distance, loss is
//! often not congestion: on a link of 20 ms and 500 Mbit/s that loses one packet in a thousand, Cubic reaches 3 MB/s
//! and BBR 40. On one machine and on a wire, BBR's pacing costs up to half of the speed, and Cubic recovers from a
//! loss within a millisecond. No address tells the two cases apart (a relay has none, a tunnel has a local one), so
//! the round-trip time does.
//!
//! [`background`] has LEDBAT++, for programs that choose it. [`marked`] changes nothing, and says how a connection was
//! made.
//!
//! The corrections of Cubic:
//!
//! - [`ack_unblock`]: a sender with a full window still acknowledges;
//! - [`loopback_cap`]: on one machine, no more data is in flight than the peer takes in one turn.
//!
//! The corrections of BBR3 ([`corrected`]):
//!
//! - [`app_limited`]: BBR is told again that a sender has no more to send, when it has forgotten it;
//! - [`bandwidth_hold`]: the best bandwidth counts for as long as BBR means it to, and not for two round trips;
//! - [`pacing_catch_up`]: data that late timers withheld is sent after them;
//! - [`probe_rtt_skip`]: an empty path is not emptied to measure its round-trip time;
//! - [`inflight_cap`]: no more data is in flight than needed on a path that no other flow uses;
//! - [`company`]: other flows use the path, and the cap does not hold;
//! - [`standing_queue`]: their queue never becomes empty, and a part of it is kept;
//! - [`random_loss`]: BBR is not told of losses that the path has by itself.

mod ack_unblock;
mod app_limited;
mod background;
mod bandwidth_hold;
mod by_distance;
mod choice;
mod company;
mod corrected;
mod inflight_cap;
mod loopback_cap;
mod marked;
mod pacing_catch_up;
mod parts;
mod path_queue;
mod probe_rtt_skip;
mod random_loss;
mod recurring;
#[cfg(test)]
mod simulation;
mod standing_queue;
#[cfg(test)]
mod tests;

pub use self::choice::{Congestion, ParseCongestionError};
pub(crate) use self::marked::{Bounds, MarkedConfig, bounds};
