//! Lines, JSON, and many small messages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::Fault;
use crate::stream_tester::{
    check, pattern,
    role::{
        self, Script,
        Side::{Acceptor, Opener},
        Step, Words,
    },
    seen::{Ending, Sum},
    tester::{Along, Opened, Tester},
};

const MESSAGES: u64 = 50_000;
const SIZE: usize = 100;
/// The number of bytes of all small messages.
pub(super) const TOTAL: u64 = MESSAGES * SIZE as u64;
/// The minimum number of messages that a writer sends before it waits for its reader, whatever other streams do.
const FLOOR: u64 = 128;
/// The number of requests between two checks whether the writer waits.
const ROUND: usize = 20;
/// Maximum time for a request beside a blocked stream, on a machine that is busy with other work.
const SLOWEST: Duration = Duration::from_secs(5);
/// Half of the requests beside a blocked stream take less than this. On loopback they take a millisecond.
const USUAL: Duration = Duration::from_millis(250);
/// The warning of the writing side. The opener sends it to tell the acceptor to read. The acceptor sends it when it
/// has written everything.
const GO: Words = Words { code: 1, text: 0, details: 0 };

pub(super) async fn lines(t: Arc<Tester>) -> Result<String, Fault> {
    const COUNT: u32 = 1000;
    let text: String = (0..COUNT).map(|n| role::line(n) + "\n").collect();
    messages(&t, Step::WriteLines(COUNT), Step::ReadLines(COUNT), &text).await?;
    Ok(format!("{COUNT} lines each way"))
}

pub(super) async fn items(t: Arc<Tester>) -> Result<String, Fault> {
    const COUNT: u32 = 500;
    let text: String = (0..COUNT).map(|n| role::item(n).to_string() + "\n").collect();
    messages(&t, Step::WriteItems(COUNT), Step::ReadItems(COUNT), &text).await?;
    Ok(format!("{COUNT} values each way"))
}

async fn messages(t: &Tester, write: Step, read: Step, text: &str) -> Result<(), Fault> {
    for side in [Opener, Acceptor] {
        let active = vec![write.clone(), Step::Finish, Step::ReadEnd];
        let played = t.play(side, active, vec![read.clone(), Step::ReadEnd, Step::Finish]).await?;
        check::equal("what was read, put together again", &played.passive.read.sum, &Sum::of(text.as_bytes()))?;
        check::equal("how that ended", &played.passive.read.end, &Ending::End)?;
        played.wrote(&Ending::End, &Ending::End)?;
    }
    Ok(())
}

pub(super) async fn wrong(t: Arc<Tester>) -> Result<String, Fault> {
    for side in [Opener, Acceptor] {
        for (bytes, read, ending) in [
            (&b"ab\ncut"[..], Step::ReadLines(2), Ending::Cut(3)),
            (b"", Step::ReadLines(1), Ending::Cut(0)),
            (b"\xff\xfe\n", Step::ReadLines(1), Ending::NotText),
            (b"\xff\xfe\n", Step::ReadItems(1), Ending::NotText),
            (b"no json\n", Step::ReadItems(1), Ending::NotJson),
            (b"{\n", Step::ReadItems(1), Ending::NotJson),
        ] {
            let active = vec![Step::Raw(bytes.to_vec()), Step::Finish, Step::ReadEnd];
            let played = t.play(side, active, vec![read, Step::Finish]).await?;
            check::equal("how the message ended", &played.passive.read.end, &ending)?;
        }
    }
    // A line over the limit is not lost: it can be read with a larger limit.
    let along = Along { unreported: true, ..Along::default() };
    let line = [b"long ".repeat(100).as_slice(), b"\n"].concat();
    let (_, mut recv) = t.open(vec![Step::Raw(line.clone()), Step::Finish], along).await?.stream.split();
    let too_long = recv.next_line(99).await.map_or_else(Ending::from, |_| Ending::End);
    check::equal("how a line over the bound ended", &too_long, &Ending::TooLong)?;
    check::equal("the same line with a larger bound", &recv.next_line(line.len()).await?.len(), &(line.len() - 1))?;
    Ok(String::new())
}

pub(super) async fn paused_acceptor(t: Arc<Tester>) -> Result<String, Fault> {
    let steps = vec![Step::Hear(1), Step::ReadEnd, Step::Finish];
    let Opened { stream, id, .. } = t.open(steps, Along::default()).await?;
    let (mut send, mut recv) = stream.split();
    let seed = Script::seed(id, Opener);
    let (written, stopped) = (AtomicU64::new(0), Notify::new());
    let writing = async {
        let mut told = false;
        while written.load(Relaxed) < TOTAL {
            let at = written.load(Relaxed);
            let message = pattern::slice(seed, at, SIZE.min(usize::try_from(TOTAL - at).unwrap_or(SIZE)));
            // A write that waits for the reader is dropped, and made again once the reader was told to read.
            tokio::select! {
                biased;
                len = send.write(&message) => {
                    let len = len? as u64;
                    written.fetch_add(len, Relaxed);
                    t.count(len);
                }
                () = stopped.notified(), if !told => {
                    told = true;
                    send.warn(GO.to_error()).await?;
                }
            }
            if !told {
                // Messages are sent one by one, like a program that does other work between them.
                tokio::task::yield_now().await;
            }
        }
        send.finish()?;
        Ok::<_, Fault>(told)
    };
    let asking = async {
        let mut slowest = Duration::ZERO;
        loop {
            let before = written.load(Relaxed);
            slowest = slowest.max(ask(&t).await?);
            if written.load(Relaxed) == before {
                stopped.notify_one();
                return Ok::<_, Fault>((before / SIZE as u64, slowest));
            }
        }
    };
    let (told, (messages, slowest)) = tokio::try_join!(writing, asking)?;
    check::equal("the writer was slowed", &told, &true)?;
    check::within("messages before the writer waited", messages, FLOOR..=MESSAGES - 1)?;
    check::equal("how the acceptor's direction ended", &recv.read_chunk(1).await?, &None)?;
    let seen = t.report(id).await?;
    check::lane("what the acceptor read", &seen.read, seed, TOTAL, &Ending::End)?;
    Ok(format!("{messages} of {MESSAGES} before it waited; slowest request {:.1} ms", slowest.as_secs_f64() * 1e3))
}

pub(super) async fn paused_opener(t: Arc<Tester>) -> Result<String, Fault> {
    const ROUNDS: usize = 10;
    // The acceptor sends the warning when it has written the last message.
    let write = Step::Write { len: TOTAL, piece: SIZE as u32 };
    let steps = vec![write, Step::warn(GO), Step::Finish, Step::ReadEnd];
    let Opened { mut stream, id, .. } = t.open(steps, Along::default()).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..ROUNDS {
        slowest = slowest.max(ask(&t).await?);
    }
    check::holds("the acceptor waits for its reader", stream.errors().try_next().is_none(), || "it is through".into())?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    while let Some(chunk) = stream.read_chunk(usize::MAX).await? {
        hasher.update(&chunk);
        bytes += chunk.len() as u64;
        t.count(chunk.len() as u64);
    }
    stream.finish()?;
    let through = stream.errors().next().await.is_some();
    check::holds("the acceptor has written all when it was read", through, || "it has not said so".into())?;
    let sum = Sum { bytes, blake3: hasher.finalize().to_hex().to_string() };
    check::data("what the opener read", &sum, Script::seed(id, Acceptor), TOTAL)?;
    let seen = t.report(id).await?;
    check::equal("what the acceptor wrote", &(seen.written.sum.bytes, seen.written.end), &(TOTAL, Ending::End))?;
    Ok(format!("{MESSAGES} messages; slowest request {:.1} ms", slowest.as_secs_f64() * 1e3))
}

/// Makes some requests, and returns the time of the slowest one.
async fn ask(t: &Tester) -> Result<Duration, Fault> {
    let mut took = [Duration::ZERO; ROUND];
    for took in &mut took {
        let started = Instant::now();
        t.still_there().await?;
        *took = started.elapsed();
    }
    took.sort_unstable();
    let (usual, slowest) = (took[ROUND / 2], took[ROUND - 1]);
    check::holds("requests beside it go on", slowest < SLOWEST, || format!("one took {slowest:?}"))?;
    check::holds("requests beside it are quick", usual < USUAL, || format!("half took {usual:?} and more"))?;
    Ok(slowest)
}
