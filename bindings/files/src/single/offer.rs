//! The JSON objects that the sender and the receiver exchange in addition to the file.

use serde::{Deserialize, Serialize};

/// The offer that the sender makes in the metadata of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The name of the file at the sender. The receiver decides under which name to store it.
    pub name: String,
    /// The length of the file in bytes, if it is known.
    pub size: Option<u64>,
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

    /// Returns the last component of the name: the folder of the file at the sender does not matter. The sender's system
    /// may use a backslash.
    pub(super) fn file_name(&self) -> &str {
        self.name.rsplit(['/', '\\']).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offer_is_one_json_object() {
        let offer = Offer { name: "photo.jpg".into(), size: None };
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

    #[test]
    fn only_the_last_component_of_a_name_counts() {
        for name in ["photo.jpg", "../photo.jpg", "/etc/photo.jpg", "C:\\Users\\me\\photo.jpg", "a\0b/photo.jpg"] {
            assert_eq!(Offer { name: name.into(), size: None }.file_name(), "photo.jpg", "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_offer_arrives_as_it_was_made(name in ".{0,300}", size in any::<Option<u64>>()) {
            let offer = Offer { name, size };
            prop_assert_eq!(Offer::from_bytes(&offer.to_bytes()).unwrap(), offer);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Offer::from_bytes(&bytes);
        }
    }
}
