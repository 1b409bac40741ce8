//! The sender's side of `files/1`.
//!
//! One task, and one thread that reads. The parts run beside each other until every item has its fate:
//!
//! ```text
//! announce: entries, in order ----------------\
//! answer:   the receiver's frames -> jobs      >-> control stream
//! (thread)  jobs -> pieces -> pump -----------/
//!                               \-----------------> data streams, whichever has room
//! ```

mod book;
mod write;

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use n0_future::try_join_all;
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    time::{sleep, timeout},
};
use twolane::{Endpoint, GetStreamError, RecvStream, SendStream, StreamOptions, Ticket, XStream};

use self::{
    book::{Ask, Book},
    write::{Out, write_control, write_part},
};
use crate::{
    CONTROL_PROTOCOL, DATA_PROTOCOL,
    error::SendError,
    frames::next_frame,
    meter::Meter,
    outgoing::{self, Entry, Job, Kind, OutgoingItem, Reading, What},
    piece::PieceHash,
    policy::{CONFIRM, PATIENCE, REASON, STREAMS},
    reason::Reason,
    receiving::FILES,
    wire::{FromReceiver, FromSender, Offer, PartOffer},
};

/// Number of bytes of a transfer below which it goes over the control stream alone. It is over before more streams
/// would help.
const MIN_SPREAD: u64 = 16 << 20;
/// Length of a file in bytes below which it goes over the control stream. Its pieces then arrive in the order of the
/// files, however many files there are, and the receiver has few of them open.
const SMALL: u64 = 16 << 10;
/// Number of frames that wait for the control stream.
const QUEUE: usize = 64;
/// Maximum time for opening a data stream.
const OPEN: Duration = Duration::from_secs(30);
/// Number of hashes that a receiver may tell of a file before they are answered. More are against the protocol.
const TOLD: usize = 1024;

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it, and has confirmed that.
    Stored {
        /// Its name there. It comes from the peer: show it with [`shown`](crate::shown).
        name: String,
        /// Whether all of it was there already.
        already: bool,
        /// The number of files.
        files: u64,
        /// The number of bytes.
        bytes: u64,
        /// The BLAKE3 hash, if the item is a file.
        hash: Option<blake3::Hash>,
    },
    /// The receiver has refused it.
    Refused {
        /// The code: see [`Reason::from_code`].
        code: u64,
        /// The reason in words. It comes from the peer: show it with [`shown`](crate::shown).
        text: String,
    },
    /// It cannot be read, or has changed while it was sent.
    Failed {
        /// [`Reason::Source`] or [`Reason::Changed`].
        reason: Reason,
        /// The file, and the reason in words.
        text: String,
    },
    /// All of it was sent, and the transfer ended before the receiver said what became of it.
    Unknown,
    /// Not all of it was sent.
    Unsent,
}

/// The end of a transfer.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each item, in the order in which they were given.
    pub fates: Vec<Fate>,
    /// Why the transfer ended early, if it did.
    pub error: Option<SendError>,
}

/// Makes the offer of some items. `items` has at least one.
pub fn offer(items: &[OutgoingItem]) -> Offer {
    Offer {
        id: rand::random(),
        name: items.first().map(|item| item.name().to_owned()).unwrap_or_default(),
        items: items.len() as u64,
        files: Some(items.iter().map(OutgoingItem::files).sum()),
        bytes: items.iter().map(OutgoingItem::bytes).try_fold(0, |sum: u64, bytes| sum.checked_add(bytes?)),
    }
}

/// Opens the control stream of a transfer. Cancel-safe.
///
/// # Errors
///
/// [`GetStreamError`] if the receiver cannot be reached, or refuses the stream.
pub async fn open(
    endpoint: &Endpoint,
    peer: impl Into<Ticket>,
    offer: &Offer,
    timeout: Duration,
) -> Result<XStream, GetStreamError> {
    let options =
        StreamOptions { metadata: offer.to_bytes().into(), timeout: Some(timeout), ..StreamOptions::default() };
    endpoint.get_stream_with(peer, CONTROL_PROTOCOL, options).await
}

/// Sends items over a stream that was [opened](open) with their offer, and waits until the receiver has said what became
/// of each. `tell` is called with the number of an item, counted from 0, and its fate, as soon as that is known. Stops if
/// `stop` resolves before, and tells the receiver.
///
/// If the future is dropped half-way, the receiver sees that the transfer was cut. In any case, what has arrived is not
/// sent again by the next transfer of the same items.
pub async fn send(
    stream: XStream,
    endpoint: &Endpoint,
    items: &[OutgoingItem],
    offer: &Offer,
    meter: &Meter,
    tell: impl Fn(usize, &Fate) + Send + Sync,
    stop: impl Future<Output = ()>,
) -> Outcome {
    let peer = stream.peer();
    let (mut tx, mut rx) = stream.split();
    let book = Book::new(items, &tell);
    let sending = Sending { items, offer, meter, book: &book };
    let ended = tokio::select! {
        biased;
        () = stop => Err(SendError::Stopped),
        ended = sending.run(endpoint, peer.into(), &mut tx, &mut rx) => ended,
    };
    let error = match ended {
        Ok(()) => {
            // The receiver takes the end for a sign that its confirmations have arrived.
            let _ = timeout(CONFIRM, tx.delivered()).await;
            None
        }
        Err(error) => {
            let error = explained(error, &mut rx).await;
            if let Some(told) = error.to_stream_error() {
                // An error of this call is ignored, because a receiver that is gone needs no reason.
                let _ = tx.abort(told).await;
            }
            Some(error)
        }
    };
    Outcome { fates: book.fates(), error }
}

struct Sending<'a> {
    items: &'a [OutgoingItem],
    offer: &'a Offer,
    meter: &'a Meter,
    book: &'a Book<'a>,
}

impl Sending<'_> {
    async fn run(
        &self,
        endpoint: &Endpoint,
        peer: Ticket,
        tx: &mut SendStream,
        rx: &mut RecvStream,
    ) -> Result<(), SendError> {
        // The receiver may ask its user.
        let (streams, files) = timeout(PATIENCE, start(rx)).await.map_err(|_| SendError::Silent(PATIENCE))??;
        let is_long = self.offer.bytes.is_none_or(|bytes| bytes >= MIN_SPREAD);
        let streams = if is_long { streams.min(STREAMS) } else { 0 };
        let mut parts = self.open_parts(endpoint, &peer, streams).await?;

        let (jobs, mut read) = outgoing::start().map_err(SendError::Source)?;
        let (control, mut frames) = mpsc::channel(QUEUE);
        let (data, pieces) = mpsc::channel(1);
        let pieces = Mutex::new(pieces);
        let permits = Semaphore::new(files.clamp(1, FILES) as usize);
        let is_spread = !parts.is_empty();
        let data = if is_spread { data } else { control.clone() };
        let spreading = async {
            if !is_spread {
                return std::future::pending().await;
            }
            let writing = parts.iter_mut().map(|part| write_part(part.halves().0, &pieces, self.meter));
            match try_join_all(writing).await {
                Ok(_) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let settled = async {
            self.book.settled().await;
            // Behind what is on its way: a frame that is cut is no end.
            let _ = control.send(Out::Finish).await;
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            biased;
            error = self.answer(rx, &jobs, &permits) => Err(error),
            finished = write_control(tx, &mut frames, self.meter) => finished,
            () = settled => Ok(()),
            error = spreading => Err(error),
            error = self.announce(&control, &permits) => Err(error),
            error = self.pump(&mut read, &control, &data, &permits) => Err(error),
            error = self.watch() => Err(error),
        };
        if ended.is_ok() {
            for part in &mut parts {
                // A receiver that has let go of it has everything.
                let _ = part.finish();
            }
        }
        ended
    }

    async fn open_parts(
        &self,
        endpoint: &Endpoint,
        peer: &Ticket,
        streams: u64,
    ) -> Result<Vec<XStream>, SendError> {
        if streams == 0 {
            return Ok(Vec::new());
        }
        let opening = (0..streams).map(|_| {
            let metadata = PartOffer { id: self.offer.id }.to_bytes();
            let options =
                StreamOptions { metadata: metadata.into(), timeout: Some(OPEN), ..StreamOptions::default() };
            endpoint.get_stream_with(peer.clone(), DATA_PROTOCOL, options)
        });
        Ok(try_join_all(opening).await?)
    }

    /// Announces every entry, in order.
    async fn announce(&self, control: &mpsc::Sender<Out>, permits: &Semaphore) -> SendError {
        for (number, item) in self.items.iter().enumerate() {
            for (at, entry) in item.entries.iter().enumerate() {
                if matches!(entry.kind, Kind::File { .. }) {
                    // It is given back when the file is read.
                    match permits.acquire().await {
                        Ok(permit) => permit.forget(),
                        Err(_) => return gone(),
                    }
                }
                if self.book.is_void(number) {
                    if matches!(entry.kind, Kind::File { .. }) {
                        permits.add_permits(1);
                    }
                    break;
                }
                if matches!(entry.kind, Kind::File { .. }) {
                    self.book.announced(number, at);
                }
                if control.send(Out::frame(&announcement(entry))).await.is_err() {
                    return gone();
                }
            }
            self.book.closed(number);
            if control.send(Out::frame(&FromSender::EndItem { item: number as u64 })).await.is_err() {
                return gone();
            }
        }
        std::future::pending().await
    }

    /// Takes the receiver's frames.
    async fn answer(
        &self,
        rx: &mut RecvStream,
        jobs: &mpsc::UnboundedSender<Job>,
        permits: &Semaphore,
    ) -> SendError {
        let mut told = HashMap::new();
        loop {
            let frame = match next_frame(rx).await {
                Ok(Some((kind, body))) => FromReceiver::decode(kind, &body),
                Ok(None) => return SendError::Protocol("it ended its answer too early"),
                Err(error) => return error.into(),
            };
            self.book.heard();
            match frame {
                Ok(Some(frame)) => {
                    if let Err(error) = self.answered(frame, &mut told, jobs, permits) {
                        return error;
                    }
                }
                Ok(None) => {}
                Err(malformed) => return malformed.into(),
            }
        }
    }

    fn answered(
        &self,
        frame: FromReceiver,
        told: &mut HashMap<u64, (u64, mpsc::Sender<PieceHash>)>,
        jobs: &mpsc::UnboundedSender<Job>,
        permits: &Semaphore,
    ) -> Result<(), SendError> {
        match frame {
            FromReceiver::Start { .. } => Err(SendError::Protocol("it starts twice")),
            FromReceiver::Take { file, base } => {
                let (sender, hashes) = mpsc::channel(TOLD.min(base.max(1) as usize));
                if self.ask(file, Ask::Take, What::Send { base, hashes }, jobs)? && base > 0 {
                    told.insert(file, (base, sender));
                }
                Ok(())
            }
            FromReceiver::Check { file } => self.ask(file, Ask::Check, What::Prove, jobs).map(|_| ()),
            FromReceiver::Base { file, first: _, hashes } => {
                let Some((left, sender)) = told.get_mut(&file) else {
                    // Its item was refused, or all that were promised have come.
                    return Ok(());
                };
                for hash in hashes {
                    *left = left.saturating_sub(1);
                    match sender.try_send(hash) {
                        Err(mpsc::error::TrySendError::Full(_)) => {
                            return Err(SendError::Protocol("it tells more hashes than it may"));
                        }
                        // Nobody reads the file any more.
                        Err(mpsc::error::TrySendError::Closed(_)) => *left = 0,
                        Ok(()) => {}
                    }
                }
                if *left == 0 {
                    told.remove(&file);
                }
                Ok(())
            }
            FromReceiver::Stored { item, already, name, files, bytes, hash } => {
                let hash = hash.map(blake3::Hash::from_bytes);
                let item = self.item(item)?;
                if let (Some(hash), Some(sent)) = (hash, self.book.hash_of(item))
                    && hash != sent
                {
                    return Err(SendError::Mismatch {
                        confirmed: format!("{bytes} bytes with the hash {hash}"),
                        sent: format!("the hash {sent}"),
                    });
                }
                self.book.decide(item, Fate::Stored { name, already, files, bytes, hash }, permits);
                Ok(())
            }
            FromReceiver::Refused { item, code, text } => {
                let item = self.item(item)?;
                self.book.decide(item, Fate::Refused { code, text }, permits);
                // The thread may be waiting for the next hash, and none comes any more.
                told.retain(|file, _| self.book.item_of(*file) != Some(item));
                Ok(())
            }
        }
    }

    /// Gives the reading thread a job. Returns false if the item is void.
    fn ask(
        &self,
        file: u64,
        ask: Ask,
        what: What,
        jobs: &mpsc::UnboundedSender<Job>,
    ) -> Result<bool, SendError> {
        let (item, at, is_void) =
            self.book.ask(file, ask).ok_or(SendError::Protocol("it asks for a file that it may not ask for"))?;
        let entry = self.items.get(item).and_then(|item| item.entries.get(at));
        let Some(Entry { kind: Kind::File { source, size }, .. }) = entry else { return Ok(false) };
        if is_void.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(false);
        }
        let job = Job { file, source: source.clone(), size: *size, is_void: Arc::clone(&is_void), what };
        jobs.send(job).map_err(|_| gone())?;
        Ok(true)
    }

    fn item(&self, item: u64) -> Result<usize, SendError> {
        usize::try_from(item)
            .ok()
            .filter(|item| *item < self.items.len())
            .ok_or(SendError::Protocol("it speaks of an item that there is not"))
    }

    /// Passes on what the thread reads.
    async fn pump(
        &self,
        read: &mut mpsc::Receiver<Reading>,
        control: &mpsc::Sender<Out>,
        data: &mpsc::Sender<Out>,
        permits: &Semaphore,
    ) -> SendError {
        while let Some(read) = read.recv().await {
            let (out, to) = match read {
                Reading::Piece(piece) => {
                    let is_small = self.size_of(piece.file).is_some_and(|size| size < SMALL);
                    (Out::Piece(piece), if is_small { control } else { data })
                }
                Reading::Zeros { file, first, count } => {
                    let bytes = self.bytes_of(file, first, count);
                    (Out::counted(&FromSender::Zeros { file, first, count }, bytes), control)
                }
                Reading::Same { file, first, count } => {
                    let bytes = self.bytes_of(file, first, count);
                    (Out::counted(&FromSender::Same { file, first, count }, bytes), control)
                }
                Reading::End { file, size, hash } => {
                    self.book.ended(file, Some(hash), permits);
                    (Out::frame(&FromSender::EndFile { file, size, hash: *hash.as_bytes() }), control)
                }
                Reading::Proof { file, size, hash } => {
                    self.book.ended(file, Some(hash), permits);
                    (Out::frame(&FromSender::Proof { file, size, hash: *hash.as_bytes() }), control)
                }
                Reading::Dropped { file } => {
                    self.book.ended(file, None, permits);
                    continue;
                }
                Reading::Failed { file, error } => {
                    self.book.ended(file, None, permits);
                    let Some(item) = self.book.item_of(file) else { continue };
                    let (reason, words) = error.words();
                    let text = format!("{}: {words}", self.path_of(file));
                    let give_up = FromSender::GiveUp { item: item as u64, code: reason.code(), text: text.clone() };
                    let sent = control.send(Out::frame(&give_up)).await;
                    self.book.decide(item, Fate::Failed { reason, text }, permits);
                    if sent.is_err() {
                        return gone();
                    }
                    continue;
                }
            };
            if to.send(out).await.is_err() {
                return gone();
            }
        }
        gone()
    }

    /// Waits until the receiver has done nothing for too long, although something depends on it.
    async fn watch(&self) -> SendError {
        let mut heard = self.book.frames();
        loop {
            sleep(PATIENCE).await;
            let now = self.book.frames();
            let is_stuck = self.meter.waiting().is_some_and(|waiting| waiting >= PATIENCE);
            if is_stuck || (self.book.is_handed_over() && now == heard) {
                return SendError::Silent(PATIENCE);
            }
            heard = now;
        }
    }

    fn entry_of(&self, file: u64) -> Option<&Entry> {
        let (item, at) = self.book.place_of(file)?;
        self.items.get(item)?.entries.get(at)
    }

    fn size_of(&self, file: u64) -> Option<u64> {
        match self.entry_of(file)?.kind {
            Kind::File { size, .. } => size,
            Kind::Folder => None,
        }
    }

    fn path_of(&self, file: u64) -> String {
        self.entry_of(file).map(|entry| entry.path.join("/")).unwrap_or_default()
    }

    fn bytes_of(&self, file: u64, first: u64, count: u64) -> u64 {
        let size = self.size_of(file).unwrap_or(u64::MAX);
        crate::piece::range(first.saturating_add(count.saturating_sub(1)), size)
            .end
            .saturating_sub(crate::piece::range(first, size).start)
    }
}

/// Waits for the receiver's first frame.
async fn start(rx: &mut RecvStream) -> Result<(u64, u64), SendError> {
    loop {
        let Some((kind, body)) = next_frame(rx).await? else {
            return Err(SendError::Protocol("it ended its answer too early"));
        };
        match FromReceiver::decode(kind, &body)? {
            Some(FromReceiver::Start { streams, files }) => return Ok((streams, files)),
            Some(_) => return Err(SendError::Protocol("it does not start")),
            None => {}
        }
    }
}

/// Returns the reason that the receiver gives on the control stream, if it has only let go of a stream.
async fn explained(error: SendError, rx: &mut RecvStream) -> SendError {
    let patience = match &error {
        SendError::Dropped { .. } => REASON,
        // Whatever kept the stream from being opened, the reason is there by then.
        SendError::Open(_) => Duration::from_secs(2),
        _ => return error,
    };
    let mut buf = vec![0; 16 * 1024];
    let ended = async {
        loop {
            match rx.read(&mut buf).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(reason) => return Some(reason),
            }
        }
    };
    match timeout(patience, ended).await {
        Ok(Some(reason)) => match SendError::from(reason) {
            SendError::Dropped { .. } => error,
            reason => reason,
        },
        _ => error,
    }
}

fn announcement(entry: &Entry) -> FromSender {
    let (path, attributes) = (entry.path.clone(), entry.attributes);
    match entry.kind {
        Kind::Folder => FromSender::Folder { path, attributes },
        Kind::File { size, .. } => FromSender::File { path, size, attributes },
    }
}

/// The error if a part of this side is gone, which only a panic can cause.
fn gone() -> SendError {
    SendError::Source(std::io::ErrorKind::BrokenPipe.into())
}
