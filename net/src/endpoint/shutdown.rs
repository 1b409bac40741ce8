//! The end of an endpoint: in order and within a deadline, or at once when the last handle is dropped.

use std::{
    sync::{Arc, atomic::Ordering::AcqRel},
    time::Duration,
};

use n0_future::join_all;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Endpoint, Inner, Owner};
use crate::{
    error::ConnectionLost,
    peer::{Link, Unanswered},
    wire::{codes::connection as codes, control::GoawayReason},
};

/// Maximum time for the sockets to close and for the tasks to end. iroh waits for its last packets to arrive:
/// measured at most 3 s on bad links, and no time when the peers closed first.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a peer without open streams to acknowledge GOAWAY and what is sent after it; three round trips are
/// added. For a peer nearby, three probe timeouts take about 210 ms. The rest is for a peer whose processor is
/// busy.
const GOODBYE: Duration = Duration::from_millis(500);
/// Maximum time for these three round trips: three round trips over a satellite. A longer round-trip time was
/// measured during an interruption of seconds, and is not that of a path.
const GOODBYE_FAR: Duration = Duration::from_secs(2);
/// Interval between two looks at a connection that drains. It is closed at most this much later than its time is
/// over.
const LOOK: Duration = Duration::from_millis(100);
/// Duration of iroh's close if nothing is lost: 3 ms with one peer, 80 ms if that peer does not answer.
const CLOSE_SLACK: Duration = Duration::from_millis(80);

/// The outcome of [`Endpoint::shutdown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Number of connections that ended without open streams.
    pub drained: usize,
    /// Number of connections that the deadline closed, or that were lost before it with streams open.
    pub cut: usize,
    /// Number of connections that were closed because nothing came from their peers any more.
    pub silent: usize,
    /// Number of streams that were open on the connections in `cut` and `silent`.
    pub streams_cut: usize,
    /// Number of tasks that were still running when the call returned: handlers that do not end with their stream,
    /// and hooks. If the deadline has passed, these can also be tasks that are about to end and have not run yet.
    /// A second shutdown waits for all of them.
    pub tasks_left: usize,
}

impl Endpoint {
    /// Takes no new streams, asks every peer to finish, waits until all streams have ended and the other side has
    /// read every byte, for at most `deadline`, and closes the endpoint.
    ///
    /// The call returns at most 100 ms after the deadline. A peer that is silent, and does not acknowledge what it
    /// is sent, is given less time. Without open streams this is half a second and three round trips (of which at
    /// most 2 s count). With open streams it is [`Limits::path_timeout`](crate::Limits::path_timeout) plus the
    /// interval of the packets that keep a path alive.
    ///
    /// Closing takes milliseconds, and at most 5 s where packets are lost or handlers go on. What the deadline
    /// leaves no time for goes on in the background. If a peer was silent, the same holds for closing that takes
    /// more than half a second. After closing, no task, socket or memory of the endpoint is left, except for such
    /// handlers and for clones of this handle.
    ///
    /// Handlers of other protocols ([`Endpoint::also_accept`]) are told at the beginning, and have the same deadline.
    /// The iroh endpoint of an attached endpoint ([`Builder::attach`](crate::Builder::attach)) stays open.
    ///
    /// Not cancel-safe: a dropped call leaves the endpoint half closed. The call can be repeated, and dropping the
    /// last handle closes the rest. If it is called twice at the same time, both calls wait.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let inner = self.inner();
        // A deadline later than the clock can represent counts as no deadline.
        let end = Instant::now().checked_add(deadline);
        inner.closing.cancel();
        inner.router.close();
        let links = inner.peers.links(None);
        let mut ending = Vec::new();
        for link in &links {
            // This first look comes before GOAWAY, which has to be acknowledged.
            let mut unanswered = Unanswered::default();
            look(link, &mut unanswered);
            ending.push(drained(link, unanswered, end));
            if !link.start_drain(GoawayReason::ShuttingDown) {
                // GOAWAY was sent before. If it was not acknowledged, QUIC may send it again only after seconds;
                // this frame is sent now.
                link.carrier.poke();
            }
        }
        let mut report = ShutdownReport::default();
        let others = async {
            let ended = inner.inbound.others.end(&inner.tasks);
            match end {
                Some(end) => drop(timeout_at(end, ended).await),
                None => ended.await,
            }
        };
        let ((), drains) = tokio::join!(others, join_all(ending));
        for (ended, streams) in drains {
            match ended {
                Ended::Closed if streams == 0 => report.drained += 1,
                Ended::Closed | Ended::TooLate => report.cut += 1,
                Ended::Silent => report.silent += 1,
            }
            report.streams_cut += streams;
        }
        // If a peer is gone, QUIC waits for three of its probe timeouts, which are long after an interruption.
        // Waiting for that gains nothing.
        let end = if report.silent > 0 { earlier(end, Instant::now() + GOODBYE) } else { end };
        report.tasks_left = close_by(inner, end).await;
        report
    }
}

/// How a connection ended.
enum Ended {
    Closed,
    Silent,
    TooLate,
}

fn look(link: &Link, unanswered: &mut Unanswered) -> Option<std::time::Instant> {
    let (heard, sent) = link.heard_and_sent();
    unanswered.look(heard, sent, std::time::Instant::now())
}

/// Waits until a connection that drains is closed, as long as its peer answers, and at most until `end`. Then
/// closes it. Returns how the connection ended, and how many streams were open on it. A connection that was lost
/// with open streams did not end in order, whichever side closed it.
async fn drained(link: &Link, mut unanswered: Unanswered, end: Option<Instant>) -> (Ended, usize) {
    let ended = loop {
        let (since, now) = (look(link, &mut unanswered), Instant::now());
        let bound = match link.carrier.live() {
            0 => GOODBYE + link.path().map_or(Duration::ZERO, |(_, rtt)| GOODBYE_FAR.min(3 * rtt)),
            _ => link.silence(),
        };
        if end.is_some_and(|end| now >= end) {
            break Ended::TooLate;
        }
        if since.is_some_and(|since| since.elapsed() >= bound) {
            break Ended::Silent;
        }
        if unanswered.is_unsure() && link.carrier.live() == 0 {
            // A packet that was on its way when the peer went away may have come after GOAWAY was sent. GOAWAY
            // itself may be sent again only after seconds; this frame is sent now.
            link.carrier.poke();
        }
        let next = now + LOOK;
        tokio::select! {
            biased;
            _ = link.carrier.connection.closed() => break Ended::Closed,
            () = sleep_until(end.map_or(next, |end| end.min(next))) => {}
        }
    };
    let streams = link.carrier.live();
    link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint has shut down");
    (ended, streams)
}

fn earlier(end: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(end.map_or(other, |end| end.min(other)))
}

/// Closes what is left, and returns how many tasks are running a moment after `end`.
async fn close_by(inner: &Arc<Inner>, end: Option<Instant>) -> usize {
    let (closed, closing) = (Arc::clone(inner), inner.tasks.clone());
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    // The task is not aborted: what a shutdown leaves no time for goes on.
    closing.spawn_last(async move {
        closed.close().await;
        drop(done);
    });
    match end.and_then(|end| end.max(Instant::now()).checked_add(CLOSE_SLACK)) {
        Some(by) => drop(timeout_at(by, is_done).await),
        None => drop(is_done.await),
    }
    inner.tasks.len()
}

impl Inner {
    /// Closes the sockets and waits for the tasks. Handlers that do not end by themselves end with their streams
    /// or not at all: they belong to the program.
    async fn close(&self) {
        self.closing.cancel();
        self.router.close();
        #[cfg(feature = "metrics")]
        drop(self.metrics_server.lock().await.take());
        self.peers.close_all("the endpoint has shut down");
        let by = Instant::now() + CLOSE_TIMEOUT;
        if timeout_at(by, self.inbound.others.end(&self.tasks)).await.is_err() {
            tracing::debug!("a handler of another protocol goes on after the shutdown");
        }
        // A second call of iroh's `close` returns at once. Therefore the first caller tells the others when it is
        // done.
        if !self.closes_sockets.swap(true, AcqRel) {
            let (iroh, closed) = (self.iroh.clone(), self.sockets_closed.clone());
            if self.attached.is_some() {
                // The sockets are not this endpoint's.
                closed.cancel();
            } else {
                self.tasks.spawn_last(async move {
                    iroh.close().await;
                    closed.cancel();
                });
            }
        }
        let sockets = self.sockets_closed.cancelled();
        let (sockets, tasks) = tokio::join!(timeout_at(by, sockets), timeout_at(by, self.tasks.ended()));
        if sockets.is_err() {
            tracing::debug!("the sockets did not close within {CLOSE_TIMEOUT:?}");
        }
        if tasks.is_err() {
            tracing::debug!("a handler goes on after the shutdown");
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.closing.cancel();
        self.router.close();
        if self.sockets_closed.is_cancelled() {
            return;
        }
        let inner = Arc::clone(&self.0);
        self.tasks.spawn_last(async move {
            inner.peers.close_all("the endpoint was dropped");
            inner.close().await;
        });
    }
}
