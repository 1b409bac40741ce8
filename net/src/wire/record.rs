//! The records of an error lane.

use bytes::Bytes;

use super::{Decoded, Fields, MAX_PARAMETERS, Malformed, decode_frame, encode_frame, varint};

/// Maximum length of a record's text, in bytes of UTF-8.
pub(crate) const MAX_TEXT: u64 = 4 * 1024;
/// Maximum length of a record's details, in bytes.
pub(crate) const MAX_DETAILS: u64 = 60 * 1024;
/// Maximum length of a record's frame: severity, code, offset, text and details at their maximum lengths, with
/// varints in their longest form, and its parameters.
pub(crate) const MAX_RECORD: u64 = 8 * 3 + 8 + MAX_TEXT + 8 + MAX_DETAILS + MAX_PARAMETERS;

/// The severity of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The stream continues.
    Warning,
    /// The stream ends. Every byte before the offset is delivered first.
    Fatal,
    /// The stream ends at once. Unread bytes are discarded.
    Abort,
}

/// A record as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) severity: Severity,
    pub(crate) code: u64,
    pub(crate) offset: u64,
    pub(crate) text: String,
    pub(crate) details: Bytes,
}

impl Record {
    /// Appends length, { severity, code, offset, text, details, parameters }. No parameter has a meaning yet: `tail`
    /// has reserved ones.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, tail: &[u8]) {
        let mut body = Vec::with_capacity(32 + self.text.len() + self.details.len() + tail.len());
        let severity = match self.severity {
            Severity::Warning => 0,
            Severity::Fatal => 1,
            Severity::Abort => 2,
        };
        varint::encode(&mut body, severity);
        varint::encode(&mut body, self.code);
        varint::encode(&mut body, self.offset);
        encode_frame(&mut body, self.text.as_bytes());
        encode_frame(&mut body, &self.details);
        body.extend_from_slice(tail);
        encode_frame(out, &body);
    }

    pub(crate) fn decode(input: &[u8]) -> Decoded<Self> {
        let Some((start, end)) = decode_frame(input, "the error record", MAX_RECORD)? else {
            return Ok(None);
        };
        let mut fields = Fields::new(&input[start..end], "the error record");
        let severity = fields.varint()?;
        let code = fields.varint()?;
        let offset = fields.varint()?;
        let text = fields.text("the error's text", MAX_TEXT)?.to_owned();
        let details = Bytes::copy_from_slice(fields.block("the error's details", MAX_DETAILS)?);
        fields.parameters(|_, _| Ok(false))?;
        // Checked after the other fields: a malformed record is malformed whatever its severity.
        let severity = match severity {
            0 => Severity::Warning,
            1 => Severity::Fatal,
            2 => Severity::Abort,
            value => {
                return Err(Malformed::Value { what: "the severity", value });
            }
        };
        Ok(Some((Self { severity, code, offset, text, details }, end)))
    }
}
