//! The announcement of this endpoint's ticket to the user.

use std::{convert::Infallible, time::Duration};

use twolane::{Endpoint, Ticket};

use super::Net;

/// Maximum time for which the first ticket waits for a relay. Without a network, the user waits no longer than
/// this. With a network, a relay answers in 0.2 s; a relay that answers later is announced then.
const RELAY_WAIT: Duration = Duration::from_millis(500);
/// Time after which the program warns that no relay answers.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// Calls `tell` with the ticket and `true` as soon as the ticket is complete enough, and once more with `false` if
/// a relay is found later.
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
            // The wait has no limit.
            while !endpoint.online(RELAY_PATIENCE).await {}
        }
        let now = endpoint.ticket();
        if now != ticket {
            tell(&now, false);
        }
    }
    std::future::pending().await
}
