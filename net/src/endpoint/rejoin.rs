//! Has iroh look for a relay again, as long as it has found none.
//!
//! By itself it looks when an address of this machine changes, and otherwise every 20 to 26 s. A relay, or a name server,
//! that was out of reach when the endpoint was bound would be found that late. What makes it look at once is that a relay
//! is added, and one that is there already may be.

use std::time::Duration;

use iroh::{RelayMap, Watcher};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The first look of iroh's own takes up to 5 s where nothing answers, and a second one begins when it has ended.
const FIRST: Duration = Duration::from_secs(4);
/// The pause doubles up to this: a machine that is offline for days sends some packets to nowhere in each.
const LONGEST: Duration = Duration::from_secs(16);

/// The pause after the `n`th look in a row that found nothing.
fn pause(n: u32) -> Duration {
    FIRST.saturating_mul(1 << n.min(8)).min(LONGEST)
}

/// Runs until the endpoint is closed. `relays` are those of the endpoint, with what was added and removed since.
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
                // One that is found, but does not let us in or breaks off, iroh asks again by itself.
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
