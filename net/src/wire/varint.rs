//! Variable-length integers (RFC 9000, section 16): 62 bits in 1, 2, 4 or 8 bytes.

/// The largest value of a varint: 2^62 - 1.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form. Values over [`MAX`] cannot be represented. Callers check values where they
/// enter the library; here a larger value is clamped rather than corrupted.
pub(crate) fn encode(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value <= MAX, "{value} does not fit a varint");
    let value = value.min(MAX);
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Returns how many bytes [`encode`] appends for `value`.
pub(crate) fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Returns the value at the start of `input`, and the number of bytes that it takes; `None` while bytes are missing.
/// Longer forms than needed are accepted, as in RFC 9000.
pub(crate) fn decode(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let len = 1usize << (first >> 6);
    let bytes = input.get(..len)?;
    let value = bytes.iter().skip(1).fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, len))
}
