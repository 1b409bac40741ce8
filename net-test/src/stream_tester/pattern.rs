//! The data that cases write. Both sides can compute any length of it from a number.

use std::sync::OnceLock;

use bytes::Bytes;

/// The number of bytes after which the data repeats. It is prime, so that it is not a multiple of any buffer,
/// window or packet size: data that is displaced by such a size differs from the expected data.
const PERIOD: usize = 1_048_573;
/// The distance between the starts of two seeds, in bytes.
const STRIDE: u64 = 7_919;

/// Returns the data from `offset` on, without a copy: at least one byte and at most `max`, or none if `max` is 0.
pub fn slice(seed: u64, offset: u64, max: usize) -> Bytes {
    let period = PERIOD as u64;
    let start = (offset % period + (seed % period) * STRIDE % period) % period;
    // The value is less than PERIOD, which is a usize.
    let start = usize::try_from(start).unwrap_or_default();
    base().slice(start..start + max.min(PERIOD - start))
}

/// Returns a copy of the first `len` bytes.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        data.extend_from_slice(&slice(seed, data.len() as u64, len - data.len()));
    }
    data
}

pub fn hash(seed: u64, len: u64) -> blake3::Hash {
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
    while offset < len {
        let piece = slice(seed, offset, usize::try_from(len - offset).unwrap_or(PERIOD));
        hasher.update(&piece);
        offset += piece.len() as u64;
    }
    hasher.finalize()
}

fn base() -> &'static Bytes {
    static BASE: OnceLock<Bytes> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut data = vec![0; PERIOD];
        blake3::Hasher::new().update(b"stream-tester/1").finalize_xof().fill(&mut data);
        data.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_the_same_however_it_is_cut() {
        let whole = bytes(7, 3_000_000);
        assert_eq!(blake3::hash(&whole), hash(7, 3_000_000));
        for offset in [0, 1, PERIOD - 1, PERIOD, 2 * PERIOD + 17] {
            let piece = slice(7, offset as u64, 1000);
            assert_eq!(piece, whole[offset..offset + piece.len()]);
        }
    }

    #[test]
    fn seeds_and_lengths_differ() {
        assert_ne!(hash(1, 1), hash(1, 2));
        assert_ne!(hash(1, 1000), hash(2, 1000));
        assert_ne!(slice(1, 0, 64), slice(1, 1, 64));
        assert!(slice(1, 0, 0).is_empty());
        assert!(!slice(u64::MAX, u64::MAX, 1).is_empty());
    }
}
