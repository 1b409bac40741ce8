//! The error codes on the error lane, and in the frames that refuse an item or give it up.

/// The reason why one side fails a transfer, or an item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What the other side sent violates the protocol.
    Protocol,
    /// Nothing can have the name.
    Name,
    /// Something else of this name exists, and nothing is overwritten.
    Exists,
    /// The receiver's disk, quota or file size limit is reached.
    StorageFull,
    /// The receiver cannot write the file.
    Storage,
    /// The received bytes are not the bytes that were sent.
    Hash,
    /// The file changed while it was sent, or has another length than offered.
    Changed,
    /// The sender cannot read its file.
    Source,
    /// The program was interrupted.
    Interrupted,
    /// The other side did nothing for too long.
    Silent,
    /// The receiver has no place for another transfer at the moment, from this sender or from anybody.
    Busy,
    /// The receiver's user does not take anything from this sender, or does not want this transfer.
    NotAllowed,
    /// The transfer is larger than the receiver takes.
    TooLarge,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::Protocol,
        Self::Name,
        Self::Exists,
        Self::StorageFull,
        Self::Storage,
        Self::Hash,
        Self::Changed,
        Self::Source,
        Self::Interrupted,
        Self::Silent,
        Self::Busy,
        Self::NotAllowed,
        Self::TooLarge,
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
            Self::Changed => 7,
            Self::Source => 8,
            Self::Interrupted => 9,
            Self::Silent => 10,
            Self::Busy => 11,
            Self::NotAllowed => 12,
            Self::TooLarge => 13,
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
            Self::StorageFull => "make room there, or receive into another folder",
            Self::Storage => "look at the receiver's folder",
            Self::Hash => "send it again",
            Self::Changed => "send it again once nothing changes the file any more",
            Self::Source | Self::Silent => "try again",
            Self::Busy => "send it again later, or once the others have arrived",
            Self::Interrupted => "start the receiver again, and send it again: what has arrived is not sent twice",
            Self::NotAllowed => "the receiver's user decides who may send: --from, or an answer to the question there",
            Self::TooLarge => "the receiver's --max-size is in the way",
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

    #[test]
    fn the_specification_lists_every_code() {
        let specification = include_str!("../FILES.md");
        for reason in Reason::ALL {
            let mut name = String::new();
            for character in format!("{reason:?}").chars() {
                if character.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(character.to_ascii_uppercase());
            }
            let row = format!("| {} | {name} |", reason.code());
            assert!(specification.contains(&row), "{row}");
        }
    }
}
