//! The errors and warnings that travel on an error lane.

use bytes::Bytes;

use crate::{
    wire::{
        record::{MAX_DETAILS, MAX_TEXT, Record, Severity},
        varint,
    },
    words::Shown,
};

/// An error or a warning of one stream, which one side sends to the other.
///
/// ```
/// use twolane::StreamError;
///
/// let error = StreamError::new(28, "the disk is full").with_details(b"/srv/mail".as_slice())?;
/// assert_eq!(error.code(), 28);
/// # Ok::<(), twolane::DetailsTooLarge>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    code: u64,
    text: String,
    details: Bytes,
    offset: u64,
}

/// The details are over the limit of 60 KiB. Send more data on a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the details have {len} bytes, and the limit is {MAX_DETAILS}")]
pub struct DetailsTooLarge {
    /// The length of the details, in bytes.
    pub len: usize,
}

/// An error or a warning that was received on an error lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The severity.
    pub severity: Severity,
    /// The peer's error or warning.
    pub error: std::sync::Arc<StreamError>,
    /// Number of reports that were dropped before this one, because the program did not read them
    /// ([`Limits::warnings`](crate::Limits::warnings)).
    pub missed: u64,
}

impl StreamError {
    /// Creates an error with a code of the application (62 bits: larger values are cut to 2^62 - 1) and a text for
    /// people (4 KiB of UTF-8: a longer text is cut at a character boundary).
    pub fn new(code: u64, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT as usize));
        Self { code: code.min(varint::MAX), text, details: Bytes::new(), offset: 0 }
    }

    /// Adds details for programs, at most 60 KiB.
    ///
    /// # Errors
    ///
    /// [`DetailsTooLarge`] with the length of the details, if they are longer.
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Result<Self, DetailsTooLarge> {
        let details = details.into();
        if details.len() as u64 > MAX_DETAILS {
            return Err(DetailsTooLarge { len: details.len() });
        }
        self.details = details;
        Ok(self)
    }

    /// Returns the application's code.
    pub fn code(&self) -> u64 {
        self.code
    }

    /// Returns the text for people, as the peer sent it. It may contain any character. To print it, print the error
    /// itself, which shows characters that act on a terminal or are invisible as `\u{1b}`, or print the text as a
    /// quoted string.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the details for programs.
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// Returns how many bytes of data the sender had written on this stream before the error. The value is filled in
    /// when the error is sent.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    pub(crate) fn to_record(&self, severity: Severity) -> Record {
        Record {
            severity,
            code: self.code,
            offset: self.offset,
            text: self.text.clone(),
            details: self.details.clone(),
        }
    }
}

impl From<Record> for StreamError {
    fn from(record: Record) -> Self {
        Self { code: record.code, text: record.text, details: record.details, offset: record.offset }
    }
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.text.is_empty() {
            write!(f, "code {}", self.code)
        } else {
            write!(f, "{} (code {})", Shown(&self.text), self.code)
        }
    }
}

impl std::error::Error for StreamError {}
