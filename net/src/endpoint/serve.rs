//! Handlers: a function is called for every stream of a protocol.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use twolane_id::PublicKey;

use super::{
    AlreadyServed, Endpoint,
    pace::{Pace, SLOWEST},
    request::Request,
    router::Offered,
};
use crate::{
    bound::{at_once, within},
    error::{Fault, StreamError, WriteError},
    limits::Limits,
    peer::{ACCEPTED, IncomingStream, patience},
    protocol::{InvalidProtocol, Protocol},
    stream::{Carrier, SendStream, XStream},
    wire::codes::{lane, record},
};

/// Maximum length of a response that is copied behind the answer to the header, so that both are in one packet.
const JOIN: usize = 1024;

/// Options for serving requests; see [`Endpoint::serve_requests_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeOptions {
    /// Whether it is harmless to handle a request twice. Default: no.
    ///
    /// If so, a request whose caller says the same ([`RequestOptions::repeatable`](crate::RequestOptions::repeatable))
    /// is handled as soon as it comes. From a peer that was connected before, it comes with the first packets of a new
    /// connection, and the response is there after one round trip instead of two. What makes this less safe:
    ///
    /// - The handshake is not done yet. The peer's key is the one that was proved when the session began that the peer
    ///   resumes. The access rules are asked as always, and before the handler is called.
    /// - Whoever has recorded the packets can send them again. This endpoint handles no copy: it uses each session
    ///   once, and remembers the dials of the last minutes. But an attacker who holds up the caller's packets and sends
    ///   a copy before them has the copy handled. The caller's own packets then find no session, the caller sends the
    ///   request again, and it is handled a second time.
    ///
    /// So a request that reads something is repeatable, and a request that sets a value; one that adds to a value is
    /// not. All other requests and streams wait until the handshake is done. An endpoint with
    /// [`Hooks`](crate::Hooks) handles no request before that.
    pub repeatable: bool,
}

/// Why a protocol cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The name of the protocol is not valid.
    #[error(transparent)]
    Protocol(#[from] InvalidProtocol),
    /// The protocol has a handler already.
    #[error(transparent)]
    AlreadyServed(#[from] AlreadyServed),
}

impl ServeError {
    /// Returns whose fault the error is: always the caller's.
    pub fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// Returns whether the same call may work later, with nothing changed: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl Endpoint {
    /// Calls `handler` with every stream of `protocol`, each in a task of its own. A stream is accepted before the
    /// handler is called. A handler may be added and removed at run time: see
    /// [`stop_serving`](Endpoint::stop_serving).
    ///
    /// If a handler panics, only its stream ends: the peer sees a reset with the code "its handler failed".
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the name is not valid, or if the protocol has a handler already.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::Endpoint;
    ///
    /// let endpoint = Endpoint::builder().offline().bind().await?;
    /// endpoint.serve("echo/1", |stream| async move {
    ///     let (mut send, mut recv) = stream.split();
    ///     if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
    ///         let _ = send.finish();
    ///     }
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve<P, F, Fut>(&self, protocol: P, handler: F) -> Result<(), ServeError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
        F: Fn(XStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.take_with(protocol, false, move |stream| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let accepted = match stream {
                    Offered::Unanswered(stream) => stream.accept().await,
                    Offered::Answered(stream) => Ok(stream),
                };
                // If the opener has given up, no handler is needed.
                if let Ok(stream) = accepted {
                    handler(stream).await;
                }
            })
        })
    }

    /// Calls `handler` with every stream of `protocol` before the stream is answered. The handler accepts the
    /// stream, optionally with metadata, or refuses it. Each call has a task of its own.
    ///
    /// The opener waits for the answer, so work that takes long should be done after the stream was accepted. A
    /// stream that is not answered counts among [`Limits::streams_per_peer`] as long as the handler holds it. A
    /// handler that refuses a stream must have done nothing for it, because the opener regards the stream as
    /// [not handled](crate::GetStreamError::may_have_been_handled).
    ///
    /// If a handler panics, only its stream ends: the peer sees a reset with the code "its handler failed".
    ///
    /// A stream that was accepted for a call of [`accept_bi`](Endpoint::accept_bi) which was dropped at that
    /// moment cannot be answered again. It is reset, as if nothing had taken it.
    ///
    /// # Errors
    ///
    /// The same as for [`serve`](Endpoint::serve).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{Endpoint, StreamOptions};
    ///
    /// let server = Endpoint::builder().offline().bind().await?;
    /// server.serve_incoming("blob/1", |incoming| async move {
    ///     if incoming.metadata() != "readme" {
    ///         return incoming.refuse("there is no such blob").await;
    ///     }
    ///     if let Ok(mut stream) = incoming.accept_with("5 bytes").await {
    ///         let _ = stream.write_all(b"hello").await;
    ///         let _ = stream.finish();
    ///     }
    /// })?;
    ///
    /// let client = Endpoint::builder().offline().bind().await?;
    /// let options = StreamOptions { metadata: "readme".into(), ..StreamOptions::default() };
    /// let mut stream = client.get_stream_with(server.ticket(), "blob/1", options).await?;
    /// assert_eq!(stream.answer_metadata(), "5 bytes");
    /// assert_eq!(stream.read_to_end(100).await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_incoming<P, F, Fut>(&self, protocol: P, handler: F) -> Result<(), ServeError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
        F: Fn(IncomingStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.take_with(protocol, false, move |stream| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                match stream {
                    Offered::Unanswered(stream) => handler(stream).await,
                    Offered::Answered(stream) => drop(stream),
                }
            })
        })
    }

    /// Calls `handler` with every request of `protocol` that a peer sends with [`request`](Endpoint::request), and
    /// sends back what the handler returns: a response, or an error that the caller gets from its call.
    ///
    /// A request, and a response, is at most [`Limits::request_bytes`] long. A request is refused if nothing of it
    /// comes for [`Limits::header_timeout`], or if less than 512 bytes a second come for six times that. Then the
    /// caller gets an error that says so, and the handler is not called. When the caller gives up, the handler's
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// The same as for [`serve`](Endpoint::serve).
    pub fn serve_requests<P, F, Fut>(&self, protocol: P, handler: F) -> Result<(), ServeError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, StreamError>> + Send + 'static,
    {
        self.serve_requests_with(protocol, ServeOptions::default(), handler)
    }

    /// Like [`serve_requests`](Endpoint::serve_requests), with options.
    ///
    /// # Errors
    ///
    /// The same as for [`serve`](Endpoint::serve).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use twolane::{Endpoint, RequestOptions, ServeOptions};
    ///
    /// let server = Endpoint::builder().offline().bind().await?;
    /// let options = ServeOptions { repeatable: true };
    /// server.serve_requests_with("time/1", options, |_| async { Ok("noon".into()) })?;
    ///
    /// let client = Endpoint::builder().offline().bind().await?;
    /// let options = RequestOptions { repeatable: true };
    /// let now = client.request_with(server.ticket(), "time/1", "", Duration::from_secs(5), options).await?;
    /// assert_eq!(now, "noon");
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_requests_with<P, F, Fut>(
        &self,
        protocol: P,
        options: ServeOptions,
        handler: F,
    ) -> Result<(), ServeError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, StreamError>> + Send + 'static,
    {
        let (handler, limits) = (Arc::new(handler), Arc::clone(&self.inner().limits));
        let take = move |stream| -> n0_future::boxed::BoxFuture<()> {
            Box::pin(answer(stream, Arc::clone(&handler), Arc::clone(&limits)))
        };
        self.take_with(protocol, options.repeatable, take)
    }

    /// Registers `take` for a protocol. It is called by the task that reads what comes from a peer, and its future
    /// runs in the stream's own task. A handler may panic, or take its time, before its first await: `take` has to
    /// call it inside the future, where it holds up no other stream.
    fn take_with<P>(
        &self,
        protocol: P,
        repeatable: bool,
        take: impl Fn(Offered) -> n0_future::boxed::BoxFuture<()> + Send + Sync + 'static,
    ) -> Result<(), ServeError>
    where
        P: TryInto<Protocol>,
        P::Error: Into<InvalidProtocol>,
    {
        let protocol = protocol.try_into().map_err(Into::into)?;
        Ok(self.inner().router.serve(protocol, Arc::new(take), repeatable)?)
    }

    /// Takes no further stream of `protocol`. Streams that are being handled go on. Returns false if the protocol
    /// had no handler.
    pub fn stop_serving<P: TryInto<Protocol>>(&self, protocol: P) -> bool {
        protocol.try_into().is_ok_and(|protocol| self.inner().router.stop_serving(&protocol))
    }
}

async fn answer<F, Fut>(stream: Offered, handler: Arc<F>, limits: Arc<Limits>)
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Result<Bytes, StreamError>>,
{
    // Rare cases are boxed where they happen, because this future is made for each request.
    let (mut stream, mut answered) = match stream {
        Offered::Unanswered(stream) => (stream.accept_later(), false),
        Offered::Answered(stream) => (stream, true),
    };
    let peer: PublicKey = stream.peer();
    let (send, recv) = stream.raw();
    let early = send.lanes().is_early();
    let mut pace = Pace::new(limits.header_timeout);
    let mut held = Held { carrier: Arc::clone(send.carrier()), bytes: 0 };
    let body = loop {
        let len = match recv.buffer() {
            Ok(buffer) => buffer.len(),
            // The caller has given up.
            Err(_) => return,
        };
        if !held.now(len as u64, limits.unread_bytes) {
            let text = format!(
                "the requests that are being handled hold more than {} bytes: try again later",
                limits.unread_bytes
            );
            return Box::pin(refuse(&mut stream, answered, text, &limits)).await;
        }
        if len > limits.request_bytes {
            let text = format!("the request is longer than {} bytes", limits.request_bytes);
            return Box::pin(refuse(&mut stream, answered, text, &limits)).await;
        }
        let filled = at_once(recv.fill());
        // A caller may hold back data that it does not want to send before it has an answer, so an incomplete
        // request is answered now. A complete request is answered together with the response, in one packet.
        if filled.is_none() && !answered {
            let answer = Bytes::from_static(ACCEPTED);
            if patience::write_raw(send, answer, limits.header_timeout).await.is_err() {
                return;
            }
            answered = true;
        }
        let (filled, waited) = match filled {
            Some(filled) => (Ok(filled), Duration::ZERO),
            None => {
                let begun = Instant::now();
                (within(pace.bound(), recv.fill()).await, begun.elapsed())
            }
        };
        match filled {
            Ok(Ok(true)) => pace.came(recv.buffer().map_or(0, <[u8]>::len).saturating_sub(len), waited),
            Ok(Ok(false)) => break recv.take_buffer(len),
            // The caller has given up.
            Ok(Err(_)) => return,
            Err(_) if pace.is_too_slow() => {
                let text = format!("the request came at less than {SLOWEST} bytes a second");
                return Box::pin(refuse(&mut stream, answered, text, &limits)).await;
            }
            Err(_) => {
                let text = format!("no more bytes of the request came for {:?}", limits.header_timeout);
                return Box::pin(refuse(&mut stream, answered, text, &limits)).await;
            }
        }
    };
    let identity = stream.identity();
    let (protocol, metadata) = (stream.protocol().clone(), stream.metadata().clone());
    let request = Request { peer, identity, protocol, metadata, body, early };
    let response = tokio::select! {
        biased;
        response = handler(request) => response,
        () = stream.raw().0.given_up() => return,
    };
    match response {
        Ok(response) if response.len() > limits.request_bytes => {
            let (len, max) = (response.len(), limits.request_bytes);
            let text = format!("the response has {len} bytes, and the limit is {max}");
            Box::pin(refuse(&mut stream, answered, text, &limits)).await;
        }
        Ok(response) => {
            let (send, _) = stream.raw();
            if respond(send, answered, response, limits.header_timeout).await.is_ok() {
                let _ = send.finish_and_let_go();
            } else {
                send.reset_with(lane::TIMED_OUT);
            }
        }
        Err(error) => Box::pin(fail(&mut stream, answered, error, &limits)).await,
    }
}

/// The bytes that one request holds, out of those that all requests of one peer may hold. They count until the
/// request is answered.
struct Held {
    carrier: Arc<Carrier>,
    bytes: u64,
}

impl Held {
    /// Sets the number of bytes that the request holds now. Returns false if all requests of the peer hold too
    /// many.
    fn now(&mut self, bytes: u64, max: u64) -> bool {
        // A peer's error can name an offset before bytes that were read already, and so leave fewer bytes than
        // there were.
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        more == 0 || self.carrier.request_bytes.fetch_add(more, Relaxed) + more <= max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.carrier.request_bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

/// Writes a response. `bound` is the maximum time in which the caller takes nothing of it.
async fn respond(send: &mut SendStream, answered: bool, response: Bytes, bound: Duration) -> Result<(), WriteError> {
    let mut rest = response;
    if !answered {
        let joined = if rest.len() <= JOIN { std::mem::take(&mut rest) } else { Bytes::new() };
        patience::write_raw(send, [ACCEPTED, &joined].concat().into(), bound).await?;
        send.count_early(joined.len());
    }
    patience::write(send, rest, bound).await
}

async fn refuse(stream: &mut XStream, answered: bool, text: String, limits: &Limits) {
    fail(stream, answered, StreamError::new(record::REQUEST_UNREADABLE, text), limits).await;
}

/// Accepts the stream and then fails it. A rejection would say that the handler never saw the request.
async fn fail(stream: &mut XStream, answered: bool, error: StreamError, limits: &Limits) {
    let answer = Bytes::from_static(ACCEPTED);
    if answered || patience::write_raw(stream.raw().0, answer, limits.header_timeout).await.is_ok() {
        let _ = stream.fail(error).await;
    }
}
