//! The router: gives each stream to a handler or to a call of `accept_bi`, or turns it away.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use n0_future::boxed::BoxFuture;
use rustc_hash::FxHashMap;
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument;
use twolane_id::PublicKey;

use super::waiting_streams::{Place, WaitingStreams};
use crate::{
    error::AcceptError,
    limits::Limits,
    peer::{EarlyHandlers, IncomingStream, OnStream},
    protocol::Protocol,
    stream::XStream,
    tasks::Tasks,
    wire::status::{Reason, Rejection},
};

/// A function that takes whole streams of one protocol. If the header is not answered yet, the function answers
/// it.
pub(crate) type Handler = Arc<dyn Fn(Offered) -> BoxFuture<()> + Send + Sync>;

/// A stream that is offered to a handler.
pub(crate) enum Offered {
    /// The header is not answered.
    Unanswered(IncomingStream),
    /// The stream was accepted for a call of `accept_bi` that is gone. Its opener has read the positive answer, or
    /// will read it.
    Answered(XStream),
}

/// The table of handlers, of calls of `accept_bi`, and of streams that wait.
pub(crate) struct Router {
    state: Mutex<State>,
    limits: Arc<Limits>,
    tasks: Tasks,
}

#[derive(Default)]
struct State {
    /// Looked up for each stream. The program chooses the names, so peers cannot choose names with equal hashes.
    handlers: FxHashMap<Protocol, Served>,
    acceptors: Vec<Acceptor>,
    /// Protocols that a call of `accept_bi` has named. A stream for one of them waits for the next call.
    known: HashSet<Protocol>,
    /// The waiting streams of all peers. The peers decide how many there are.
    waiting: WaitingStreams<PublicKey, Protocol, oneshot::Sender<Decision>>,
    next: u64,
    closed: bool,
}

/// A protocol that is served.
struct Served {
    handler: Handler,
    /// Handling a stream twice is harmless, so a stream may be handled before the handshake is done.
    repeatable: bool,
}

/// A call of `accept_bi` that waits.
struct Acceptor {
    id: u64,
    peer: Option<PublicKey>,
    protocols: Vec<Protocol>,
    taker: oneshot::Sender<XStream>,
}

enum Decision {
    Handle(Handler),
    Give(Acceptor),
    ShuttingDown,
}

enum Route {
    Decided(Decision),
    Wait { place: Place, decision: oneshot::Receiver<Decision> },
    Unknown,
    Busy,
}

/// Error for a protocol that has a handler already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} already has a handler: call stop_serving first")]
pub struct AlreadyServed(pub Protocol);

impl Router {
    pub(crate) fn new(limits: Arc<Limits>, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limits, tasks })
    }

    /// Gives a stream to the handler or call that takes its protocol, and answers its header accordingly.
    pub(crate) fn take(self: &Arc<Self>, stream: IncomingStream) -> BoxFuture<()> {
        // A handler's future is boxed already, and most streams have a handler.
        if let Some(handler) = self.handler(&stream.protocol) {
            return handle(&handler, Offered::Unanswered(stream));
        }
        let router = Arc::clone(self);
        Box::pin(async move { router.find_taker(stream).await })
    }

    fn handler(&self, protocol: &Protocol) -> Option<Handler> {
        let state = self.lock();
        if state.closed { None } else { state.handlers.get(protocol).map(|served| Arc::clone(&served.handler)) }
    }

    async fn find_taker(self: &Arc<Self>, stream: IncomingStream) {
        let (peer, protocol) = (stream.peer(), stream.protocol.clone());
        match self.decide(peer, &protocol, self.limits.streams_waiting).await {
            Ok(Decision::Handle(handler)) => handle(&handler, Offered::Unanswered(stream)).await,
            Ok(Decision::Give(acceptor)) => {
                let mut answering = pin!(stream.accept());
                let mut waiting = Some(acceptor);
                let answered = tokio::select! {
                    biased;
                    answered = &mut answering => answered,
                    // If the opener leaves no room for the answer, the call must not wait for it: another stream
                    // may take the call.
                    () = std::future::ready(()) => {
                        waiting.take().into_iter().for_each(|acceptor| self.offer(acceptor));
                        answering.await
                    }
                };
                match (answered, waiting) {
                    (Ok(stream), Some(acceptor)) => {
                        if let Err(stream) = acceptor.taker.send(stream) {
                            self.pass_on(stream).await;
                        }
                    }
                    (Ok(stream), None) => self.pass_on(stream).await,
                    // The opener has given up.
                    (Err(_), waiting) => waiting.into_iter().for_each(|acceptor| self.offer(acceptor)),
                }
            }
            Ok(Decision::ShuttingDown) => stream.reject(Rejection::new(Reason::ShuttingDown, "")).await,
            Err(rejection) => stream.reject(rejection).await,
        }
    }

    /// Finds a handler or a call for a stream that was accepted for a call that is gone. The stream waits whatever
    /// the number of waiting streams is: it was admitted before, and "busy" can no longer be answered.
    async fn pass_on(self: &Arc<Self>, mut stream: XStream) {
        loop {
            match self.decide(stream.peer(), stream.protocol(), usize::MAX).await {
                Ok(Decision::Give(acceptor)) => match acceptor.taker.send(stream) {
                    Ok(()) => return,
                    Err(unwanted) => stream = unwanted,
                },
                Ok(Decision::Handle(handler)) => return handle(&handler, Offered::Answered(stream)).await,
                // Nothing takes the stream in time, or the endpoint shuts down. Dropping the stream resets it.
                Ok(Decision::ShuttingDown) | Err(_) => return,
            }
        }
    }

    /// Waits for a handler or a call that takes a stream. At most `max` streams of one peer wait.
    async fn decide(&self, peer: PublicKey, protocol: &Protocol, max: usize) -> Result<Decision, Rejection> {
        match self.route(peer, protocol, max) {
            Route::Decided(decision) => Ok(decision),
            Route::Unknown => Err(Rejection::new(Reason::UnknownProtocol, protocol.as_str())),
            Route::Busy => Err(Rejection::new(Reason::Busy, format!("{max} streams already wait to be accepted"))),
            Route::Wait { place, decision } => {
                let bound = self.limits.accept_timeout;
                let mut wait = Wait { router: self, place, decision };
                if let Ok(Ok(decision)) = timeout(bound, &mut wait.decision).await {
                    return Ok(decision);
                }
                wait.leave().ok_or_else(|| {
                    if self.lock().known.contains(protocol) {
                        Rejection::new(Reason::Busy, format!("no call of accept_bi took the stream within {bound:?}"))
                    } else {
                        Rejection::new(Reason::UnknownProtocol, protocol.as_str())
                    }
                })
            }
        }
    }

    fn route(&self, peer: PublicKey, protocol: &Protocol, max: usize) -> Route {
        let mut state = self.lock();
        if state.closed {
            return Route::Decided(Decision::ShuttingDown);
        }
        if let Some(served) = state.handlers.get(protocol) {
            return Route::Decided(Decision::Handle(Arc::clone(&served.handler)));
        }
        while let Some(at) = state.acceptors.iter().position(|acceptor| acceptor.takes(&peer, protocol)) {
            let acceptor = state.acceptors.remove(at);
            if !acceptor.taker.is_closed() {
                return Route::Decided(Decision::Give(acceptor));
            }
        }
        // Before anything is registered a stream waits, because the program may be starting.
        let starting = state.handlers.is_empty() && state.known.is_empty();
        if !starting && !state.known.contains(protocol) {
            return Route::Unknown;
        }
        if state.waiting.count(&peer) >= max {
            return Route::Busy;
        }
        let (decided, decision) = oneshot::channel();
        let place = state.waiting.push(peer, protocol.clone(), decided);
        Route::Wait { place, decision }
    }

    /// Waits for the next stream of one of `protocols`, from one peer or from any peer.
    ///
    /// Cancel-safe: a stream that arrives while the call is dropped goes to the next call.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        peer: Option<PublicKey>,
        protocols: Vec<Protocol>,
    ) -> Result<XStream, AcceptError> {
        loop {
            let mut call = self.wait_for(peer, protocols.clone())?;
            match (&mut call.taken).await {
                Ok(stream) => return Ok(stream),
                // The opener has given up at the last moment, or the endpoint shuts down: the next turn of the
                // loop tells which.
                Err(_) => drop(call),
            }
        }
    }

    fn wait_for(
        self: &Arc<Self>,
        peer: Option<PublicKey>,
        protocols: Vec<Protocol>,
    ) -> Result<AcceptCall<'_>, AcceptError> {
        let (taker, taken) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return Err(AcceptError::ShuttingDown);
        }
        state.known.extend(protocols.iter().cloned());
        let id = state.next_id();
        state.offer(Acceptor { id, peer, protocols, taker });
        Ok(AcceptCall { router: self, id, taken })
    }

    /// Gives a call a stream that waits, or makes the call wait for a stream.
    fn offer(&self, acceptor: Acceptor) {
        let mut state = self.lock();
        // If the call was dropped while it was not in the table, its place in the table is gone too.
        if !state.closed && !acceptor.taker.is_closed() {
            state.offer(acceptor);
        }
    }

    pub(crate) fn serve(&self, protocol: Protocol, handler: Handler, repeatable: bool) -> Result<(), AlreadyServed> {
        let mut state = self.lock();
        if state.closed {
            // Dropped outside the lock, as in `close`. In the table the handler would stay, because nothing
            // removes handlers after `close`.
            drop(state);
            drop(handler);
            return Ok(());
        }
        if state.handlers.contains_key(&protocol) {
            return Err(AlreadyServed(protocol));
        }
        state.handlers.insert(protocol.clone(), Served { handler: Arc::clone(&handler), repeatable });
        while let Some(decided) = state.waiting.take(None, std::slice::from_ref(&protocol)) {
            let _ = decided.send(Decision::Handle(Arc::clone(&handler)));
        }
        Ok(())
    }

    pub(crate) fn stop_serving(&self, protocol: &Protocol) -> bool {
        let removed = self.lock().handlers.remove(protocol);
        // Dropped outside the lock, because a handler may own something that locks it again.
        removed.is_some()
    }

    /// Stops accepting streams. Drops the handlers, and with them everything that they hold.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let handlers = std::mem::take(&mut state.handlers);
        state.acceptors.clear();
        for decided in state.waiting.take_all() {
            let _ = decided.send(Decision::ShuttingDown);
        }
        drop(state);
        // Dropped outside the lock, because a handler may own the last handle of something that locks it.
        drop(handlers);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EarlyHandlers for Router {
    fn any(&self) -> bool {
        let state = self.lock();
        !state.closed && state.handlers.values().any(|served| served.repeatable)
    }

    fn of(&self, protocol: &Protocol) -> Option<OnStream> {
        let state = self.lock();
        let served = state.handlers.get(protocol).filter(|served| served.repeatable && !state.closed)?;
        let handler = Arc::clone(&served.handler);
        Some(Box::new(move |stream| handle(&handler, Offered::Unanswered(stream))))
    }
}

fn handle(handler: &Handler, stream: Offered) -> BoxFuture<()> {
    let (peer, protocol) = match &stream {
        Offered::Unanswered(stream) => (stream.peer(), &stream.protocol),
        Offered::Answered(stream) => (stream.peer(), stream.protocol()),
    };
    let span = tracing::debug_span!("stream", %peer, %protocol);
    let handling = handler(stream);
    if span.is_disabled() { handling } else { Box::pin(handling.instrument(span)) }
}

/// A stream that waits. Dropping it gives up its place.
struct Wait<'a> {
    router: &'a Router,
    place: Place,
    decision: oneshot::Receiver<Decision>,
}

impl Wait<'_> {
    /// Ends the wait. Returns a decision that was made at this moment: it counts, because it has used up a call.
    fn leave(mut self) -> Option<Decision> {
        self.router.lock().waiting.remove(self.place);
        self.decision.try_recv().ok()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.router.lock().waiting.remove(self.place);
    }
}

/// A call that waits. Dropping it leaves nothing behind, and a stream that was meant for it goes to the next call.
struct AcceptCall<'a> {
    router: &'a Arc<Router>,
    id: u64,
    taken: oneshot::Receiver<XStream>,
}

impl Drop for AcceptCall<'_> {
    fn drop(&mut self) {
        // Closed first: after this, the call is not put back into the table.
        self.taken.close();
        self.router.lock().acceptors.retain(|acceptor| acceptor.id != self.id);
        if let Ok(stream) = self.taken.try_recv() {
            let router = Arc::clone(self.router);
            self.router.tasks.spawn(async move { router.pass_on(stream).await });
        }
    }
}

impl State {
    fn offer(&mut self, mut acceptor: Acceptor) {
        loop {
            let Some(decided) = self.waiting.take(acceptor.peer.as_ref(), &acceptor.protocols) else {
                return self.acceptors.push(acceptor);
            };
            match decided.send(Decision::Give(acceptor)) {
                // If the stream has stopped waiting at this moment, the call goes to the next stream.
                Err(Decision::Give(unwanted)) => acceptor = unwanted,
                _ => return,
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Acceptor {
    fn takes(&self, peer: &PublicKey, protocol: &Protocol) -> bool {
        self.peer.is_none_or(|wanted| wanted == *peer) && self.protocols.contains(protocol)
    }
}
