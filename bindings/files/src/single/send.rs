//! The sender's side of a transfer.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use twolane::{
    ConnectionLost, GetStreamError, NextError, ReadError, RecvStream, SendStream, StreamError, WriteError, XStream,
};

use super::{Meter, PATIENCE, Parts, Reason, Receipt, Source, source::Item};

/// Maximum length of a receipt in bytes: a name of 255 bytes, escaped, and two numbers.
const MAX_RECEIPT: usize = 4096;
/// Maximum time to wait for the reason of a receiver that has let go of a stream. The reason is already on its way
/// at that time.
const REASON: Duration = Duration::from_secs(30);

/// The reason why a file was not sent, or is not known to have arrived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No stream could be opened.
    #[error(transparent)]
    Open(#[from] GetStreamError),
    /// The receiver refused the file, with a reason. The text is quoted, because it comes from the peer and may
    /// contain characters that a terminal would obey.
    #[error("the receiver did not take it: {:?} (code {})", .0.text(), .0.code())]
    Refused(Arc<StreamError>),
    /// The receiver ended the stream without a reason.
    #[error("the receiver gave up without a reason (code {code})")]
    Dropped {
        /// The code of the STOP_SENDING or RESET_STREAM frame.
        code: u64,
    },
    /// The connection was lost.
    #[error("the connection was lost")]
    Lost(#[from] ConnectionLost),
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Source(#[source] io::Error),
    /// The length of the file has changed since the start.
    #[error("the file changed while it was sent: it had {offered} bytes, and now has {}", if *.more { "more" } else { "less" })]
    Changed {
        /// The length at the start, in bytes.
        offered: u64,
        /// Whether the file is longer now.
        more: bool,
    },
    /// The receiver stored other bytes than those that were sent.
    #[error("the receiver confirmed {confirmed}, and {sent} was sent")]
    Mismatch {
        /// The hash and the length in the receipt.
        confirmed: String,
        /// The hash and the length of the sent bytes.
        sent: String,
    },
    /// The answer of the receiver is not a receipt.
    #[error("the receiver's answer cannot be read")]
    Answer(#[source] NextError),
    /// The receiver answered before it had the whole file.
    #[error("the receiver answered before the file was sent")]
    Early,
    /// The receiver is connected, but does nothing.
    #[error("the receiver took nothing for {0:?}")]
    Silent(Duration),
}

/// Sends a file on a stream that was opened with the file's offer, and on the part streams `parts` that the offer
/// announces. Waits until the receiver has confirmed the file.
///
/// Not cancel-safe: if the future is dropped half-way, the caller has to end the stream with [`XStream::abort`], or
/// drop it.
///
/// # Errors
///
/// Returns [`SendError`]. The stream has ended then, and the receiver was told.
pub async fn send(
    stream: &mut XStream,
    parts: &mut Parts,
    source: &mut Source,
    meter: &Meter,
) -> Result<Receipt, SendError> {
    let result = exchange(stream, parts, source, meter).await;
    let told = match &result {
        Err(SendError::Source(error)) => {
            StreamError::new(Reason::Source.code(), format!("the file cannot be read: {error}"))
        }
        Err(error @ SendError::Changed { .. }) => StreamError::new(Reason::Size.code(), error.to_string()),
        Err(error @ (SendError::Answer(_) | SendError::Early)) => {
            StreamError::new(Reason::Protocol.code(), error.to_string())
        }
        Err(error @ SendError::Silent(_)) => StreamError::new(Reason::Silent.code(), error.to_string()),
        _ => return result,
    };
    // An error of this call is ignored, because a receiver that is gone needs no reason.
    let _ = stream.abort(told).await;
    result
}

/// Waits for the reason of a receiver that refuses the file before all streams are open.
pub async fn refusal(mut stream: XStream) -> Option<SendError> {
    let (_, rx) = stream.halves();
    match timeout(REASON, receipt(rx)).await {
        Ok(Err(reason)) => Some(reason.into()),
        _ => None,
    }
}

async fn exchange(
    stream: &mut XStream,
    parts: &mut Parts,
    source: &mut Source,
    meter: &Meter,
) -> Result<Receipt, SendError> {
    let (tx, rx) = stream.halves();
    // The answer is read from the start, because a refusal has to arrive even while writes are blocked or the
    // source has no data.
    let mut answer = pin!(receipt(rx));
    let sent = tokio::select! {
        biased;
        early = &mut answer => return Err(early.map_or_else(SendError::from, |_| SendError::Early)),
        sent = pump(tx, parts, source, meter) => sent,
    };
    let hash = match sent {
        Ok(hash) => hash,
        // A receiver that refuses the file ends every stream, and sends its reason on the first one.
        Err(dropped @ SendError::Dropped { .. }) => {
            return Err(match timeout(REASON, answer).await {
                Ok(Err(reason)) => reason.into(),
                _ => dropped,
            });
        }
        Err(error) => return Err(error),
    };
    let receipt = timeout(PATIENCE, answer).await.map_err(|_| SendError::Silent(PATIENCE))??;
    let (hash, bytes) = (hash.to_hex(), meter.bytes());
    if receipt.blake3 != hash.as_str() || receipt.bytes != bytes {
        return Err(SendError::Mismatch {
            confirmed: format!("{} bytes with the hash {:?}", receipt.bytes, receipt.blake3),
            sent: format!("{bytes} bytes with the hash {hash}"),
        });
    }
    Ok(receipt)
}

/// Reads the receiver's line and the end of the stream. The end is read too, so that the receiver knows that the
/// receipt was read.
async fn receipt(rx: &mut RecvStream) -> Result<Receipt, NextError> {
    let line = rx.next_line(MAX_RECEIPT).await?;
    rx.read_to_end(0).await?;
    serde_json::from_str(&line).map_err(|error| NextError::Json(Arc::new(error)))
}

/// Writes the file, its hash and the end. Returns the hash.
async fn pump(
    tx: &mut SendStream,
    parts: &mut Parts,
    source: &mut Source,
    meter: &Meter,
) -> Result<blake3::Hash, SendError> {
    let offered = source.offer().size;
    loop {
        let item = match source.next().await {
            Some(item) => item.map_err(SendError::Source)?,
            // The reading thread has died.
            None => return Err(SendError::Source(io::ErrorKind::BrokenPipe.into())),
        };
        let (data, end) = match item {
            Item::Data(data) => (data, None),
            Item::End(hash) => (Bytes::new(), Some(hash)),
        };
        let len = data.len();
        if let Some(offered) = offered {
            let total = meter.bytes() + len as u64;
            if total > offered || (end.is_some() && total < offered) {
                let more = total > offered;
                return Err(SendError::Changed { offered, more });
            }
        }
        let written = async {
            match end {
                None => parts.write(tx, meter.bytes(), data).await,
                Some(hash) => tx.write_chunk(hash.as_bytes().to_vec().into()).await,
            }
        };
        meter.start_write();
        timeout(PATIENCE, written).await.map_err(|_| SendError::Silent(PATIENCE))??;
        meter.end_write();
        meter.add(len);
        if let Some(hash) = end {
            parts.finish()?;
            tx.finish()?;
            return Ok(hash);
        }
    }
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) => Self::Refused(error),
            WriteError::Stopped { code } => Self::Dropped { code },
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::Malformed(malformed) => Self::Answer(NextError::Read(ReadError::Malformed(malformed))),
            // Only this module ends the sending side.
            _ => Self::Early,
        }
    }
}

impl From<NextError> for SendError {
    fn from(error: NextError) -> Self {
        match error {
            NextError::Read(
                ReadError::Failed(error) | ReadError::FailedIncomplete { error, .. } | ReadError::Aborted(error),
            ) => Self::Refused(error),
            NextError::Read(ReadError::Reset { code }) => Self::Dropped { code },
            NextError::Read(ReadError::Lost(lost)) => Self::Lost(lost),
            other => Self::Answer(other),
        }
    }
}
