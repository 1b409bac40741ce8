//! Sends a file from the program `sender` to the program `receiver` over a link.

use std::{fs, io, io::Write, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::table::Link;
use crate::{
    child::Child,
    lab::{fault::Fault, parts, process, world::Machine},
    output::{Event, Line},
};

/// The time that the file takes at the link's rate, in seconds. At 500 Mbit/s the file has 750 MB. The sender takes
/// one of these seconds to find the rate.
const LASTING: f64 = 12.0;
/// Maximum time for a transfer. It is enough for a sixth of the link's rate.
const BOUND: Duration = Duration::from_secs(80);
const PIECE: u64 = 1 << 20;

pub struct Sent {
    /// The directory of the files. It is on the lab's own `/run`, which is in memory and goes with the lab, so no
    /// disk is measured.
    dir: TempDir,
}

impl Sent {
    pub fn new(link: Link) -> Result<Self, Fault> {
        let fault = |error: io::Error| Fault::lab("a file", error);
        let dir = tempfile::Builder::new().prefix("file-").tempdir_in("/run").map_err(fault)?;
        generate(&dir.path().join("data.bin"), (link.bytes() * LASTING) as u64).map_err(fault)?;
        Ok(Self { dir })
    }

    /// Sends the file. Returns its length divided by the time from its first byte to the receiver's confirmation, in
    /// 10^6 bytes per second.
    pub async fn rate(&self, a: &Machine, b: &Machine) -> Result<f64, Fault> {
        let inbox = self.dir.path().join("inbox");
        let (file, dir) = (self.dir.path().join("data.bin").display().to_string(), inbox.display().to_string());
        let bind = |machine: &Machine| machine.addr().map(|addr| format!("{addr}:0"));
        let args = [parts::RECEIVER, "--offline", "--once", "--anyone", "--json", "--bind", &bind(b)?, "--dir", &dir];
        let mut receiver = process::spawn(&b.netns, parts::RECEIVER, &args)?;
        let ticket = until(&mut receiver, |event| match event {
            Event::Ready { ticket, .. } => Some(ticket),
            _ => None,
        });
        let ticket = ticket.await?;
        let args = [parts::SENDER, &ticket, &file, "--offline", "--json", "--bind", &bind(a)?];
        let mut sender = process::spawn(&a.netns, parts::SENDER, &args)?;
        let stored = until(&mut sender, |event| match event {
            Event::Stored { bytes, elapsed_ns, .. } => Some((bytes, elapsed_ns)),
            _ => None,
        });
        let (bytes, nanos) = stored.await?;
        sender.end(process::END).await?;
        receiver.end(process::END).await?;
        fs::remove_dir_all(inbox).map_err(|error| Fault::lab("a file", error))?;
        Ok(bytes as f64 * 1e3 / nanos.max(1) as f64)
    }
}

async fn until<T>(program: &mut Child<Line>, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, Fault> {
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

/// Writes a file. Its content does not matter, since the receiver compares hashes. These bytes take no time to make.
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
