//! Makes iroh look for a relay again, as long as it has found none.
//!
//! By itself, iroh looks for a relay when an address of this machine changes, and otherwise every 20 to 26 s. A
//! relay or a name server that was out of reach when the endpoint was bound would be found that late. iroh looks
//! at once when a relay is added, and a relay that is configured already may be added again.

use std::time::Duration;

use iroh::{RelayMap, Watcher};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The first pause. iroh's own first look takes up to 5 s if nothing answers, and a second look begins when it has
/// ended.
const FIRST: Duration = Duration::from_secs(4);
/// The longest pause, up to which the pauses double. A machine that is offline for days sends some packets in vain
/// after each pause.
const LONGEST: Duration = Duration::from_secs(16);

/// Returns the pause after the `n`th look in a row that found nothing.
fn pause(n: u32) -> Duration {
    FIRST.saturating_mul(1 << n.min(8)).min(LONGEST)
}

/// Runs until the endpoint is closed. `relays` are the relays of the endpoint, including later additions and
/// removals.
pub(super) async fn run(endpoint: iroh::Endpoint, relays: RelayMap, closing: CancellationToken) {
    let looking = async {
        let mut home = endpoint.home_relay_status();
        loop {
            let mut looks = 0;
            while home.get().is_empty() {
                tokio::select! {
                    () = sleep(pause(looks)) => {}
                    _ = home.updated() => continue,
                }
                looks += 1;
                // A relay that was found, but refuses this endpoint or breaks off, is asked again by iroh itself.
                if let Some(relay) = relays.relays::<Vec<_>>().into_iter().next() {
                    tracing::debug!(looks, "no relay is known to work: looking again");
                    endpoint.insert_relay(relay.url.clone(), relay).await;
                }
            }
            if home.updated().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = closing.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_up_to_sixteen_seconds() {
        let pauses: Vec<_> = (0..5).chain([u32::MAX]).map(|n| pause(n).as_secs()).collect();
        assert_eq!(pauses, [4, 8, 16, 16, 16, 16]);
    }
}
