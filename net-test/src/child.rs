//! A child process that reads and writes lines of JSON.

use std::{io, process::Stdio, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};

/// The number of lines that are queued. A child that writes more lines than the caller reads has to wait.
const LINES: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    #[error("{0} has ended")]
    Ended(String),
    #[error("{0} ended with {1}")]
    Status(String, std::process::ExitStatus),
    #[error("{0} did not end within {1:?}")]
    Endless(String, Duration),
}

/// A child process whose standard input and output are pipes. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Child<Said> {
    name: String,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    said: mpsc::Receiver<Said>,
}

impl<Said: DeserializeOwned + Send + 'static> Child<Said> {
    /// Starts the process. Lines of its output that cannot be parsed as `Said` are skipped.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Broken> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Broken::Io(name.to_owned(), error))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (sender, said) = mpsc::channel(LINES);
        // The task ends with the process, because it reads the process's output.
        tokio::spawn(async move {
            let Some(stdout) = stdout else { return };
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(said) = serde_json::from_str(&line) else { continue };
                if sender.send(said).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { name: name.to_owned(), process, stdin, said })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn tell(&mut self, command: &impl Serialize) -> Result<(), Broken> {
        let mut line = serde_json::to_string(command).map_err(|error| Broken::Io(self.name.clone(), error.into()))?;
        line.push('\n');
        let Some(stdin) = &mut self.stdin else { return Err(Broken::Ended(self.name.clone())) };
        stdin.write_all(line.as_bytes()).await.map_err(|error| Broken::Io(self.name.clone(), error))
    }

    /// Waits for the next line. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Said, Broken> {
        self.said.recv().await.ok_or_else(|| Broken::Ended(self.name.clone()))
    }

    /// Returns a line that has arrived and has not been read yet.
    pub(crate) fn said_already(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    pub(crate) async fn kill(mut self) -> Result<(), Broken> {
        self.process.kill().await.map_err(|error| Broken::Io(self.name, error))
    }

    /// Closes the child's standard input, which tells the child to exit, and waits until it has exited.
    pub(crate) async fn end(mut self, within: Duration) -> Result<(), Broken> {
        self.stdin = None;
        match timeout(within, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Broken::Status(self.name, status)),
            Ok(Err(error)) => Err(Broken::Io(self.name, error)),
            Err(_) => Err(Broken::Endless(self.name, within)),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Child<String> {
        Child::start("a shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[tokio::test]
    async fn a_child_is_told_and_answers_and_ends_with_its_input() {
        let mut child = shell("echo noise; cat");
        child.tell(&"hello").await.unwrap();
        assert_eq!(child.next().await.unwrap(), "hello");
        child.end(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_fails_or_has_ended_says_so() {
        assert!(matches!(shell("exit 3").end(SOON).await, Err(Broken::Status(..))));
        assert!(matches!(shell("exit 0").next().await, Err(Broken::Ended(_))));
        let endless = shell("exec sleep 60").end(Duration::from_millis(50)).await;
        assert!(matches!(endless, Err(Broken::Endless(..))));
    }
}
