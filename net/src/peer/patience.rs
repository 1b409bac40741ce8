//! Writing with a timeout on progress. The timeout starts anew with every byte that noq takes from the lane. It also
//! starts anew, up to a limit, while the connection carries data of other lanes.
//!
//! A lane gets room for more bytes when the peer has consumed earlier ones, which the peer reports in steps of up to
//! 300 kB. With a hundred responses on a link of 10 Mbit/s, one step takes 23 s, although each caller reads whatever
//! arrives.

use std::time::Duration;

use bytes::Bytes;

use crate::{bound::within, error::WriteError, stream::SendStream};

/// Number of STREAM frames that a connection sends within one patience if it carries data. Keep-alives and
/// acknowledgements are not STREAM frames.
const CARRIES: u64 = 4;
/// Maximum number of patiences that a lane waits while its connection carries data of other lanes. Without it, a
/// caller that reads everything but this lane would hold its data for as long as it likes.
const MOST: u32 = 30;

/// Writes an answer, and data that is joined to it.
///
/// # Errors
///
/// [`WriteError::TimedOut`] if none of the bytes was taken for `patience`. Where the connection carries nothing, the
/// error comes after one to two `patience`.
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

/// Writes data. A peer that takes none of it for `patience` gets no more: it would hold the data, and the task, for
/// as long as it stays connected.
///
/// # Errors
///
/// As for [`write_raw`].
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

/// The time that a lane has waited, and the frames that its connection has sent meanwhile. Pure.
struct Waited {
    patience: Duration,
    times: u32,
    /// STREAM frames at the last look. The first look comes only once the lane has had to wait: it takes the
    /// connection's lock.
    sent: Option<u64>,
}

impl Waited {
    fn new(patience: Duration) -> Self {
        Self { patience, times: 0, sent: None }
    }

    /// Records that one patience has passed, and that `sent` STREAM frames have been sent so far. Returns an error
    /// if the lane may not wait for another one.
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

    /// Returns the number of patiences after which a lane is given up if its connection sends `frames` frames in
    /// each.
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
