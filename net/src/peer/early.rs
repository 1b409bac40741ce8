//! Streams that come before the handshake is done. A dialler that resumes a session sends them with its first packets
//! (0-RTT: RFC 9001, section 4.6). Anybody who has recorded these packets can send them again, so a stream is handled
//! early only if its opener and the program that serves it have both said that handling it twice is harmless. All
//! other streams wait until the handshake is done and the peer is admitted.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, PoisonError},
    time::Instant,
};

use n0_future::boxed::BoxFuture;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    flights::Verdict,
    guard,
    incoming::{IncomingStream, Stage, admitted, begin, hand_over},
    link::{Link, Shared},
};
use crate::{
    error::ConnectionLost,
    protocol::Protocol,
    wire::{
        codes::connection as codes,
        control::{Dial, Nonce},
    },
};

/// Maximum number of requests of one flight that are handled early. A dialler may open as many lanes before it has
/// HELLO (WIRE.md, section 5).
const MOST: usize = 16;

/// A function that handles one stream.
pub(crate) type OnStream = Box<dyn FnOnce(IncomingStream) -> BoxFuture<()> + Send>;

/// The handlers of the program that have asked for early requests.
pub(crate) trait EarlyHandlers: Send + Sync {
    /// Returns whether there is one.
    fn any(&self) -> bool;

    /// Returns the handler of this protocol, if it has asked for early requests.
    fn of(&self, protocol: &Protocol) -> Option<OnStream>;
}

/// How many requests of a flight may still be handled early. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left(usize);

impl Left {
    /// Begins with the verdict about the flight.
    fn new(verdict: Verdict) -> Self {
        Self(if verdict == Verdict::First { MOST } else { 0 })
    }

    /// Returns whether one more may be.
    fn take(&mut self) -> bool {
        let one = self.0.min(1);
        self.0 -= one;
        one > 0
    }
}

impl Link {
    /// Waits until the handshake of a connection that the peer dialled is done, for at most
    /// [`Limits::hello_timeout`](crate::Limits::hello_timeout). Meanwhile takes the requests that may be handled early.
    /// The rules have allowed the peer, whose HELLO has these numbers.
    /// They are asked again whenever they differ from their `version` then: the table of peers, in which all other
    /// connections are found for that, does not have this one yet.
    pub(super) async fn finish_handshake(
        self: &Arc<Self>,
        nonce: Nonce,
        dial: Dial,
        version: (u64, u64),
    ) -> Result<(), ConnectionLost> {
        let bound = self.shared().limits.hello_timeout;
        tokio::select! {
            biased;
            done = timeout(bound, self.handshake()) => match done {
                // An acceptor's streams are never void: TLS decides about early data before anything is sent.
                Ok(done) => done.map(drop),
                Err(_) => {
                    // The tasks of the streams that have come end with the connection.
                    self.cut(ConnectionLost::TimedOut, codes::HELLO_TIMEOUT, "the handshake was not completed in time");
                    Err(ConnectionLost::TimedOut)
                }
            },
            never = accept_streams(self, nonce, dial) => match never {},
            never = watch_rules(self, version) => match never {},
        }
    }
}

/// Cuts off the peer, or the streams, that the rules do not allow any more.
async fn watch_rules(link: &Link, mut version: (u64, u64)) -> Infallible {
    let gate = &link.shared().gate;
    if !gate.decides() {
        return pending().await;
    }
    let mut changes = gate.watch();
    loop {
        while gate.version() == version {
            changes.next().await;
        }
        version = gate.version();
        if let Some(delegation) = link.carrier.identity().delegation
            && gate.check(link.peer(), &delegation).is_err()
        {
            link.carrier.end_delegation(&delegation);
        }
        guard::look_again(link).await;
    }
}

/// Accepts the streams that come before the handshake is done.
async fn accept_streams(link: &Arc<Link>, nonce: Nonce, dial: Dial) -> Infallible {
    let (carrier, shared) = (&link.carrier, link.shared());
    let most = shared.limits.streams_without_header.min(Semaphore::MAX_PERMITS);
    let without_header = Arc::new(Semaphore::new(most));
    let mut left = None;
    while let Ok((send, recv)) = carrier.connection.accept_bi().await {
        // A stream that comes when the handshake is done is none of the flight.
        let may_run = recv.is_0rtt() && left.get_or_insert_with(|| Left::new(judge(link, nonce, dial))).take();
        let stage = Stage::Early { may_run };
        carrier.tasks.spawn(begin(link, shared, &without_header, stage, send, recv));
    }
    // The connection is gone, which ends the handshake as well.
    pending().await
}

/// Decides about the flight, once for all of its streams.
fn judge(link: &Link, nonce: Nonce, dial: Dial) -> Verdict {
    let shared = link.shared();
    let mut flights = shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
    let verdict = flights.take(link.peer(), nonce, dial.number, Instant::now());
    drop(flights);
    if verdict == Verdict::Again {
        tracing::debug!(peer = %link.peer(), "an early flight has come before: nothing of it is handled early");
        shared.metrics.flights_repeated.inc();
    }
    verdict
}

/// Returns the task for a stream whose header was read. `may_run`: its opener says that handling it twice is harmless,
/// and its flight has not come before.
pub(super) fn take(link: &Arc<Link>, shared: &Arc<Shared>, stream: IncomingStream, may_run: bool) -> BoxFuture<()> {
    // A direct path is found after the handshake.
    let may_run = may_run && !shared.policies.get(&stream.peer()).wants_direct();
    let handler = if may_run { shared.early.of(&stream.protocol) } else { None };
    let (link, shared) = (Arc::clone(link), Arc::clone(shared));
    Box::pin(async move {
        if let Some(handler) = handler {
            stream.set_early();
            if let Some(stream) = admitted(stream, &link, &shared).await {
                shared.metrics.requests_early.inc();
                handler(stream).await;
            }
        } else if link.comes_into_use().await && !link.carrier.is_cut() {
            hand_over(&link, &shared, stream).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flight_that_comes_first_as_many_requests_are_early_as_may_come_before_hello_and_of_others_none() {
        let early = |verdict| {
            let mut left = Left::new(verdict);
            (0..100).filter(|_| left.take()).count()
        };
        assert_eq!([Verdict::First, Verdict::Again, Verdict::Unknown].map(early), [MOST, 0, 0]);
        assert_eq!(MOST as u64, crate::limits::LANES_BEFORE_HELLO);
    }
}
