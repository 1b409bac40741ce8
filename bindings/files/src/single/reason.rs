//! The error codes on the error lane of `file/1` and `file/2`.

/// The reason why one side fails a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The offer, or the data after the file, violates the protocol.
    Protocol,
    /// The name cannot be the name of a file.
    Name,
    /// A file of this name exists, and nothing is overwritten.
    Exists,
    /// The receiver's disk, quota or file size limit is reached.
    StorageFull,
    /// The receiver cannot write the file.
    Storage,
    /// The received bytes are not the bytes that were sent.
    Hash,
    /// The sender sent more or fewer bytes than offered.
    Size,
    /// The sender cannot read the rest of its file.
    Source,
    /// The program was interrupted.
    Interrupted,
    /// The other side did nothing for too long.
    Silent,
    /// The sender has reached the limit of concurrent transfers from one peer at the receiver.
    Busy,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Protocol,
        Self::Name,
        Self::Exists,
        Self::StorageFull,
        Self::Storage,
        Self::Hash,
        Self::Size,
        Self::Source,
        Self::Interrupted,
        Self::Silent,
        Self::Busy,
    ];

    /// Returns the code on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::Protocol => 1,
            Self::Name => 2,
            Self::Exists => 3,
            Self::StorageFull => 4,
            Self::Storage => 5,
            Self::Hash => 6,
            Self::Size => 7,
            Self::Source => 8,
            Self::Interrupted => 9,
            Self::Silent => 10,
            Self::Busy => 11,
        }
    }

    /// Returns the reason for a code on the wire. Returns `None` for the receiver's own codes and for the codes of
    /// later versions.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Returns a hint for the sender's user.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Protocol => "use programs of the same version on both sides",
            Self::Name | Self::Exists => "send it under another name with --name",
            Self::StorageFull => "make room there, or receive into another directory",
            Self::Storage => "look at the receiver's directory",
            Self::Hash => "send it again",
            Self::Size => "send it again once nothing changes the file any more",
            Self::Source | Self::Silent => "try again",
            Self::Busy => "send it again once the others have arrived",
            Self::Interrupted => "start the receiver again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Reason::from_code(0), None);
        assert_eq!(Reason::from_code(4242), None);
    }
}
