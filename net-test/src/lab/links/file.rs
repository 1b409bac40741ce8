//! A file from the program `sender` to the program `receiver`, over a link.

use std::{fs::File, io::Write, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use super::table::Link;
use crate::{
    lab::{
        fault::Fault,
        netns::Netns,
        parts,
        world::{Family, World},
    },
    output::{Event, Line},
};

/// The file takes the link so long: 1 GB at 500 Mbit/s. Finding the rate takes one second of it.
const LASTING: f64 = 16.0;
/// How long it may take: a tenth of the link's rate is no transfer any more.
const BOUND: Duration = Duration::from_secs(80);

/// The file's length by the time from its first byte to the receiver's confirmation, in bytes a second.
pub(super) async fn rate(link: Link, seed: u64) -> Result<f64, Fault> {
    let dir =
        tempfile::Builder::new().prefix("file-").tempdir_in("/run").map_err(|error| Fault::lab("a file", error))?;
    let path = dir.path().join("data.bin");
    // /run is memory, and the lab's own: no disk is measured.
    generate(&path, (link.bytes() * LASTING) as u64).map_err(|error| Fault::lab("a file", error))?;
    let mut world = World::new(Family::V4).await?;
    let (a, b, _wire) = world.two_on_a_link(link.shape(), seed).await?;
    let bind = |addr: Option<std::net::Ipv4Addr>| format!("{}:0", addr.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED));
    let inbox = dir.path().join("inbox");
    let inbox = inbox.to_string_lossy();
    let mut receiver =
        program(&b.netns, &[parts::RECEIVER, "--offline", "--once", "--json", "--bind", &bind(b.v4), "--dir", &inbox])?;
    let ticket = receiver
        .until(|event| match event {
            Event::Ready { ticket, .. } => Some(ticket),
            _ => None,
        })
        .await?;
    let file = path.to_string_lossy();
    let mut sender = program(&a.netns, &[parts::SENDER, &ticket, &file, "--offline", "--json", "--bind", &bind(a.v4)])?;
    let (bytes, nanos) = sender
        .until(|event| match event {
            Event::Stored { bytes, elapsed_ns, .. } => Some((bytes, elapsed_ns)),
            _ => None,
        })
        .await?;
    drop((sender, receiver));
    world.end().await?;
    Ok(bytes as f64 * 1e9 / nanos.max(1) as f64)
}

/// A program of this package in a namespace, and its events. Dropped, it is killed.
struct Program {
    what: String,
    _child: tokio::process::Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Program {
    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, Fault> {
        let searching = async {
            while let Some(line) = self.lines.next_line().await.map_err(|error| Fault::lab(&self.what, error))? {
                let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
                if let Event::Error(failure) = &line.event {
                    return Err(Fault::Not(format!("{}: {}", self.what, failure.message)));
                }
                if let Some(found) = wanted(line.event) {
                    return Ok(found);
                }
            }
            Err(Fault::Not(format!("{} has ended", self.what)))
        };
        timeout(BOUND, searching).await.map_err(|_| Fault::Late { what: self.what.clone(), after: BOUND })?
    }
}

fn program(netns: &Netns, args: &[&str]) -> Result<Program, Fault> {
    let what = args.first().copied().unwrap_or_default().to_owned();
    let fault = |error| Fault::lab(&what, error);
    let mut child = Command::new("nsenter")
        .arg(netns.enter_option())
        .arg(std::env::current_exe().map_err(fault)?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(fault)?;
    let stdout = child.stdout.take().ok_or_else(|| Fault::Lab(what.clone()))?;
    Ok(Program { what, _child: child, lines: BufReader::new(stdout).lines() })
}

fn generate(path: &std::path::Path, len: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut left = len;
    while left > 0 {
        let piece = crate::stream_tester::pattern::slice(9, len - left, usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}
