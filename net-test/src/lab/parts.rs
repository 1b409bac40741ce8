//! The hidden subcommands: the parts that this program plays in namespaces.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

/// Runs [`super::services`].
pub const SERVE: &str = "serve";
/// Runs [`super::peer`].
pub const PEER: &str = "peer";
/// Runs [`super::links::end`].
pub const END: &str = "end";
/// Runs [`super::share::flow`].
pub const FLOW: &str = "flow";

/// The programs of `twolane-cli`. They send a file over a link.
pub const SENDER: &str = "sender";
pub const RECEIVER: &str = "receiver";

pub const ALL: [&str; 6] = [SERVE, PEER, END, FLOW, SENDER, RECEIVER];

const COMMANDS: usize = 64;

pub fn say(said: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(said) {
        let mut out = io::stdout().lock();
        // If the lab is gone, the write fails. This process then ends at the end of its input.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Returns a channel of the lab's commands. The caller has to end the process when the channel closes.
pub fn commands<C: DeserializeOwned + Send + 'static>() -> mpsc::Receiver<C> {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    // Reading standard input blocks and cannot be cancelled, so it has its own thread.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            match serde_json::from_str(&line) {
                Ok(command) => {
                    if sender.blocking_send(command).is_err() {
                        return;
                    }
                }
                Err(error) => eprintln!("a command that cannot be read: {error}: {line}"),
            }
        }
    });
    receiver
}
