//! The parameters at the end of a frame: `{ id, length, value }` in ascending order of their ids.
//!
//! A later version may add parameters. A receiver ignores an unknown parameter with an even id. A parameter with an
//! odd id is critical: the section about the frame says what a receiver does if it does not know the id.

use super::{Fields, Malformed, varint};

/// Returns the reserved id 62 n + 58. Such ids have no meaning in any registry, and receivers must ignore them. They
/// are even, so no parameter with such an id is critical.
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
    /// Reads the rest of the frame as parameters. `known` gets each parameter, and returns whether it knows the id.
    /// An error about a malformed parameter takes precedence over one about an unknown critical parameter.
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
            // The value must lie inside the frame, so the limit of the frame limits it too.
            let len = usize::try_from(self.varint()?).map_err(|_| self.length())?;
            let value = Fields::new(self.take(len)?, "a parameter");
            if !known(id, value)? && id % 2 == 1 {
                critical = critical.or(Some(id));
            }
        }
        critical.map_or(Ok(()), |id| Err(Malformed::Critical { what: self.what, id }))
    }

    /// Returns the value of a parameter that is one varint.
    pub(crate) fn only_varint(mut self) -> Result<u64, Malformed> {
        let value = self.varint()?;
        self.end()?;
        Ok(value)
    }
}
