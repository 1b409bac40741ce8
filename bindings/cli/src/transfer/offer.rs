//! What the two sides tell each other beside the file.

use serde::{Deserialize, Serialize};

use super::{Plan, TransferId};

/// What the sender says first, as the stream's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What the sender calls the file. The receiver makes of it what it likes.
    pub name: String,
    /// How long it is, if that is known.
    pub size: Option<u64>,
    /// How it is spread over several streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// A file over several streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// What the streams have in common.
    pub id: TransferId,
    /// Which of them carries what.
    #[serde(flatten)]
    pub plan: Plan,
}

/// What the receiver says once the file is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The name it was stored under.
    pub stored: String,
    /// How long it is.
    pub bytes: u64,
    /// Its BLAKE3 hash, in hexadecimal digits.
    pub blake3: String,
}

/// What goes with the receiver's errors, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDetails {
    /// Bytes of the file that the receiver had taken.
    pub received: u64,
}

impl Offer {
    /// As bytes for the stream's metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A string and a number always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From a stream's metadata, whose length the library bounds.
    ///
    /// # Errors
    ///
    /// What is wrong with the JSON.
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
