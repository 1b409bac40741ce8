//! Congestion control: what is corrected in QUIC's, each part with its reason. CONGESTION.md has what each is worth.
//!
//! [`ByDistance`](by_distance) has BBR3 over a distance, and Cubic where the peer is near. Over a distance loss is often not
//! congestion: on a link of 20 ms and 500 Mbit/s that loses one packet in a thousand, Cubic reaches 3 MB/s and BBR 40. On one
//! machine and on a wire, BBR's pacing costs up to half of the speed, and Cubic recovers from a loss within a millisecond. No
//! address tells the two apart (a relay has none, a tunnel has a local one), so the round trip does.
//!
//! [`background`] has LEDBAT++, for who asks for it.
//!
//! What is corrected, for Cubic:
//!
//! - [`ack_unblock`]: a sender with a full window acknowledges all the same;
//! - [`loopback_cap`]: within a machine no more is on the way than the peer takes in one turn.
//!
//! For BBR3 ([`corrected`]):
//!
//! - [`app_limited`]: that a sender has no more to send is told again when it is forgotten;
//! - [`bandwidth_hold`]: the best bandwidth counts for as long as BBR means it to, and not for two round trips;
//! - [`pacing_catch_up`]: what timers that fired late withheld is sent after them;
//! - [`probe_rtt_skip`]: a path that is empty is not emptied to see how short it is;
//! - [`inflight_cap`]: no more is on the way than a path needs that is ours alone;
//! - [`company`]: the path is not ours alone, and the cap does not hold;
//! - [`random_loss`]: losses that the path has by itself are not told.

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
mod pacing_catch_up;
mod parts;
mod path_queue;
mod probe_rtt_skip;
mod random_loss;
mod recurring;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use self::choice::{Congestion, ParseCongestionError};
