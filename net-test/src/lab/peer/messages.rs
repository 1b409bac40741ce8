//! The commands for a peer, and its reports.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The relay's URL.
    pub relay: Option<String>,
    /// The trusted root for the relay's certificate, as DER.
    pub root: Option<Vec<u8>>,
    pub nameserver: Option<SocketAddr>,
    /// The URL at which keys are published, and the DNS origin under which they are looked up.
    pub directory: Option<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The secret key. The default is a new key.
    pub key: Option<[u8; 32]>,
    pub reach: Reach,
    /// The port of the socket. By default the system chooses one.
    pub port: Option<u16>,
    pub mdns: bool,
    /// The time that the rules take to decide about each connection, in milliseconds, from the first connection on.
    /// The rules allow all later connections at once.
    pub rules_ms: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Begin a conversation with this peer, which is a ticket or an id52.
    Talk { peer: String },
    /// End the conversation.
    Stop,
    /// Send one request, and repeat it until there is a response.
    Ask { peer: String, within_ms: u64 },
    /// Send `requests` requests at once, each for a response of `bytes` bytes.
    Many { peer: String, requests: u64, bytes: u64, within_ms: u64 },
    /// Send two repeatable requests on each of `rounds` connections, and end the connection after them.
    ComeBack { peer: String, rounds: u64 },
    /// Open `lanes` streams.
    Bulk { peer: String, lanes: u64 },
    /// Write on these streams without a pause.
    Begin,
    /// Fail the first of these streams.
    FailOne,
    /// Finish the other streams.
    FinishBulk,
}

/// A report of a peer. Times are nanoseconds since 1970, by the clock that the lab also uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// The endpoint is bound.
    Ready { id52: String, sockets: Vec<SocketAddr> },
    /// A relay knows the peer. The ticket has that relay and no addresses.
    Online { ticket: String },
    /// The first response has arrived.
    FirstByte { at_ns: u64 },
    /// Data now takes this way.
    Path { direct: bool },
    /// A transfer or a request failed.
    Broken { what: String },
    /// The conversation was ended by command.
    Done(Done),
    /// The result of [`Command::Ask`].
    Asked { ok: bool, tries: u32, at_ns: u64, last_error: Option<String> },
    /// The rules were asked about a connection.
    Ruling,
    /// The result of [`Command::Many`].
    Answered { whole: u64, at_ns: u64, first_error: Option<String> },
    /// The result of [`Command::ComeBack`]: the milliseconds of both requests of each round. Since the start of the
    /// peer: the requests that were sent early, and how often the other peer dropped them.
    CameBack { rounds: Vec<[f64; 2]>, early: u64, rejected: u64 },
    /// The streams of [`Command::Bulk`] are open.
    Opened,
    /// The bulk data has filled the bytes that a connection takes without an acknowledgement.
    Full,
    /// The result of one bulk stream at its writer.
    Wrote { lane: u64, bytes: u64, fault: Option<String> },
    /// The result of one bulk stream at its reader.
    Read { lane: u64, bytes: u64, intact: bool, end: ReadEnd, at_ns: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadEnd {
    Finished,
    Failed { code: u64, text: String, offset: u64 },
    Broken(String),
}

/// The results of a conversation that was ended by command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The sent and the received data have the same length and hash.
    pub identical: bool,
    /// Bytes of the transfer.
    pub bytes: u64,
    /// The number of answered requests.
    pub requests: u64,
    /// Times without data at the receiver and times until a response, if they are long enough to be reported.
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
    /// The shortest gap that is reported. Users do not notice a shorter one.
    const WORTH_MS: f64 = 200.0;
    /// The largest number of gaps that are reported. Beyond it, the longest gap says enough.
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
