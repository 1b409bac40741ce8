//! The two-lane stream. Its state machines and its accounting are pure; the other modules drive them over QUIC.

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
mod quic;
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
    quic::{Handshake, Quic},
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

/// A logical stream between two peers: a data lane in both directions, and an error lane beside it.
///
/// It is opened with [`Endpoint::get_stream`](crate::Endpoint::get_stream), and accepted with
/// [`accept_bi`](crate::Endpoint::accept_bi) or in a handler given to [`serve`](crate::Endpoint::serve). Both sides
/// may write, read, [`finish`](XStream::finish) their direction, [`warn`](XStream::warn) and [`fail`](XStream::fail).
/// [`split`](XStream::split) the stream to read and write at the same time from two tasks.
///
/// If the stream is dropped before it is finished, it is reset: the peer reads an error, never an end of the data.
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
    /// Boxed because most streams have none, and every future that uses the stream stores an `XStream`.
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

    /// Returns the peer's public key, as the handshake proved it.
    pub fn peer(&self) -> PublicKey {
        self.send.lanes().carrier.peer
    }

    /// Returns the peer's identity: its key, and the owner that it acts for at this moment.
    pub fn identity(&self) -> Identity {
        self.send.lanes().carrier.identity()
    }

    /// Returns the peer's id52.
    pub fn get_remote_id52(&self) -> String {
        self.peer().to_string()
    }

    /// Returns the protocol that both sides have agreed on.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Returns the metadata that the opener sent in the header, at most 16 KiB.
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// Returns the metadata that the acceptor sent in its answer, at most this side's
    /// [`Limits::metadata`](crate::Limits::metadata). It is empty unless this side has opened the stream, and the
    /// acceptor has a [`serve_incoming`](crate::Endpoint::serve_incoming).
    pub fn answer_metadata(&self) -> &Bytes {
        self.answer_metadata.as_deref().unwrap_or(&NO_METADATA)
    }

    /// Returns the QUIC stream id of the data lane. It is unique among the streams of one connection.
    pub fn id(&self) -> u64 {
        self.send.lanes().id()
    }

    /// Splits the stream into its two halves, for two tasks. The halves do not have the metadata: read it before.
    pub fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }

    /// Returns both halves, for use at the same time in one task.
    pub fn halves(&mut self) -> (&mut SendStream, &mut RecvStream) {
        (&mut self.send, &mut self.recv)
    }

    /// Returns a handle to the reports that the peer sends on the error lane.
    pub fn errors(&self) -> Errors {
        self.send.errors()
    }

    /// Reads some bytes. See [`RecvStream::read`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.recv.read(buf).await
    }

    /// Reads the next bytes without copying them. See [`RecvStream::read_chunk`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        self.recv.read_chunk(max).await
    }

    /// Reads all data up to its end. See [`RecvStream::read_to_end`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Bytes, NextError> {
        self.recv.read_to_end(max).await
    }

    /// Reads the next line. See [`RecvStream::next_string`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn next_string(&mut self) -> Result<String, NextError> {
        self.recv.next_string().await
    }

    /// Reads the next line as JSON. See [`RecvStream::next_json`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<T, NextError> {
        self.recv.next_json().await
    }

    /// Writes some bytes. See [`SendStream::write`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.send.write(data).await
    }

    /// Writes all bytes. See [`SendStream::write_all`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn write_all(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.send.write_all(data).await
    }

    /// Writes all bytes without copying them. See [`SendStream::write_chunk`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn write_chunk(&mut self, data: Bytes) -> Result<(), WriteError> {
        self.send.write_chunk(data).await
    }

    /// Writes one line. See [`SendStream::send_string`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn send_string(&mut self, text: &str) -> Result<(), WriteError> {
        self.send.send_string(text).await
    }

    /// Writes one line of JSON. See [`SendStream::send_json`]. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn send_json<T: Serialize + Sync>(&mut self, value: &T) -> Result<(), SendJsonError> {
        self.send.send_json(value).await
    }

    /// Finishes the data. See [`SendStream::finish`].
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.send.finish()
    }

    /// Waits until the peer's endpoint has received every byte. See [`SendStream::delivered`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn delivered(&mut self) -> Result<(), WriteError> {
        self.send.delivered().await
    }

    /// Fails the stream with an error. The peer reads every byte that this side has written so far, then the error.
    /// Reading and writing end at once on this side. See [`SendStream::fail`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        let ending = self.send.lanes().end(error, Severity::Fatal);
        // The record is sent before STOP_SENDING, because it explains the STOP_SENDING to the peer.
        let sent = match ending {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        self.recv.stop_failed();
        sent
    }

    /// Aborts the stream at once: both sides discard unread data. See [`SendStream::abort`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn abort(&mut self, error: StreamError) -> Result<(), WriteError> {
        let ending = self.send.lanes().end(error, Severity::Abort);
        // The record is sent before STOP_SENDING, because it explains the STOP_SENDING to the peer.
        let sent = match ending {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        self.recv.stop_failed();
        sent
    }

    /// Sends a warning to the peer. The stream continues. See [`SendStream::warn`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub async fn warn(&mut self, warning: StreamError) -> Result<(), WriteError> {
        self.send.warn(warning).await
    }

    /// Sets the priority of the stream's data. See [`SendStream::set_priority`].
    ///
    /// # Errors
    ///
    /// The same as for that method.
    pub fn set_priority(&self, priority: i16) -> Result<(), WriteError> {
        self.send.set_priority(priority)
    }

    pub(crate) fn raw(&mut self) -> (&mut SendStream, &mut RecvStream) {
        (&mut self.send, &mut self.recv)
    }
}

impl SendStream {
    /// Returns a handle to the reports that the peer sends on the error lane.
    pub fn errors(&self) -> Errors {
        Errors(self.lanes().inbox())
    }
}

impl RecvStream {
    /// Returns a handle to the reports that the peer sends on the error lane.
    pub fn errors(&self) -> Errors {
        Errors(self.lanes().inbox())
    }

    /// Fails the whole stream from its reading half. See [`XStream::fail`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for that method.
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
