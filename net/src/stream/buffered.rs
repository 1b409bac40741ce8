//! What was read from QUIC and not yet by the user.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in one piece. Most streams are short: a header and what goes with it come in one chunk. The header is read where it
/// is, and what is left is copied once, with no room for more.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    chunk: Bytes,
    /// What `chunk` becomes when another one follows. One of the two is empty.
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

    /// More follows.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        if !self.chunk.is_empty() {
            self.joined.reserve(self.chunk.len() + chunk.len());
            self.joined.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.joined.extend_from_slice(chunk);
    }

    /// The same, for as long as a header is read: not copied before [`Buffered::settle`], if it is all there is.
    pub(super) fn push_shared(&mut self, chunk: Bytes) {
        if self.is_empty() { self.chunk = chunk } else { self.push(&chunk) }
    }

    /// What is left stays for a while: it must not hold what it was received with, which may be 64 kB.
    pub(super) fn settle(&mut self) {
        self.chunk = Bytes::copy_from_slice(&self.chunk);
    }

    /// Takes the first `len` bytes, of those that are there.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        if self.joined.is_empty() { self.chunk.split_to(len) } else { self.joined.split_to(len).freeze() }
    }

    /// Lets go of the first `len` bytes, of those that are there.
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
