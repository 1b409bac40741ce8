//! The hidden subcommands: the parts that this program plays in namespaces.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

/// [`super::services`].
pub const SERVE: &str = "serve";
/// [`super::peer`].
pub const PEER: &str = "peer";
/// [`super::links::end`].
pub const END: &str = "end";
/// [`super::share::flow`].
pub const FLOW: &str = "flow";

/// The programs of `twolane-cli`, for a file over a link.
pub const SENDER: &str = "sender";
pub const RECEIVER: &str = "receiver";

pub const ALL: [&str; 6] = [SERVE, PEER, END, FLOW, SENDER, RECEIVER];

const COMMANDS: usize = 64;

pub fn say(said: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(said) {
        let mut out = io::stdout().lock();
        // Without a lab this process ends, at the end of its input.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// The commands of the lab. Their end has to end this process.
pub fn commands<C: DeserializeOwned + Send + 'static>() -> mpsc::Receiver<C> {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    // A thread, since reading standard input blocks and cannot be cancelled.
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
