//! What the programs say: to programs on standard output, one JSON object a line, and to people on standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{cli::doctor::Diagnosis, exit::Exit};

/// The version of the events: raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// One line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, in milliseconds since 1970.
    pub ts: u64,
    /// [`SCHEMA`].
    pub schema: u32,
}

/// What happened. Bytes and nanoseconds are integers; keys are id52s, hashes hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The first line of a sender.
    Start {
        /// Our key.
        id52: String,
        /// The receiver's.
        peer: String,
        /// What is to be sent.
        files: u64,
    },
    /// The receiver can be reached.
    Ready {
        /// Our key.
        id52: String,
        /// Our key with what is known of where we are.
        ticket: String,
        /// What to run on the other machine.
        command: String,
        /// Where files go.
        dir: String,
    },
    /// More is known of where the receiver is.
    Ticket {
        /// As in `Ready`.
        ticket: String,
        /// As in `Ready`.
        command: String,
    },
    /// Something that is not as it should be and ends nothing.
    Warning {
        /// In words.
        message: String,
    },
    /// A peer is connected.
    Connected {
        /// Who.
        peer: String,
        /// `direct` or `relay`; `null` while that is being decided.
        path: Option<String>,
        /// The round trip.
        rtt_ns: Option<u64>,
    },
    /// The first way that data takes, or another one.
    Path {
        /// To or from whom.
        peer: String,
        /// `direct` or `relay`.
        path: String,
        /// The round trip.
        rtt_ns: Option<u64>,
    },
    /// The receiver took a stream (sender).
    Stream {
        /// The sender's number for the transfer.
        transfer: u64,
        /// The file that is sent on it.
        name: String,
        /// How long that took, the first time with finding the peer and connecting to it.
        open_ns: u64,
    },
    /// A sender offers a file (receiver).
    Offer {
        /// A number for the transfer.
        transfer: u64,
        /// The sender.
        peer: String,
        /// What the sender calls the file; `null` if the offer cannot be read.
        name: Option<String>,
        /// Its length, if the sender knows.
        size: Option<u64>,
    },
    /// How far a transfer is; a few times a second while it moves.
    Progress {
        /// The program's number for the transfer; at the sender the file's place on the command line, from 1 on.
        transfer: u64,
        /// Bytes of the file so far.
        bytes: u64,
        /// Bytes of the file in all, if the sender knows.
        size: Option<u64>,
        /// Since the transfer started.
        elapsed_ns: u64,
        /// `direct` or `relay`.
        path: Option<String>,
    },
    /// A file is stored, and the receiver has said so.
    Stored {
        /// As in `Progress`.
        transfer: u64,
        /// The name it has at the receiver.
        name: String,
        /// Its length.
        bytes: u64,
        /// Its hash.
        blake3: String,
        /// Since the transfer started.
        elapsed_ns: u64,
    },
    /// A file was not stored (receiver). The program goes on, unless it is to take one only.
    Failed {
        /// As in `Progress`.
        transfer: u64,
        /// The sender.
        peer: String,
        /// What the sender is told; `null` if the sender is gone or has failed itself.
        code: Option<u64>,
        /// In words.
        message: String,
        /// Bytes of the file that had arrived.
        bytes: u64,
        /// When, in nanoseconds since 1970: just before the sender is told.
        at_ns: u64,
    },
    /// How an endpoint stands in the network (doctor).
    Status(Box<Diagnosis>),
    /// The peer that doctor was asked about can be reached.
    Reached {
        /// Who.
        peer: String,
        /// `direct` or `relay`.
        path: Option<String>,
        /// The round trip.
        rtt_ns: Option<u64>,
        /// How long the connection took, with finding the peer.
        connected_ns: u64,
        /// How long it took until data went directly; `null` if it does not.
        direct_ns: Option<u64>,
    },
    /// The last line of a program that did what it was asked to.
    End {
        /// Files sent or received.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Since the program started.
        elapsed_ns: u64,
    },
    /// The last line of a program that did not.
    Error(Failure),
    /// The last line of the demo, good or bad.
    Summary(Box<Summary>),
}

/// Why a program did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In words, with all causes.
    pub message: String,
    /// What kind of failure it is.
    pub kind: String,
    /// The exit code.
    pub exit_code: u8,
    /// What the peer said on the error lane, if it did.
    pub error_lane: Option<ErrorLane>,
}

/// What a sender saw of an error on the error lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLane {
    /// The peer's code.
    pub code: u64,
    /// The peer's words.
    pub text: String,
    /// Bytes of the file that the peer had taken, if it said so.
    pub offset: Option<u64>,
    /// Bytes of the file that had been written to the data lane.
    pub sent: u64,
    /// For how long the write that the error ended had been waiting: the data lane was full. `null` if none was.
    pub blocked_ns: Option<u64>,
    /// When it arrived, in nanoseconds since 1970.
    pub at_ns: u64,
}

/// How the demo went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All of it held.
    pub ok: bool,
    /// The length of the file.
    pub bytes: u64,
    /// Its hash, computed by the demo from the file that was sent and the one that arrived; `null` if they differ.
    pub blake3: Option<String>,
    /// The way that data took at the end.
    pub path: Option<String>,
    /// The ways that data took, in their order.
    pub paths: Vec<String>,
    /// How long it took to find the receiver, connect to it, and open the first stream.
    pub open_ms: f64,
    /// The file's length by the time from its first byte to the receiver's confirmation, in 10^6 bytes a second.
    pub mb_per_s: f64,
    /// The second transfer.
    pub error_lane: Option<SummaryErrorLane>,
    /// What did not hold, in words.
    pub failures: Vec<String>,
}

/// The transfer that was refused half-way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryErrorLane {
    /// The code that arrived.
    pub code: u64,
    /// From the receiver's refusal to its arrival at the sender.
    pub after_ms: f64,
    /// Bytes of the file that the receiver had taken.
    pub offset: u64,
    /// Bytes of the file that the sender had written.
    pub sent: u64,
    /// For how long the sender's write had been waiting when the error arrived.
    pub blocked_ms: f64,
}

/// Where a program speaks.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Events with `json`, words for people otherwise; with `quiet` the latter are for errors only.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether a progress bar has its place.
    pub fn wants_bar(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether events are written.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// An event, for programs.
    pub fn event(&self, event: Event) {
        if !self.json {
            return;
        }
        let line = Line { event, ts: u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX), schema: SCHEMA };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            // A program that stopped listening is no reason to stop.
            let mut out = io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }

    /// A line for people.
    pub fn say(&self, words: fmt::Arguments<'_>) {
        if !self.json && !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{words}");
        }
    }

    /// Something that is not as it should be and ends nothing.
    pub fn warn(&self, message: String) {
        self.say(format_args!("warning: {message}"));
        self.event(Event::Warning { message });
    }

    /// The last words of a program that failed: for people in any case, and an object for programs.
    pub fn fail(&self, failure: &Failure) {
        self.event(Event::Error(failure.clone()));
        // Who has interrupted a program knows that it is no error.
        let asked = [Exit::Interrupted, Exit::Terminated].map(Exit::code).contains(&failure.exit_code);
        let _ = writeln!(io::stderr().lock(), "{}{}", if asked { "" } else { "error: " }, failure.message);
    }
}

/// Now, in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    nanos(since_1970())
}

/// A duration in nanoseconds: 584 years are enough.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An error with its causes, in one line. Many errors repeat a cause in their own text: it is not said again.
pub fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string().replace(['\n', '\r'], " ");
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        next = error.source();
    }
    line
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let line = Line { event: Event::End { files: 1, bytes: 2, elapsed_ns: 3 }, ts: 4, schema: SCHEMA };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"event":"end","files":1,"bytes":2,"elapsed_ns":3,"ts":4,"schema":1}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn causes_follow_in_one_line_and_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("no\nluck")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("it is full: really")]
        struct Middle(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("really")]
        struct Inner;

        assert_eq!(in_one_line(&Outer(Middle(Inner))), "no luck: it is full: really");
    }
}
