//! Bytes as WIRE.md has them, and as it does not allow them. The library's encoder does only the former.

/// The largest number there is, 2^62 - 1.
pub(super) const MAX: u64 = (1 << 62) - 1;
/// What only whoever lies announces: a length of 2^62 - 1.
pub(super) const OVERSIZE: [u8; 8] = [0xff; 8];

pub(super) const HELLO: u64 = 0;
pub(super) const GOAWAY: u64 = 1;
pub(super) const DRAINED: u64 = 2;
pub(super) const WATERMARK: u64 = 3;
pub(super) const CONSUMED: u64 = 4;
pub(super) const DELEGATION: u64 = 5;

/// The kinds of streams.
pub(super) const KIND_CONTROL: u8 = 0;
pub(super) const KIND_DATA: u8 = 1;
pub(super) const KIND_ERROR: u8 = 2;

pub(super) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value.min(MAX) | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

pub(super) fn block(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64), bytes].concat()
}

/// A control frame.
pub(super) fn frame(kind: u64, body: &[u8]) -> Vec<u8> {
    [varint(kind), block(body)].concat()
}

/// A control frame of two numbers.
pub(super) fn pair(kind: u64, first: u64, second: u64) -> Vec<u8> {
    frame(kind, &[varint(first), varint(second)].concat())
}

/// HELLO: 256 data lanes, 16,384 bytes of metadata, and what else is said.
pub(super) fn hello(version: u64, nonce: [u8; 16], more: &[u64]) -> Vec<u8> {
    let mut body = [varint(version), nonce.to_vec()].concat();
    for value in [1, 256, 2, 16_384].iter().chain(more) {
        body.extend(varint(*value));
    }
    frame(HELLO, &body)
}

/// The beginning of a control stream: its kind, and HELLO with a nonce of its own.
pub(super) fn greeting(more: &[u64]) -> Vec<u8> {
    [vec![KIND_CONTROL], hello(1, rand::random(), more)].concat()
}

/// The beginning of a data lane.
pub(super) fn header(protocol: &str) -> Vec<u8> {
    let body = [varint(0), block(protocol.as_bytes()), block(b"")].concat();
    [vec![KIND_DATA], block(&body)].concat()
}

/// The beginning of an error lane.
pub(super) fn error_lane(data_lane: u64) -> Vec<u8> {
    [vec![KIND_ERROR], varint(data_lane)].concat()
}

/// A warning with so many bytes of details.
pub(super) fn warning(details: usize) -> Vec<u8> {
    block(&[varint(0), varint(7), varint(0), block(b"a flood"), block(&vec![0x55; details])].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_examples_in_the_document() {
        let nonce = std::array::from_fn(|n| n as u8);
        let hello = hello(1, nonce, &[]);
        assert_eq!(hello[..3], [0, 0x19, 1]);
        assert_eq!(hello[3..19], nonce);
        assert_eq!(hello[19..], [1, 0x41, 0, 2, 0x80, 0, 0x40, 0]);
        assert_eq!(pair(WATERMARK, 8, 100_000), [3, 5, 8, 0x80, 1, 0x86, 0xa0]);
        assert_eq!(header("mail/1"), b"\x01\x09\x00\x06mail/1\x00");
        assert_eq!(error_lane(8), [2, 8]);
        assert_eq!(varint(MAX), OVERSIZE);
    }
}
