//! Writing with a bound on progress: the time starts anew with every byte that the transport takes of the lane, and, up to a
//! limit, while the connection carries data of other lanes.
//!
//! The bytes of a lane leave room for others when the peer has consumed them, which it tells in steps of up to 300 kB. With a
//! hundred responses on a link of 10 Mbit/s a step takes 23 s, in which each caller reads whatever comes.

use std::time::Duration;

use bytes::Bytes;

use crate::{bound::within, error::WriteError, stream::SendStream};

/// STREAM frames that a connection sends in one patience if it carries data: keep-alives and acknowledgements are none.
const CARRIES: u64 = 4;
/// So many patiences a lane waits at most while its connection carries data of others: a caller that reads everything but this
/// lane would hold its data for as long as it likes.
const MOST: u32 = 30;

/// Writes bytes that are not data, or not only: an answer.
///
/// # Errors
///
/// [`WriteError::TimedOut`] if none of them was taken for `patience`: between one and two of it, where the connection carries nothing.
pub(crate) async fn write_raw(send: &mut SendStream, bytes: Bytes, patience: Duration) -> Result<(), WriteError> {
    let mut left = [bytes];
    while !left[0].is_empty() {
        let mut waited = Waited::new(patience);
        loop {
            match within(patience, send.write_raw_from(&mut left)).await {
                Ok(taken) => break taken?,
                Err(_) => waited.once_more(send.frames())?,
            }
        }
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
        let mut waited = Waited::new(patience);
        loop {
            match within(patience, send.write_from(&mut data)).await {
                Ok(taken) => {
                    taken?;
                    break;
                }
                Err(_) => waited.once_more(send.frames())?,
            }
        }
    }
    Ok(())
}

/// How long a lane has waited, and what its connection has sent meanwhile. Pure.
struct Waited {
    patience: Duration,
    times: u32,
    /// STREAM frames at the last look. The first comes only once something had to be waited for: it takes the connection's lock.
    sent: Option<u64>,
}

impl Waited {
    fn new(patience: Duration) -> Self {
        Self { patience, times: 0, sent: None }
    }

    /// One patience has passed, and so many STREAM frames have been sent in all. Whether the lane may wait for another one.
    fn once_more(&mut self, sent: u64) -> Result<(), WriteError> {
        self.times += 1;
        let carries = self.sent.replace(sent).is_none_or(|before| sent >= before + CARRIES);
        if carries && self.times < MOST {
            return Ok(());
        }
        Err(WriteError::TimedOut { after: self.patience * self.times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// After how many patiences a lane is given up whose connection sends so many frames in each.
    fn given_up(frames: u64) -> u32 {
        let mut waited = Waited::new(PATIENCE);
        let given_up = (1..100).find(|n| waited.once_more(7 + frames * u64::from(*n)).is_err());
        given_up.expect("no lane waits for ever")
    }

    #[test]
    fn a_lane_whose_connection_sends_nothing_is_given_up_at_the_second_look() {
        assert_eq!([given_up(0), given_up(CARRIES - 1)], [2, 2]);
    }

    #[test]
    fn a_lane_whose_connection_carries_others_waits_for_long_and_not_for_ever() {
        assert_eq!([given_up(CARRIES), given_up(1_000)], [MOST, MOST]);
    }
}
