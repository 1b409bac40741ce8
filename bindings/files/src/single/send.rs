//! The sender's side.

use std::{io, pin::pin, sync::Arc};

use bytes::Bytes;
use tokio::time::timeout;
use twolane::{NextError, RecvStream, SendStream, XStream};

use super::{Receipt, Source, source::Item};
use crate::{
    error::SendError,
    meter::Meter,
    policy::{PATIENCE, REASON},
};

/// Maximum length of a receipt in bytes: a name of 255 bytes, escaped, and two numbers.
const MAX_RECEIPT: usize = 4096;

/// Sends a file on a stream that was opened with the file's offer. Waits until the receiver has confirmed the file.
///
/// Not cancel-safe: if the future is dropped half-way, the caller has to end the stream with [`XStream::abort`], or
/// drop it.
///
/// # Errors
///
/// Returns [`SendError`]. The stream has ended then, and the receiver was told.
pub async fn send(stream: &mut XStream, source: &mut Source, meter: &Meter) -> Result<Receipt, SendError> {
    let result = exchange(stream, source, meter).await;
    if let Err(error) = &result
        && let Some(told) = error.to_stream_error()
    {
        // An error of this call is ignored, because a receiver that is gone needs no reason.
        let _ = stream.abort(told).await;
    }
    result
}

async fn exchange(stream: &mut XStream, source: &mut Source, meter: &Meter) -> Result<Receipt, SendError> {
    let (tx, rx) = stream.halves();
    // The answer is read from the start, because a refusal has to arrive even while writes are blocked or the
    // source has no data.
    let mut answer = pin!(receipt(rx));
    let sent = tokio::select! {
        biased;
        early = &mut answer => return Err(early.map_or_else(SendError::from, |_| early_answer())),
        sent = pump(tx, source, meter) => sent,
    };
    let hash = match sent {
        Ok(hash) => hash,
        // The reason comes on the other lane.
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
async fn pump(tx: &mut SendStream, source: &mut Source, meter: &Meter) -> Result<blake3::Hash, SendError> {
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
        let written = tx.write_chunk(end.map_or(data, |hash| hash.as_bytes().to_vec().into()));
        meter.start_write();
        timeout(PATIENCE, written).await.map_err(|_| SendError::Silent(PATIENCE))??;
        meter.end_write();
        meter.add(len);
        if let Some(hash) = end {
            tx.finish()?;
            return Ok(hash);
        }
    }
}

fn early_answer() -> SendError {
    SendError::Protocol("it answered before it had the whole file")
}
