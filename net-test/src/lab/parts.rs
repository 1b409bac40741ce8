//! The hidden subcommands: the parts that this program plays in namespaces.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

/// The relay and the DNS server: [`super::services`].
pub const SERVE: &str = "serve";
/// A peer of a case: [`super::peer`].
pub const PEER: &str = "peer";
/// An end of a link that is measured: [`super::links`].
pub const END: &str = "end";

/// The two programs, for a file over a link.
pub const SENDER: &str = "sender";
/// See [`SENDER`].
pub const RECEIVER: &str = "receiver";

/// All of them.
pub const ALL: [&str; 5] = [SERVE, PEER, END, SENDER, RECEIVER];

/// Commands that wait.
const COMMANDS: usize = 64;

/// Says something to the lab.
pub fn say(said: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(said) {
        let mut out = io::stdout().lock();
        // A lab that is gone ends this process by the end of its input.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// What the lab tells. The end of it is the end of this process.
pub fn commands<C: DeserializeOwned + Send + 'static>() -> mpsc::Receiver<C> {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    // A thread, since standard input cannot be read without one, and reading it cannot be cancelled.
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
