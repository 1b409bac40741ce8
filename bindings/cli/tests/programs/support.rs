//! A program in its own process, and its events.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;
use twolane_cli::output::{Event, Failure, Line, SCHEMA};

/// Maximum time for one step. It is longer than any step takes on a busy machine, and shorter than the 10 minutes
/// for which a program waits for a connected but idle peer. A dead connection is detected within 25 s.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) const SENDER: &str = env!("CARGO_BIN_EXE_sender");
pub(crate) const RECEIVER: &str = env!("CARGO_BIN_EXE_receiver");
pub(crate) const DEMO: &str = env!("CARGO_BIN_EXE_demo");
pub(crate) const DOCTOR: &str = env!("CARGO_BIN_EXE_doctor");

/// A running program. Drop kills it.
pub(crate) struct Program {
    child: Child,
    events: Receiver<Event>,
    seen: Vec<Event>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
}

/// The result of a program.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) events: Vec<Event>,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, events) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // An error of this send is ignored: the test no longer reads the events of a program that it has
                // killed.
                let _ = sender.send(parse(&line.unwrap()));
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, events, seen: Vec::new(), reader: Some(reader), stderr: Some(stderr) }
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe")
    }

    /// Waits for the next event for which `pick` returns a value.
    pub(crate) fn wait_for<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) => {
                    let picked = pick(&event);
                    self.seen.push(event);
                    if let Some(picked) = picked {
                        return picked;
                    }
                }
                Err(error) => panic!("{error}: the event did not come; these did: {:#?}", self.seen),
            }
        }
    }

    /// Waits until `wanted` bytes of a file have arrived.
    pub(crate) fn wait_for_bytes(&mut self, wanted: u64) {
        self.wait_for(|event| match event {
            Event::Progress { bytes, .. } if *bytes >= wanted => Some(()),
            _ => None,
        });
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of the program. Checks that every line is an event. The last event tells the result.
    pub(crate) fn ended(mut self) -> Ended {
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            self.seen.push(event);
        }
        let closed = matches!(self.events.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        assert!(closed, "the program goes on; these events came: {:#?}", self.seen);
        self.reader.take().unwrap().join().expect("every line is an event");
        let status = self.child.wait().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended { status, events: std::mem::take(&mut self.seen), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks that the program succeeded.
    #[track_caller]
    pub(crate) fn done(&self) -> &Self {
        assert_eq!(self.status.code(), Some(0), "{}", self.stderr);
        assert!(matches!(self.events.last(), Some(Event::End { .. })), "{:#?}", self.events);
        self
    }

    /// Checks that the program ended with this exit code, an error as its last event, and one line for people.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32) -> &Failure {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        let Some(Event::Error(failure)) = self.events.last() else {
            panic!("the last event is no error: {:#?}", self.events)
        };
        assert_eq!(i32::from(failure.exit_code), code);
        // After an interruption the line has no `error: ` prefix.
        let error = if matches!(code, 130 | 143) { "" } else { "error: " };
        assert_eq!(self.stderr, format!("{error}{}\n", failure.message));
        assert!(!failure.message.contains('\n'));
        failure
    }

    pub(crate) fn picked<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events.iter().filter_map(pick).collect()
    }
}

/// Starts a receiver, and waits until it is ready. Returns its ticket too.
pub(crate) fn receiver(dir: &Path, options: &[&str]) -> (Program, String) {
    ready(command(RECEIVER, &["--offline", "--dir"]).arg(dir).args(options))
}

pub(crate) fn ready(command: &mut Command) -> (Program, String) {
    let mut receiver = Program::start(command);
    let ticket = receiver.wait_for(|event| match event {
        Event::Ready { ticket, .. } => Some(ticket.clone()),
        _ => None,
    });
    (receiver, ticket)
}

pub(crate) fn sender(ticket: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    let mut command = command(SENDER, &["--offline", ticket]);
    command.args(args.into_iter().map(|arg| OsString::from(arg.as_ref())));
    Program::start(command.stdin(Stdio::piped()))
}

/// Sends files, and waits for the end of the sender.
pub(crate) fn sent(ticket: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    sender(ticket, args).ended()
}

pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Without a terminal, a receiver has to be told who may send.
    if program == RECEIVER {
        command.arg("--anyone");
    }
    command.arg("--json").args(args);
    command.env_remove("SENDER_KEY").env_remove("RECEIVER_KEY").env_remove("RUST_LOG");
    // A receiver that cargo starts prints a command for cargo.
    command.env_remove("CARGO");
    command
}

/// Makes a directory with one file of `len` bytes.
pub(crate) fn file(name: &str, len: usize) -> (TempDir, std::path::PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let data = bytes(len);
    fs::write(&path, &data).unwrap();
    (dir, path, data)
}

pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(b"a file").finalize_xof().fill(&mut data);
    data
}

/// Returns the names in a directory, including hidden files.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parse(line: &str) -> Event {
    let value: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
    assert!(value["event"].is_string() && value["ts"].is_u64(), "{line}");
    assert_eq!(value["schema"], SCHEMA, "{line}");
    serde_json::from_value::<Line>(value).expect("a line is an event").event
}
