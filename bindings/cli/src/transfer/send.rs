//! The sender's side of a transfer.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use twolane::{
    ConnectionLost, GetStreamError, NextError, ReadError, RecvStream, SendStream, StreamError, WriteError, XStream,
};

use super::{Meter, PATIENCE, Parts, Reason, Receipt, Source, source::Item};

/// The longest receipt that is read: a name of 255 bytes, escaped, and two numbers.
const MAX_RECEIPT: usize = 4096;
/// How long a receiver's reason may take that has let go of a stream. It is under way at that time.
const REASON: Duration = Duration::from_secs(30);

/// Why a file was not sent, or is not known to have arrived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There was no stream to send it on.
    #[error(transparent)]
    Open(#[from] GetStreamError),
    /// The receiver said no, and why: in a stranger's words, so quoted, which takes care of what a terminal would obey.
    #[error("the receiver did not take it: {:?} (code {})", .0.text(), .0.code())]
    Refused(Arc<StreamError>),
    /// The receiver let go of the stream without a word.
    #[error("the receiver gave up without a reason (code {code})")]
    Dropped {
        /// The transport's code.
        code: u64,
    },
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost(#[from] ConnectionLost),
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Source(#[source] io::Error),
    /// The file is not as long as it was at the start.
    #[error("the file changed while it was sent: it had {offered} bytes, and now has {}", if *.more { "more" } else { "less" })]
    Changed {
        /// Its length at the start.
        offered: u64,
        /// Whether there is more now.
        more: bool,
    },
    /// The receiver stored something else.
    #[error("the receiver confirmed {confirmed}, and {sent} was sent")]
    Mismatch {
        /// The hash and length in the receipt.
        confirmed: String,
        /// Those of what was sent.
        sent: String,
    },
    /// The receiver's answer is none.
    #[error("the receiver's answer cannot be read")]
    Answer(#[source] NextError),
    /// The receiver answered before it had everything.
    #[error("the receiver answered before the file was sent")]
    Early,
    /// The receiver is connected and does nothing.
    #[error("the receiver took nothing for {0:?}")]
    Silent(Duration),
}

/// Sends a file on a stream that was opened with its offer, and on the `parts` beside it that the offer announces; waits
/// until the receiver has confirmed it.
///
/// Not cancel-safe: dropped half-way, the stream has to be ended with [`XStream::abort`], or dropped.
///
/// # Errors
///
/// [`SendError`]. The stream has ended then, and the receiver was told.
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
    // What cannot be told any more is of no use to a receiver that is gone.
    let _ = stream.abort(told).await;
    result
}

/// What a receiver says that refuses before everything is opened.
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
    // Read from the start: a refusal has to come through while nothing can be written, or the source has nothing.
    let mut answer = pin!(receipt(rx));
    let sent = tokio::select! {
        biased;
        early = &mut answer => return Err(early.map_or_else(SendError::from, |_| SendError::Early)),
        sent = pump(tx, parts, source, meter) => sent,
    };
    let hash = match sent {
        Ok(hash) => hash,
        // A receiver that refuses lets go of every stream, and gives its reason on the first one.
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

/// The receiver's line, and its end: read too, so that the receiver knows that it was.
async fn receipt(rx: &mut RecvStream) -> Result<Receipt, NextError> {
    let line = rx.next_line(MAX_RECEIPT).await?;
    rx.read_to_end(0).await?;
    serde_json::from_str(&line).map_err(|error| NextError::Json(Arc::new(error)))
}

/// The file, its hash, and the end.
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
            // The thread that reads has died.
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
