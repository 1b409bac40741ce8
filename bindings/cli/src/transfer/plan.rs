//! Which stream carries which bytes of a file: pure.

use serde::{Deserialize, Serialize};

/// Streams that a file is spread over. Each has a window of 2 MB: with eight of them 16 MB can be on the way, which is
/// a link of 500 Mbit/s at 100 ms twice over.
const STREAMS: u32 = 8;
/// A receiver takes no more from anybody.
const MAX_STREAMS: u32 = 16;
/// Bytes in a row on one stream. Four blocks fit into a window, so that no stream runs dry while others have their turn.
const BLOCK: u64 = 512 * 1024;
/// Of a larger block a window would hold less than one.
const MAX_BLOCK: u64 = 1024 * 1024;
/// Shorter files go over one stream: they end before a second one would have helped.
const MIN_SIZE: u64 = 16 * 1024 * 1024;

/// How a file of known length is spread: block 0 on stream 0, block 1 on stream 1, and so on, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many streams; the first is the one with the offer.
    streams: u32,
    /// Bytes of a block; the last one may be shorter.
    block: u64,
}

/// A part of a file that one stream carries in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) stream: usize,
    /// Bytes from where it was asked to the end of the block.
    pub(super) len: u64,
}

impl Plan {
    /// The plan for a file, if it is worth one.
    pub fn of(size: Option<u64>) -> Option<Self> {
        size.filter(|size| *size >= MIN_SIZE).map(|_| Self { streams: STREAMS, block: BLOCK })
    }

    /// Whether a receiver takes part in it.
    pub fn is_sane(self) -> bool {
        (2..=MAX_STREAMS).contains(&self.streams) && (1..=MAX_BLOCK).contains(&self.block)
    }

    /// How many streams.
    pub fn streams(self) -> usize {
        self.streams as usize
    }

    /// What the byte at `offset` belongs to.
    pub(super) fn at(self, offset: u64) -> Range {
        let (index, within) = (offset / self.block, offset % self.block);
        // Below the number of streams, which fits.
        let stream = (index % u64::from(self.streams)) as usize;
        Range { stream, len: self.block - within }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_files_and_those_of_unknown_length_have_no_plan() {
        for (size, planned) in [(None, false), (Some(0), false), (Some(MIN_SIZE - 1), false), (Some(MIN_SIZE), true)] {
            assert_eq!(Plan::of(size).is_some(), planned, "{size:?}");
        }
        assert!(Plan::of(Some(MIN_SIZE)).unwrap().is_sane());
    }

    #[test]
    fn blocks_take_turns() {
        let plan = Plan { streams: 3, block: 10 };
        for (offset, stream, len) in [(0, 0, 10), (9, 0, 1), (10, 1, 10), (25, 2, 5), (30, 0, 10), (u64::MAX, 1, 5)] {
            assert_eq!(plan.at(offset), Range { stream, len }, "{offset}");
        }
    }

    #[test]
    fn plans_of_strangers_have_bounds() {
        for (streams, block, sane) in [
            (0, BLOCK, false),
            (1, BLOCK, false),
            (2, 1, true),
            (MAX_STREAMS, MAX_BLOCK, true),
            (MAX_STREAMS + 1, BLOCK, false),
            (2, 0, false),
            (2, MAX_BLOCK + 1, false),
        ] {
            assert_eq!(Plan { streams, block }.is_sane(), sane, "{streams} of {block}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_on_one_stream_and_each_gets_its_share(
            streams in 2..=MAX_STREAMS, block in 1..5_000u64, size in 0..200_000u64, step in 1..10_000u64,
        ) {
            let plan = Plan { streams, block };
            let mut shares = vec![0; plan.streams()];
            let mut offset = 0;
            // Whatever pieces the file is read in.
            while offset < size {
                let range = plan.at(offset);
                let len = range.len.min(step).min(size - offset);
                shares[range.stream] += len;
                offset += len;
            }
            prop_assert_eq!(shares.iter().sum::<u64>(), size);
            let (most, least) = (*shares.iter().max().unwrap(), *shares.iter().min().unwrap());
            prop_assert!(most - least <= block);
        }
    }
}
