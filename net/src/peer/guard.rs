//! Checks connections again when the rules change, and when a certificate is shown, expires or is revoked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::Ordering::{AcqRel, Acquire, Release},
    },
    time::Duration,
};

use n0_future::join_all;
use tokio::{sync::Notify, time::sleep};

use super::{link::Link, peers::Peers, table::Generation};
use crate::{
    access::{Refused, StreamRequest},
    error::ConnectionLost,
    events::Event,
};

#[cfg(test)]
mod tests;

/// Maximum time between two checks of certificates against the clock of the machine, which people and services set.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// The connections to check next. With thousands of connections, only those whose standing may have changed are
/// checked.
#[derive(Debug, Default)]
pub(super) struct Standings {
    waiting: Mutex<Vec<Weak<Link>>>,
    filled: Notify,
}

impl Standings {
    /// Adds connections, and wakes the guard if there are any.
    pub(super) fn look_at<'a>(&self, links: impl IntoIterator<Item = &'a Arc<Link>>) {
        let mut links = links.into_iter().map(Arc::downgrade).peekable();
        if links.peek().is_some() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(links);
            self.filled.notify_one();
        }
    }

    fn take(&self) -> Vec<Weak<Link>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until the endpoint is closed. A shutdown may wait long for streams, and a peer that is not allowed any more
/// is cut off meanwhile.
pub(crate) async fn run(peers: Arc<Peers>) {
    let mut changes = peers.shared.gate.watch();
    // Connections whose peer has shown a certificate.
    let mut certified = HashMap::<Generation, Weak<Link>>::new();
    loop {
        let expiry = next_expiry(&peers, &mut certified);
        let expired = async {
            match expiry {
                Some(after) => sleep(after.min(CLOCK_CHECK)).await,
                None => std::future::pending().await,
            }
        };
        let (all, links) = tokio::select! {
            () = changes.next() => (true, peers.links(None)),
            () = peers.standings.filled.notified() => (false, upgraded(peers.standings.take())),
            () = expired => (false, upgraded(certified.values().cloned())),
            () = peers.closed.cancelled() => return,
        };
        for link in links {
            if link.carrier.identity().delegation.is_some() {
                certified.insert(link.generation, Arc::downgrade(&link));
            }
            let doubtful = link.doubtful.swap(false, AcqRel);
            // The rules are asked only about connections whose standing has changed, unless all answers may have
            // changed.
            if (end_standing(&peers, &link) || doubtful || all) && peers.shared.gate.decides() {
                ask(&peers, link);
            }
        }
    }
}

/// Ends every standing whose certificate is not valid any more, before this returns. [`run`] learns of the change as
/// well, and asks the rules about these connections.
pub(crate) fn end_standings(peers: &Peers) {
    let ended: Vec<_> = peers.links(None).into_iter().filter(|link| end_standing(peers, link)).collect();
    ended.iter().for_each(|link| link.doubtful.store(true, Release));
    peers.standings.look_at(&ended);
}

fn upgraded(links: impl IntoIterator<Item = Weak<Link>>) -> Vec<Arc<Link>> {
    links.into_iter().filter_map(|link| link.upgrade()).collect()
}

/// Returns the time until the first certificate expires. Removes connections that are gone, and those whose
/// certificate has ended.
fn next_expiry(peers: &Peers, certified: &mut HashMap<Generation, Weak<Link>>) -> Option<Duration> {
    let mut first = None;
    certified.retain(|_, link| {
        let delegation = link.upgrade().and_then(|link| link.carrier.identity().delegation);
        if let Some(delegation) = &delegation {
            // One millisecond later the certificate has expired for certain.
            let holds = peers.shared.gate.holds_for(delegation) + Duration::from_millis(1);
            first = Some(first.map_or(holds, |first: Duration| first.min(holds)));
        }
        delegation.is_some()
    });
    first
}

/// Ends the standing of a peer whose certificate is not valid any more: from then on the peer acts only for itself.
/// Returns whether a standing has ended.
fn end_standing(peers: &Peers, link: &Link) -> bool {
    let peer = link.carrier.peer;
    let Some(delegation) = link.carrier.identity().delegation else {
        return false;
    };
    let Err(cause) = peers.shared.gate.check(peer, &delegation) else {
        return false;
    };
    if !link.carrier.end_delegation(&delegation) {
        return false;
    }
    peers.shared.metrics.delegations_refused.inc();
    peers.events.emit(Event::DelegationEnded { peer, owner: delegation.owner(), cause });
    true
}

/// Has the rules asked about a connection, by one task at a time however often the rules change.
fn ask(peers: &Arc<Peers>, link: Arc<Link>) {
    link.doubtful.store(true, Release);
    if link.being_asked.swap(true, AcqRel) {
        return;
    }
    let peers = Arc::clone(peers);
    peers.shared.tasks.clone().spawn(async move {
        loop {
            while link.doubtful.swap(false, AcqRel) {
                tokio::select! {
                    biased;
                    () = look_again(&link) => {}
                    // No connection is left to cut off, and a shutdown does not wait for the rules.
                    _ = link.carrier.connection.closed() => return,
                }
            }
            link.being_asked.store(false, Release);
            // The connection may have become doubtful in this very moment.
            if !link.doubtful.load(Acquire) || link.being_asked.swap(true, AcqRel) {
                return;
            }
        }
    });
}

/// Asks the rules about the connection, and about each of its streams that they were asked about before.
pub(super) async fn look_again(link: &Link) {
    let gate = &link.shared().gate;
    if let Err(Refused(reason)) = gate.connection(&link.carrier.identity()).await {
        return link.cut_for(&ConnectionLost::NotAllowed { reason: reason.into() });
    }
    let asking = link.carrier.admitted().into_iter().filter_map(|lanes| {
        let (protocol, metadata) = lanes.admitted.get()?.clone();
        let request = StreamRequest { identity: link.carrier.identity(), protocol, metadata };
        Some(async move {
            if let Err(Refused(reason)) = gate.stream(request).await {
                lanes.revoke(&reason);
            }
        })
    });
    // All at the same time, so that a stream which the rules are slow about holds up no other.
    join_all(asking).await;
}
