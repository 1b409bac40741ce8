//! The assignment of the bytes of a file to streams. This module does no I/O.

use serde::{Deserialize, Serialize};

/// The number of streams over which a file is spread. Each stream has a window of 2 MB, so eight streams can have
/// 16 MB in flight. That is twice the bandwidth-delay product of a path with 500 Mbit/s and 100 ms.
const STREAMS: u32 = 8;
/// Maximum number of streams that a receiver accepts.
const MAX_STREAMS: u32 = 16;
/// Length of a block in bytes. Four blocks fit into a window, so that no stream runs dry while other streams have
/// their turn.
const BLOCK: u64 = 512 * 1024;
/// Maximum length of a block in bytes that a receiver accepts. A window would hold less than one larger block.
const MAX_BLOCK: u64 = 1024 * 1024;
/// Minimum length of a file, in bytes, that is spread over several streams. A shorter file is sent before a second
/// stream could help.
const MIN_SIZE: u64 = 16 * 1024 * 1024;

/// The spread of a file of known length: block 0 on stream 0, block 1 on stream 1, and so on, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The number of streams. The first stream is the one with the offer.
    streams: u32,
    /// The length of a block in bytes. The last block may be shorter.
    block: u64,
}

/// A contiguous part of a file that one stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) stream: usize,
    /// The number of bytes from the requested offset to the end of the block.
    pub(super) len: u64,
}

impl Plan {
    /// Returns the plan for a file, or `None` if the file is too short or its length is unknown.
    pub fn of(size: Option<u64>) -> Option<Self> {
        size.filter(|size| *size >= MIN_SIZE).map(|_| Self { streams: STREAMS, block: BLOCK })
    }

    /// Returns whether a receiver accepts the plan.
    pub fn is_sane(self) -> bool {
        (2..=MAX_STREAMS).contains(&self.streams) && (1..=MAX_BLOCK).contains(&self.block)
    }

    /// Returns the number of streams.
    pub fn streams(self) -> usize {
        self.streams as usize
    }

    /// Returns the stream of the byte at `offset`, and the number of bytes to the end of its block.
    pub(super) fn at(self, offset: u64) -> Range {
        let (index, within) = (offset / self.block, offset % self.block);
        // The value is below the number of streams, so the cast loses nothing.
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
            // The result does not depend on the pieces in which the file is read.
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
