//! The script of a side: steps on a stream. The acceptor's script comes in the stream's metadata.

use serde::{Deserialize, Serialize};
use twolane::{Limits, StreamError};

use super::{
    pattern,
    seen::{Sum, Told},
};

/// The protocol of all scripts.
pub const PROTOCOL: &str = "stream-tester/1";

/// The most steps of one script.
const MAX_STEPS: usize = 32;
/// The most bytes of one step: the 64 MiB of the largest case, and as much again for a case that goes on after its
/// peer should have ended it.
pub const MAX_BYTES: u64 = 128 << 20;
/// The most warnings, lines or reports of one step.
const MAX_COUNT: u32 = 10_000;

/// The acceptor's role on a stream, which the metadata carries as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// It plays the other side of a case.
    Play(Script),
    /// It reports the stream to which the opener gave this number.
    Report { id: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The opener's number for the stream. Each number makes other data.
    pub id: u64,
    /// Whether the opener will ask for a report.
    pub report: bool,
    /// Performed in order. A step that fails does not stop the next ones.
    pub steps: Vec<Step>,
    /// Fills the metadata up to a length.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

/// Data is that of [`pattern`] and goes on from step to step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Write {
        len: u64,
        /// The most bytes of one call.
        piece: u32,
    },
    /// Each call that has to wait is dropped once and made again.
    WriteDropping {
        len: u64,
    },
    /// Write until that fails, at most [`MAX_BYTES`].
    WriteOn,
    /// Write until the data lane is full, warn, and go on as `WriteOn`.
    Fill(Words),
    /// Drop a write that is half done.
    CutWrite,
    Raw(Vec<u8>),
    /// Write the first so many [`line()`]s.
    WriteLines(u32),
    /// Write the first so many [`item`]s as JSON.
    WriteItems(u32),
    Finish,
    /// Wait until the peer has all data.
    Delivered,
    /// Read exactly so many bytes.
    Read(u64),
    /// Read until the end, or an error.
    ReadEnd,
    /// Each call that has to wait is dropped once and made again.
    ReadEndDropping,
    ReadLines(u32),
    ReadItems(u32),
    /// Write so many bytes and finish; at the same time read until the end.
    Exchange {
        len: u64,
    },
    /// Write back the data that is read, and finish when it ends.
    Echo,
    /// Wait until so many reports have come in all.
    Hear(u32),
    /// Warn so many times, each time with the next code.
    Warn {
        words: Words,
        count: u32,
    },
    Fail(Words),
    /// Fail the stream from its reading half.
    FailReading(Words),
    Abort(Words),
    DropSend,
    DropRecv,
}

/// Words on the error lane, as numbers that stand for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub code: u64,
    pub text: u32,
    pub details: u32,
}

/// Why metadata is no role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// It is not the JSON of a role.
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
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers, names and strings always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

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
    /// The seed of the data that one side writes.
    pub fn seed(id: u64, side: Side) -> u64 {
        id.wrapping_mul(2).wrapping_add(u64::from(side == Side::Acceptor))
    }
}

/// The side that called `get_stream` is the opener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Opener,
    Acceptor,
}

impl Step {
    pub fn write(len: u64) -> Self {
        Self::Write { len, piece: 64 * 1024 }
    }

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

    pub fn to_error(self) -> StreamError {
        let error = StreamError::new(self.code, self.text());
        // Checked when the role was read.
        error.clone().with_details(self.details()).unwrap_or(error)
    }

    /// As the other side must see them, if so many bytes were written before.
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

/// Lines have different lengths, and are not all ASCII.
pub fn line(n: u32) -> String {
    format!("{n} {}", "äb".repeat(n as usize % 50))
}

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
