//! Writing with a bound on progress: the time starts anew with every byte that the transport takes.

use std::time::Duration;

use bytes::Bytes;

use crate::{bound::within, error::WriteError, stream::SendStream};

/// Writes bytes that are not data, or not only: an answer.
///
/// # Errors
///
/// [`WriteError::TimedOut`] if none of them was taken for `patience`.
pub(crate) async fn write_raw(send: &mut SendStream, bytes: Bytes, patience: Duration) -> Result<(), WriteError> {
    let mut left = [bytes];
    while !left[0].is_empty() {
        let taken = within(patience, send.write_raw_from(&mut left)).await;
        taken.unwrap_or(Err(WriteError::TimedOut { after: patience }))?;
    }
    Ok(())
}

/// Writes data. A peer that takes nothing of it for `patience` gets no more: it would hold the data, and the task, for as
/// long as it stays connected.
///
/// # Errors
///
/// As [`write_raw`].
pub(crate) async fn write(send: &mut SendStream, mut data: Bytes, patience: Duration) -> Result<(), WriteError> {
    while !data.is_empty() {
        let taken = within(patience, send.write_from(&mut data)).await;
        taken.unwrap_or(Err(WriteError::TimedOut { after: patience }))?;
    }
    Ok(())
}
