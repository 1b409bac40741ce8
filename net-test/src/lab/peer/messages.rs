//! The commands for a peer, and its answers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The relay's URL.
    pub relay: Option<String>,
    /// The root for the relay's certificate, as DER.
    pub root: Option<Vec<u8>>,
    pub nameserver: Option<SocketAddr>,
    /// Where keys are published, and the DNS origin under which they are looked up.
    pub directory: Option<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The default is a new key.
    pub key: Option<[u8; 32]>,
    pub reach: Reach,
    /// Of its socket. The default is one that the system chooses.
    pub port: Option<u16>,
    pub mdns: bool,
    /// How long the rules think about each connection, in milliseconds: the first, the second and so on. Those after them are
    /// allowed at once.
    pub rules_ms: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Begin a conversation with this peer: a ticket, or an id52.
    Talk { peer: String },
    /// End it.
    Stop,
    /// One request, again until there is a response.
    Ask { peer: String, within_ms: u64 },
    /// So many requests at once, each for a response of so many bytes.
    Many { peer: String, requests: u64, bytes: u64, within_ms: u64 },
    /// Open so many streams.
    Bulk { peer: String, lanes: u64 },
    /// Write on them, without a pause.
    Begin,
    /// Fail the first of them.
    FailOne,
    /// Finish the others.
    FinishBulk,
}

/// Times are nanoseconds since 1970, by the clock that the lab has too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// The endpoint is bound.
    Ready { id52: String, sockets: Vec<SocketAddr> },
    /// A relay knows the peer. The ticket has that relay and no addresses.
    Online { ticket: String },
    /// The first response was there.
    FirstByte { at_ns: u64 },
    /// Data takes this way now.
    Path { direct: bool },
    /// A transfer or a request failed.
    Broken { what: String },
    /// The conversation was ended by command.
    Done(Done),
    /// The end of [`Command::Ask`].
    Asked { ok: bool, tries: u32, at_ns: u64, last_error: Option<String> },
    /// The rules were asked about a connection.
    Ruling,
    /// The end of [`Command::Many`].
    Answered { whole: u64, at_ns: u64, first_error: Option<String> },
    /// The streams of the bulk are open.
    Opened,
    /// The bulk has filled what a connection takes without an acknowledgement.
    Full,
    /// The end of one stream of the bulk at its writer.
    Wrote { lane: u64, bytes: u64, fault: Option<String> },
    /// The same at its reader.
    Read { lane: u64, bytes: u64, intact: bool, end: ReadEnd, at_ns: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadEnd {
    Finished,
    Failed { code: u64, text: String, offset: u64 },
    Broken(String),
}

/// A conversation that was ended by command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The sent and the received data have the same length and hash.
    pub identical: bool,
    /// Bytes of the transfer.
    pub bytes: u64,
    /// Answered requests.
    pub requests: u64,
    /// Times without data at the receiver, and times until a response: those worth telling.
    pub gaps: Vec<Gap>,
    pub longest_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub at_ns: u64,
    pub ms: f64,
}

/// The answer of a transfer's receiver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub bytes: u64,
    pub hash: String,
    pub gaps: Gaps,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    pub worth_telling: Vec<Gap>,
    pub longest_ms: f64,
}

impl Gaps {
    /// Nobody sees a shorter gap.
    const WORTH_MS: f64 = 200.0;
    /// Of more gaps the longest tells enough.
    const MOST: usize = 200;

    pub fn add(&mut self, gap: Gap) {
        self.longest_ms = self.longest_ms.max(gap.ms);
        if gap.ms >= Self::WORTH_MS && self.worth_telling.len() < Self::MOST {
            self.worth_telling.push(gap);
        }
    }

    pub fn join(&mut self, other: Self) {
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        self.worth_telling.extend(other.worth_telling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_kept_and_short_ones_are_not_told() {
        let mut gaps = Gaps::default();
        for ms in [10.0, 250.0, 199.0] {
            gaps.add(Gap { at_ns: 1, ms });
        }
        assert_eq!(gaps.longest_ms, 250.0);
        assert_eq!(gaps.worth_telling.len(), 1);
        for _ in 0..1000 {
            gaps.add(Gap { at_ns: 1, ms: 300.0 });
        }
        assert_eq!(gaps.worth_telling.len(), Gaps::MOST);
        let mut all = Gaps::default();
        all.join(gaps);
        assert_eq!(all.longest_ms, 300.0);
    }

    #[test]
    fn a_line_comes_back_as_it_went() {
        let done = Done { identical: true, bytes: 7, requests: 1, gaps: vec![], longest_ms: 1.5 };
        for said in [Said::Done(done), Said::Path { direct: true }] {
            let text = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said);
        }
        let text = serde_json::to_string(&Command::Stop).unwrap();
        assert_eq!(text, r#"{"do":"stop"}"#);
    }
}
