//! Where the frames of a transfer meet the disk: a thin driver of [`Receiving`] and [`Item`].

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout_at},
};
use twolane::PublicKey;

use super::{Progress, Received};
use crate::{
    error::{ReceiveError, broken},
    meter::Meter,
    names::StoredName,
    piece::{self, PIECE_LEN, PieceHash},
    policy::Policy,
    receiving::{Place, Receiving, Step},
    store::{Found, Inbox, Item, Staged, StoreError},
    wire::{Attributes, FromReceiver, FromSender},
};

/// Maximum time to wait until an earlier transfer of the same item has ended. A connection is given up 20 s after the last
/// packet of a peer that was killed.
const TAKE_OVER: Duration = Duration::from_secs(25);

/// A transfer at the receiver. Its methods may be called by several tasks at a time.
pub(super) struct Desk {
    sender: PublicKey,
    inbox: Inbox,
    policy: Policy,
    meter: Arc<Meter>,
    control: mpsc::Sender<Vec<u8>>,
    /// The files of which something was left, in their order.
    bases: mpsc::UnboundedSender<u64>,
    tell: Box<dyn Fn(&Progress) + Send + Sync>,
    state: Mutex<State>,
    /// Something has landed, or an item has ended.
    moved: Notify,
    frames: AtomicU64,
}

struct State {
    machine: Receiving,
    items: HashMap<u64, Arc<Item>>,
    files: HashMap<u64, Arc<OpenFile>>,
    fates: Vec<(u64, Received)>,
}

/// A file that is looked for, or arriving.
pub(super) struct OpenFile {
    item: Arc<Item>,
    number: u64,
    path: PathBuf,
    size: Option<u64>,
    attributes: Attributes,
    /// Present once the file is taken.
    pub(super) staged: Option<Staged>,
}

impl Desk {
    #[expect(clippy::too_many_arguments, reason = "each is a field, and there is one caller")]
    pub(super) fn new(
        sender: PublicKey,
        offered: u64,
        inbox: &Inbox,
        policy: &Policy,
        meter: &Arc<Meter>,
        control: mpsc::Sender<Vec<u8>>,
        bases: mpsc::UnboundedSender<u64>,
        tell: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            sender,
            inbox: inbox.clone(),
            policy: *policy,
            meter: meter.clone(),
            control,
            bases,
            tell: Box::new(tell),
            state: Mutex::new(State {
                machine: Receiving::new(offered, policy.max_bytes),
                items: HashMap::new(),
                files: HashMap::new(),
                fates: Vec::new(),
            }),
            moved: Notify::new(),
            frames: AtomicU64::new(0),
        })
    }

    /// Notes that a frame has come.
    pub(super) fn heard(&self) {
        self.frames.fetch_add(1, Relaxed);
    }

    /// Returns a number that changes while the transfer goes on.
    pub(super) fn progress(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.lock().machine.is_settled()
    }

    pub(super) fn take_fates(&self) -> Vec<(u64, Received)> {
        std::mem::take(&mut self.lock().fates)
    }

    /// Waits until every item has been stored, refused or given up for `time`.
    pub(super) async fn settled_for(&self, time: Duration) {
        loop {
            let moved = self.moved.notified();
            if self.is_settled() {
                return sleep(time).await;
            }
            moved.await;
        }
    }

    /// Says something to the sender.
    pub(super) async fn say(&self, frame: &FromReceiver) -> Result<(), ReceiveError> {
        // The other end is held by the same call as this one.
        self.control.send(frame.encode()).await.map_err(|_| ReceiveError::Stopped)
    }

    /// Takes a frame that is neither a piece nor zeros.
    pub(super) async fn frame(&self, frame: FromSender) -> Result<(), ReceiveError> {
        let steps = self.lock().machine.frame(frame)?;
        self.perform(steps).await
    }

    /// Takes a piece.
    pub(super) async fn piece(
        &self,
        file: u64,
        index: u64,
        last: bool,
        hash: PieceHash,
        data: Bytes,
    ) -> Result<(), ReceiveError> {
        self.rehearse().await?;
        let len = data.len() as u64;
        self.meter.add_moved(len);
        let Some(open) = self.admitted(file, index, last, len).await? else { return Ok(()) };
        let writing = {
            let open = open.clone();
            move || {
                if piece::hash(index, &data, last && index == 0) != hash {
                    return Err(StoreError::Hash);
                }
                open.staged()?.write(index, &data).map_err(StoreError::from_io)
            }
        };
        self.write(&open, file, index, len, hash, writing).await
    }

    /// Takes pieces of zeros.
    pub(super) async fn zeros(&self, file: u64, first: u64, count: u64) -> Result<(), ReceiveError> {
        for index in first..first.saturating_add(count) {
            let known = self.lock().machine.size_and_base(file);
            let Some((size, _)) = known else {
                // Its item was refused, or the sender may not speak of it.
                self.lock().machine.admit(file, index, false, 0)?;
                return Ok(());
            };
            let Some(size) = size.filter(|size| piece::count(*size) > 1) else {
                return Err(ReceiveError::protocol("zeros came for a file that has a single piece, or no known length"));
            };
            let range = piece::range(index, size);
            let (len, last) = (range.end - range.start, index + 1 == piece::count(size));
            self.rehearse().await?;
            let Some(open) = self.admitted(file, index, last, len).await? else { return Ok(()) };
            let hash = piece::hash(index, &ZEROS[..(len as usize).min(PIECE_LEN)], false);
            let writing = {
                let open = open.clone();
                move || open.staged()?.write_zeros(index, len as usize).map_err(StoreError::from_io)
            };
            self.write(&open, file, index, len, hash, writing).await?;
        }
        Ok(())
    }

    /// Returns an open file of which something was left, its length, and the number of pieces that were left. Returns
    /// `None` once that is of no use any more.
    pub(super) fn base_of(&self, file: u64) -> Option<(Arc<OpenFile>, Option<u64>, u64)> {
        let state = self.lock();
        let (size, base) = state.machine.size_and_base(file)?;
        Some((state.files.get(&file)?.clone(), size, base))
    }

    /// Waits until hashes of what was left of a file may be told, and returns their number. Returns `None` once that is
    /// of no use any more.
    pub(super) async fn room(&self, file: u64) -> Option<u64> {
        loop {
            let moved = self.moved.notified();
            let room = self.lock().machine.room(file)?;
            if room > 0 {
                return Some(room);
            }
            moved.await;
        }
    }

    /// Tells the hashes of what was left of a file, from piece `first`.
    pub(super) async fn tell_base(
        &self,
        file: u64,
        first: u64,
        hashes: Vec<PieceHash>,
    ) -> Result<(), ReceiveError> {
        {
            let mut state = self.lock();
            for (index, hash) in (first..).zip(&hashes) {
                state.machine.tell(file, index, *hash);
            }
        }
        self.say(&FromReceiver::Base { file, first, hashes }).await
    }

    /// Refuses the item of a file that cannot be stored.
    pub(super) async fn refuse_file(&self, file: u64, error: StoreError) -> Result<(), ReceiveError> {
        let item = self.lock().machine.item_of(file);
        match item {
            Some(item) => self.refuse(item, &error).await,
            None => Ok(()),
        }
    }

    /// Refuses half-way, if that was asked for.
    async fn rehearse(&self) -> Result<(), ReceiveError> {
        match self.policy.rehearsal {
            Some(rehearsal) if self.meter.bytes() >= rehearsal.after => {
                sleep(rehearsal.stall).await;
                Err(ReceiveError::Rehearsed { after: self.meter.bytes(), code: rehearsal.code })
            }
            _ => Ok(()),
        }
    }

    /// Waits until a piece may be written. Returns `None` if nobody wants it any more.
    async fn admitted(
        &self,
        file: u64,
        index: u64,
        last: bool,
        len: u64,
    ) -> Result<Option<Arc<OpenFile>>, ReceiveError> {
        loop {
            let moved = self.moved.notified();
            let place = {
                let mut state = self.lock();
                match state.machine.admit(file, index, last, len)? {
                    Place::Here => return Ok(state.files.get(&file).cloned()),
                    other => other,
                }
            };
            match place {
                Place::Later => moved.await,
                Place::TooMuch { item } => {
                    let max = self.policy.max_bytes.unwrap_or_default();
                    self.refused(item, crate::Reason::TooLarge, format!("it has more than {max} bytes")).await?;
                    return Ok(None);
                }
                Place::Here | Place::Nowhere => return Ok(None),
            }
        }
    }

    /// Writes a piece on a thread for that, and notes where it is.
    async fn write(
        &self,
        open: &OpenFile,
        file: u64,
        index: u64,
        len: u64,
        hash: PieceHash,
        writing: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), ReceiveError> {
        match tokio::task::spawn_blocking(writing).await.map_err(broken)? {
            Ok(()) => {
                self.meter.add_bytes(len);
                let steps = self.lock().machine.landed(file, index, hash);
                self.moved.notify_waiters();
                self.perform(steps).await
            }
            Err(error) => {
                self.lock().machine.withdraw(file, index);
                self.refuse(open.number, &error).await
            }
        }
    }

    /// Does what is to be done, and what follows from it.
    async fn perform(&self, steps: Vec<Step>) -> Result<(), ReceiveError> {
        let mut steps = VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            steps.extend(self.step(step).await?);
        }
        Ok(())
    }

    async fn step(&self, step: Step) -> Result<Vec<Step>, ReceiveError> {
        match step {
            Step::Begin { item, name, is_folder, attributes } => {
                let begun = Progress::Begun { item, name: name.to_string(), size: None };
                match self.begin(&name, is_folder, attributes).await? {
                    Ok(place) => {
                        self.lock().items.insert(item, Arc::new(place));
                        (self.tell)(&begun);
                    }
                    Err(error) => self.refuse(item, &error).await?,
                }
            }
            Step::Folder { item, path, attributes } => {
                let Some(place) = self.item(item) else { return Ok(Vec::new()) };
                if let Err(error) = blocking(move || place.folder(&path, attributes)).await? {
                    self.refuse(item, &error).await?;
                }
            }
            Step::Look { file, item, path, size, attributes } => {
                let Some(place) = self.item(item) else { return Ok(Vec::new()) };
                let looked = {
                    let (place, path) = (place.clone(), path.clone());
                    blocking(move || place.look(&path, size)).await?
                };
                let open = OpenFile { item: place, number: item, path, size, attributes, staged: None };
                match looked {
                    Ok(Found::Whole) => {
                        let asks = {
                            let mut state = self.lock();
                            state.files.insert(file, Arc::new(open));
                            state.machine.check(file)
                        };
                        if asks {
                            self.say(&FromReceiver::Check { file }).await?;
                        }
                    }
                    Ok(Found::Left { len }) => self.take(file, open, len).await?,
                    Err(error) => self.refuse(item, &error).await?,
                }
            }
            Step::Compare { file, size, hash } => {
                let Some(open) = self.file(file) else { return Ok(Vec::new()) };
                let compared = {
                    let open = open.clone();
                    blocking(move || open.item.compare(&open.path, hash)).await?
                };
                match compared {
                    Ok(None) => {
                        self.meter.add_bytes(size);
                        let mut state = self.lock();
                        state.files.remove(&file);
                        return Ok(state.machine.same(file, size, hash));
                    }
                    Ok(Some(Found::Left { len })) => {
                        let open = OpenFile {
                            item: open.item.clone(),
                            number: open.number,
                            path: open.path.clone(),
                            size: open.size,
                            attributes: open.attributes,
                            staged: None,
                        };
                        self.take(file, open, len).await?;
                    }
                    // `compare` looks for nothing else.
                    Ok(Some(Found::Whole)) => {}
                    Err(error) => self.refuse(open.number, &error).await?,
                }
            }
            Step::Keep { file, first, hashes } => {
                let mut steps = Vec::new();
                let mut state = self.lock();
                let size = state.machine.size_and_base(file).and_then(|(size, _)| size).unwrap_or(u64::MAX);
                for (index, hash) in (first..).zip(hashes) {
                    let range = piece::range(index, size);
                    self.meter.add_bytes(range.end - range.start);
                    steps.extend(state.machine.landed(file, index, hash));
                }
                drop(state);
                self.moved.notify_waiters();
                return Ok(steps);
            }
            Step::Close { file, size } => {
                let Some(open) = self.file(file) else { return Ok(Vec::new()) };
                let number = open.number;
                let closed = blocking(move || {
                    open.staged()?.close(size).map_err(StoreError::from_io)?;
                    open.item.closed(&open.path)
                });
                if let Err(error) = closed.await? {
                    self.refuse(number, &error).await?;
                    return Ok(Vec::new());
                }
                let mut state = self.lock();
                state.files.remove(&file);
                return Ok(state.machine.closed(file));
            }
            Step::Damaged { file } => self.refuse_file(file, StoreError::Hash).await?,
            Step::Publish { item } => {
                let Some(place) = self.item(item) else { return Ok(Vec::new()) };
                let published = blocking(move || place.publish()).await?;
                match published {
                    Ok(published) => self.stored(item, published.name, published.already).await?,
                    Err(error) => self.refuse(item, &error).await?,
                }
            }
            Step::Refused { item, reason, text } => self.forget(item, Received::Refused { reason, text }).await?,
            Step::GivenUp { item, code, text } => self.forget(item, Received::GivenUp { code, text }).await?,
        }
        Ok(Vec::new())
    }

    /// Prepares the place of an item. If the same item is arriving in another transfer of the same sender, waits for the
    /// end of that one: a sender that was killed and is back has a new connection before the old one is given up.
    async fn begin(
        &self,
        name: &StoredName,
        is_folder: bool,
        attributes: Attributes,
    ) -> Result<Result<Item, StoreError>, ReceiveError> {
        let deadline = Instant::now() + TAKE_OVER;
        loop {
            let released = self.inbox.released().notified();
            let (inbox, name) = (self.inbox.clone(), name.clone());
            let (sender, existing) = (self.sender, self.policy.existing);
            let begun = blocking(move || inbox.begin(sender, name, is_folder, attributes, existing)).await?;
            if !matches!(begun, Err(StoreError::Arriving)) || timeout_at(deadline, released).await.is_err() {
                return Ok(begun);
            }
        }
    }

    /// Takes a file of which `left` bytes are there, or others in their place.
    async fn take(&self, file: u64, mut open: OpenFile, left: u64) -> Result<(), ReceiveError> {
        let base = if left == 0 { 0 } else { piece::whole(left, open.size) };
        open.staged = Some(open.item.stage(&open.path, open.attributes, left));
        let taken = {
            let mut state = self.lock();
            state.files.insert(file, Arc::new(open));
            let taken = state.machine.take(file, base);
            if !taken {
                state.files.remove(&file);
            }
            taken
        };
        if !taken {
            return Ok(());
        }
        self.say(&FromReceiver::Take { file, base }).await?;
        if base > 0 {
            // The other end is held by the same call as this one.
            let _ = self.bases.send(file);
        }
        Ok(())
    }

    async fn stored(&self, item: u64, name: String, already: bool) -> Result<(), ReceiveError> {
        let totals = {
            let mut state = self.lock();
            state.items.remove(&item);
            state.machine.stored(item)
        };
        let Some(totals) = totals else { return Ok(()) };
        let (files, bytes, hash) = (totals.files, totals.bytes, totals.hash);
        self.decided(item, Received::Stored { name: name.clone(), already, files, bytes, hash });
        let hash = hash.map(|hash| *hash.as_bytes());
        self.say(&FromReceiver::Stored { item, already, name, files, bytes, hash }).await
    }

    /// Refuses an item that cannot be stored.
    async fn refuse(&self, item: u64, error: &StoreError) -> Result<(), ReceiveError> {
        if matches!(error, StoreError::Twice(_))
            && let Some(place) = self.item(item)
        {
            // What has arrived is of no use for anything.
            blocking(move || place.discard()).await?;
        }
        self.refused(item, error.reason(), error.words()).await
    }

    async fn refused(&self, item: u64, reason: crate::Reason, text: String) -> Result<(), ReceiveError> {
        if self.lock().machine.refuse(item) {
            self.forget(item, Received::Refused { reason, text }).await?;
        }
        Ok(())
    }

    /// Lets go of an item that is over without being stored. What has arrived of it stays for the next transfer.
    async fn forget(&self, item: u64, received: Received) -> Result<(), ReceiveError> {
        {
            let mut state = self.lock();
            state.items.remove(&item);
            state.files.retain(|_, file| file.number != item);
        }
        self.decided(item, received.clone());
        match received {
            Received::Refused { reason, text } => {
                self.say(&FromReceiver::Refused { item, code: reason.code(), text }).await
            }
            _ => Ok(()),
        }
    }

    fn decided(&self, item: u64, received: Received) {
        self.lock().fates.push((item, received.clone()));
        (self.tell)(&Progress::Done { item, received });
        self.moved.notify_waiters();
    }

    fn item(&self, item: u64) -> Option<Arc<Item>> {
        self.lock().items.get(&item).cloned()
    }

    fn file(&self, file: u64) -> Option<Arc<OpenFile>> {
        self.lock().files.get(&file).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFile {
    /// Returns the file on the disk. It is there once the file is taken, before which nothing is written.
    pub(super) fn staged(&self) -> Result<&Staged, StoreError> {
        self.staged.as_ref().ok_or_else(|| StoreError::Io(std::io::ErrorKind::NotFound.into()))
    }
}

static ZEROS: [u8; PIECE_LEN] = [0; PIECE_LEN];

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReceiveError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(broken)?)
}
