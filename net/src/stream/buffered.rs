//! What was read from QUIC and not yet by the user.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in one piece. Most streams are short: what is here came in one chunk, which is kept as it is and copied when it is
/// taken (it shares its allocation with whatever else was received along with it). Only a second chunk makes a buffer.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    chunk: Bytes,
    /// What `chunk` became when another one followed. One of the two is empty.
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
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.chunk = chunk;
            return;
        }
        if !self.chunk.is_empty() {
            self.joined.reserve(self.chunk.len() + chunk.len());
            self.joined.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.joined.extend_from_slice(&chunk);
    }

    /// Takes the first `len` bytes, of those that are there.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        if self.joined.is_empty() {
            let taken = Bytes::copy_from_slice(&self.chunk[..len]);
            self.skip(len);
            taken
        } else {
            self.joined.split_to(len).freeze()
        }
    }

    /// Lets go of the first `len` bytes, of those that are there.
    pub(super) fn skip(&mut self, len: usize) {
        if self.joined.is_empty() {
            self.chunk.advance(len);
            if self.chunk.is_empty() {
                // What it came with is not held any longer.
                self.chunk = Bytes::new();
            }
        } else {
            self.joined.advance(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_pushed_and_taken_the_bytes_stay_in_order(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), 0..30usize, any::<bool>()), 0..40),
        ) {
            let (mut buffered, mut expected) = (Buffered::default(), Vec::new());
            for (chunk, len, take) in steps {
                expected.extend_from_slice(&chunk);
                buffered.push(chunk.into());
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
    fn one_chunk_is_kept_as_it_is_and_does_not_hold_what_it_came_with_once_it_is_taken() {
        let received = Bytes::from(vec![7; 64 * 1024]);
        let mut buffered = Buffered::default();
        buffered.push(received.slice(100..200));
        assert_eq!(buffered.as_slice().as_ptr(), received[100..].as_ptr());
        let taken = buffered.take(100);
        drop(buffered);
        assert!(received.is_unique(), "the copy of {} bytes is its own", taken.len());
    }
}
