//! The two-lane stream: its state machines and its ledger are pure, the rest drives them over QUIC.

mod buffered;
mod carrier;
mod consumption;
pub(crate) mod credit;
pub(crate) mod ending;
mod errors;
mod lanes;
mod next;
mod outbox;
#[cfg(test)]
mod pair;
pub(crate) mod read_half;
mod recv;
mod send;
mod urgency;
pub(crate) mod write_half;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use twolane_id::PublicKey;

pub(crate) use self::{
    carrier::{Carrier, PRIORITY_CONTROL},
    credit::OpenPermit,
    errors::accept as accept_error_lane,
    lanes::Lanes,
    recv::RawError,
};
pub use self::{
    errors::Errors,
    next::{MAX_LINE, SendJsonError},
    recv::RecvStream,
    send::SendStream,
};
use crate::{
    access::Identity,
    error::{NextError, ReadError, Report, StreamError, WriteError},
    protocol::Protocol,
    wire::record::Severity,
};

/// One logical stream between two peers: a data lane in both directions, and an error lane beside it.
///
/// Opened with [`Endpoint::get_stream`](crate::Endpoint::get_stream), accepted with
/// [`accept_bi`](crate::Endpoint::accept_bi) or in a handler given to [`serve`](crate::Endpoint::serve). Both sides
/// may write, read, [`finish`](XStream::finish) their direction, [`warn`](XStream::warn) and
/// [`fail`](XStream::fail). Reading and writing at the same time, from two tasks, is what
/// [`split`](XStream::split) is for.
///
/// Dropped before it is finished, the stream is reset: the peer reads an error, never an end of data.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use twolane::{Endpoint, ReadError, StreamError};
///
/// let server = Endpoint::builder().offline().bind().await?;
/// server.serve("count/1", |mut stream| async move {
///     let _ = stream.write_all(b"one two thr").await;
///     let _ = stream.fail(StreamError::new(7, "cannot count further")).await;
/// })?;
///
/// let client = Endpoint::builder().offline().bind().await?;
/// let mut stream = client.get_stream(server.ticket(), "count/1").await?;
/// let (mut data, mut buf) = (Vec::new(), [0; 64]);
/// let end = loop {
///     match stream.read(&mut buf).await {
///         Ok(0) => panic!("truncated data never looks complete"),
///         Ok(len) => data.extend_from_slice(&buf[..len]),
///         Err(error) => break error,
///     }
/// };
/// assert_eq!(data, b"one two thr");
/// assert!(matches!(end, ReadError::Failed(error) if error.code() == 7 && error.offset() == 11));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct XStream {
    send: SendStream,
    recv: RecvStream,
    protocol: Protocol,
    metadata: Bytes,
    /// Boxed, as most have none: a stream is kept in the futures of those who use it.
    answer_metadata: Option<Box<Bytes>>,
}

static NO_METADATA: Bytes = Bytes::new();

impl XStream {
    pub(crate) fn new(send: SendStream, recv: RecvStream, protocol: Protocol, metadata: Bytes) -> Self {
        Self { send, recv, protocol, metadata, answer_metadata: None }
    }

    pub(crate) fn set_answer_metadata(&mut self, metadata: Option<Box<Bytes>>) {
        self.answer_metadata = metadata;
    }

    /// The peer, as the handshake proved it.
    pub fn peer(&self) -> PublicKey {
        self.send.lanes().carrier.peer
    }

    /// Who the peer is, and the owner that it acts for at this moment.
    pub fn identity(&self) -> Identity {
        self.send.lanes().carrier.identity()
    }

    /// The peer's id52.
    pub fn get_remote_id52(&self) -> String {
        self.peer().to_string()
    }

    /// The protocol that was agreed on.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// What the opener sent along in the header, at most 16 KiB.
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// What the acceptor sent along in its answer, at most this side's [`Limits::metadata`](crate::Limits::metadata): empty
    /// unless this side has opened the stream, and the acceptor has a
    /// [`serve_incoming`](crate::Endpoint::serve_incoming).
    pub fn answer_metadata(&self) -> &Bytes {
        self.answer_metadata.as_deref().unwrap_or(&NO_METADATA)
    }

    /// The QUIC stream id of the data lane: unique among the streams of one connection.
    pub fn id(&self) -> u64 {
        self.send.lanes().id()
    }

    /// The two halves, for two tasks. The metadata stays behind: read it before.
    pub fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }

    /// The two halves, to be used at the same time in one task.
    pub fn halves(&mut self) -> (&mut SendStream, &mut RecvStream) {
        (&mut self.send, &mut self.recv)
    }

    /// A handle to what the peer says on the error lane.
    pub fn errors(&self) -> Errors {
        self.send.errors()
    }

    /// See [`RecvStream::read`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.recv.read(buf).await
    }

    /// See [`RecvStream::read_chunk`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        self.recv.read_chunk(max).await
    }

    /// See [`RecvStream::read_to_end`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Bytes, NextError> {
        self.recv.read_to_end(max).await
    }

    /// See [`RecvStream::next_string`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn next_string(&mut self) -> Result<String, NextError> {
        self.recv.next_string().await
    }

    /// See [`RecvStream::next_json`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<T, NextError> {
        self.recv.next_json().await
    }

    /// See [`SendStream::write`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.send.write(data).await
    }

    /// See [`SendStream::write_all`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write_all(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.send.write_all(data).await
    }

    /// See [`SendStream::write_chunk`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write_chunk(&mut self, data: Bytes) -> Result<(), WriteError> {
        self.send.write_chunk(data).await
    }

    /// See [`SendStream::send_string`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send_string(&mut self, text: &str) -> Result<(), WriteError> {
        self.send.send_string(text).await
    }

    /// See [`SendStream::send_json`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send_json<T: Serialize + Sync>(&mut self, value: &T) -> Result<(), SendJsonError> {
        self.send.send_json(value).await
    }

    /// See [`SendStream::finish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.send.finish()
    }

    /// See [`SendStream::delivered`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn delivered(&mut self) -> Result<(), WriteError> {
        self.send.delivered().await
    }

    /// Fails the stream with a reason. The peer reads every byte written here before, then the error; this side's
    /// reading and writing end at once. See [`SendStream::fail`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        let ending = self.send.lanes().end(error, Severity::Fatal);
        // The record first: it explains why the peer is stopped.
        let sent = match ending {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        self.recv.stop_failed();
        sent
    }

    /// Fails the stream at once; unread data is discarded on both sides. See [`SendStream::abort`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn abort(&mut self, error: StreamError) -> Result<(), WriteError> {
        let ending = self.send.lanes().end(error, Severity::Abort);
        // The record first: it explains why the peer is stopped.
        let sent = match ending {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        self.recv.stop_failed();
        sent
    }

    /// Tells the peer something; the stream goes on. See [`SendStream::warn`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn warn(&mut self, warning: StreamError) -> Result<(), WriteError> {
        self.send.warn(warning).await
    }

    /// See [`SendStream::set_priority`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_priority(&self, priority: i16) -> Result<(), WriteError> {
        self.send.set_priority(priority)
    }

    pub(crate) fn raw(&mut self) -> (&mut SendStream, &mut RecvStream) {
        (&mut self.send, &mut self.recv)
    }
}

impl SendStream {
    /// A handle to what the peer says on the error lane.
    pub fn errors(&self) -> Errors {
        Errors(self.lanes().inbox())
    }
}

impl RecvStream {
    /// A handle to what the peer says on the error lane.
    pub fn errors(&self) -> Errors {
        Errors(self.lanes().inbox())
    }

    /// Fails the whole stream from its reading half; see [`XStream::fail`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        let sent = match self.lanes().end(error, Severity::Fatal) {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        self.stop_failed();
        sent
    }
}

impl AsyncRead for XStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for XStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
