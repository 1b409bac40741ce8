//! Reserved parameters, frame types and kinds. Builds with debug assertions send them, so that no receiver comes to
//! rely on their absence (as RFC 8701 does for TLS).
//!
//! They depend only on a seed: the same run sends the same bytes. A release build sends none.

use std::ops::Deref;

use super::{KIND_CONTROL, encode_frame, parameters, parameters::reserved, varint};

const ON: bool = cfg!(debug_assertions);

/// Length of the longest parameter that is sent: an id of 8 bytes, a length, and a value of 3 bytes.
const LONGEST: usize = 12;

/// No reserved parameter, or one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Deref for Tail {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the reserved parameter for the end of a frame's parameters.
pub(crate) fn tail(seed: u64) -> Tail {
    let mut tail = Tail { bytes: [0; LONGEST], len: 0 };
    let drawn = mix(seed);
    // One frame of four has none.
    if ON && !drawn.is_multiple_of(4) {
        let mut out = Vec::with_capacity(LONGEST);
        parameters::encode(&mut out, id(drawn >> 2), &drawn.to_be_bytes()[..(drawn >> 60) as usize % 4]);
        tail.bytes[..out.len()].copy_from_slice(&out);
        tail.len = out.len();
    }
    tail
}

/// Puts a reserved control frame in front of the frames in `out`, unless there are none.
pub(crate) fn in_front(seed: u64, out: &mut Vec<u8>) {
    let drawn = mix(seed);
    if ON && !out.is_empty() && drawn.is_multiple_of(2) {
        let mut with = Vec::with_capacity(out.len() + 24);
        varint::encode(&mut with, id(drawn >> 1));
        encode_frame(&mut with, &drawn.to_be_bytes()[..(drawn >> 60) as usize % 9]);
        with.append(out);
        *out = with;
    }
}

/// Returns the first bytes of a unidirectional stream of a reserved kind. `None` if no such stream is to be opened.
pub(crate) fn stream(seed: u64) -> Option<Vec<u8>> {
    let drawn = mix(seed);
    (ON && drawn.is_multiple_of(2)).then(|| {
        let mut out = Vec::with_capacity(16);
        varint::encode(&mut out, id(drawn >> 1));
        debug_assert_ne!(out, [KIND_CONTROL as u8]);
        out.extend_from_slice(&drawn.to_be_bytes());
        out
    })
}

/// Returns a reserved id that takes 1, 2, 4 or 8 bytes, with equal probability.
fn id(drawn: u64) -> u64 {
    let most = [0x3f, 0x3fff, 0x3fff_ffff, varint::MAX][(drawn % 4) as usize];
    reserved((drawn >> 2) % ((most - reserved(0)) / 62 + 1))
}

/// SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut drawn = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    drawn ^ (drawn >> 31)
}
