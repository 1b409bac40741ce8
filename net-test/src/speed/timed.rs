//! Bulk data for a given time on one stream, counted by the server.
//!
//! On a link with a rate and losses there is no useful length for a transfer: a transfer that takes 1 s with one
//! congestion controller takes 100 s with another. The client asks as in [`super::bulk`], with milliseconds in place
//! of a length, and then writes without an end. The time begins when the server has read the question. When it is
//! over, the server answers with the number of bytes that have come, and continues to read. Other loads are then
//! measured beside bulk data at its full speed.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout};

use super::{
    Broken,
    bulk::{ASKED, pattern},
    side::{Rx, Service, Side, Tx},
};

/// The value that marks this mode. It stands in the place of the flag for hashing of [`super::bulk`].
pub(super) const MODE: u8 = 2;

/// Running bulk data. It ends when this is dropped.
#[derive(Debug)]
pub struct Running<R> {
    writing: JoinSet<Broken>,
    recv: R,
    lasting: Duration,
}

impl<R: Rx> Running<R> {
    pub async fn start<S: Side<Rx = R>>(side: &S, lasting: Duration) -> Result<Self, Broken> {
        let (send, recv) = side.open(Service::Bulk).await?;
        Ok(Self { writing: JoinSet::from_iter([write(send, lasting)]), recv, lasting })
    }

    /// Returns the rate in 10^6 bytes per second.
    pub async fn rate(&mut self) -> Result<f64, Broken> {
        let count = tokio::select! {
            count = self.recv.to_end(size_of::<u64>()) => count?,
            broken = self.writing.join_next() => return Err(ended(broken)),
        };
        let count = count.first_chunk().ok_or_else(|| Broken::msg("a server did not say what it has read"))?;
        Ok(u64::from_be_bytes(*count) as f64 / 1e6 / self.lasting.as_secs_f64())
    }

    /// Stops the bulk data. Fails if it had ended by itself.
    pub fn stop(mut self) -> Result<(), Broken> {
        self.writing.try_join_next().map_or(Ok(()), |broken| Err(ended(Some(broken))))
    }
}

fn ended(broken: Option<Result<Broken, tokio::task::JoinError>>) -> Broken {
    match broken {
        Some(Ok(broken)) => broken,
        Some(Err(error)) => error.into(),
        None => Broken::msg("bulk has ended"),
    }
}

/// Writes until the stream fails, and returns the failure.
async fn write(mut send: impl Tx, lasting: Duration) -> Broken {
    let mut asked = [0; ASKED];
    asked[..8].copy_from_slice(&u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
    asked[16] = MODE;
    let piece = pattern();
    let mut written = send.write_all(&asked).await;
    loop {
        match written {
            Ok(()) => written = send.write_chunk(piece.clone()).await,
            Err(broken) => return broken,
        }
    }
}

/// Runs the server's end after the question. `taken` is the number of bytes that came with the question.
pub(super) async fn serve(
    mut send: impl Tx,
    mut recv: impl Rx,
    lasting: Duration,
    mut taken: usize,
) -> Result<(), Broken> {
    let begun = Instant::now();
    let reading = async {
        // The loop checks the time itself, since `timeout` cannot interrupt a reader that never has to wait.
        while begun.elapsed() < lasting {
            match recv.chunk().await? {
                Some(chunk) => taken += chunk.len(),
                None => return Err(Broken::msg("bulk ended before its time")),
            }
        }
        Ok(())
    };
    timeout(lasting, reading).await.unwrap_or(Ok(()))?;
    send.write_all(&(taken as u64).to_be_bytes()).await?;
    send.finish()?;
    // The server reads until the client resets the stream.
    while recv.chunk().await?.is_some() {}
    Ok(())
}
