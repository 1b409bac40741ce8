//! Writing to the streams.

use bytes::Bytes;
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use twolane::SendStream;

use crate::{
    error::SendError,
    meter::Meter,
    outgoing::Piece,
    policy::PATIENCE,
    wire::{FromSender, piece_header},
};

/// Number of bytes of frames that are written together. Thousands of small frames one by one would cost a packet, and a
/// unit of what the peer may hold unread, each.
const TOGETHER: usize = 16 * 1024;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Out {
    /// A frame, and the number of bytes of files that it stands for.
    Frame { bytes: Vec<u8>, counts: u64 },
    Piece(Piece),
    /// The end.
    Finish,
}

impl Out {
    pub(super) fn frame(frame: &FromSender) -> Self {
        Self::Frame { bytes: frame.encode(), counts: 0 }
    }

    pub(super) fn counted(frame: &FromSender, counts: u64) -> Self {
        Self::Frame { bytes: frame.encode(), counts }
    }
}

/// Writes what comes, in order, up to the end.
pub(super) async fn write_control(
    tx: &mut SendStream,
    queue: &mut mpsc::Receiver<Out>,
    meter: &Meter,
) -> Result<(), SendError> {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(out) = next.take() {
            match out {
                Out::Finish => return Ok(tx.finish()?),
                Out::Piece(piece) => write_piece(tx, piece, meter).await?,
                Out::Frame { mut bytes, counts } => {
                    let mut counted = counts;
                    while bytes.len() < TOGETHER {
                        match queue.try_recv() {
                            Ok(Out::Frame { bytes: more, counts }) => {
                                bytes.extend_from_slice(&more);
                                counted += counts;
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    write(tx, bytes.into(), meter).await?;
                    meter.add_bytes(counted);
                }
            }
        }
    }
    std::future::pending().await
}

/// Writes the pieces that this stream is the first to have room for. Returns only with an error.
pub(super) async fn write_part(
    tx: &mut SendStream,
    queue: &Mutex<mpsc::Receiver<Out>>,
    meter: &Meter,
) -> Result<(), SendError> {
    loop {
        let next = queue.lock().await.recv().await;
        match next {
            Some(Out::Piece(piece)) => write_piece(tx, piece, meter).await?,
            Some(Out::Frame { bytes, counts }) => {
                write(tx, bytes.into(), meter).await?;
                meter.add_bytes(counts);
            }
            Some(Out::Finish) | None => std::future::pending().await,
        }
    }
}

async fn write_piece(tx: &mut SendStream, piece: Piece, meter: &Meter) -> Result<(), SendError> {
    let Piece { file, index, last, hash, data } = piece;
    let len = data.len() as u64;
    write(tx, piece_header(file, index, last, &hash, data.len()).into(), meter).await?;
    write(tx, data, meter).await?;
    meter.add_moved(len);
    meter.add_bytes(len);
    Ok(())
}

async fn write(tx: &mut SendStream, data: Bytes, meter: &Meter) -> Result<(), SendError> {
    meter.start_write();
    let written = timeout(PATIENCE, tx.write_chunk(data)).await;
    // After an error it stays: how long the write had been waiting is of interest then.
    written.map_err(|_| SendError::Silent(PATIENCE))??;
    meter.end_write();
    Ok(())
}
