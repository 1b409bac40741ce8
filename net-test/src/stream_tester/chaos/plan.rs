//! The plan of a stream or a request. The opener draws it, and the stream carries it, so that both sides know it.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use twolane::StreamError;

use super::pairs::Sight;
use crate::stream_tester::{pattern, role::Side};

/// Returns the number of a stream or a request. It is used once in a run.
pub fn number_of(actor: usize, number: u64) -> u64 {
    (actor as u64) << 32 | number
}

/// A stream's plan. The metadata carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub id: u64,
    pub from: usize,
    #[serde(flatten)]
    pub draft: Draft,
    /// The state of the pair when the stream was opened.
    pub sight: Sight,
    /// The ban that was in force against the opener at that time.
    pub ban: Option<u64>,
}

/// The part of a stream's plan that an order decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub to: usize,
    /// Whether the stream is accepted with `accept_bi` instead of a handler.
    pub accepted: bool,
    pub opener: Part,
    pub acceptor: Part,
    /// Whether the acceptor writes back the data that it reads, instead of data of its own.
    pub echo: bool,
    /// The number of bytes of the opener's data in the stream's header.
    pub early: u64,
    /// Whether each read is tried once, dropped if it has to wait, and made again.
    pub cancel_reads: bool,
    /// The time that readers wait before they start, so that data piles up.
    pub pause_ms: u64,
}

impl Draft {
    pub fn plain(to: usize, opener: Part, acceptor: Part) -> Self {
        Self { to, accepted: false, opener, acceptor, echo: false, early: 0, cancel_reads: false, pause_ms: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub len: u64,
    pub piece: usize,
    pub warnings: u64,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Finish,
    Fail,
    Abort,
    Drop,
    /// The side drops a write that is not ready, and then the stream. Not every byte has to be sent.
    CancelWrite,
}

impl End {
    /// Returns whether the peer sees the stream as dropped.
    pub fn drops(self) -> bool {
        matches!(self, Self::Drop | Self::CancelWrite)
    }

    /// Returns whether the side tells the peer that the whole stream is over.
    pub fn tells(self) -> bool {
        matches!(self, Self::Fail | Self::Abort)
    }
}

impl Plan {
    pub fn part(&self, side: Side) -> &Part {
        match side {
            Side::Opener => &self.draft.opener,
            Side::Acceptor => &self.draft.acceptor,
        }
    }

    pub fn pattern(&self, side: Side) -> u64 {
        match side {
            Side::Acceptor if !self.draft.echo => self.id.wrapping_mul(2).wrapping_add(1),
            _ => self.id.wrapping_mul(2),
        }
    }

    pub fn error(&self, side: Side) -> StreamError {
        let (code, text) = self.error_words(side);
        StreamError::new(code, text)
    }

    pub fn error_words(&self, side: Side) -> (u64, String) {
        (
            self.id << 2 | u64::from(side == Side::Acceptor),
            format!("the {side:?} of stream {} ends it as planned", self.id),
        )
    }

    /// Returns the codes of one side's warnings, in order.
    pub fn warnings(&self, side: Side) -> Range<u64> {
        let first = self.id << 4 | u64::from(side == Side::Acceptor) << 3;
        first..first + self.part(side).warnings
    }

    pub fn encode(&self) -> Bytes {
        // A plan can always be written as JSON. The acceptor would detect an empty header.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub fn decode(metadata: &[u8]) -> Option<Self> {
        serde_json::from_slice(metadata).ok()
    }
}

pub fn other(side: Side) -> Side {
    match side {
        Side::Opener => Side::Acceptor,
        Side::Acceptor => Side::Opener,
    }
}

/// A request's plan. It is a line of JSON before the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub id: u64,
    pub from: usize,
    #[serde(flatten)]
    pub wish: Wish,
    /// The state of the pair when the request was sent.
    pub sight: Sight,
    /// The ban that was in force against the caller at that time.
    pub ban: Option<u64>,
}

/// The part of a request's plan that an order decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub to: usize,
    pub len: usize,
    pub answer: Answer,
    /// The time after which the caller drops the call.
    pub drop_after_ms: Option<u64>,
    /// A deadline that is meant to pass.
    pub deadline_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Data(usize),
    Error,
    Never,
}

impl Ask {
    pub fn encode(&self) -> Bytes {
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        body.extend(pattern::bytes(self.id, self.wish.len));
        body.into()
    }

    /// Parses a request. The second value is whether the data is intact.
    pub fn decode(body: &[u8]) -> Option<(Self, bool)> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let ask: Self = serde_json::from_slice(&body[..end]).ok()?;
        let intact = body[end + 1..] == pattern::bytes(ask.id, ask.wish.len);
        Some((ask, intact))
    }

    pub fn response(&self, len: usize) -> Bytes {
        pattern::bytes(!self.id, len).into()
    }

    pub fn error_words(&self) -> (u64, String) {
        (self.id, format!("request {} fails as planned", self.id))
    }
}

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
        let wish = Wish { to: 2, len: 100, answer: Answer::Data(9), drop_after_ms: None, deadline_ms: Some(5) };
        let ask = Ask { id: 7, from: 1, wish, sight, ban: None };
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
