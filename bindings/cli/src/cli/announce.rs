//! When the other side can be told where we are.

use std::{convert::Infallible, time::Duration};

use twolane::{Endpoint, Ticket};

use super::Net;

/// How long the ticket waits for a relay. Without a network nobody waits longer than this; with one, a relay answers in
/// 0.2 s, and one that answers later is told of when it does.
const RELAY_WAIT: Duration = Duration::from_millis(500);
/// When it is time to say that no relay answers.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// Tells the ticket as soon as it says enough, with `true`, and once more, with `false`, when a relay is found later.
pub async fn announce(
    endpoint: &Endpoint,
    net: &Net,
    tell: impl Fn(&Ticket, bool),
    warn: impl FnOnce(String),
) -> Infallible {
    let known = !net.has_relay() || endpoint.online(RELAY_WAIT).await;
    let ticket = endpoint.ticket();
    tell(&ticket, true);
    if !known {
        if !endpoint.online(RELAY_PATIENCE - RELAY_WAIT).await {
            warn("no relay can be reached: the other side must reach this machine directly".into());
            // However long that takes.
            while !endpoint.online(RELAY_PATIENCE).await {}
        }
        let now = endpoint.ticket();
        if now != ticket {
            tell(&now, false);
        }
    }
    std::future::pending().await
}
