//! A file from the program `sender` to the program `receiver`, over a link.

use std::{fs, io, io::Write, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::table::Link;
use crate::{
    lab::{fault::Fault, parts, process::Process, world::Machine},
    output::{Event, Line},
};

/// The file takes the link so long: 750 MB at 500 Mbit/s. Finding the rate takes one second of it.
const LASTING: f64 = 12.0;
/// How long it may take: less than a sixth of the link's rate is no transfer any more.
const BOUND: Duration = Duration::from_secs(80);
/// What is written at a time.
const PIECE: u64 = 1 << 20;

/// A file that is to be sent.
pub(super) struct Sent {
    /// On `/run`, which is the lab's own and goes with it, and memory: no disk is measured.
    dir: TempDir,
}

impl Sent {
    pub(super) fn new(link: Link) -> Result<Self, Fault> {
        let fault = |error: io::Error| Fault::lab("a file", error);
        let dir = tempfile::Builder::new().prefix("file-").tempdir_in("/run").map_err(fault)?;
        generate(&dir.path().join("data.bin"), (link.bytes() * LASTING) as u64).map_err(fault)?;
        Ok(Self { dir })
    }

    /// Its length by the time from its first byte to the receiver's confirmation, in 10^6 bytes a second.
    pub(super) async fn rate(&self, a: &Machine, b: &Machine) -> Result<f64, Fault> {
        let inbox = self.dir.path().join("inbox");
        let (file, dir) = (self.dir.path().join("data.bin").display().to_string(), inbox.display().to_string());
        let bind = |machine: &Machine| {
            machine.v4.map(|addr| format!("{addr}:0")).ok_or_else(|| Fault::Lab("an end without an address".into()))
        };
        let args = ["--offline", "--once", "--json", "--bind", &bind(b)?, "--dir", &dir];
        let mut receiver: Process<Line> = Process::program(&b.netns, parts::RECEIVER, &args)?;
        let ticket = until(&mut receiver, |event| match event {
            Event::Ready { ticket, .. } => Some(ticket),
            _ => None,
        });
        let ticket = ticket.await?;
        let args = [&ticket, &file, "--offline", "--json", "--bind", &bind(a)?];
        let mut sender: Process<Line> = Process::program(&a.netns, parts::SENDER, &args)?;
        let stored = until(&mut sender, |event| match event {
            Event::Stored { bytes, elapsed_ns, .. } => Some((bytes, elapsed_ns)),
            _ => None,
        });
        let (bytes, nanos) = stored.await?;
        sender.end().await?;
        receiver.end().await?;
        fs::remove_dir_all(inbox).map_err(|error| Fault::lab("a file", error))?;
        Ok(bytes as f64 * 1e3 / nanos.max(1) as f64)
    }
}

async fn until<T>(program: &mut Process<Line>, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, Fault> {
    let what = program.name().to_owned();
    let searching = async {
        loop {
            let event = program.next().await?.event;
            if let Event::Error(failure) = &event {
                return Err(Fault::Not(format!("{what}: {}", failure.message)));
            }
            if let Some(found) = wanted(event) {
                return Ok(found);
            }
        }
    };
    timeout(BOUND, searching).await.map_err(|_| Fault::Late { what: what.clone(), after: BOUND })?
}

/// The receiver compares hashes: any bytes will do, and these take no time to make.
fn generate(path: &Path, len: u64) -> io::Result<()> {
    let piece: Vec<u8> = (0..PIECE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut file = fs::File::create(path)?;
    let mut left = len;
    while left > 0 {
        let now = left.min(PIECE);
        file.write_all(&piece[..now as usize])?;
        left -= now;
    }
    Ok(())
}
