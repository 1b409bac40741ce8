//! Telling the sender what an earlier transfer has left.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::desk::Desk;
use crate::{
    error::{ReceiveError, broken},
    store::StoreError,
    wire::MAX_BASE,
};

/// Tells the hashes of what was left of each file, one file after the other: the sender reads them in the same order.
/// Returns only with an error.
pub(super) async fn tell_all(desk: &Arc<Desk>, left: &mut mpsc::UnboundedReceiver<u64>) -> ReceiveError {
    while let Some(file) = left.recv().await {
        if let Err(error) = tell(desk, file).await {
            return error;
        }
    }
    std::future::pending().await
}

async fn tell(desk: &Arc<Desk>, file: u64) -> Result<(), ReceiveError> {
    let mut next = 0;
    // Both become `None` once the item is refused, or the file is closed.
    while let Some((open, size, base)) = desk.base_of(file) {
        let Some(room) = desk.room(file).await else { return Ok(()) };
        let count = room.min(MAX_BASE as u64).min(base - next);
        if count == 0 {
            return Ok(());
        }
        let first = next;
        let hashed = tokio::task::spawn_blocking(move || {
            open.staged()?.hashes(first, count, size).map_err(StoreError::from_io)
        });
        match hashed.await.map_err(broken)? {
            Ok(hashes) => desk.tell_base(file, first, hashes).await?,
            Err(error) => return desk.refuse_file(file, error).await,
        }
        next += count;
    }
    Ok(())
}
