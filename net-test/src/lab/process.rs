//! This program in a namespace, playing one of its hidden parts: lines of JSON to it and from it.

use std::{env, process::Stdio, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};

use super::{fault::Fault, netns::Netns};

/// What a part says in a case are some dozens of lines; one that never ends talking is held up.
const LINES: usize = 1024;
/// How long a part may take to end when it was told to: it shuts down its endpoint, which has 3 s for that.
const END: Duration = Duration::from_secs(8);

/// A process in a namespace. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process<Said> {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: mpsc::Receiver<Said>,
}

impl<Said: DeserializeOwned + Send + 'static> Process<Said> {
    /// Starts this program anew in a namespace, as `part`, with `config` in its arguments.
    pub(super) fn start(netns: &Netns, name: &str, part: &str, config: &impl Serialize) -> Result<Self, Fault> {
        let config = serde_json::to_string(config).map_err(|error| Fault::lab(name, error))?;
        Self::spawn(netns, name, &[part, &config])
    }

    /// Starts one of the programs for people in a namespace.
    pub(super) fn program(netns: &Netns, part: &str, args: &[&str]) -> Result<Self, Fault> {
        Self::spawn(netns, part, &[&[part], args].concat())
    }

    fn spawn(netns: &Netns, name: &str, args: &[&str]) -> Result<Self, Fault> {
        let what = format!("{name} cannot be started");
        let program = env::current_exe().map_err(|error| Fault::lab(&what, error))?;
        let mut child = Command::new("nsenter")
            .arg(netns.enter_option())
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Fault::lab(&what, error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::Lab(what));
        };
        let (sender, said) = mpsc::channel(LINES);
        // Ends with the process, whose output it reads.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, stdin: Some(stdin), said })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Tells it something.
    pub(super) async fn tell(&mut self, command: &impl Serialize) -> Result<(), Fault> {
        let mut line = serde_json::to_string(command).map_err(|error| Fault::lab(&self.name, error))?;
        line.push('\n');
        let Some(stdin) = &mut self.stdin else { return Err(Fault::Lab(format!("{} was ended", self.name))) };
        stdin.write_all(line.as_bytes()).await.map_err(|error| Fault::lab(&self.name, error))
    }

    /// What it says next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Said, Fault> {
        match self.said.recv().await {
            Some(said) => Ok(said),
            None => Err(Fault::Lab(format!("{} has ended", self.name))),
        }
    }

    /// What it has said by now and was not looked at.
    pub(super) fn said_already(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    /// Kills it, as a machine does that is switched off.
    pub(super) async fn kill(mut self) -> Result<(), Fault> {
        self.child.kill().await.map_err(|error| Fault::lab(&self.name, error))
    }

    /// Tells it to end, and waits until it has.
    pub(super) async fn end(mut self) -> Result<(), Fault> {
        // The end of its input is its end.
        self.stdin = None;
        match timeout(END, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Fault::lab(&self.name, format!("it ended with {status}"))),
            Ok(Err(error)) => Err(Fault::lab(&self.name, error)),
            Err(_) => Err(Fault::lab(&self.name, format!("it did not end within {END:?}"))),
        }
    }
}
