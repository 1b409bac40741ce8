//! A transfer at the receiver: what each frame of the sender asks for. This module does no I/O.
//!
//! ```text
//! item:  begun by its first entry -> closed (END_ITEM) -> every file closed -> Publish -> stored
//!                \-> refused by this side, or given up by the sender: its frames are ignored from then on
//! file:  Look -> check() -> Compare -> same()
//!           \       \-> take() with what was there before -> pieces land, END_FILE -> Close -> closed()
//! ```
//!
//! The caller does what a [`Step`] says, and reports back with the method that is named there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use blake3::Hash;

use crate::{
    assembly::{Admission, Assembly, Misplaced},
    names::{NameError, StoredName, stored_path},
    piece::PieceHash,
    reason::Reason,
    wire::{Attributes, FromSender},
};

/// Number of files that a sender may have announced and not yet ended. In one round trip so many small files start. With
/// 128 of them, 10,000 files of 4 kB would take 8 s over 100 ms, and with 1,024 a second.
pub(crate) const FILES: u64 = 1024;
/// Number of files that may be incomplete at the receiver. It is more than [`FILES`], because a file is ended when its
/// pieces are written to the streams, and not when they have arrived.
const MAX_OPEN: usize = 4 * FILES as usize;
/// Number of entries of a transfer. Beside each, its path and its number on the disk are remembered, in 40 bytes.
const MAX_ENTRIES: u64 = 1 << 20;

/// The state of a transfer.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// The number of items that were offered.
    offered: u64,
    /// The number of items that have begun.
    begun: u64,
    /// The item whose entries are coming.
    current: Option<u64>,
    /// The items that have begun and are neither stored, refused nor given up.
    items: BTreeMap<u64, Item>,
    /// The number of files that were announced.
    announced: u64,
    files: BTreeMap<u64, File>,
    entries: u64,
    /// The number of bytes of the files so far, as far as their length is known.
    bytes: u64,
    max_bytes: Option<u64>,
}

#[derive(Debug)]
struct Item {
    name: String,
    is_folder: bool,
    is_closed: bool,
    /// The files that are announced and not closed.
    open: BTreeSet<u64>,
    files: u64,
    bytes: u64,
    /// The hash of the last file that was closed.
    hash: Option<Hash>,
}

#[derive(Debug)]
struct File {
    item: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The caller looks for what is there already.
    Looking { size: Option<u64> },
    /// The sender was asked for the hash of the file.
    Proving { size: Option<u64> },
    Arriving(Assembly),
    /// Every piece is there, and the caller closes the file.
    Closing { size: u64, hash: Hash },
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Prepare the place of an item. `refuse` if there is none.
    Begin { item: u64, name: StoredName, is_folder: bool, attributes: Attributes },
    /// Make a folder in an item.
    Folder { item: u64, path: PathBuf, attributes: Attributes },
    /// Look whether a file is there already, then `check` or `take`. The path is empty if the file is the item.
    Look { file: u64, item: u64, path: PathBuf, size: Option<u64>, attributes: Attributes },
    /// The sender has proven that it has the file. Compare it with what is there, then `same` or `take`.
    Compare { file: u64, size: u64, hash: Hash },
    /// Put pieces that the receiver had before where they belong, then `landed` for each.
    Keep { file: u64, first: u64, hashes: Vec<PieceHash> },
    /// Every piece of a file is there. Give the file its length and attributes, then `closed`.
    Close { file: u64, size: u64 },
    /// A file is not what its sender says that it is. `refuse` its item.
    Damaged { file: u64 },
    /// Every file of an item is there. Give the item its name, then `stored` or `refuse`.
    Publish { item: u64 },
    /// Tell the sender that an item is refused. It is refused already.
    Refused { item: u64, reason: Reason, text: String },
    /// The sender has given up an item.
    GivenUp { item: u64, code: u64, text: String },
}

/// Where a piece belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller writes it, then `landed` or `withdraw`.
    Here,
    /// It is too far ahead: ask again once another piece has landed.
    Later,
    /// Its item was refused or given up.
    Nowhere,
    /// The item is larger than this side takes: `refuse` it.
    TooMuch { item: u64 },
}

/// The totals of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The hash of the file, if the item is a file.
    pub(crate) hash: Option<Hash>,
}

/// What a sender has done against the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    #[error("file {0} was not announced")]
    NoFile(u64),
    #[error("file {0} was not asked for")]
    NotAsked(u64),
    #[error("an entry belongs to no item")]
    NoItem,
    #[error("an item begins before the one before it was closed")]
    NotClosed,
    #[error("{max} items were offered, and more came")]
    TooManyItems { max: u64 },
    #[error("more than {max} files are incomplete")]
    TooManyFiles { max: usize },
}

impl Receiving {
    /// A transfer of `offered` items, which may have `max_bytes` together.
    pub(crate) fn new(offered: u64, max_bytes: Option<u64>) -> Self {
        Self {
            offered,
            begun: 0,
            current: None,
            items: BTreeMap::new(),
            announced: 0,
            files: BTreeMap::new(),
            entries: 0,
            bytes: 0,
            max_bytes,
        }
    }

    /// Returns whether every item is stored, refused or given up.
    pub(crate) fn is_settled(&self) -> bool {
        self.begun == self.offered && self.items.is_empty()
    }

    /// Takes a frame of the sender. Pieces and zeros go to [`admit`](Self::admit).
    pub(crate) fn frame(&mut self, frame: FromSender) -> Result<Vec<Step>, Violation> {
        match frame {
            FromSender::Folder { path, attributes } => self.folder(&path, attributes),
            FromSender::File { path, size, attributes } => self.file(&path, size, attributes),
            FromSender::Same { file, first, count } => match self.announced_file(file)? {
                Some(File { state: State::Arriving(assembly), .. }) => {
                    Ok(vec![Step::Keep { file, first, hashes: assembly.keep(first, count)? }])
                }
                Some(_) => Err(Violation::NotAsked(file)),
                None => Ok(Vec::new()),
            },
            FromSender::EndFile { file, size, hash } => match self.announced_file(file)? {
                Some(File { state: State::Arriving(assembly), .. }) => {
                    assembly.end(size, hash)?;
                    Ok(self.perhaps_close(file))
                }
                Some(_) => Err(Violation::NotAsked(file)),
                None => Ok(Vec::new()),
            },
            FromSender::Proof { file, size, hash } => match self.announced_file(file)? {
                Some(File { state: State::Proving { .. }, .. }) => {
                    Ok(vec![Step::Compare { file, size, hash: Hash::from_bytes(hash) }])
                }
                Some(_) => Err(Violation::NotAsked(file)),
                None => Ok(Vec::new()),
            },
            FromSender::EndItem { item } => {
                if item >= self.begun {
                    return Err(Violation::NoItem);
                }
                if self.current == Some(item) {
                    self.current = None;
                }
                if let Some(state) = self.items.get_mut(&item) {
                    state.is_closed = true;
                }
                Ok(self.perhaps_publish(item))
            }
            FromSender::GiveUp { item, code, text } => {
                // Entries that were on their way may follow. They are ignored, up to the end of the item.
                if item >= self.begun {
                    return Err(Violation::NoItem);
                }
                Ok(if self.refuse(item) { vec![Step::GivenUp { item, code, text }] } else { Vec::new() })
            }
            // They have a place of their own.
            FromSender::Piece { .. } | FromSender::Zeros { .. } => Ok(Vec::new()),
        }
    }

    /// Takes a file whose first `base` pieces are there, or others in their place. Returns false if its item was refused
    /// meanwhile.
    pub(crate) fn take(&mut self, file: u64, base: u64) -> bool {
        let Some(File { state, .. }) = self.files.get_mut(&file) else { return false };
        if let State::Looking { size } | State::Proving { size } = *state {
            *state = State::Arriving(Assembly::new(size, base));
        }
        true
    }

    /// Asks the sender to prove that it has a file. Returns false if its item was refused meanwhile.
    pub(crate) fn check(&mut self, file: u64) -> bool {
        let Some(File { state, .. }) = self.files.get_mut(&file) else { return false };
        if let State::Looking { size } = *state {
            *state = State::Proving { size };
        }
        true
    }

    /// Notes that a file is there already.
    pub(crate) fn same(&mut self, file: u64, size: u64, hash: Hash) -> Vec<Step> {
        if let Some(File { state, .. }) = self.files.get_mut(&file) {
            *state = State::Closing { size, hash };
        }
        self.closed(file)
    }

    /// Finds the place of a piece of `len` bytes.
    pub(crate) fn admit(&mut self, file: u64, index: u64, last: bool, len: u64) -> Result<Place, Violation> {
        let (bytes, max) = (self.bytes, self.max_bytes);
        let Some(File { item, state }) = self.announced_file(file)? else { return Ok(Place::Nowhere) };
        let State::Arriving(assembly) = state else { return Err(Violation::NotAsked(file)) };
        let item = *item;
        if assembly.size().is_none() && max.is_some_and(|max| bytes.saturating_add(len) > max) {
            return Ok(Place::TooMuch { item });
        }
        let unknown = assembly.size().is_none();
        match assembly.admit(index, last, len)? {
            Admission::Now => {
                if unknown {
                    self.bytes = self.bytes.saturating_add(len);
                }
                Ok(Place::Here)
            }
            Admission::Later => Ok(Place::Later),
        }
    }

    /// Returns the length of a file if it is known, and the number of pieces that were there before.
    pub(crate) fn size_and_base(&self, file: u64) -> Option<(Option<u64>, u64)> {
        match &self.files.get(&file)?.state {
            State::Arriving(assembly) => Some((assembly.size(), assembly.base())),
            _ => None,
        }
    }

    /// Notes that a piece could not be written.
    pub(crate) fn withdraw(&mut self, file: u64, index: u64) {
        if let Some(assembly) = self.arriving(file) {
            assembly.withdraw(index);
        }
    }

    /// Notes that a piece is where it belongs.
    pub(crate) fn landed(&mut self, file: u64, index: u64, hash: PieceHash) -> Vec<Step> {
        match self.arriving(file) {
            Some(assembly) => {
                assembly.landed(index, hash);
                self.perhaps_close(file)
            }
            None => Vec::new(),
        }
    }

    /// Returns how many hashes of what was there before may be told of a file. Returns `None` if it is of no use any
    /// more to tell any.
    pub(crate) fn room(&mut self, file: u64) -> Option<u64> {
        self.arriving(file).map(|assembly| assembly.room())
    }

    /// Notes that the sender is told the hash of a piece that was there before.
    pub(crate) fn tell(&mut self, file: u64, index: u64, hash: PieceHash) {
        if let Some(assembly) = self.arriving(file) {
            assembly.tell(index, hash);
        }
    }

    /// Notes that a file is closed.
    pub(crate) fn closed(&mut self, file: u64) -> Vec<Step> {
        let Some(File { item, state: State::Closing { size, hash } }) = self.files.remove(&file) else {
            return Vec::new();
        };
        if let Some(state) = self.items.get_mut(&item) {
            state.open.remove(&file);
            state.files += 1;
            state.bytes = state.bytes.saturating_add(size);
            state.hash = Some(hash);
        }
        self.perhaps_publish(item)
    }

    /// Refuses an item. Returns false if it is stored, refused or given up already.
    pub(crate) fn refuse(&mut self, item: u64) -> bool {
        let Some(refused) = self.items.remove(&item) else { return false };
        for file in refused.open {
            self.files.remove(&file);
        }
        true
    }

    /// Returns the item of a file, unless it was refused or given up.
    pub(crate) fn item_of(&self, file: u64) -> Option<u64> {
        self.files.get(&file).map(|file| file.item)
    }

    /// Notes that an item is stored.
    pub(crate) fn stored(&mut self, item: u64) -> Option<Totals> {
        let stored = self.items.remove(&item)?;
        let hash = stored.hash.filter(|_| !stored.is_folder);
        Some(Totals { files: stored.files, bytes: stored.bytes, hash })
    }

    fn folder(&mut self, path: &[String], attributes: Attributes) -> Result<Vec<Step>, Violation> {
        if let [name] = path {
            return self.begin(name, true, attributes);
        }
        let Some(item) = self.item_of_entry(path)? else { return Ok(Vec::new()) };
        match stored_path(&path[1..]) {
            Ok(path) => Ok(self.counted(item).unwrap_or_else(|| vec![Step::Folder { item, path, attributes }])),
            Err(error) => Ok(self.refused(item, Reason::Name, &named(path, &error))),
        }
    }

    fn file(
        &mut self,
        path: &[String],
        size: Option<u64>,
        attributes: Attributes,
    ) -> Result<Vec<Step>, Violation> {
        let file = self.announced;
        self.announced += 1;
        let (item, mut steps, stored) = if let [name] = path {
            let steps = self.begin(name, false, attributes)?;
            (self.begun - 1, steps, Ok(PathBuf::new()))
        } else {
            let Some(item) = self.item_of_entry(path)? else { return Ok(Vec::new()) };
            (item, Vec::new(), stored_path(&path[1..]))
        };
        if !self.items.contains_key(&item) {
            return Ok(steps);
        }
        let path = match stored {
            Ok(path) => path,
            Err(error) => return Ok(self.refused(item, Reason::Name, &named(path, &error))),
        };
        if let Some(refused) = self.counted(item) {
            return Ok(refused);
        }
        if self.files.len() >= MAX_OPEN {
            return Err(Violation::TooManyFiles { max: MAX_OPEN });
        }
        self.bytes = self.bytes.saturating_add(size.unwrap_or_default());
        if let Some(max) = self.max_bytes.filter(|max| self.bytes > *max) {
            return Ok(self.refused(item, Reason::TooLarge, &format!("it has more than {max} bytes")));
        }
        if let Some(state) = self.items.get_mut(&item) {
            state.open.insert(file);
        }
        self.files.insert(file, File { item, state: State::Looking { size } });
        steps.push(Step::Look { file, item, path, size, attributes });
        Ok(steps)
    }

    /// Begins an item.
    fn begin(&mut self, name: &str, is_folder: bool, attributes: Attributes) -> Result<Vec<Step>, Violation> {
        if self.current.is_some_and(|current| self.items.contains_key(&current)) {
            return Err(Violation::NotClosed);
        }
        if self.begun == self.offered {
            return Err(Violation::TooManyItems { max: self.offered });
        }
        let item = self.begun;
        self.begun += 1;
        self.current = Some(item);
        let state = Item {
            name: name.to_owned(),
            is_folder,
            is_closed: false,
            open: BTreeSet::new(),
            files: 0,
            bytes: 0,
            hash: None,
        };
        self.items.insert(item, state);
        match StoredName::of(name) {
            Ok(name) => Ok(vec![Step::Begin { item, name, is_folder, attributes }]),
            Err(error) => Ok(self.refused(item, Reason::Name, &error.to_string())),
        }
    }

    /// Returns the item to which an entry inside a folder belongs, unless the item was refused.
    fn item_of_entry(&self, path: &[String]) -> Result<Option<u64>, Violation> {
        let current = self.current.ok_or(Violation::NoItem)?;
        match self.items.get(&current) {
            Some(item) if !item.is_folder || path.first() != Some(&item.name) => Err(Violation::NoItem),
            Some(_) => Ok(Some(current)),
            None => Ok(None),
        }
    }

    /// Counts an entry. Returns the refusal if there are too many.
    fn counted(&mut self, item: u64) -> Option<Vec<Step>> {
        self.entries += 1;
        (self.entries > MAX_ENTRIES).then(|| {
            self.refused(item, Reason::TooLarge, &format!("it has more than {MAX_ENTRIES} files and folders"))
        })
    }

    fn refused(&mut self, item: u64, reason: Reason, text: &str) -> Vec<Step> {
        if self.refuse(item) { vec![Step::Refused { item, reason, text: text.to_owned() }] } else { Vec::new() }
    }

    /// Returns a file that was announced, unless its item was refused or given up, or it is closed.
    fn announced_file(&mut self, file: u64) -> Result<Option<&mut File>, Violation> {
        if file >= self.announced { Err(Violation::NoFile(file)) } else { Ok(self.files.get_mut(&file)) }
    }

    fn arriving(&mut self, file: u64) -> Option<&mut Assembly> {
        match self.files.get_mut(&file) {
            Some(File { state: State::Arriving(assembly), .. }) => Some(assembly),
            _ => None,
        }
    }

    fn perhaps_close(&mut self, file: u64) -> Vec<Step> {
        if !self.arriving(file).is_some_and(|assembly| assembly.is_whole()) {
            return Vec::new();
        }
        let Some(File { item, state: State::Arriving(assembly) }) = self.files.remove(&file) else {
            return Vec::new();
        };
        let size = assembly.size().unwrap_or_default();
        let verdict = assembly.verdict();
        let hash = verdict.unwrap_or_else(|| Hash::from_bytes([0; 32]));
        self.files.insert(file, File { item, state: State::Closing { size, hash } });
        vec![if verdict.is_some() { Step::Close { file, size } } else { Step::Damaged { file } }]
    }

    fn perhaps_publish(&self, item: u64) -> Vec<Step> {
        match self.items.get(&item) {
            Some(state) if state.is_closed && state.open.is_empty() => vec![Step::Publish { item }],
            _ => Vec::new(),
        }
    }
}

fn named(path: &[String], error: &NameError) -> String {
    format!("{}: {error}", crate::shown(&path.join("/")))
}

#[cfg(test)]
mod tests;
