//! Tickets, keys, signatures and certificates.

use iroh::TransportAddr;
use iroh_tickets::{Ticket as _, endpoint::EndpointTicket};
use twolane_id::{Delegation, PublicKey, SecretKey, Signature};

use super::{Named, certificate, key, with};
use crate::{fuzzing::keys::CONTEXT, ticket::Ticket};

/// The neutral element, for which everybody can sign.
const SMALL_ORDER: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

pub(super) fn ticket() -> Vec<Named> {
    let bare = Ticket::new(key(1));
    let with_addr = |ticket: &Ticket, addr: &str| ticket.clone().with_addr(addr.parse().unwrap()).unwrap();
    let with_relay = |ticket: &Ticket, url: &str| ticket.clone().with_relay(url.parse().unwrap()).unwrap();
    let addr = with_addr(&bare, "192.0.2.7:4433");
    let relay = with_relay(&bare, "https://Relay.Example:443/a/../b?c#d");
    let all = with_addr(&addr, "[2001:db8::1]:9");
    let all = with_relay(&with_relay(&all, "https://relay.example"), "http://[::1]:3340");
    let full = (1..=Ticket::MAX_ADDRS).fold(bare.clone(), |ticket, n| with_addr(&ticket, &format!("192.0.2.{n}:9")));
    let mut too_many = full.to_addr();
    too_many.addrs.insert("192.0.2.99:9".parse().map(TransportAddr::Ip).unwrap());
    let too_many = EndpointTicket::new(too_many);
    let inner = |ticket: &Ticket| EndpointTicket::new(ticket.to_addr()).encode_bytes();
    // The variant of the layout precedes the key.
    let of_small_order = with(inner(&addr), 1, &SMALL_ORDER);
    let text = |ticket: &Ticket| ticket.to_string().into_bytes();
    let mut cut = text(&all);
    cut.truncate(cut.len() - 3);
    vec![
        ("id52", key(1).to_string().into_bytes()),
        ("id52-with-white-space", format!(" {}\r\n", key(1)).into_bytes()),
        ("text-without-addresses", text(&bare)),
        ("text-with-an-address", text(&addr)),
        ("text-with-a-relay", text(&relay)),
        ("text-with-everything", text(&all)),
        ("text-in-upper-case-after-the-word", text(&addr).into_iter().enumerate().map(upper_after_the_word).collect()),
        ("text-cut", cut),
        ("text-of-the-word-alone", b"endpoint".to_vec()),
        ("text-with-as-many-addresses-as-fit", text(&full)),
        ("text-with-an-address-too-many", too_many.to_string().into_bytes()),
        ("text-that-is-too-long", [&b"endpoint"[..], &[b'a'; Ticket::MAX_TEXT]].concat()),
        ("inside-without-addresses", inner(&bare)),
        ("inside-with-everything", inner(&all)),
        ("inside-with-as-many-addresses-as-fit", inner(&full)),
        ("inside-with-an-address-too-many", too_many.encode_bytes()),
        ("inside-with-bytes-left-over", [&inner(&addr)[..], b"more"].concat()),
        ("inside-with-a-key-of-small-order", of_small_order),
    ]
}

pub(super) fn id52() -> Vec<Named> {
    let secret = SecretKey::from_bytes(&[1; 32]);
    let id52 = secret.public_key().to_string();
    let signature = secret.sign_raw(b"pay 10");
    let with_message =
        |signature: &Signature| [&secret.public_key().as_bytes()[..], signature.as_bytes(), b"pay 10"].concat();
    let signed = with_message(&signature);
    let mut another_last = id52.clone();
    another_last.replace_range(PublicKey::ID52_LENGTH - 1.., "1");
    let mut not_reduced = [0xff; 32];
    not_reduced[31] = 0x7f;
    vec![
        ("id52", id52.clone().into_bytes()),
        ("id52-in-upper-case", id52.to_ascii_uppercase().into_bytes()),
        ("id52-one-character-short", id52.as_bytes()[1..].to_vec()),
        ("id52-with-a-letter-outside-the-alphabet", id52.replacen(|c: char| c.is_ascii(), "z", 1).into_bytes()),
        ("id52-of-small-order", "0".repeat(PublicKey::ID52_LENGTH).into_bytes()),
        ("id52-with-bits-after-the-end", another_last.into_bytes()),
        ("id52-of-52-characters-that-are-more-bytes", "\u{e4}".repeat(PublicKey::ID52_LENGTH).into_bytes()),
        ("secret-key", secret.to_hex().as_bytes().to_vec()),
        ("signature", signature.to_string().into_bytes()),
        ("bytes-of-a-key-a-signature-and-the-message", signed.clone()),
        ("bytes-of-a-key-a-signature-and-another-message", [&signed[..], b"0"].concat()),
        ("bytes-of-a-key-a-signature-for-a-purpose-and-the-message", with_message(&secret.sign(CONTEXT, b"pay 10"))),
        ("bytes-of-a-key-that-is-not-reduced", not_reduced.to_vec()),
        ("bytes-of-a-key-of-small-order", SMALL_ORDER.to_vec()),
    ]
}

pub(super) fn delegation() -> Vec<Named> {
    let whole = certificate();
    let signature_at = whole.as_bytes().len() - 64;
    let claims = whole.as_bytes()[..signature_at].to_vec();
    let mut upper = whole.to_string();
    upper.make_ascii_uppercase();
    let begin = &whole.as_bytes()[65..73];
    let text = whole.to_string();
    vec![
        ("certificate", whole.to_bytes()),
        ("certificate-cut", whole.as_bytes()[..100].to_vec()),
        ("certificate-with-another-signature", with(whole.to_bytes(), signature_at, &[0; 64])),
        ("certificate-with-bytes-after-the-signature", [whole.as_bytes(), &[0]].concat()),
        ("certificate-that-is-too-long", vec![1; Delegation::MAX_LEN + 1]),
        ("text", text.clone().into_bytes()),
        ("text-in-upper-case", upper.into_bytes()),
        ("text-cut", text.as_bytes()[..text.len() - 1].to_vec()),
        ("text-of-the-word-alone", b"delegation".to_vec()),
        ("claims", claims.clone()),
        ("claims-of-a-later-version", with(claims.clone(), 0, &[2])),
        ("claims-by-the-node-itself", with(claims.clone(), 33, key(1).as_bytes())),
        ("claims-about-a-key-of-small-order", with(claims.clone(), 33, &SMALL_ORDER)),
        ("claims-from-1970-on", with(claims.clone(), 65, &[0; 8])),
        ("claims-that-end-when-they-begin", with(claims.clone(), 73, begin)),
        ("claims-beyond-the-year-9999", with(claims.clone(), 73, &[1, 0, 0, 0, 0, 0, 0, 0])),
        ("claims-without-a-scope", with(claims.clone(), 97, &[0])),
        ("claims-of-17-patterns", with(claims.clone(), 97, &[17])),
        // The scope is "chat/*", then "mail/1", which has the same number of characters.
        ("claims-whose-scope-is-not-sorted", with(claims.clone(), 99, b"zzzz/*")),
        ("claims-with-a-pattern-twice", with(claims.clone(), 99, b"mail/1")),
        ("claims-with-a-star-in-the-middle", with(claims.clone(), 99, b"ch*t/1")),
        ("claims-for-all-protocols", [&claims[..97], &[1, 1, b'*', 0]].concat()),
        ("claims-of-two-peers-not-sorted", {
            let (small, large) = (key(3).min(key(4)), key(3).max(key(4)));
            [&claims[..112], &[2], &large.as_bytes()[..], small.as_bytes()].concat()
        }),
    ]
}

fn upper_after_the_word((at, byte): (usize, u8)) -> u8 {
    if at < EndpointTicket::KIND.len() { byte } else { byte.to_ascii_uppercase() }
}
