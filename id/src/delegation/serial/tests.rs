use proptest::prelude::*;

use super::*;

#[test]
fn a_wrong_length_or_character_is_named() {
    for found in [0, 31, 33, 64] {
        assert_eq!("0".repeat(found).parse::<Serial>(), Err(ParseSerialError::Length { found }));
    }
    for (found, index) in [('g', 0), ('A', 1), (' ', 16), ('é', 31)] {
        let text: String = (0..32).map(|i| if i == index { found } else { '0' }).collect();
        assert_eq!(text.parse::<Serial>(), Err(ParseSerialError::Character { found, position: index + 1 }));
    }
}

#[test]
fn serde_sees_the_text() {
    let serial = Serial::from([0xab; 16]);
    let json = format!("\"{}\"", "ab".repeat(16));
    assert_eq!(serde_json::to_string(&serial).unwrap(), json);
    assert_eq!(serde_json::from_str::<Serial>(&json).unwrap(), serial);
    assert!(serde_json::from_str::<Serial>("\"ab\"").is_err());
}

proptest! {
    #[test]
    fn every_16_bytes_survive_their_text(bytes: [u8; 16]) {
        let serial = Serial::from_bytes(bytes);
        prop_assert_eq!(serial.to_string().parse(), Ok(serial));
        prop_assert_eq!(serial.to_bytes(), bytes);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Serial>();
    }
}
