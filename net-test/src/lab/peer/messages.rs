//! What a peer is told, and what it says.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a peer finds others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::lab) struct Reach {
    /// The relay's URL.
    pub(in crate::lab) relay: Option<String>,
    /// The root that the relay's certificate is checked by, as DER.
    pub(in crate::lab) root: Option<Vec<u8>>,
    pub(in crate::lab) nameserver: Option<SocketAddr>,
    /// Where keys are published, and the DNS origin under which they are looked up.
    pub(in crate::lab) directory: Option<(String, String)>,
}

/// What a peer is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::lab) struct Config {
    /// Default: a new one.
    pub(in crate::lab) key: Option<[u8; 32]>,
    pub(in crate::lab) reach: Reach,
    /// Whether it looks for others on its local network.
    pub(in crate::lab) mdns: bool,
}

/// What a peer is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(in crate::lab) enum Command {
    /// Begin a conversation with this peer: a ticket, or an id52.
    Talk { peer: String },
    /// End it.
    Stop,
    /// One request, again until there is a response.
    Ask { peer: String, within_ms: u64 },
}

/// What a peer says. Times are nanoseconds since 1970, by the clock that the lab has too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(in crate::lab) enum Said {
    /// It is bound.
    Ready { id52: String, sockets: Vec<SocketAddr> },
    /// A relay knows it. The ticket has that relay and no addresses.
    Online { after_ms: f64, ticket: String },
    /// The conversation's stream was taken by the peer.
    Talking { at_ns: u64 },
    /// The first response was there.
    FirstByte { at_ns: u64 },
    /// Data takes this way now.
    Path { direct: bool, at_ns: u64 },
    /// The connection was lost.
    Gone { cause: String, at_ns: u64 },
    /// The program noticed something that it should not have: a transfer or a request that failed.
    Broken { what: String, at_ns: u64 },
    /// The conversation was ended by command.
    Done(Done),
    /// How [`Command::Ask`] went.
    Asked { ok: bool, tries: u32, at_ns: u64, last_error: Option<String> },
}

/// A conversation that was ended by command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Done {
    /// What was sent and what arrived are the same, by length and hash.
    pub(in crate::lab) identical: bool,
    /// Of the transfer.
    pub(in crate::lab) bytes: u64,
    /// Requests that were answered.
    pub(in crate::lab) requests: u64,
    /// When nothing arrived at the receiver, or a response was waited for: those worth telling, of both.
    pub(in crate::lab) gaps: Vec<Gap>,
    /// The longest of all.
    pub(in crate::lab) longest_ms: f64,
}

/// A time without data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Gap {
    /// When it began.
    pub(in crate::lab) at_ns: u64,
    pub(in crate::lab) ms: f64,
}

/// What arrived of a transfer: the receiver's last words on the stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Receipt {
    pub(super) bytes: u64,
    pub(super) hash: String,
    pub(super) gaps: Gaps,
}

/// The gaps of a conversation, as they come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Gaps {
    pub(super) worth_telling: Vec<Gap>,
    pub(super) longest_ms: f64,
}

impl Gaps {
    /// Shorter ones are nothing that a person sees.
    const WORTH_MS: f64 = 200.0;
    /// A transfer that has more of them is told of by the longest.
    const MOST: usize = 200;

    pub(super) fn add(&mut self, gap: Gap) {
        self.longest_ms = self.longest_ms.max(gap.ms);
        if gap.ms >= Self::WORTH_MS && self.worth_telling.len() < Self::MOST {
            self.worth_telling.push(gap);
        }
    }

    pub(super) fn join(&mut self, other: Self) {
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
        for said in [Said::Done(done), Said::Path { direct: true, at_ns: 5 }] {
            let text = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said);
        }
        let text = serde_json::to_string(&Command::Stop).unwrap();
        assert_eq!(text, r#"{"do":"stop"}"#);
    }
}
