//! Text that people paste: tickets, id52s and signatures, and the bytes that it encodes.

use iroh_tickets::{Ticket as _, endpoint::EndpointTicket};
use twolane_id::{ParsePublicKeyError, PublicKey, SecretKey, Signature};

use crate::ticket::{ParseTicketError, Ticket};

/// The context of the signatures that the fuzzer checks.
pub(super) const CONTEXT: &str = "file";

/// Parses the bytes as the text of a ticket, and as the bytes that the text of a ticket encodes.
pub fn ticket(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let parsed = text.parse::<Ticket>();
        assert_eq!(format!("  {text}\n").parse::<Ticket>(), parsed, "white space around it does no harm");
        match parsed {
            Ok(ticket) => check_ticket(&ticket),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Ok(inner) = EndpointTicket::decode_bytes(data) {
        let parsed = inner.encode_string().parse::<Ticket>();
        // Only our stricter rules for keys and for the size turn it away.
        let made = Ticket::from_addr(inner.endpoint_addr().clone());
        assert_eq!(parsed, made.map_err(ParseTicketError::from));
        if let Ok(ticket) = parsed {
            check_ticket(&ticket);
        }
    }
}

/// Checks a ticket. There is more than one text for a ticket, because base32 is read in either case, and bytes after
/// the end are ignored. The text that is written is one of these, and always the same.
fn check_ticket(ticket: &Ticket) {
    check_key(&ticket.peer());
    let text = ticket.to_string();
    assert!(text.starts_with("endpoint"));
    assert!(text.len() <= Ticket::MAX_TEXT && ticket.addrs().len() <= Ticket::MAX_ADDRS);
    assert_eq!(text.parse::<Ticket>(), Ok(ticket.clone()), "what is shown is what is read");
    assert_eq!(Ticket::from_addr(ticket.to_addr()).as_ref(), Ok(ticket));
    let relays = ticket.clone().relay_only();
    assert!(relays.addrs().iter().all(|addr| addr.is_relay()) && relays.addrs().is_subset(ticket.addrs()));
}

/// Parses the bytes as each text that `twolane-id` reads, and as a key, a signature and a message.
pub fn id52(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        match text.parse::<PublicKey>() {
            Ok(key) => {
                assert_eq!(key.to_string(), text.to_ascii_lowercase(), "a key has one id52");
                assert_eq!(text.parse::<Ticket>(), Ok(Ticket::new(key)), "an id52 is a ticket");
                check_key(&key);
            }
            Err(ParsePublicKeyError::Length { found }) => assert_eq!(found, text.chars().count()),
            Err(error) => {
                assert_eq!(text.chars().count(), PublicKey::ID52_LENGTH);
                assert!(!error.to_string().is_empty());
            }
        }
        if let Ok(key) = text.parse::<SecretKey>() {
            assert_eq!(key.to_hex().as_str(), text);
            check_key(&key.public_key());
        }
        if let Ok(signature) = text.parse::<Signature>() {
            assert_eq!(signature.to_string(), text);
        }
    }
    let Some((key, rest)) = data.split_first_chunk() else {
        return;
    };
    let Ok(key) = PublicKey::from_bytes(key) else {
        return;
    };
    check_key(&key);
    let Some((signature, message)) = rest.split_first_chunk() else {
        return;
    };
    let signature = Signature::from_bytes(signature);
    let (raw, signed) = (key.verify_raw(message, &signature), key.verify(CONTEXT, message, &signature));
    // A signature is valid for one message, one key and one purpose, and has no second encoding.
    assert!(raw.is_err() || signed.is_err());
    let longer = [message, &[0]].concat();
    let mut other = signature.to_bytes();
    other[Signature::LENGTH - 1] ^= 0x80;
    let other = Signature::from_bytes(&other);
    if raw.is_ok() {
        assert!(key.verify_raw(&longer, &signature).is_err());
        assert!(key.verify_raw(message, &other).is_err());
    }
    if signed.is_ok() {
        assert!(key.verify(CONTEXT, &longer, &signature).is_err());
        assert!(key.verify(CONTEXT, message, &other).is_err());
        assert!(key.verify("", message, &signature).is_err());
    }
}

/// The y coordinates, little-endian, of the eight points of small order (RFC 8032 defines the curve). Everybody can
/// sign for such a key.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    // The prime 2^255 - 19, less one.
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Checks that an existing key is sound, here and for iroh, and has one text and one encoding in bytes.
fn check_key(key: &PublicKey) {
    let mut y = key.to_bytes();
    y[31] &= 0x7f;
    assert!(!SMALL_ORDER.contains(&y), "{key} is of small order");
    // A value over the prime less one would be another encoding of a small number.
    assert!(y.iter().rev().le(SMALL_ORDER[2].iter().rev()), "{key} is not reduced");
    assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(*key));
    let id52 = key.to_string();
    assert_eq!(id52.len(), PublicKey::ID52_LENGTH);
    assert_eq!(id52.parse::<PublicKey>(), Ok(*key));
    assert_eq!(crate::key::from_iroh(&crate::key::to_iroh(key)), Some(*key));
}
