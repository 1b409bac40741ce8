//! The acceptor's side of all cases.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;
use twolane::{Endpoint, Limits, PublicKey, Request, ServeError, StreamError, XStream};

use super::{
    ask::{ACCEPTOR_TAKES, Ask, NOBODY, REQUESTS},
    board::Board,
    pattern,
    player::{Part, play},
    role::{PROTOCOL, Role, Script, Side},
    seen::Seen,
};
use crate::{conform::subject, output::in_one_line};

/// Maximum time for one stream. The longest case lasts at most 120 s at the opener, which ends the stream first.
const PLAY: Duration = Duration::from_secs(180);
/// Maximum time from the request for a report to the end of the reported stream at the acceptor.
const REPORT: Duration = Duration::from_secs(30);
/// The number of peers. A tester serves a few peers at a time.
const PEERS: usize = 16;
/// Maximum time that a stream waits to be accepted. One case has a stream that is never accepted. The default of 5
/// s would only make the case slower.
const ACCEPT: Duration = Duration::from_millis(300);

/// The code for a role that cannot be performed.
pub const NO_ROLE: u64 = 1;
/// The code for a report that does not exist.
pub const NO_REPORT: u64 = 2;

pub fn limits() -> Limits {
    Limits { peers: PEERS, accept_timeout: ACCEPT, request_bytes: ACCEPTOR_TAKES, ..Limits::default() }
}

#[derive(Debug, Default)]
pub struct Served {
    board: Board,
    streams: AtomicU64,
}

impl Served {
    /// Returns the number of streams and requests so far, without reports.
    pub fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }
}

/// Handles all streams and requests of the cases from now on.
pub async fn serve(endpoint: &Endpoint) -> Result<Arc<Served>, ServeError> {
    let served = Arc::new(Served::default());
    endpoint.serve(PROTOCOL, {
        let served = Arc::clone(&served);
        move |stream| {
            let served = Arc::clone(&served);
            async move { served.take(stream).await }
        }
    })?;
    endpoint.serve_requests(REQUESTS, {
        let served = Arc::clone(&served);
        move |request| {
            let served = Arc::clone(&served);
            async move { served.answer(request).await }
        }
    })?;
    subject::serve(endpoint)?;
    // A call that does not wait makes the protocol known, and accepts no stream.
    let _ = timeout(Duration::ZERO, endpoint.accept_bi(&[NOBODY])).await;
    Ok(served)
}

impl Served {
    async fn take(&self, mut stream: XStream) {
        let peer = stream.peer();
        match Role::from_bytes(stream.metadata()) {
            Ok(Role::Play(script)) => self.play(peer, stream, &script).await,
            Ok(Role::Report { id }) => self.report(stream, id).await,
            Err(error) => drop(stream.fail(StreamError::new(NO_ROLE, in_one_line(&error))).await),
        }
    }

    async fn play(&self, peer: PublicKey, stream: XStream, script: &Script) {
        self.streams.fetch_add(1, Relaxed);
        let seed = Script::seed(script.id, Side::Acceptor);
        let part = Part { seed, early: 0, within: PLAY, meter: &AtomicU64::new(0) };
        let seen = Box::pin(play(stream, &script.steps, part)).await;
        if script.report {
            self.board.keep((peer, script.id), seen);
        }
    }

    async fn report(&self, mut stream: XStream, id: u64) {
        let Some(seen) = self.board.take((stream.peer(), id), REPORT).await else {
            let text = format!("stream {id} has not ended within {REPORT:?}, or was not to be reported");
            return drop(stream.fail(StreamError::new(NO_REPORT, text)).await);
        };
        // An opener that has given up needs no report.
        if stream.send_json(&seen).await.is_ok() {
            let _ = stream.finish();
        }
    }

    async fn answer(self: Arc<Self>, request: Request) -> Result<Bytes, StreamError> {
        self.streams.fetch_add(1, Relaxed);
        match Ask::from_body(&request.body) {
            Some((Ask::Echo, bytes)) => Ok(bytes),
            Some((Ask::Fail(words), _)) => Err(words.to_error()),
            Some((Ask::Size(len), _)) => {
                // One byte over the limit is enough for the response to be refused.
                let len = (len as usize).min(ACCEPTOR_TAKES + 1);
                Ok(pattern::bytes(0, len).into())
            }
            Some((Ask::Never(id), _)) => {
                let key = (request.peer, id);
                self.board.keep(key, Seen::default());
                let _gone = Gone { served: self, key };
                std::future::pending().await
            }
            None => Err(StreamError::new(NO_ROLE, "this is not what stream-tester asks for")),
        }
    }
}

/// Reports when dropped that its request was given up. An earlier report said that the request had come.
struct Gone {
    served: Arc<Served>,
    key: (PublicKey, u64),
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.served.board.keep(self.key, Seen { finished: true, ..Seen::default() });
    }
}
