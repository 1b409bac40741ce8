//! What a side is to do on a stream: a script of steps. The acceptor's comes in the stream's metadata.

use serde::{Deserialize, Serialize};
use twolane::{Limits, StreamError};

use super::{
    pattern,
    seen::{Sum, Told},
};

/// The protocol of all scripts.
pub const PROTOCOL: &str = "stream-tester/1";

/// Steps of one script.
const MAX_STEPS: usize = 32;
/// Bytes that one step may write or read: the 64 MiB of the largest case, and as much again for a case that goes on
/// after its peer should have ended it.
pub const MAX_BYTES: u64 = 128 << 20;
/// Warnings, lines or reports of one step.
const MAX_COUNT: u32 = 10_000;

/// What the acceptor of a stream is to be, in its metadata: one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// The other side of a case.
    Play(Script),
    /// The one that tells what it saw on the stream with this number.
    Report {
        /// The number that the opener gave it.
        id: u64,
    },
}

/// One side's part in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The opener's number for the stream. It also makes the data of each stream its own.
    pub id: u64,
    /// Whether what was seen is asked for afterwards.
    pub report: bool,
    /// What to do, one after the other. A step that fails does not stop the ones after it.
    pub steps: Vec<Step>,
    /// Fills the metadata up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

/// One thing to do. Data is that of [`pattern`] and goes on from step to step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Write so many bytes.
    Write {
        /// How many.
        len: u64,
        /// At most so many in one call.
        piece: u32,
    },
    /// The same, with every call that has to wait dropped once and made again.
    WriteDropping {
        /// How many.
        len: u64,
    },
    /// Write until that fails, at most [`MAX_BYTES`].
    WriteOn,
    /// Write until the data lane is full, say so with a warning, and go on as `WriteOn`.
    Fill(Words),
    /// Drop a write that is half done.
    CutWrite,
    /// Write bytes that are no pattern.
    Raw(Vec<u8>),
    /// Write the first so many [`line()`]s.
    WriteLines(u32),
    /// Write the first so many [`item`]s as JSON.
    WriteItems(u32),
    /// Say that the data is complete.
    Finish,
    /// Wait until the peer has all of it.
    Delivered,
    /// Read exactly so many bytes.
    Read(u64),
    /// Read until the end, or an error.
    ReadEnd,
    /// The same, with every call that has to wait dropped once and made again.
    ReadEndDropping,
    /// Read so many lines.
    ReadLines(u32),
    /// Read so many values in JSON.
    ReadItems(u32),
    /// Write so many bytes and finish, and at the same time read until the end.
    Exchange {
        /// How many.
        len: u64,
    },
    /// Write back what is read, and finish when it ends.
    Echo,
    /// Wait until so many reports have come in all.
    Hear(u32),
    /// Warn so many times, each time with the next code.
    Warn {
        /// The first.
        words: Words,
        /// How often.
        count: u32,
    },
    /// Fail the stream.
    Fail(Words),
    /// Fail the stream from its reading half.
    FailReading(Words),
    /// Abort the stream.
    Abort(Words),
    /// Drop the writing half.
    DropSend,
    /// Drop the reading half.
    DropRecv,
}

/// What is said on the error lane, as numbers that stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The code.
    pub code: u64,
    /// The length of the text.
    pub text: u32,
    /// The length of the details.
    pub details: u32,
}

/// Why metadata is no role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// It is not the JSON of one.
    #[error("the role cannot be read, are both sides of the same version? ({0})")]
    Json(#[from] serde_json::Error),
    /// It has too many steps.
    #[error("the role has {0} steps, and the limit is {MAX_STEPS}")]
    Steps(usize),
    /// A step asks for too much, or for a piece of nothing.
    #[error("a step of the role is over its bounds: {0:?}")]
    Bounds(Step),
}

impl Role {
    /// As bytes for the metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers, names and strings always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From a stream's metadata, whose length the library bounds.
    ///
    /// # Errors
    ///
    /// [`RoleError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RoleError> {
        let role = serde_json::from_slice(bytes)?;
        if let Self::Play(script) = &role {
            if script.steps.len() > MAX_STEPS {
                return Err(RoleError::Steps(script.steps.len()));
            }
            if let Some(step) = script.steps.iter().find(|step| !step.is_bounded()) {
                return Err(RoleError::Bounds(step.clone()));
            }
        }
        Ok(role)
    }
}

impl Script {
    /// The seed of what this script's side writes.
    pub fn seed(id: u64, side: Side) -> u64 {
        id.wrapping_mul(2).wrapping_add(u64::from(side == Side::Acceptor))
    }
}

/// Who of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Called `get_stream`.
    Opener,
    /// Was called.
    Acceptor,
}

impl Step {
    /// One call to write.
    pub fn write(len: u64) -> Self {
        Self::Write { len, piece: 64 * 1024 }
    }

    /// One warning.
    pub fn warn(words: Words) -> Self {
        Self::Warn { words, count: 1 }
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Write { len, piece } => *len <= MAX_BYTES && *piece > 0,
            Self::WriteDropping { len } | Self::Exchange { len } | Self::Read(len) => *len <= MAX_BYTES,
            Self::WriteLines(count) | Self::ReadLines(count) | Self::WriteItems(count) | Self::ReadItems(count) => {
                *count <= MAX_COUNT
            }
            Self::Hear(count) => *count <= MAX_COUNT,
            Self::Warn { words, count } => *count <= MAX_COUNT && words.is_bounded(),
            Self::Fill(words) | Self::Fail(words) | Self::FailReading(words) | Self::Abort(words) => words.is_bounded(),
            _ => true,
        }
    }
}

impl Words {
    /// A code with a text and details of everyday length.
    pub fn new(code: u64) -> Self {
        Self { code, text: 40, details: 100 }
    }

    /// The words of the `nth` after these.
    #[must_use]
    pub fn nth(self, nth: u32) -> Self {
        Self { code: self.code.saturating_add(u64::from(nth)), ..self }
    }

    /// As the library takes them.
    pub fn to_error(self) -> StreamError {
        let error = StreamError::new(self.code, self.text());
        // Checked when the role was read.
        error.clone().with_details(self.details()).unwrap_or(error)
    }

    /// As the other side has to see them, if so many bytes were written before.
    pub fn told(self, offset: u64) -> Told {
        Told { code: self.code, text: self.text(), details: Sum::of(&self.details()), offset }
    }

    fn text(self) -> String {
        let len = self.text as usize;
        let mut text = format!("fehlgeschlagen für {}, ", self.code).repeat(len / 16 + 1);
        text.truncate(text.floor_char_boundary(len));
        text.extend(std::iter::repeat_n('.', len - text.len()));
        text
    }

    fn details(self) -> Vec<u8> {
        pattern::bytes(self.code, self.details as usize)
    }

    fn is_bounded(self) -> bool {
        self.code < 1 << 62
            && self.text as usize <= Limits::ERROR_TEXT
            && self.details as usize <= Limits::ERROR_DETAILS
    }
}

/// The line with this number: of different lengths, and not all ASCII.
pub fn line(n: u32) -> String {
    format!("{n} {}", "äb".repeat(n as usize % 50))
}

/// The value with this number.
pub fn item(n: u32) -> serde_json::Value {
    serde_json::json!({ "n": n, "text": line(n), "list": [n, null, true, "\n\u{0}\""] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn play(steps: Vec<Step>) -> Role {
        Role::Play(Script { id: 7, report: true, steps, pad: String::new() })
    }

    #[test]
    fn a_role_arrives_as_it_was_made() {
        let role = play(vec![
            Step::write(5),
            Step::Finish,
            Step::Raw(vec![0, 255]),
            Step::Warn { words: Words::new(3), count: 2 },
            Step::Fail(Words::new((1 << 62) - 1)),
        ]);
        assert_eq!(Role::from_bytes(&role.to_bytes()).unwrap(), role);
        let report = Role::Report { id: u64::MAX };
        assert_eq!(Role::from_bytes(&report.to_bytes()).unwrap(), report);
    }

    #[test]
    fn a_role_over_its_bounds_is_refused() {
        let over = Words { code: 1, text: Limits::ERROR_TEXT as u32 + 1, details: 0 };
        for step in [
            Step::write(MAX_BYTES + 1),
            Step::Write { len: 1, piece: 0 },
            Step::Exchange { len: u64::MAX },
            Step::Read(MAX_BYTES + 1),
            Step::WriteLines(MAX_COUNT + 1),
            Step::Hear(u32::MAX),
            Step::Warn { words: Words::new(1), count: MAX_COUNT + 1 },
            Step::Fail(over),
            Step::Abort(Words { code: 1, text: 0, details: Limits::ERROR_DETAILS as u32 + 1 }),
            Step::Fill(Words::new(1 << 62)),
        ] {
            let bytes = play(vec![step]).to_bytes();
            assert!(matches!(Role::from_bytes(&bytes), Err(RoleError::Bounds(_))));
        }
        let bytes = play(vec![Step::Finish; MAX_STEPS + 1]).to_bytes();
        assert!(matches!(Role::from_bytes(&bytes), Err(RoleError::Steps(_))));
        assert!(matches!(Role::from_bytes(b"{}"), Err(RoleError::Json(_))));
    }

    #[test]
    fn words_have_the_lengths_that_they_name() {
        for (text, details) in [(0, 0), (1, 1), (19, 5), (Limits::ERROR_TEXT as u32, Limits::ERROR_DETAILS as u32)] {
            let error = Words { code: 9, text, details }.to_error();
            assert_eq!((error.text().len(), error.details().len()), (text as usize, details as usize));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Role::from_bytes(&bytes);
        }
    }
}
