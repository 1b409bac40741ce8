//! The parameters that end a frame: `{ id, length, value }` in ascending order of their ids.
//!
//! A later version says more in parameters. A receiver ignores an even id that it does not know; an odd one is critical,
//! and the frame's section says what a receiver does that does not know it.

use super::{Fields, Malformed, varint};

/// An id of the form 62 n + 58 means nothing, in every registry: receivers have to ignore it. It is even, so no parameter
/// with such an id is critical.
pub(crate) const fn reserved(n: u64) -> u64 {
    62 * n + 58
}

/// Appends a parameter whose value is bytes.
pub(crate) fn encode(out: &mut Vec<u8>, id: u64, value: &[u8]) {
    varint::encode(out, id);
    varint::encode(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a parameter whose value is a varint.
pub(crate) fn encode_number(out: &mut Vec<u8>, id: u64, value: u64) {
    varint::encode(out, id);
    varint::encode(out, varint::len(value) as u64);
    varint::encode(out, value);
}

impl<'a> Fields<'a> {
    /// The rest of the frame, as parameters. `known` is given each one, and says whether it knows the id. Parameters that are
    /// malformed come before those that are critical and unknown.
    pub(crate) fn parameters(
        mut self,
        mut known: impl FnMut(u64, Self) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let (mut last, mut critical) = (None, None);
        while !self.rest.is_empty() {
            let id = self.varint()?;
            if last.is_some_and(|last| id <= last) {
                return Err(Malformed::Unexpected { what: "a parameter whose id is not larger than the one before" });
            }
            last = Some(id);
            // The frame's own bound bounds the value, which has to lie inside.
            let len = usize::try_from(self.varint()?).map_err(|_| self.length())?;
            let value = Fields::new(self.take(len)?, "a parameter");
            if !known(id, value)? && id % 2 == 1 {
                critical = critical.or(Some(id));
            }
        }
        critical.map_or(Ok(()), |id| Err(Malformed::Critical { what: self.what, id }))
    }

    /// The value of a parameter that is one varint.
    pub(crate) fn only_varint(mut self) -> Result<u64, Malformed> {
        let value = self.varint()?;
        self.end()?;
        Ok(value)
    }
}
