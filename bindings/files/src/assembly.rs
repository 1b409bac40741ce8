//! One file at a receiver: which of its pieces are there. This module does no I/O.
//!
//! ```text
//! admit(piece) -> Now:    the caller checks and writes it, then landed(piece)
//!              -> Later:  too far ahead of the first piece that is missing: the caller waits for landed() of others
//! keep(run)    -> hashes: pieces that the receiver had before and that are those of the file, then landed() for each
//! end(size, hash)         what the sender says of the whole file; is_whole() once every piece has landed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use blake3::Hash;

use crate::piece::{self, MAX_PIECES, PIECE, PieceHash, Tree};

/// Number of pieces by which a file may be ahead of its first piece that is missing. A hash is held for each of them,
/// 32 KiB for a file. A stream that waits for a repeated packet holds one piece back, while the others send at most
/// what the connection lets them: 8 MiB unread. The 256 MiB of this window are out of reach for an honest sender.
pub(crate) const WINDOW: u64 = 1024;

/// The state of a file.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The length of the file, if the sender knew it at the start.
    size: Option<u64>,
    tree: Tree,
    /// The first piece that is missing. All before it are in the tree.
    next: u64,
    /// The pieces that are there after a gap.
    ahead: BTreeMap<u64, PieceHash>,
    /// The pieces that were admitted, and are being written.
    writing: BTreeSet<u64>,
    /// The pieces that the receiver had before, and whose hashes the sender was told.
    told: BTreeMap<u64, PieceHash>,
    /// The number of pieces that the receiver had before.
    base: u64,
    /// The piece that the sender has marked as the last one.
    last: Option<u64>,
    end: Option<(u64, PieceHash)>,
}

/// What is to be done with a piece that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Now,
    Later,
}

/// What a sender has done against the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misplaced {
    #[error("piece {0} came twice")]
    Twice(u64),
    #[error("piece {index} has {len} bytes, where it has {expected}")]
    Len { index: u64, len: u64, expected: u64 },
    #[error("piece {0} is behind the end of its file")]
    Behind(u64),
    #[error("the end of the file and its pieces contradict each other")]
    End,
    #[error("the hash of piece {0} was not asked for")]
    NotTold(u64),
}

impl Assembly {
    /// A file of `size` bytes, of which the receiver had the first `base` pieces before, or other bytes in their place.
    pub(crate) fn new(size: Option<u64>, base: u64) -> Self {
        Self {
            size,
            tree: Tree::default(),
            next: 0,
            ahead: BTreeMap::new(),
            writing: BTreeSet::new(),
            told: BTreeMap::new(),
            base,
            last: None,
            end: None,
        }
    }

    /// Returns the length of the file, if it is known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size.or(self.end.map(|(size, _)| size))
    }

    /// Returns the number of pieces that the receiver had before.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Returns how many hashes of pieces that the receiver had before may be told at the moment. The sender answers
    /// each, and until then its hash is held here.
    pub(crate) fn room(&self) -> u64 {
        WINDOW.saturating_sub(self.told.len() as u64)
    }

    /// Notes the hash of a piece that the receiver had before, and that the sender is told.
    pub(crate) fn tell(&mut self, index: u64, hash: PieceHash) {
        self.told.insert(index, hash);
    }

    /// Admits a piece of `len` bytes that has arrived. After `Now`, the caller owes a [`landed`](Self::landed).
    pub(crate) fn admit(&mut self, index: u64, last: bool, len: u64) -> Result<Admission, Misplaced> {
        if index >= MAX_PIECES || self.last.is_some_and(|end| index > end || (last && index != end)) {
            return Err(Misplaced::Behind(index));
        }
        if index < self.next || self.ahead.contains_key(&index) || self.writing.contains(&index) {
            return Err(Misplaced::Twice(index));
        }
        match self.size() {
            Some(size) => {
                let range = piece::range(index, size);
                let expected = range.end - range.start;
                if index >= piece::count(size) {
                    return Err(Misplaced::Behind(index));
                }
                if len != expected {
                    return Err(Misplaced::Len { index, len, expected });
                }
                if last != (index + 1 == piece::count(size)) {
                    return Err(Misplaced::End);
                }
            }
            None if !last && len != PIECE => return Err(Misplaced::Len { index, len, expected: PIECE }),
            // A piece that is behind the last one has come before.
            None if last && self.highest().is_some_and(|highest| highest > index) => return Err(Misplaced::End),
            None => {}
        }
        if index >= self.next + WINDOW {
            return Ok(Admission::Later);
        }
        if last {
            self.last = Some(index);
        }
        self.told.remove(&index);
        self.writing.insert(index);
        Ok(Admission::Now)
    }

    /// Takes back the admission of a piece that could not be written.
    pub(crate) fn withdraw(&mut self, index: u64) {
        self.writing.remove(&index);
    }

    /// Takes the sender's word that pieces that the receiver had before are those of the file. Returns their hashes.
    /// The caller owes a [`landed`](Self::landed) for each.
    pub(crate) fn keep(&mut self, first: u64, count: u64) -> Result<Vec<PieceHash>, Misplaced> {
        let mut hashes = Vec::new();
        for index in first..first.saturating_add(count) {
            hashes.push(self.told.remove(&index).ok_or(Misplaced::NotTold(index))?);
            self.writing.insert(index);
        }
        Ok(hashes)
    }

    /// Notes that a piece is where it belongs.
    pub(crate) fn landed(&mut self, index: u64, hash: PieceHash) {
        if !self.writing.remove(&index) {
            return;
        }
        self.ahead.insert(index, hash);
        while let Some(hash) = self.ahead.remove(&self.next) {
            self.tree.push(hash);
            self.next += 1;
        }
    }

    /// Notes the length and the hash of the whole file.
    pub(crate) fn end(&mut self, size: u64, hash: PieceHash) -> Result<(), Misplaced> {
        let known = self.size.is_some_and(|known| known != size);
        let behind = self.highest().is_some_and(|highest| highest >= piece::count(size));
        let last = self.last.is_some_and(|last| last + 1 != piece::count(size));
        if known || behind || last || self.end.is_some() || size > MAX_PIECES * PIECE {
            return Err(Misplaced::End);
        }
        self.end = Some((size, hash));
        Ok(())
    }

    /// Returns whether every piece is there, and the end is known.
    pub(crate) fn is_whole(&self) -> bool {
        self.writing.is_empty() && self.end.is_some_and(|(size, _)| self.next == piece::count(size))
    }

    /// Returns the hash of the file, if the file is whole and has the hash that the sender said.
    pub(crate) fn verdict(self) -> Option<Hash> {
        let (_, expected) = self.end?;
        let root = self.tree.root();
        (root == Hash::from_bytes(expected)).then_some(root)
    }

    /// Returns the highest piece that is there or being written.
    fn highest(&self) -> Option<u64> {
        let ahead = self.ahead.last_key_value().map(|(index, _)| *index);
        let writing = self.writing.last().copied();
        ahead.max(writing).max(self.next.checked_sub(1))
    }
}

#[cfg(test)]
mod tests;
