//! The bytes that were read from noq and not yet by the program.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in one contiguous piece. Most streams are short: the header and the data that travels with it come in one
/// chunk. The header is decoded in that chunk without a copy. The bytes after it are copied once, into an allocation
/// of their size.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    chunk: Bytes,
    /// Holds the bytes of `chunk` and of the chunks that follow it. One of the two fields is empty.
    joined: BytesMut,
}

impl Buffered {
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.joined.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        if self.joined.is_empty() { &self.chunk } else { &self.joined }
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        if !self.chunk.is_empty() {
            self.joined.reserve(self.chunk.len() + chunk.len());
            self.joined.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.joined.extend_from_slice(chunk);
    }

    /// Appends a chunk while a header is read. The chunk is not copied before [`Buffered::settle`] if the buffer was
    /// empty.
    pub(super) fn push_shared(&mut self, chunk: Bytes) {
        if self.is_empty() { self.chunk = chunk } else { self.push(&chunk) }
    }

    /// Copies the bytes that are left, since they may stay for a while. They must not hold the block that they were
    /// received in, which may have 64 kB.
    pub(super) fn settle(&mut self) {
        self.chunk = Bytes::copy_from_slice(&self.chunk);
    }

    /// Removes and returns the first `len` bytes. There must be as many.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        if self.joined.is_empty() { self.chunk.split_to(len) } else { self.joined.split_to(len).freeze() }
    }

    /// Discards the first `len` bytes. There must be as many.
    pub(super) fn skip(&mut self, len: usize) {
        if self.joined.is_empty() { self.chunk.advance(len) } else { self.joined.advance(len) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_pushed_and_taken_the_bytes_stay_in_order(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), 0..30usize, any::<[bool; 3]>()), 0..40),
        ) {
            let (mut buffered, mut expected) = (Buffered::default(), Vec::new());
            for (chunk, len, [take, shared, settle]) in steps {
                expected.extend_from_slice(&chunk);
                if shared {
                    buffered.push_shared(chunk.into());
                } else {
                    buffered.push(&chunk);
                }
                if settle {
                    buffered.settle();
                }
                let len = len.min(expected.len());
                let first: Vec<_> = expected.drain(..len).collect();
                if take {
                    prop_assert_eq!(&buffered.take(len)[..], &first[..]);
                } else {
                    buffered.skip(len);
                }
                prop_assert_eq!(buffered.as_slice(), &expected[..]);
                prop_assert_eq!((buffered.len(), buffered.is_empty()), (expected.len(), expected.is_empty()));
            }
        }
    }

    #[test]
    fn a_header_is_read_where_it_is_and_what_follows_it_does_not_hold_what_it_came_with() {
        let received = Bytes::from(vec![7; 64 * 1024]);
        let mut buffered = Buffered::default();
        buffered.push_shared(received.slice(100..200));
        assert_eq!(buffered.as_slice().as_ptr(), received[100..].as_ptr());
        buffered.skip(20);
        buffered.settle();
        assert!(received.is_unique(), "the copy of {} bytes is its own", buffered.len());
    }
}
