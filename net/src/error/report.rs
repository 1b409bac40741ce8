//! What travels on an error lane.

use bytes::Bytes;

use crate::{
    wire::{
        record::{MAX_DETAILS, MAX_TEXT, Record, Severity},
        varint,
    },
    words::Shown,
};

/// An error or a warning of one stream, as one side tells it to the other.
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

/// Details over the limit of 60 KiB. A stream of their own is the place for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the details have {len} bytes, and the limit is {MAX_DETAILS}")]
pub struct DetailsTooLarge {
    /// Their length, in bytes.
    pub len: usize,
}

/// What came on an error lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// What the peer said.
    pub error: std::sync::Arc<StreamError>,
    /// Reports dropped before this one, because nobody read them ([`Limits::warnings`](crate::Limits::warnings)).
    pub missed: u64,
}

impl StreamError {
    /// An error with a code of the application's own (62 bits: larger values are cut to 2^62 - 1) and a text for
    /// people (4 KiB of UTF-8: a longer one is cut at a character).
    pub fn new(code: u64, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT as usize));
        Self { code: code.min(varint::MAX), text, details: Bytes::new(), offset: 0 }
    }

    /// Adds details for programs, at most 60 KiB.
    ///
    /// # Errors
    ///
    /// [`DetailsTooLarge`], with the length found.
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Result<Self, DetailsTooLarge> {
        let details = details.into();
        if details.len() as u64 > MAX_DETAILS {
            return Err(DetailsTooLarge { len: details.len() });
        }
        self.details = details;
        Ok(self)
    }

    /// The application's code.
    pub fn code(&self) -> u64 {
        self.code
    }

    /// The text for people, as the peer sent it. It may have any character in it: print the error itself, which shows those
    /// that act on a terminal or hide as `\u{1b}`, or show this as a quotation.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The details for programs.
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// How many bytes of data its sender had written on this stream before: filled in when it is sent.
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
