//! What a sender knows of its items and files. This module does no I/O.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use blake3::Hash;
use tokio::sync::{Notify, Semaphore};

use super::Fate;
use crate::outgoing::OutgoingItem;

/// The items and files of a transfer.
pub(super) struct Book<'a> {
    tell: &'a (dyn Fn(usize, &Fate) + Send + Sync),
    state: Mutex<State>,
    changed: Notify,
    /// The number of frames that the receiver has sent.
    frames: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    files: Vec<File>,
}

#[derive(Debug)]
struct Item {
    fate: Option<Fate>,
    is_void: Arc<AtomicBool>,
    /// Whether all of its entries are announced.
    is_closed: bool,
    /// The number of files that are announced and not read.
    unread: u64,
    /// The hash of the only file of the item.
    hash: Option<Hash>,
    is_single: bool,
}

#[derive(Debug)]
struct File {
    item: usize,
    at: usize,
    asked: Option<Ask>,
    /// Whether the right to announce another file was given back.
    is_read: bool,
}

/// What a receiver can ask for of a file, at most once each, and in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Check,
    Take,
}

impl<'a> Book<'a> {
    pub(super) fn new(items: &[OutgoingItem], tell: &'a (dyn Fn(usize, &Fate) + Send + Sync)) -> Self {
        let items = items.iter().map(|item| Item {
            fate: None,
            is_void: Arc::default(),
            is_closed: false,
            unread: 0,
            hash: None,
            is_single: item.entries.len() == 1,
        });
        let state = State { items: items.collect(), files: Vec::new() };
        Self { tell, state: Mutex::new(state), changed: Notify::new(), frames: AtomicU64::new(0) }
    }

    /// Waits until every item has its fate. Cancel-safe.
    pub(super) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().items.iter().all(|item| item.fate.is_some()) {
                return;
            }
            changed.await;
        }
    }

    /// Returns the fates. An item without one was sent, or not.
    pub(super) fn fates(&self) -> Vec<Fate> {
        let state = self.lock();
        let open = |item: &Item| if item.is_closed && item.unread == 0 { Fate::Unknown } else { Fate::Unsent };
        state.items.iter().map(|item| item.fate.clone().unwrap_or_else(|| open(item))).collect()
    }

    /// Notes that a frame has come from the receiver.
    pub(super) fn heard(&self) {
        self.frames.fetch_add(1, Relaxed);
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Returns whether everything is written, and only the receiver has something to say.
    pub(super) fn is_handed_over(&self) -> bool {
        self.lock().items.iter().all(|item| item.fate.is_some() || (item.is_closed && item.unread == 0))
    }

    /// Returns whether an item was refused, or given up.
    pub(super) fn is_void(&self, item: usize) -> bool {
        self.lock().items.get(item).is_none_or(|item| item.fate.is_some())
    }

    /// Notes that a file is announced. Its number is the number of files that were announced before.
    pub(super) fn announced(&self, item: usize, at: usize) {
        let mut state = self.lock();
        state.files.push(File { item, at, asked: None, is_read: false });
        if let Some(item) = state.items.get_mut(item) {
            item.unread += 1;
        }
    }

    /// Notes that all entries of an item are announced.
    pub(super) fn closed(&self, item: usize) {
        if let Some(item) = self.lock().items.get_mut(item) {
            item.is_closed = true;
        }
    }

    /// Returns the item of a file that the receiver asks for, its place in the item, and whether the item is void.
    /// Returns `None` if the receiver may not ask.
    pub(super) fn ask(&self, file: u64, ask: Ask) -> Option<(usize, usize, Arc<AtomicBool>)> {
        let mut state = self.lock();
        let State { items, files } = &mut *state;
        let file = files.get_mut(usize::try_from(file).ok()?)?;
        if file.asked.is_some_and(|asked| asked >= ask) {
            return None;
        }
        let item = items.get_mut(file.item)?;
        if file.asked.replace(ask).is_some() {
            // It was proven, and is to be read once more.
            item.unread += 1;
        }
        Some((file.item, file.at, Arc::clone(&item.is_void)))
    }

    pub(super) fn place_of(&self, file: u64) -> Option<(usize, usize)> {
        self.lock().files.get(usize::try_from(file).ok()?).map(|file| (file.item, file.at))
    }

    pub(super) fn item_of(&self, file: u64) -> Option<usize> {
        self.place_of(file).map(|(item, _)| item)
    }

    /// Returns the hash of an item that is one file, once that is read.
    pub(super) fn hash_of(&self, item: usize) -> Option<Hash> {
        self.lock().items.get(item).and_then(|item| item.hash)
    }

    /// Notes that a file is read or proven, or will not be.
    pub(super) fn ended(&self, file: u64, hash: Option<Hash>, permits: &Semaphore) {
        let mut state = self.lock();
        let State { items, files } = &mut *state;
        let Some(file) = usize::try_from(file).ok().and_then(|file| files.get_mut(file)) else { return };
        let Some(item) = items.get_mut(file.item) else { return };
        if item.is_single && hash.is_some() {
            item.hash = hash;
        }
        item.unread = item.unread.saturating_sub(1);
        if !std::mem::replace(&mut file.is_read, true) {
            permits.add_permits(1);
        }
    }

    /// Decides the fate of an item, once.
    pub(super) fn decide(&self, item: usize, fate: Fate, permits: &Semaphore) {
        let mut state = self.lock();
        let State { items, files } = &mut *state;
        let Some(decided) = items.get_mut(item).filter(|item| item.fate.is_none()) else { return };
        decided.is_void.store(true, Relaxed);
        decided.fate = Some(fate.clone());
        // Nobody asks for the files that were announced and not asked for.
        for file in files.iter_mut().rev().take_while(|file| file.item >= item) {
            if file.item == item && file.asked.is_none() && !std::mem::replace(&mut file.is_read, true) {
                permits.add_permits(1);
            }
        }
        drop(state);
        (self.tell)(item, &fate);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::Input;

    fn items(count: usize) -> Vec<OutgoingItem> {
        (0..count).map(|number| OutgoingItem::scan(&Input::Stdin, Some(&number.to_string())).unwrap()).collect()
    }

    fn refused() -> Fate {
        Fate::Refused { code: 3, text: String::new() }
    }

    #[test]
    fn a_receiver_asks_for_a_file_once_and_for_a_proof_only_before() {
        let tell = |_: usize, _: &Fate| {};
        let book = Book::new(&items(1), &tell);
        assert!(book.ask(0, Ask::Take).is_none(), "it is not announced");
        for _ in 0..2 {
            book.announced(0, 0);
        }
        assert!(book.ask(0, Ask::Check).is_some());
        assert!(book.ask(0, Ask::Check).is_none());
        assert!(book.ask(0, Ask::Take).is_some());
        assert!(book.ask(0, Ask::Take).is_none());
        assert!(book.ask(1, Ask::Take).is_some());
        assert!(book.ask(1, Ask::Check).is_none());
        assert!(book.ask(u64::MAX, Ask::Check).is_none());
    }

    #[test]
    fn the_right_to_announce_another_file_is_given_back_once_for_each_file() {
        let tell = |_: usize, _: &Fate| {};
        let (book, permits) = (Book::new(&items(2), &tell), Semaphore::new(0));
        for item in [0, 0, 0, 1] {
            book.announced(item, 0);
        }
        book.ask(0, Ask::Check);
        book.ended(0, None, &permits);
        assert_eq!(permits.available_permits(), 1);
        book.ask(0, Ask::Take);
        book.ended(0, None, &permits);
        assert_eq!(permits.available_permits(), 1);
        // Of the files of a refused item, one is being read, and one was not asked for.
        book.ask(1, Ask::Take);
        book.decide(0, refused(), &permits);
        assert_eq!(permits.available_permits(), 2);
        book.decide(0, refused(), &permits);
        assert_eq!(permits.available_permits(), 2);
        book.ended(1, None, &permits);
        assert_eq!(permits.available_permits(), 3);
    }

    #[test]
    fn what_was_sent_and_not_confirmed_is_not_known_and_what_was_not_sent_is() {
        let tell = |_: usize, _: &Fate| {};
        let (book, permits) = (Book::new(&items(3), &tell), Semaphore::new(0));
        for item in 0..3 {
            book.announced(item, 0);
        }
        for item in 0..2 {
            book.closed(item);
            book.ask(item as u64, Ask::Take);
            book.ended(item as u64, None, &permits);
        }
        book.decide(0, refused(), &permits);
        assert_eq!(book.fates(), [refused(), Fate::Unknown, Fate::Unsent]);
        assert!(!book.is_handed_over());
        assert!(book.is_void(0) && !book.is_void(1) && book.is_void(7));
    }

    #[tokio::test]
    async fn a_fate_is_told_once_and_the_last_one_settles_the_transfer() {
        let told = Mutex::new(Vec::new());
        let tell = |item: usize, _: &Fate| told.lock().unwrap().push(item);
        let (book, permits) = (Book::new(&items(2), &tell), Semaphore::new(0));
        let settled = async {
            book.settled().await;
            told.lock().unwrap().len()
        };
        let deciding = async {
            for item in [1, 1, 0] {
                book.decide(item, refused(), &permits);
                tokio::task::yield_now().await;
            }
        };
        let (settled, ()) = tokio::join!(settled, deciding);
        assert_eq!(settled, 2);
        assert_eq!(*told.lock().unwrap(), [1, 0]);
    }
}
