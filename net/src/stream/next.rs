//! Messages that are lines, with a maximum length. The method names are those of fastn-net.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{RecvStream, SendStream};
use crate::error::{Fault, NextError, WriteError};

/// Maximum length of a line that [`RecvStream::next_string`] reads: 1 MiB, in bytes without the line feed. For
/// [`RecvStream::next_line`] the caller sets the maximum.
pub const MAX_LINE: usize = 1024 * 1024;

impl RecvStream {
    /// Reads the next line, and returns it without its line feed. A line has at most [`MAX_LINE`] bytes of UTF-8.
    ///
    /// Cancel-safe: the next call continues with the part of an unfinished line that a dropped call has read.
    ///
    /// # Errors
    ///
    /// [`NextError::Ended`] if the peer has finished its data, and there is no further line feed.
    /// [`NextError::TooLong`] removes nothing from the stream: the line can still be read with a larger maximum, or
    /// as bytes.
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

    /// Reads the next line as [`next_string`](RecvStream::next_string) does, with at most `max` bytes.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// The same as for `next_string`.
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

    /// Reads the next line and parses it as JSON.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of [`next_string`](RecvStream::next_string), and [`NextError::Json`] with the parser's error.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<T, NextError> {
        let line = self.next_string().await?;
        serde_json::from_str(&line).map_err(|error| NextError::Json(Arc::new(error)))
    }
}

/// Returns the index of the line feed, of which `searched` bytes were searched before. The buffer can be shorter than
/// that: an error of the peer can name an offset before those bytes.
fn end_of_line(buffer: &[u8], searched: usize) -> Option<usize> {
    let at = buffer.get(searched..)?.iter().position(|byte| *byte == b'\n')?;
    Some(searched + at)
}

impl SendStream {
    /// Writes `value` as one line of JSON, for [`next_json`](RecvStream::next_json) on the peer's side.
    ///
    /// Not cancel-safe, like [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// [`SendJsonError`] if the value has no form in JSON, or the stream cannot be written.
    pub async fn send_json<T: Serialize + Sync>(&mut self, value: &T) -> Result<(), SendJsonError> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(self.write_chunk(line.into()).await?)
    }
}

/// The reason why a value was not sent.
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
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Json(_) => Fault::Caller,
            Self::Write(error) => error.fault(),
        }
    }

    /// Returns whether the same exchange may succeed on a new stream.
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
