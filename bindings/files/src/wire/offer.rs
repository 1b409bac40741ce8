//! The metadata of the streams.

use super::codec::{Fields, Malformed, block, number, parameter};

/// Maximum length of a name in an offer, in bytes.
const MAX_NAME: u64 = 255;

/// What a sender offers, in the metadata of the control stream: before any file is named, and for the receiver's user
/// to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The id of the transfer, which its data streams have too.
    pub id: [u8; 16],
    /// The name of the first item. It comes from the peer: show it with [`shown`](crate::shown).
    pub name: String,
    /// The number of items: files and folders that the sender's user has named. At least 1.
    pub items: u64,
    /// The number of files in all items, if the sender has counted them.
    pub files: Option<u64>,
    /// The number of bytes of all files, if the sender knows it.
    pub bytes: Option<u64>,
}

/// The reason why metadata is no offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the offer cannot be read: {0}")]
pub struct OfferError(#[from] Malformed);

impl Offer {
    /// Encodes the offer for the metadata of a stream.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.id.to_vec();
        block(&mut out, self.name[..self.name.floor_char_boundary(MAX_NAME as usize)].as_bytes());
        number(&mut out, self.items);
        parameter(&mut out, 2, self.files);
        parameter(&mut out, 4, self.bytes);
        out
    }

    /// Decodes the offer in the metadata of a stream.
    ///
    /// # Errors
    ///
    /// [`OfferError`] if the metadata is no offer, or one that a later version means differently.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OfferError> {
        let mut fields = Fields::of(bytes);
        let id = fields.array()?;
        let name = fields.text("a name", MAX_NAME)?.to_owned();
        // An offer of nothing would be a transfer that never has anything to say.
        let items = fields.number()?.max(1);
        let (mut files, mut total) = (None, None);
        fields.parameters(|id, value| {
            match id {
                2 => files = Some(value.number()?),
                4 => total = Some(value.number()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { id, name, items, files, bytes: total })
    }
}

/// The metadata of a data stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartOffer {
    /// The id of the transfer.
    pub(crate) id: [u8; 16],
}

impl PartOffer {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.id.to_vec()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::of(bytes);
        let id = fields.array()?;
        fields.parameters(|_, _| Ok(false))?;
        Ok(Self { id })
    }
}
