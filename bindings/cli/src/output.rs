//! The output of the programs: one JSON object a line to standard output for programs, and text to standard error
//! for people.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{cli::doctor::Diagnosis, exit::Exit};

/// The version of the events. It is raised when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 2;

/// One line of the output with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The time of the event, in milliseconds since 1970.
    pub ts: u64,
    /// The version of the events, [`SCHEMA`].
    pub schema: u32,
}

/// An event. Byte counts and nanoseconds are integers, keys are id52s, and hashes are hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The first event of a sender.
    Start {
        /// The id52 of the sender.
        id52: String,
        /// The id52 of the receiver.
        peer: String,
        /// The number of files to send, in all folders.
        files: u64,
    },
    /// The receiver can be reached.
    Ready {
        /// The id52 of the receiver.
        id52: String,
        /// The ticket of the receiver: its key and its known addresses.
        ticket: String,
        /// The command to run on the other machine.
        command: String,
        /// The directory into which files are received.
        dir: String,
    },
    /// Further addresses of the receiver are known.
    Ticket {
        /// The ticket, as in `Ready`.
        ticket: String,
        /// The command, as in `Ready`.
        command: String,
    },
    /// A problem that does not end the program.
    Warning {
        /// The description of the problem.
        message: String,
    },
    /// A peer is connected.
    Connected {
        /// The id52 of the peer.
        peer: String,
        /// The path, `direct` or `relay`; `null` until it is known.
        path: Option<String>,
        /// The round-trip time.
        rtt_ns: Option<u64>,
    },
    /// The data takes its first path, or changes to another path.
    Path {
        /// The id52 of the peer.
        peer: String,
        /// The path, `direct` or `relay`.
        path: String,
        /// The round-trip time.
        rtt_ns: Option<u64>,
    },
    /// The receiver has accepted the stream of a transfer (sender).
    Stream {
        /// The sender's number for the transfer. There is one for all that is on the command line, unless the receiver
        /// takes one file at a time.
        transfer: u64,
        /// The name of the first file or folder that is sent on the stream.
        name: String,
        /// The time that opening the stream took. For the first stream it includes finding the peer and connecting
        /// to it.
        open_ns: u64,
    },
    /// A sender offers files or folders (receiver).
    Offer {
        /// The number of the transfer.
        transfer: u64,
        /// The id52 of the sender.
        peer: String,
        /// The name of the first file or folder in the offer; `null` if the offer cannot be read.
        name: Option<String>,
        /// The number of files and folders that the sender's user has named.
        items: u64,
        /// The number of files in all of them, if the sender has counted them.
        files: Option<u64>,
        /// The number of bytes of all files, if the sender knows it.
        size: Option<u64>,
    },
    /// The progress of a transfer. Written a few times a second while bytes are transferred.
    Progress {
        /// The program's number for the transfer, counted from 1.
        transfer: u64,
        /// The number of bytes that were transferred so far, or were there already.
        bytes: u64,
        /// The number of bytes of all files, if the sender knows it.
        size: Option<u64>,
        /// The time since the start of the transfer.
        elapsed_ns: u64,
        /// The path, `direct` or `relay`.
        path: Option<String>,
    },
    /// A file or a folder is stored, and the receiver has confirmed it.
    Stored {
        /// The number of the transfer, as in `Progress`.
        transfer: u64,
        /// The position of the file or folder in the transfer, counted from 1.
        item: u64,
        /// The name of the file or folder at the receiver.
        name: String,
        /// Whether all of it was there already.
        already: bool,
        /// The number of files.
        files: u64,
        /// The number of bytes of all files.
        bytes: u64,
        /// The BLAKE3 hash of a file; `null` for a folder.
        blake3: Option<String>,
        /// The time since the start of the transfer.
        elapsed_ns: u64,
    },
    /// A transfer, or a file or folder of it, was not stored (receiver). The program continues, unless it was asked to
    /// receive once only.
    Failed {
        /// The number of the transfer, as in `Progress`.
        transfer: u64,
        /// The id52 of the sender.
        peer: String,
        /// The error code that the sender is told; `null` if the sender is gone or has failed the transfer itself.
        code: Option<u64>,
        /// The description of the failure.
        message: String,
        /// The number of bytes of the transfer that had arrived.
        bytes: u64,
        /// The time of the failure, in nanoseconds since 1970. It is taken just before the sender is told.
        at_ns: u64,
    },
    /// The network status of an endpoint (doctor).
    Status(Box<Diagnosis>),
    /// The peer that the doctor was asked about can be reached.
    Reached {
        /// The id52 of the peer.
        peer: String,
        /// The path, `direct` or `relay`.
        path: Option<String>,
        /// The round-trip time.
        rtt_ns: Option<u64>,
        /// The time until the connection was established, including finding the peer.
        connected_ns: u64,
        /// The time until the path became direct; `null` if it did not.
        direct_ns: Option<u64>,
    },
    /// The last event of a program that succeeded.
    End {
        /// The number of files that were sent or received.
        files: u64,
        /// The number of bytes of these files.
        bytes: u64,
        /// The time since the start of the program.
        elapsed_ns: u64,
    },
    /// The last event of a program that failed.
    Error(Failure),
    /// The last event of the demo, whether it succeeded or failed.
    Summary(Box<Summary>),
}

/// The failure of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The description of the failure, with all causes.
    pub message: String,
    /// The kind of the failure.
    pub kind: String,
    /// The exit code.
    pub exit_code: u8,
    /// The error that the peer sent on the error lane, if any.
    pub error_lane: Option<ErrorLane>,
}

/// An error on the error lane, as the sender saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLane {
    /// The error code from the peer.
    pub code: u64,
    /// The error text from the peer.
    pub text: String,
    /// The number of bytes of the file that the peer had taken, if the peer told it.
    pub offset: Option<u64>,
    /// The number of bytes of the file that were written to the data lane.
    pub sent: u64,
    /// The time for which the write that the error ended had been waiting on a full data lane. `null` if no write
    /// was waiting.
    pub blocked_ns: Option<u64>,
    /// The arrival time of the error, in nanoseconds since 1970.
    pub at_ns: u64,
}

/// The result of the demo.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether all checks passed.
    pub ok: bool,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of the file. The demo computes it from the sent file and from the received file; `null` if
    /// they differ.
    pub blake3: Option<String>,
    /// The path that the data took at the end.
    pub path: Option<String>,
    /// The paths that the data took, in order.
    pub paths: Vec<String>,
    /// The time to find the receiver, connect to it, and open the first stream.
    pub open_ms: f64,
    /// The throughput in 10^6 bytes a second: the length of the file, divided by the time from its first byte to
    /// the receiver's confirmation.
    pub mb_per_s: f64,
    /// The result of the second transfer.
    pub error_lane: Option<SummaryErrorLane>,
    /// The descriptions of the checks that failed.
    pub failures: Vec<String>,
}

/// The transfer that the receiver refused half-way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryErrorLane {
    /// The error code that arrived at the sender.
    pub code: u64,
    /// The time from the receiver's refusal to its arrival at the sender.
    pub after_ms: f64,
    /// The number of bytes of the file that the receiver had taken.
    pub offset: u64,
    /// The number of bytes of the file that the sender had written.
    pub sent: u64,
    /// The time for which the sender's write had been waiting when the error arrived.
    pub blocked_ms: f64,
}

/// The output of a program.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Makes an output. With `json` it writes events, otherwise text for people. With `quiet` it writes only errors
    /// as text.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Returns whether a progress bar is to be shown.
    pub fn wants_bar(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Returns whether events are written.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes an event for programs.
    pub fn event(&self, event: Event) {
        if !self.json {
            return;
        }
        let line = Line { event, ts: u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX), schema: SCHEMA };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            // The program continues even if the reader has closed standard output.
            let mut out = io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }

    /// Writes a line for people.
    pub fn say(&self, words: fmt::Arguments<'_>) {
        if !self.json && !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{words}");
        }
    }

    /// Reports a problem that does not end the program.
    pub fn warn(&self, message: String) {
        self.say(format_args!("warning: {message}"));
        self.event(Event::Warning { message });
    }

    /// Reports the failure of a program: an event for programs, and in any case a line for people.
    pub fn fail(&self, failure: &Failure) {
        self.event(Event::Error(failure.clone()));
        // A user who has interrupted the program does not need to be told that it is an error.
        let asked = [Exit::Interrupted, Exit::Terminated].map(Exit::code).contains(&failure.exit_code);
        let _ = writeln!(io::stderr().lock(), "{}{}", if asked { "" } else { "error: " }, failure.message);
    }
}

/// Returns the current time in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    nanos(since_1970())
}

/// Converts a duration to nanoseconds. The result can represent 584 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns an error with its causes in one line. Many errors repeat a cause in their own text; such a cause is not
/// added again.
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
