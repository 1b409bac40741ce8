//! Looks again at every connection when the rules change, a certificate expires or one is revoked.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{link::Link, peers::Peers};
use crate::{
    access::{Refused, StreamRequest},
    error::ConnectionLost,
    events::Event,
};

/// Certificates are compared with the clock of the machine, which people and services set: at least this often.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Runs until the endpoint is closed.
pub(crate) async fn run(peers: Arc<Peers>) {
    let mut changes = peers.shared.gate.watch();
    loop {
        let expiry = next_expiry(&peers);
        let expired = async {
            match expiry {
                Some(after) => sleep(after.min(CLOCK_CHECK)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.next() => {}
            () = peers.standing.notified() => {}
            () = expired => {}
            () = peers.closing.cancelled() => return,
        }
        for link in peers.links(None) {
            end_standing(&peers, &link);
            if peers.shared.gate.decides() {
                peers.shared.tasks.spawn(look_again(Arc::clone(&peers), link));
            }
        }
    }
}

fn next_expiry(peers: &Peers) -> Option<Duration> {
    let delegations = peers.links(None).into_iter().filter_map(|link| link.carrier.identity().delegation);
    // A moment later than that it has passed for certain.
    delegations.map(|delegation| peers.shared.gate.holds_for(&delegation) + Duration::from_millis(1)).min()
}

/// A peer whose certificate does not hold any more acts for nobody but itself.
fn end_standing(peers: &Peers, link: &Link) {
    let peer = link.carrier.peer;
    let Some(delegation) = link.carrier.identity().delegation else {
        return;
    };
    if let Err(cause) = peers.shared.gate.check(peer, &delegation) {
        link.carrier.set_delegation(None);
        peers.shared.metrics.delegations_refused.inc();
        peers.events.emit(Event::StandingEnded { peer, owner: delegation.owner(), cause });
    }
}

/// Asks the rules about the connection, and about each of its streams that they were asked about before.
async fn look_again(peers: Arc<Peers>, link: Arc<Link>) {
    let gate = &peers.shared.gate;
    if let Err(Refused(reason)) = gate.connection(&link.carrier.identity()).await {
        return link.cut_for(&ConnectionLost::NotAllowed { reason: reason.into() });
    }
    for lanes in link.carrier.admitted() {
        let Some((protocol, metadata)) = lanes.admitted.get() else {
            continue;
        };
        let (protocol, metadata) = (protocol.clone(), metadata.clone());
        let request = StreamRequest { identity: link.carrier.identity(), protocol, metadata };
        if let Err(Refused(reason)) = gate.stream(request).await {
            lanes.revoke(&reason).await;
        }
    }
}
