//! The observations of one side of a stream. The acceptor reports them, and the opener compares them.

use serde::{Deserialize, Serialize};
use twolane::{NextError, ReadError, Report, Severity, StreamError, WriteError};

/// The number of reports that are kept of one stream. The library holds 64 unread ones.
pub const MAX_REPORTS: usize = 256;

pub const WARNING: &str = "warning";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether every step was performed in time.
    pub finished: bool,
    /// The metadata. Only the acceptor sets it.
    pub metadata: Sum,
    /// The data that was read, and how reading ended.
    pub read: Lane,
    /// The data that was written, without its hash, and how writing ended.
    pub written: Lane,
    /// The failure of the first call on the error lane that failed.
    pub said: Ending,
    /// The reports in order, at most [`MAX_REPORTS`].
    pub reports: Vec<Heard>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    pub sum: Sum,
    /// The last end that was seen.
    pub end: Ending,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub bytes: u64,
    /// The BLAKE3 hash in hexadecimal digits. It is empty if no hash is kept.
    pub blake3: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The lane did not end.
    #[default]
    Open,
    /// The lane ended in order.
    End,
    Failed(Told),
    Aborted(Told),
    /// The peer dropped its writing half.
    Reset(u64),
    /// The peer dropped its reading half.
    Stopped(u64),
    /// This side had ended the stream.
    EndedHere,
    /// The end cut a message.
    Cut(u64),
    TooLong,
    NotText,
    NotJson,
    /// An end that no case asks for, as text.
    Other(String),
}

/// The content of a record on the error lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The code.
    pub code: u64,
    pub text: String,
    pub details: Sum,
    /// The number of bytes that the sender had written.
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The severity: `warning`, `fatal` or `abort`.
    pub severity: String,
    pub told: Told,
    /// The number of reports that were dropped before this one.
    pub missed: u64,
}

impl Heard {
    /// Makes a report before which no other report was dropped.
    pub fn new(severity: &str, told: Told) -> Self {
        Self { severity: severity.into(), told, missed: 0 }
    }
}

impl Sum {
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

impl Ending {
    /// Sets the end of a lane. An end in order can be followed by an error. After an error nothing changes.
    pub fn becomes(&mut self, news: Self) {
        if matches!(self, Self::Open | Self::End) {
            *self = news;
        }
    }
}

impl From<&StreamError> for Told {
    fn from(error: &StreamError) -> Self {
        Self {
            code: error.code(),
            text: error.text().to_owned(),
            details: Sum::of(error.details()),
            offset: error.offset(),
        }
    }
}

impl From<&Report> for Heard {
    fn from(report: &Report) -> Self {
        let severity = match report.severity {
            Severity::Warning => WARNING,
            Severity::Fatal => "fatal",
            Severity::Abort => "abort",
        };
        Self { severity: severity.into(), told: (&*report.error).into(), missed: report.missed }
    }
}

impl From<ReadError> for Ending {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) => Self::Failed((&*error).into()),
            ReadError::Aborted(error) => Self::Aborted((&*error).into()),
            ReadError::Reset { code } => Self::Reset(code),
            ReadError::EndedHere(_) => Self::EndedHere,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<WriteError> for Ending {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) => Self::Failed((&*error).into()),
            WriteError::Stopped { code } => Self::Stopped(code),
            WriteError::EndedHere => Self::EndedHere,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<NextError> for Ending {
    fn from(error: NextError) -> Self {
        match error {
            NextError::Read(error) => error.into(),
            NextError::Ended { read } => Self::Cut(read as u64),
            NextError::TooLong { .. } => Self::TooLong,
            NextError::Text => Self::NotText,
            NextError::Json(_) => Self::NotJson,
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_arrives_as_it_was_seen() {
        let told = Told { code: 7, text: "zu\n voll".into(), details: Sum::of(b"/srv"), offset: 12 };
        let seen = Seen {
            finished: true,
            read: Lane { sum: Sum::of(b"data"), end: Ending::Failed(told.clone()) },
            said: Ending::Cut(3),
            reports: vec![Heard { severity: "fatal".into(), told, missed: 2 }],
            ..Seen::default()
        };
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Seen>(&text).unwrap(), seen);
    }

    #[test]
    fn an_error_after_the_end_is_news_and_an_end_after_an_error_is_not() {
        let mut ending = Ending::Open;
        ending.becomes(Ending::End);
        ending.becomes(Ending::Reset(1));
        assert_eq!(ending, Ending::Reset(1));
        ending.becomes(Ending::End);
        assert_eq!(ending, Ending::Reset(1));
    }
}
