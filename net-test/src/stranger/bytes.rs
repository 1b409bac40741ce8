//! Reads the messages of any peer, for the stranger's server. A message that breaks a rule gives an error, which
//! determines the code that the peer is told.

use quinn::{ReadExactError, RecvStream};

use crate::wire::{answer, close};

/// The reason why complete bytes are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    TooLong,
    Malformed,
    Unsupported,
}

/// The reason why bytes did not come completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    TooLong,
    /// The stream ended before the first byte.
    End,
    /// The stream ended after the first byte.
    Fin,
    /// The stream was reset, or the connection was lost.
    Gone,
}

impl Bad {
    /// Returns the code with which the connection is closed.
    pub fn closes(self) -> u64 {
        if self == Self::Unsupported { close::UNSUPPORTED } else { close::PROTOCOL_VIOLATION }
    }

    /// Returns the code with which a header is rejected.
    pub fn rejects(self) -> u64 {
        match self {
            Self::TooLong => answer::TOO_LARGE,
            Self::Malformed => answer::MALFORMED,
            Self::Unsupported => answer::UNSUPPORTED,
        }
    }
}

/// Reads the fields of a frame.
#[derive(Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        Some(bytes[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
    }

    pub fn only_varint(mut self) -> Option<u64> {
        let value = self.varint()?;
        self.end().map(|()| value)
    }

    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub fn block(&mut self, max: u64) -> Result<&'a [u8], Bad> {
        let len = self.varint().ok_or(Bad::Malformed)?;
        if len > max {
            return Err(Bad::TooLong);
        }
        usize::try_from(len).ok().and_then(|len| self.take(len)).ok_or(Bad::Malformed)
    }

    /// Reads the rest of the frame as parameters. `known` returns whether it knows an id, or `None` if the value is
    /// malformed.
    pub fn parameters(mut self, known: impl Fn(u64, &[u8]) -> Option<bool>) -> Result<(), Bad> {
        let (mut last, mut critical) = (None, false);
        while !self.0.is_empty() {
            let id = self.varint().filter(|id| last < Some(*id)).ok_or(Bad::Malformed)?;
            last = Some(id);
            let value = self.block(u64::MAX)?;
            critical |= !known(id, value).ok_or(Bad::Malformed)? && id % 2 == 1;
        }
        if critical { Err(Bad::Unsupported) } else { Ok(()) }
    }
}

async fn read(recv: &mut RecvStream, bytes: &mut [u8]) -> Result<(), Short> {
    recv.read_exact(bytes).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => Short::Fin,
        ReadExactError::ReadError(_) => Short::Gone,
    })
}

pub async fn read_varint(recv: &mut RecvStream) -> Result<u64, Short> {
    let mut bytes = [0; 8];
    read(recv, &mut bytes[..1]).await.map_err(|short| if short == Short::Fin { Short::End } else { short })?;
    let len = 1 << (bytes[0] >> 6);
    read(recv, &mut bytes[1..len]).await?;
    Cursor(&bytes[..len]).varint().ok_or(Short::Fin)
}

pub async fn read_block(recv: &mut RecvStream, max: u64) -> Result<Vec<u8>, Short> {
    let len = read_varint(recv).await?;
    if len > max {
        return Err(Short::TooLong);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Short::TooLong)?];
    read(recv, &mut bytes).await?;
    Ok(bytes)
}
