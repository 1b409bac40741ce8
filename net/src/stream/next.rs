//! Messages that are lines: the words of fastn-net, bounded.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{RecvStream, SendStream};
use crate::error::{Fault, NextError, WriteError};

/// The longest line that [`RecvStream::next_string`] takes, in bytes without its line feed: 1 MiB.
/// [`RecvStream::next_line`] takes a bound of the caller's.
pub const MAX_LINE: usize = 1024 * 1024;

impl RecvStream {
    /// The next line, without its line feed. A line is at most [`MAX_LINE`] bytes of UTF-8.
    ///
    /// Cancel-safe: what was read of an unfinished line by a dropped call is part of the next one's.
    ///
    /// # Errors
    ///
    /// [`NextError::Ended`] if the data ends in order before a line feed. [`NextError::TooLong`] takes nothing away:
    /// the line can still be read with a larger bound or as bytes.
    ///
    /// ```no_run
    /// # async fn example(mut stream: twolane::XStream) -> Result<(), Box<dyn std::error::Error>> {
    /// stream.send_string("what time is it?").await?;
    /// println!("{}", stream.next_string().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_string(&mut self) -> Result<String, NextError> {
        self.next_line(MAX_LINE).await
    }

    /// As [`next_string`](RecvStream::next_string), with at most `max` bytes.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As `next_string`.
    pub async fn next_line(&mut self, max: usize) -> Result<String, NextError> {
        let mut searched = 0;
        loop {
            let buffer = self.buffer()?;
            if let Some(len) = end_of_line(buffer, searched) {
                if len > max {
                    return Err(NextError::TooLong { max });
                }
                let line = self.take_buffer(len + 1);
                return String::from_utf8(line[..len].to_vec()).map_err(|_| NextError::Text);
            }
            searched = buffer.len();
            if searched > max {
                return Err(NextError::TooLong { max });
            }
            if !self.fill().await? {
                return Err(NextError::Ended { read: searched });
            }
        }
    }

    /// The next line, as JSON.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`next_string`](RecvStream::next_string), and [`NextError::Json`] with what was wrong.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<T, NextError> {
        let line = self.next_string().await?;
        serde_json::from_str(&line).map_err(|error| NextError::Json(Arc::new(error)))
    }
}

/// Where the line ends of which so much was searched before. A peer's error can name an offset before that, and so leave less.
fn end_of_line(buffer: &[u8], searched: usize) -> Option<usize> {
    let at = buffer.get(searched..)?.iter().position(|byte| *byte == b'\n')?;
    Some(searched + at)
}

impl SendStream {
    /// Writes `value` as one line of JSON, for [`next_json`](RecvStream::next_json) at the other side.
    ///
    /// Not cancel-safe, as [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// [`SendJsonError`]: the value is not JSON, or the stream cannot be written.
    pub async fn send_json<T: Serialize + Sync>(&mut self, value: &T) -> Result<(), SendJsonError> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(self.write_chunk(line.into()).await?)
    }
}

/// Why a value was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendJsonError {
    /// The value has no form in JSON, such as a map whose keys are not strings.
    #[error("the value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The stream cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl SendJsonError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Json(_) => Fault::Caller,
            Self::Write(error) => error.fault(),
        }
    }

    /// Whether the same exchange, on a new stream, may work.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Write(error) if error.is_retryable())
    }
}

#[cfg(test)]
mod tests {
    use super::{SendJsonError, end_of_line};
    use crate::error::{ConnectionLost, Fault, WriteError};

    #[test]
    fn what_was_not_sent_has_the_fault_and_the_chance_of_the_stream() {
        let send = SendJsonError::Write(WriteError::Lost(ConnectionLost::TimedOut));
        assert_eq!((send.fault(), send.is_retryable()), (Fault::Network, true));
    }

    #[test]
    fn a_line_is_searched_from_where_the_search_stopped_also_when_less_is_left_than_there_was() {
        assert_eq!(end_of_line(b"one\ntwo\n", 0), Some(3));
        assert_eq!(end_of_line(b"one two\n", 3), Some(7));
        assert_eq!(end_of_line(b"one", 3), None);
        assert_eq!(end_of_line(b"on", 3), None);
    }
}
