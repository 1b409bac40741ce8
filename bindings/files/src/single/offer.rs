//! The JSON objects that the sender and the receiver exchange in addition to the file.

use serde::{Deserialize, Serialize};

use super::{Plan, TransferId};

/// The offer that the sender makes in the metadata of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The name of the file at the sender. The receiver decides under which name to store it.
    pub name: String,
    /// The length of the file in bytes, if it is known.
    pub size: Option<u64>,
    /// How the file is spread over several streams, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// The spread of a file over several streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The id that the streams of the transfer share.
    pub id: TransferId,
    /// The assignment of the blocks of the file to the streams.
    #[serde(flatten)]
    pub plan: Plan,
}

/// The receiver's confirmation that the file is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The name under which the file was stored.
    pub stored: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of the file, in hexadecimal digits.
    pub blake3: String,
}

/// The details of the receiver's errors, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDetails {
    /// The number of bytes of the file that the receiver had taken.
    pub received: u64,
}

impl Offer {
    /// Encodes the offer for the metadata of the stream.
    pub fn to_bytes(&self) -> Vec<u8> {
        // The encoding cannot fail, because strings and numbers always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes an offer from the metadata of a stream. The library limits the length of the metadata.
    ///
    /// # Errors
    ///
    /// Returns an error if the JSON is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offer_is_one_json_object() {
        let offer = Offer { name: "photo.jpg".into(), size: None, spread: None };
        assert_eq!(offer.to_bytes(), br#"{"name":"photo.jpg","size":null}"#);
        assert!(Offer::from_bytes(br#"{"name":"x","size":7,"later":true}"#).is_ok());
        assert!(Offer::from_bytes(br#"{"name":"x"}"#).is_ok());
    }

    #[test]
    fn what_is_no_offer_is_an_error() {
        for bytes in [
            &b""[..],
            b"{}",
            b"null",
            b"[]",
            br#"{"name":7}"#,
            br#"{"name":"x","size":-1}"#,
            br#"{"name":"x","size":1.5}"#,
            br#"{"name":"x","size":18446744073709551616}"#,
            br#"{"name":"x"} and more"#,
            b"\xff\xfe",
        ] {
            assert!(Offer::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_offer_arrives_as_it_was_made(name in ".{0,300}", size in any::<Option<u64>>()) {
            let spread = Plan::of(size).map(|plan| Spread { id: TransferId::random(), plan });
            let offer = Offer { name, size, spread };
            prop_assert_eq!(Offer::from_bytes(&offer.to_bytes()).unwrap(), offer);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Offer::from_bytes(&bytes);
        }
    }
}
