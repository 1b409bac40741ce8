//! The pieces of a file, and BLAKE3's tree over them. This module does no I/O.
//!
//! A piece is a whole subtree of BLAKE3's own tree. The hashes of a file's pieces, in order, therefore give the file's
//! BLAKE3 hash, and a side that knows the hash of a piece knows whether it has this piece.

use std::ops::Range;

use blake3::{
    Hash, Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

/// Length of a piece in bytes. Only the last piece of a file is shorter. A transfer that is cut loses the pieces that
/// are on their way, one on each stream: with eight streams at most 2 MiB, and half of that on average. Pieces of
/// 1 MiB would lose 4 % of a file of 2 GiB that is cut ten times. The hash of a piece takes 32 bytes, 0.012 % of it.
pub const PIECE: u64 = 256 * 1024;
/// The same as an index of a buffer.
pub(crate) const PIECE_LEN: usize = PIECE as usize;

/// Number of pieces over which a file has too many: the length of a file has 62 bits on the wire.
pub(crate) const MAX_PIECES: u64 = 1 << 44;

/// The hash of a piece: a chaining value of BLAKE3, or the hash of the file if the file has only one piece.
pub type PieceHash = [u8; blake3::OUT_LEN];

/// Returns the number of pieces of a file of `size` bytes. An empty file has one empty piece.
pub fn count(size: u64) -> u64 {
    size.div_ceil(PIECE).max(1)
}

/// Returns the bytes of a file of `size` bytes that are piece `index`. The range is empty behind the end of the file.
pub(crate) fn range(index: u64, size: u64) -> Range<u64> {
    let start = index.saturating_mul(PIECE).min(size);
    start..start.saturating_add(PIECE).min(size)
}

/// Returns the number of pieces of a file that its first `have` bytes contain whole. `size` is the length of the file,
/// if it is known.
pub(crate) fn whole(have: u64, size: Option<u64>) -> u64 {
    match size {
        Some(size) if have >= size => count(size),
        _ => have / PIECE,
    }
}

/// Returns the hash of piece `index`, which contains `data`, at most [`PIECE`] bytes. `only` says that the file has no
/// other piece.
pub fn hash(index: u64, data: &[u8], only: bool) -> PieceHash {
    if only {
        return *blake3::hash(data).as_bytes();
    }
    // BLAKE3 has no empty subtree, and none that is longer than its place in the tree. No caller asks for either.
    if data.is_empty() || data.len() > PIECE_LEN || index >= MAX_PIECES {
        return [0; blake3::OUT_LEN];
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index * PIECE);
    hasher.update(data);
    hasher.finalize_non_root()
}

/// The hash of a file, from the hashes of its pieces in order. It holds one hash for each power of two in the number of
/// pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// The hashes of whole subtrees, the largest first. The last two of equal size are merged only when another piece
    /// follows, because the topmost merge is another function.
    subtrees: Vec<PieceHash>,
    pieces: u64,
}

impl Tree {
    /// Adds the hash of the next piece.
    pub(crate) fn push(&mut self, hash: PieceHash) {
        while self.subtrees.len() > self.pieces.count_ones() as usize {
            self.merge();
        }
        self.subtrees.push(hash);
        self.pieces += 1;
    }

    /// Returns the hash of the file that consists of the pieces so far.
    pub(crate) fn root(mut self) -> Hash {
        while self.subtrees.len() > 2 {
            self.merge();
        }
        match self.subtrees[..] {
            [] => blake3::hash(b""),
            [only] => Hash::from_bytes(only),
            [left, right, ..] => merge_subtrees_root(&left, &right, Mode::Hash),
        }
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) {
            self.subtrees.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_pieces(data: &[u8]) -> Hash {
        let size = data.len() as u64;
        let mut tree = Tree::default();
        for index in 0..count(size) {
            let range = range(index, size);
            let piece = &data[range.start as usize..range.end as usize];
            tree.push(hash(index, piece, count(size) == 1));
        }
        tree.root()
    }

    fn bytes(len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        Hasher::new().update(b"pieces").finalize_xof().fill(&mut data);
        data
    }

    #[test]
    fn the_pieces_of_a_file_give_the_hash_that_b3sum_gives() {
        for pieces in 0..18 {
            for around in [-1, 0, 1, 1024] {
                let Ok(len) = usize::try_from(pieces * PIECE as i64 + around) else { continue };
                let data = bytes(len);
                assert_eq!(of_pieces(&data), blake3::hash(&data), "{len}");
            }
        }
    }

    #[test]
    fn every_byte_is_in_one_piece() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 7 * PIECE + 5] {
            let mut end = 0;
            for index in 0..count(size) {
                let range = range(index, size);
                assert_eq!(range.start, end);
                assert!(range.end - range.start <= PIECE && (range.end > range.start || size == 0));
                end = range.end;
            }
            assert_eq!(end, size);
            assert!(range(count(size), size).is_empty());
        }
        assert!(range(u64::MAX, 5).is_empty());
    }

    #[test]
    fn a_part_of_a_file_has_the_pieces_that_it_contains_whole() {
        for (have, size, pieces) in [
            (0, Some(0), 1),
            (0, Some(1), 0),
            (PIECE - 1, Some(PIECE), 0),
            (PIECE, Some(PIECE), 1),
            (PIECE + 1, Some(PIECE + 2), 1),
            (PIECE + 2, Some(PIECE + 2), 2),
            (9 * PIECE, Some(PIECE + 2), 2),
            (PIECE + 2, None, 1),
        ] {
            assert_eq!(whole(have, size), pieces, "{have} of {size:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn files_of_any_length_have_their_hash(len in 0..3 * PIECE_LEN) {
            let data = bytes(len);
            prop_assert_eq!(of_pieces(&data), blake3::hash(&data));
        }
    }
}
