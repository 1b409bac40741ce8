//! What a stream, or a request, is to do: drawn by whoever opens it, carried in it, and so known to both sides.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use twolane::StreamError;

use super::pairs::Sight;
use crate::stream_tester::{pattern, role::Side};

/// A number for a stream or a request, used once in a run.
pub fn number_of(actor: usize, number: u64) -> u64 {
    (actor as u64) << 32 | number
}

/// A stream's plan, in its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stream's number, used once in a run.
    pub id: u64,
    /// The place that opens it.
    pub from: usize,
    /// The place that accepts it.
    pub to: usize,
    /// What the opener does.
    pub opener: Part,
    /// What the acceptor does.
    pub acceptor: Part,
    /// The acceptor writes what it reads, in place of data of its own.
    pub echo: bool,
    /// Bytes of the opener's data that travel with the header.
    pub early: u64,
    /// Readers try each read once, drop it if it has to wait, and then read.
    pub cancel_reads: bool,
    /// Readers wait so many milliseconds before they start: data piles up.
    pub pause_ms: u64,
    /// How the pair stood when the stream was opened.
    pub sight: Sight,
    /// The ban that was in force against the opener then.
    pub ban: Option<u64>,
}

/// What one side of a stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes that it writes before its end.
    pub len: u64,
    /// Bytes in one write.
    pub piece: usize,
    /// Warnings that it sends first.
    pub warnings: u64,
    /// How it ends.
    pub end: End,
}

/// How a side ends its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It finishes, and reads to the end.
    Finish,
    /// It fails the stream after its last byte.
    Fail,
    /// It aborts the stream after its last byte.
    Abort,
    /// It drops the stream after its last byte.
    Drop,
    /// It drops a write before that is ready, and then the stream. Not every byte has to go out.
    CancelWrite,
}

impl End {
    /// Whether the peer finds the stream dropped.
    pub fn drops(self) -> bool {
        matches!(self, Self::Drop | Self::CancelWrite)
    }

    /// Whether it tells the peer that the whole stream is over.
    pub fn tells(self) -> bool {
        matches!(self, Self::Fail | Self::Abort)
    }
}

impl Plan {
    /// What one side does.
    pub fn part(&self, side: Side) -> &Part {
        match side {
            Side::Opener => &self.opener,
            Side::Acceptor => &self.acceptor,
        }
    }

    /// The pattern that one side writes.
    pub fn pattern(&self, side: Side) -> u64 {
        match side {
            Side::Acceptor if !self.echo => self.id.wrapping_mul(2).wrapping_add(1),
            _ => self.id.wrapping_mul(2),
        }
    }

    /// The error with which one side fails or aborts.
    pub fn error(&self, side: Side) -> StreamError {
        let (code, text) = self.error_words(side);
        StreamError::new(code, text)
    }

    /// The code and the text of that error.
    pub fn error_words(&self, side: Side) -> (u64, String) {
        (
            self.id << 2 | u64::from(side == Side::Acceptor),
            format!("the {side:?} of stream {} ends it as planned", self.id),
        )
    }

    /// The codes of the warnings that one side sends, in their order.
    pub fn warnings(&self, side: Side) -> Range<u64> {
        let first = self.id << 4 | u64::from(side == Side::Acceptor) << 3;
        first..first + self.part(side).warnings
    }

    /// For the stream's header.
    pub fn encode(&self) -> Bytes {
        // A plan has nothing that JSON cannot say; an empty header is found out by the acceptor.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// From a stream's header.
    pub fn decode(metadata: &[u8]) -> Option<Self> {
        serde_json::from_slice(metadata).ok()
    }
}

/// The other side.
pub fn other(side: Side) -> Side {
    match side {
        Side::Opener => Side::Acceptor,
        Side::Acceptor => Side::Opener,
    }
}

/// A request's plan: a line of JSON in front of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The request's number, used once in a run.
    pub id: u64,
    /// The place that asks.
    pub from: usize,
    /// The place that is asked.
    pub to: usize,
    /// Bytes of data in the request.
    pub len: usize,
    /// What the handler does.
    pub answer: Answer,
    /// How long the caller waits before it drops the call, if it is to.
    pub drop_after_ms: Option<u64>,
    /// The deadline, if it is to pass.
    pub deadline_ms: Option<u64>,
    /// How the pair stood when the request was sent.
    pub sight: Sight,
    /// The ban that was in force against the caller then.
    pub ban: Option<u64>,
}

/// What a handler does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It responds with so many bytes.
    Data(usize),
    /// It fails the request.
    Error,
    /// It never answers.
    Never,
}

impl Ask {
    /// The request.
    pub fn encode(&self) -> Bytes {
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        body.extend(pattern::bytes(self.id, self.len));
        body.into()
    }

    /// A request, and whether its data is what it must be.
    pub fn decode(body: &[u8]) -> Option<(Self, bool)> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let ask: Self = serde_json::from_slice(&body[..end]).ok()?;
        let intact = body[end + 1..] == pattern::bytes(ask.id, ask.len);
        Some((ask, intact))
    }

    /// The response of [`Answer::Data`].
    pub fn response(&self, len: usize) -> Bytes {
        pattern::bytes(!self.id, len).into()
    }

    /// The code and the text of [`Answer::Error`].
    pub fn error_words(&self) -> (u64, String) {
        (self.id, format!("request {} fails as planned", self.id))
    }
}

/// Whether bytes from `offset` on are those of a pattern.
pub fn is_pattern(pattern: u64, mut offset: u64, mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let expected = pattern::slice(pattern, offset, data.len());
        let (head, rest) = data.split_at(expected.len());
        if head != expected {
            return false;
        }
        (offset, data) = (offset + head.len() as u64, rest);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_plan_and_a_damaged_one_is_seen() {
        let sight = Sight { epoch: 3, over: 1 };
        let ask = Ask {
            id: 7,
            from: 1,
            to: 2,
            len: 100,
            answer: Answer::Data(9),
            drop_after_ms: None,
            deadline_ms: Some(5),
            sight,
            ban: None,
        };
        let mut body = ask.encode().to_vec();
        assert_eq!(Ask::decode(&body), Some((ask.clone(), true)));
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(Ask::decode(&body), Some((ask, false)));
        assert_eq!(Ask::decode(b"no plan"), None);
    }

    #[test]
    fn other_bytes_at_the_same_place_and_the_same_bytes_at_another_are_no_pattern() {
        let data = pattern::bytes(5, 2000);
        assert!(is_pattern(5, 100, &data[100..]));
        assert!(!is_pattern(5, 101, &data[100..]));
        assert!(!is_pattern(6, 100, &data[100..]));
    }
}
