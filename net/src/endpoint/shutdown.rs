//! The end: in order within a bound, or at once when the last handle is dropped.

use std::{
    sync::{Arc, atomic::Ordering::AcqRel},
    time::Duration,
};

use n0_future::join_all;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Endpoint, Inner, Owner};
use crate::{
    error::ConnectionLost,
    peer::{Link, Unanswered},
    wire::{codes::connection as codes, control::GoawayReason},
};

/// iroh waits for its last packets to arrive; measured at most 3 s on bad links, and instant when peers closed first.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer with nothing open here has so long, and three round trips more, to acknowledge GOAWAY and what it is sent after that. Near
/// by, three probe timeouts take some 210 ms; the rest is for a peer whose processor is busy.
const GOODBYE: Duration = Duration::from_millis(500);
/// Of those round trips so much counts at most: three of a satellite's. What is measured across a standstill of seconds is no path's.
const GOODBYE_FAR: Duration = Duration::from_secs(2);
/// How often a peer that drains is looked at: so much later than by the bounds it is let go of.
const LOOK: Duration = Duration::from_millis(100);
/// What iroh's close takes where nothing is lost: 3 ms with one peer, 80 ms if that does not answer.
const CLOSE_SLACK: Duration = Duration::from_millis(80);

/// How an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that ended with nothing under way.
    pub drained: usize,
    /// Connections that were closed by the deadline, or lost before it, with streams open.
    pub cut: usize,
    /// Connections that were closed since nothing came from their peers any more.
    pub silent: usize,
    /// Streams that were open on the last two.
    pub streams_cut: usize,
    /// Tasks that went on when this returned: handlers that do not end with their stream, and hooks. If the time ran out, these can
    /// also be tasks that are about to end and have not run yet. A second shutdown waits for them.
    pub tasks_left: usize,
}

impl Endpoint {
    /// Takes no new streams, asks every peer to finish, waits until all streams have ended and every byte was read
    /// at the other side, at most `deadline`, and closes. It returns at most 100 ms after the deadline. Before it, a peer that is
    /// silent, and does not acknowledge what it is sent, is waited for less: with nothing open half a second and three round trips
    /// (of which 2 s count at most), with streams open as long as [`Limits::path_timeout`](crate::Limits::path_timeout) and a packet
    /// that keeps the connection alive take.
    ///
    /// Closing takes milliseconds, and at most 5 s where packets are lost or handlers go on; what the deadline leaves no time for, and
    /// beside a silent peer what takes more than half a second of it, goes on in the background. Then no task, socket or memory of the
    /// endpoint is left, but for such handlers and for clones of this handle.
    ///
    /// Not cancel-safe in that a dropped call leaves the endpoint half closed; it can be called again, and dropping
    /// the last handle closes the rest. Called twice at the same time, both calls wait.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let inner = self.inner();
        // A deadline past the end of time is none.
        let end = Instant::now().checked_add(deadline);
        inner.closing.cancel();
        inner.router.close();
        let links = inner.peers.links(None);
        let mut ending = Vec::new();
        for link in &links {
            // From before GOAWAY, which has to be acknowledged.
            let mut unanswered = Unanswered::default();
            look(link, &mut unanswered);
            ending.push(drained(link, unanswered, end));
            if !link.start_drain(GoawayReason::ShuttingDown) {
                // What it was sent when it began to drain, and did not acknowledge, may be sent again in seconds only.
                link.carrier.poke();
            }
        }
        let mut report = ShutdownReport::default();
        for (ended, streams) in join_all(ending).await {
            match ended {
                Ended::Closed if streams == 0 => report.drained += 1,
                Ended::Closed | Ended::TooLate => report.cut += 1,
                Ended::Silent => report.silent += 1,
            }
            report.streams_cut += streams;
        }
        // Beside a peer that is gone QUIC waits for three of its timeouts, which are long after a standstill. Nothing comes of that.
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

/// Waits until a connection that drains is closed, for as long as its peer answers, and at most until `end`; then it is closed. How
/// that came, and how many streams were open on it: what was lost with streams open did not end in order, whoever closed it.
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
            // A packet that was on its way when the peer went came after GOAWAY had gone out. What is sent again for GOAWAY may be
            // seconds away; this goes out now.
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

/// Closes what is left, and tells how many tasks go on a moment after `end`.
async fn close_by(inner: &Arc<Inner>, end: Option<Instant>) -> usize {
    let (closed, closing) = (Arc::clone(inner), inner.tasks.clone());
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    // It is not given up half way: what a shutdown leaves no time for goes on.
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
    /// Closes the sockets and waits for the tasks. Handlers that do not end by themselves end with their streams or not at all:
    /// they belong to the user.
    async fn close(&self) {
        self.closing.cancel();
        self.router.close();
        #[cfg(feature = "metrics")]
        drop(self.metrics_server.lock().await.take());
        self.peers.close_all("the endpoint has shut down");
        // iroh's second `close` returns at once: who calls it first tells the others when it is done.
        if !self.closes_sockets.swap(true, AcqRel) {
            let (iroh, closed) = (self.iroh.clone(), self.sockets_closed.clone());
            self.tasks.spawn_last(async move {
                iroh.close().await;
                closed.cancel();
            });
        }
        let sockets = self.sockets_closed.cancelled();
        let (sockets, tasks) =
            tokio::join!(timeout(CLOSE_TIMEOUT, sockets), timeout(CLOSE_TIMEOUT, self.tasks.ended()));
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
