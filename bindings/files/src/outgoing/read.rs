//! Reading and hashing files on a thread of its own, a few pieces ahead of the network.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::SystemTime,
};

use blake3::Hash;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Input, stamp::Stamp};
use crate::{
    piece::{self, PIECE, PIECE_LEN, PieceHash, Tree},
    reason::Reason,
    store::disk::read_full,
};

/// Number of pieces that wait between the disk and the network.
const QUEUE: usize = 8;
/// Number of pieces that are the same after which the receiver is told. It tells hashes only as far ahead as they are
/// answered, 1,024 pieces.
const RUN: u64 = 64;

/// What the receiver asks for of a file.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) file: u64,
    pub(crate) source: Input,
    pub(crate) size: Option<u64>,
    /// Set once the item was refused or given up.
    pub(crate) is_void: Arc<AtomicBool>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Send it. `base` is the number of hashes that the receiver tells.
    Send { base: u64, hashes: mpsc::Receiver<PieceHash> },
    /// Prove that it is there, with its hash.
    Prove,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Read {
    Piece(Piece),
    /// Pieces of zeros.
    Zeros { file: u64, first: u64, count: u64 },
    /// Pieces that the receiver has.
    Same { file: u64, first: u64, count: u64 },
    End { file: u64, size: u64, hash: Hash },
    Proof { file: u64, size: u64, hash: Hash },
    /// The file cannot be sent.
    Failed { file: u64, error: ReadFileError },
    /// The job is void.
    Dropped { file: u64 },
}

#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) file: u64,
    pub(crate) index: u64,
    pub(crate) last: bool,
    pub(crate) hash: PieceHash,
    pub(crate) data: Bytes,
}

/// The reason why a file is not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFileError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it changed while it was sent")]
    Changed,
}

impl ReadFileError {
    /// Returns the reason, and the words for the receiver, which name no path of this machine.
    pub(crate) fn words(&self) -> (Reason, String) {
        match self {
            Self::Io(error) => (Reason::Source, format!("{self}: {}", error.kind())),
            Self::Changed => (Reason::Changed, self.to_string()),
        }
    }
}

/// The reason why a job ends early.
enum Stop {
    /// Nobody takes what is read any more.
    Gone,
    /// The item was refused or given up, or the receiver's hashes do not come.
    Void,
    Failed(ReadFileError),
}

/// Starts the thread. It ends when its jobs end, or nobody takes what it reads. A read that blocks, for example on a
/// pipe, is not interrupted, so nothing may wait for the thread.
pub(crate) fn start() -> io::Result<(mpsc::UnboundedSender<Job>, mpsc::Receiver<Read>)> {
    // Without a bound of its own: there is one job for each file that the receiver may have open.
    let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
    let (out, read) = mpsc::channel(QUEUE);
    thread::Builder::new().name("files".into()).spawn(move || {
        while let Some(job) = queue.blocking_recv() {
            let file = job.file;
            let said = match do_job(job, &out) {
                Ok(()) => continue,
                Err(Stop::Gone) => return,
                Err(Stop::Void) => Read::Dropped { file },
                Err(Stop::Failed(error)) => Read::Failed { file, error },
            };
            if out.blocking_send(said).is_err() {
                return;
            }
        }
    })?;
    Ok((jobs, read))
}

fn do_job(job: Job, out: &mpsc::Sender<Read>) -> Result<(), Stop> {
    if job.is_void.load(Relaxed) {
        return Err(Stop::Void);
    }
    let proves = matches!(job.what, What::Prove);
    let Input::Path(path) = job.source.clone() else {
        if proves {
            // Its length is not known, so no receiver has a reason to ask for that.
            return Err(Stop::Failed(io::Error::from(io::ErrorKind::Unsupported).into()));
        }
        return send(job, &mut io::stdin().lock(), None, out).map(|_| ());
    };
    let at = SystemTime::now();
    let mut opened = File::open(&path)?;
    let metadata = opened.metadata()?;
    let (file, announced) = (job.file, job.size);
    if proves {
        let size = announced.unwrap_or_default();
        let hash = hash_of(&mut opened, size)?;
        return say(out, Read::Proof { file, size, hash });
    }
    let (size, hash) = send(job, &mut opened, announced, out)?;
    let is_same = Stamp::of(&metadata).vouches_for(Stamp::of(&opened.metadata()?), at);
    // A file that only grows is sent as it was at the start. Whether it did more than that, its bytes tell. A file whose
    // length was not known is made while it is read, and may be another one each time.
    if metadata.is_file() && announced.is_some() && !is_same {
        opened.seek(SeekFrom::Start(0))?;
        if hash_of(&mut opened, size)? != hash {
            return Err(Stop::Failed(ReadFileError::Changed));
        }
    }
    say(out, Read::End { file, size, hash })
}

/// Reads a file, compares it with what the receiver has, and sends the rest. Returns its length and its hash.
///
/// The end of standard input is said here, because there is nothing to check afterwards.
fn send(
    job: Job,
    input: &mut (impl io::Read + ?Sized),
    size: Option<u64>,
    out: &mpsc::Sender<Read>,
) -> Result<(u64, Hash), Stop> {
    let What::Send { base, mut hashes } = job.what else { return Err(Stop::Void) };
    let is_stdin = job.source == Input::Stdin;
    let file = job.file;
    let mut tree = Tree::default();
    let mut runs = Runs { file, out, run: None };
    let mut total = 0;
    let mut index = 0;
    let mut data = next(input, size, 0)?;
    loop {
        if job.is_void.load(Relaxed) {
            return Err(Stop::Void);
        }
        // Of a file of unknown length, the next piece tells whether this one is the last.
        let (last, following) = match size {
            Some(size) => (index + 1 == piece::count(size), None),
            None if data.len() < PIECE_LEN => (true, None),
            None => {
                let following = next(input, None, index + 1)?;
                (following.is_empty(), Some(following))
            }
        };
        total += data.len() as u64;
        let only = last && index == 0;
        let hash = piece::hash(index, &data, only);
        tree.push(hash);
        if index < base && hashes.blocking_recv().ok_or(Stop::Void)? == hash {
            runs.add(true, index)?;
        } else if size.is_some() && !only && is_zero(&data) {
            runs.add(false, index)?;
        } else {
            runs.flush()?;
            say(out, Read::Piece(Piece { file, index, last, hash, data: data.into() }))?;
        }
        if last {
            break;
        }
        index += 1;
        data = match following {
            Some(following) => following,
            None => next(input, size, index)?,
        };
    }
    runs.flush()?;
    let hash = tree.root();
    if is_stdin {
        say(out, Read::End { file, size: total, hash })?;
    }
    Ok((total, hash))
}

/// Reads a piece. A file that is shorter than it was at the start has changed.
fn next(input: &mut (impl io::Read + ?Sized), size: Option<u64>, index: u64) -> Result<Vec<u8>, Stop> {
    let len = size.map_or(PIECE, |size| {
        let range = piece::range(index, size);
        range.end - range.start
    });
    let mut data = vec![0; len as usize];
    let read = read_full(input, &mut data)?;
    if size.is_some() && read < data.len() {
        return Err(Stop::Failed(ReadFileError::Changed));
    }
    data.truncate(read);
    Ok(data)
}

/// Returns the hash of the first `size` bytes, from where the file is. A file that is shorter has changed.
fn hash_of(input: &mut impl io::Read, size: u64) -> Result<Hash, Stop> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(io::Read::take(input, size))?;
    if hasher.count() < size {
        return Err(Stop::Failed(ReadFileError::Changed));
    }
    Ok(hasher.finalize())
}

/// Pieces in a row that need no data.
struct Runs<'a> {
    file: u64,
    out: &'a mpsc::Sender<Read>,
    /// Whether they are the same, and where they are.
    run: Option<(bool, u64, u64)>,
}

impl Runs<'_> {
    fn add(&mut self, same: bool, index: u64) -> Result<(), Stop> {
        match &mut self.run {
            Some((kind, _, count)) if *kind == same => *count += 1,
            _ => {
                self.flush()?;
                self.run = Some((same, index, 1));
            }
        }
        if self.run.is_some_and(|(_, _, count)| count >= RUN) { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let file = self.file;
        match self.run.take() {
            Some((true, first, count)) => say(self.out, Read::Same { file, first, count }),
            Some((false, first, count)) => say(self.out, Read::Zeros { file, first, count }),
            None => Ok(()),
        }
    }
}

fn say(out: &mpsc::Sender<Read>, read: Read) -> Result<(), Stop> {
    out.blocking_send(read).map_err(|_| Stop::Gone)
}

fn is_zero(data: &[u8]) -> bool {
    // Most pieces that are not zeros show it at once.
    data.iter().take(64).all(|byte| *byte == 0) && data.iter().all(|byte| *byte == 0)
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}
