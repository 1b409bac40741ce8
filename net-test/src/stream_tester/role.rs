//! The script of a side: the steps that it performs on a stream. The acceptor's script comes in the stream's
//! metadata.

use serde::{Deserialize, Serialize};
use twolane::{Limits, StreamError};

use super::{
    pattern,
    seen::{Sum, Told},
};

/// The protocol of all scripts.
pub const PROTOCOL: &str = "stream-tester/1";

/// The maximum number of steps of one script.
const MAX_STEPS: usize = 32;
/// The maximum number of bytes of one step: 64 MiB for the largest case, and the same again for a case that goes on
/// although its peer should have ended it.
pub const MAX_BYTES: u64 = 128 << 20;
/// The maximum number of warnings, lines or reports of one step.
const MAX_COUNT: u32 = 10_000;

/// The acceptor's role on a stream. The metadata carry it as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// The acceptor plays the other side of a case.
    Play(Script),
    /// The acceptor reports on the stream with this number, which the opener chose.
    Report { id: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The opener's number for the stream. Each number gives different data.
    pub id: u64,
    /// Whether the opener will ask for a report.
    pub report: bool,
    /// The steps, performed in order. A step that fails does not stop the following ones.
    pub steps: Vec<Step>,
    /// Padding that fills the metadata up to a length.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

/// A step of a script. The data is that of [`pattern`], and continues from step to step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Write {
        len: u64,
        /// The maximum number of bytes of one call.
        piece: u32,
    },
    /// Writes the data. Each call that has to wait is dropped once and made again.
    WriteDropping {
        len: u64,
    },
    /// Writes until a write fails, at most [`MAX_BYTES`].
    WriteOn,
    /// Writes until the data lane is full, sends a warning, and goes on as `WriteOn`.
    Fill(Words),
    /// Drops a write that is half done.
    CutWrite,
    Raw(Vec<u8>),
    /// Writes this many [`line()`]s, from the first on.
    WriteLines(u32),
    /// Writes this many [`item`]s as JSON, from the first on.
    WriteItems(u32),
    Finish,
    /// Waits until the peer has all data.
    Delivered,
    /// Reads exactly this many bytes.
    Read(u64),
    /// Reads until the end or an error.
    ReadEnd,
    /// Reads until the end or an error. Each call that has to wait is dropped once and made again.
    ReadEndDropping,
    ReadLines(u32),
    ReadItems(u32),
    /// Writes this many bytes and finishes, and reads until the end at the same time.
    Exchange {
        len: u64,
    },
    /// Writes back the data that is read, and finishes when it ends.
    Echo,
    /// Waits until this many reports have come in total.
    Hear(u32),
    /// Sends this many warnings, each with the next code.
    Warn {
        words: Words,
        count: u32,
    },
    Fail(Words),
    /// Fails the stream from its reading half.
    FailReading(Words),
    Abort(Words),
    DropSend,
    DropRecv,
}

/// The content of a record on the error lane, as a code and the lengths of the text and the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub code: u64,
    pub text: u32,
    pub details: u32,
}

/// The reason why metadata are not a role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The metadata are not the JSON of a role.
    #[error("the role cannot be read, are both sides of the same version? ({0})")]
    Json(#[from] serde_json::Error),
    /// The role has too many steps.
    #[error("the role has {0} steps, and the limit is {MAX_STEPS}")]
    Steps(usize),
    /// A step asks for too much, or for pieces of 0 bytes.
    #[error("a step of the role is over its bounds: {0:?}")]
    Bounds(Step),
}

impl Role {
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers, names and strings can always be written as JSON.
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
    /// Returns the seed of the data that one side writes.
    pub fn seed(id: u64, side: Side) -> u64 {
        id.wrapping_mul(2).wrapping_add(u64::from(side == Side::Acceptor))
    }
}

/// A side of a stream. The side that called `get_stream` is the opener.
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
    /// Makes words with this code, and with a text and details of ordinary length.
    pub fn new(code: u64) -> Self {
        Self { code, text: 40, details: 100 }
    }

    /// Returns the words of the `nth` record after this one.
    #[must_use]
    pub fn nth(self, nth: u32) -> Self {
        Self { code: self.code.saturating_add(u64::from(nth)), ..self }
    }

    pub fn to_error(self) -> StreamError {
        let error = StreamError::new(self.code, self.text());
        // The lengths were checked when the role was read.
        error.clone().with_details(self.details()).unwrap_or(error)
    }

    /// Returns the record as the other side must see it if `offset` bytes were written before.
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

/// Returns the `n`-th line. Lines have different lengths, and are not all ASCII.
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
