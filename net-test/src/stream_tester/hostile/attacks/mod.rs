//! The attacks of the hostile peers. Each runs until it is dropped.

pub mod control;
pub mod errors;
pub mod handshakes;
pub mod silence;
pub mod streams;
pub mod volume;

use std::convert::Infallible;

use tokio::task::JoinSet;

use super::raid::{Going, Trouble};

/// Waits for the first trouble of several attackers.
async fn first_trouble(mut attackers: JoinSet<Going<Infallible>>) -> Going<Infallible> {
    attackers.join_next().await.ok_or_else(|| Trouble::Wrong("there is no attacker".to_owned()))??
}
