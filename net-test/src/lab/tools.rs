//! Runs the external programs that the lab uses.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::{fault::Fault, netns::Netns};

/// Maximum time for a program. Each takes milliseconds, or a second on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a program, and returns its standard output.
pub async fn run(program: &str, args: &[&str], input: &str) -> Result<String, Fault> {
    let what = || format!("{program} {}", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Fault::lab(&what(), error))?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            // A program that ends early gives the reason on its standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
    };
    let done = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = timeout(PATIENCE, done)
        .await
        .map_err(|_| Fault::lab(&what(), "it does not end"))?
        .map_err(|error| Fault::lab(&what(), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Fault::lab(&what(), format!("{said} (input: {})", input.trim().replace('\n', "; "))))
}

/// Runs lines with `ip -batch`, in a namespace or, without one, in that of the lab.
pub async fn ip(netns: Option<&Netns>, lines: &str) -> Result<(), Fault> {
    let args: &[&str] = match netns {
        Some(netns) => &["-n", netns.name(), "-batch", "-"],
        None => &["-batch", "-"],
    };
    run("ip", args, lines).await.map(drop)
}

/// Runs rules with `nft -f` in a namespace.
pub async fn nft(netns: &Netns, rules: &str) -> Result<(), Fault> {
    run("nsenter", &[&netns.enter_option(), "nft", "-f", "-"], rules).await.map(drop)
}
