//! What hostile peers do. Each attack runs until it is dropped.

pub(super) mod control;
pub(super) mod errors;
pub(super) mod handshakes;
pub(super) mod silence;
pub(super) mod streams;
pub(super) mod volume;

use std::{convert::Infallible, future::Future, pin::Pin};

use super::raid::{Going, Trouble};

/// An attack from its steps.
fn attack(
    steps: impl Future<Output = Going<Infallible>> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Trouble> + Send>> {
    Box::pin(async move {
        match steps.await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    })
}

/// The first trouble of several attackers that each go on for ever.
async fn first_trouble(mut attackers: tokio::task::JoinSet<Trouble>) -> Going<Infallible> {
    match attackers.join_next().await {
        Some(Ok(trouble)) => Err(trouble),
        Some(Err(broke)) => Err(Trouble::Wrong(broke.to_string())),
        None => Err(Trouble::Wrong("there is no attacker".to_owned())),
    }
}
