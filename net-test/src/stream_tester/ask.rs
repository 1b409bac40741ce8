//! The requests to the acceptor. A request is one line of JSON, followed by bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::role::Words;

pub const REQUESTS: &str = "stream-tester-request/1";
/// A protocol that is known and never accepted.
pub const NOBODY: &str = "stream-tester-nobody/1";
/// The longest request that the acceptor takes, and the longest response that it sends, in bytes. It is more than
/// the opener takes, so that a response can exceed either limit.
pub const ACCEPTOR_TAKES: usize = 1024 * 1024;
/// The longest response that the opener takes, in bytes.
pub const OPENER_TAKES: usize = 512 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Returns the bytes of the request.
    Echo,
    Fail(Words),
    /// Returns a response of this many bytes of the pattern with the seed 0. The length may exceed the acceptor's
    /// limit.
    Size(u32),
    /// Gives no response. The acceptor makes two reports, as for a stream with this number: one when the request
    /// has come (`finished` is false), and one when the request was given up (`finished` is true).
    Never(u64),
}

impl Ask {
    pub fn to_body(&self, bytes: &[u8]) -> Bytes {
        // Names and numbers can always be written as JSON.
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        body.extend_from_slice(bytes);
        body.into()
    }

    /// Parses a request. The second value is the bytes after the JSON line.
    pub fn from_body(body: &Bytes) -> Option<(Self, Bytes)> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let ask = serde_json::from_slice(&body[..end]).ok()?;
        Some((ask, body.slice(end + 1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_made() {
        for ask in [Ask::Echo, Ask::Fail(Words::new(404)), Ask::Size(7), Ask::Never(u64::MAX)] {
            let body = ask.to_body(b"a\nb");
            assert_eq!(Ask::from_body(&body), Some((ask, Bytes::from_static(b"a\nb"))));
        }
        for body in ["", "\n", "{}", "{}\n", "\"echo\""] {
            assert_eq!(Ask::from_body(&Bytes::from_static(body.as_bytes())), None);
        }
    }
}
