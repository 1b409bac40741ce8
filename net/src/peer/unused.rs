//! Lets go of connections that this side has dialled and that are not in use, with one timer for all connections of
//! an endpoint.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    link::Link,
    peers::Peers,
    table::{Generation, Input},
};

/// Maximum time between two looks. A connection is let go of at most a quarter of the timeout late.
const LOOK: Duration = Duration::from_secs(60);

/// Runs until the endpoint shuts down. Returns at once if connections are kept for good.
pub(crate) async fn run(peers: Arc<Peers>) {
    let after = peers.shared.limits.unused_timeout;
    if after == Duration::MAX {
        return;
    }
    let mut uses = HashMap::<Generation, Use>::new();
    loop {
        tokio::select! {
            () = sleep((after / 4).min(LOOK)) => {}
            () = peers.closing.cancelled() => return,
        }
        let now = Instant::now();
        let mut still = HashMap::new();
        for link in peers.links(None) {
            let mut seen = uses.remove(&link.generation).unwrap_or_default();
            // The peer may keep a connection that it has dialled. A peer without HELLO may not have let this side in
            // yet.
            let in_use = link.carrier.live() > 0
                || !link.is_dialled()
                || !link.is_known()
                || link.carrier.is_draining()
                || peers.is_kept(&link.carrier.peer);
            if seen.look(Counts::of(&link), in_use, now) >= after {
                tracing::debug!(peer = %link.carrier.peer, "an unused connection is closed");
                peers.on_seen(&link, Input::Unused(link.generation));
            }
            still.insert(link.generation, seen);
        }
        uses = still;
    }
}

/// The numbers of streams opened, of streams accepted, and of writes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts([u64; 3]);

impl Counts {
    fn of(link: &Link) -> Self {
        let carrier = &link.carrier;
        Self([carrier.opened.load(Relaxed), carrier.accepted.load(Relaxed), carrier.writes()])
    }
}

/// The use of a connection, as last seen. Pure.
#[derive(Debug, Default)]
struct Use {
    counts: Counts,
    unused_since: Option<Instant>,
}

impl Use {
    /// Records a look. Returns the time for which the connection has been unused at least.
    fn look(&mut self, counts: Counts, in_use: bool, now: Instant) -> Duration {
        let has_changed = std::mem::replace(&mut self.counts, counts) != counts;
        if in_use {
            self.unused_since = None;
            return Duration::ZERO;
        }
        if has_changed {
            // The use that changed the counts is over by now.
            self.unused_since = Some(now);
        }
        now.duration_since(*self.unused_since.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_unused_since_the_first_look_at_which_all_that_had_happened_was_over() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut seen = Use::default();
        let mut looked = |second, count, open| seen.look(Counts([count, 0, 0]), open, at(second)).as_secs();
        assert_eq!([looked(1, 0, false), looked(2, 0, false)], [0, 1]);
        // A stream came and went between two looks.
        assert_eq!([looked(3, 1, false), looked(5, 1, false)], [0, 2]);
        // A stream stays open.
        assert_eq!([looked(6, 2, true), looked(9, 2, true), looked(10, 2, false), looked(11, 2, false)], [0, 0, 0, 1]);
    }
}
