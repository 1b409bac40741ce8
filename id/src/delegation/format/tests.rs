use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::{InvalidPublicKey, delegation::sample::*};

/// The sample for one peer, in the parts that the documentation lists. The keys are those of the seeds 32 times 01,
/// 02 and 03.
const GOLDEN: [&str; 13] = [
    "01",                                                               // the version
    "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c", // the owner
    "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394", // the node
    "00000000713fb300",                                                 // not before, 1900000000
    "0000000071410480",                                                 // expires, 1900086400
    "30313233343536373839616263646566",                                 // the serial
    "02",                                                               // two patterns:
    "06636861742f2a",                                                   // chat/*
    "066d61696c2f31",                                                   // mail/1
    "01",                                                               // one key of the audience:
    "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1",
    "97d8816e59b6cac89043fab5b2b5ae1afc22fbf124ccd81c2fa3367b0ddc6f55", // the signature
    "89062dd2eb73a266b38afc63750e5ad2cc710aa10edabe3a15f63b624aecaf05",
];

fn golden() -> Vec<u8> {
    HEXLOWER.decode(GOLDEN.concat().as_bytes()).unwrap()
}

fn for_one_peer() -> Delegation {
    builder().audience(key(3)).sign(&owner()).unwrap()
}

/// The parts of a certificate that the tests vary. All other parts are those of the sample.
struct Parts {
    owner: [u8; 32],
    node: [u8; 32],
    not_before: u64,
    expires: u64,
    scope: Vec<u8>,
    audience: Vec<u8>,
}

impl Parts {
    fn sample() -> Self {
        Self {
            owner: owner().public_key().to_bytes(),
            node: node().to_bytes(),
            not_before: BEGIN,
            expires: END,
            scope: scope(&["chat/*", "mail/1"]),
            audience: vec![0],
        }
    }

    /// Encodes and signs the certificate with the owner's key, so that only the tested flaw makes it invalid.
    fn signed(&self) -> Vec<u8> {
        let times = [self.not_before.to_be_bytes(), self.expires.to_be_bytes()].concat();
        let body =
            [&[1], &self.owner[..], &self.node, &times, b"0123456789abcdef", &self.scope, &self.audience].concat();
        sign(&body)
    }
}

fn sign(body: &[u8]) -> Vec<u8> {
    let signature = owner().sign_raw(&[CONTEXT, body].concat());
    [body, signature.as_bytes()].concat()
}

fn scope(patterns: &[&str]) -> Vec<u8> {
    let mut bytes = vec![patterns.len() as u8];
    for text in patterns {
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn audience(keys: &[PublicKey]) -> Vec<u8> {
    let mut bytes = vec![keys.len() as u8];
    keys.iter().for_each(|key| bytes.extend(key.as_bytes()));
    bytes
}

fn read(bytes: &[u8]) -> Result<Delegation, DelegationError> {
    Delegation::from_bytes(bytes)
}

/// Returns the sentence of the expected `NotCanonical`.
fn refused_for(parts: &Parts) -> &'static str {
    match read(&parts.signed()) {
        Err(DelegationError::NotCanonical { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_bytes_of_version_1_are_pinned() {
    assert_eq!(HEXLOWER.encode(for_one_peer().as_bytes()), GOLDEN.concat());
    assert_eq!(read(&golden()), Ok(for_one_peer()));
}

#[test]
fn the_parts_of_these_tests_are_those_of_a_sound_certificate() {
    assert_eq!(read(&Parts::sample().signed()), Ok(sample()));
    let one_peer = Parts { audience: audience(&[key(3)]), ..Parts::sample() };
    assert_eq!(read(&one_peer.signed()), Ok(for_one_peer()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut bytes = for_one_peer().to_bytes();
    let signed = (bytes.len() - Signature::LENGTH) * 8;
    // For the signature, one bit of each byte is flipped. The tests of the signature flip all of its bits.
    let signature = (signed..bytes.len() * 8).filter(|bit| bit % 8 == bit / 8 % 8);
    for bit in (0..signed).chain(signature) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(read(&bytes), Ok(for_one_peer()));
}

#[test]
fn every_shorter_piece_is_truncated_and_the_error_says_where() {
    let bytes = for_one_peer().to_bytes();
    for found in 0..bytes.len() {
        match read(&bytes[..found]) {
            Err(DelegationError::Truncated { found: reported, .. }) => assert_eq!(reported, found),
            other => panic!("{found} bytes: {other:?}"),
        }
    }
    for (found, part) in [(0, "version"), (1, "owner"), (64, "node"), (65, "beginning"), (80, "expiry"), (96, "serial")]
    {
        assert_eq!(read(&bytes[..found]), Err(DelegationError::Truncated { found, part }));
    }
    let found = bytes.len() - 1;
    assert_eq!(read(&bytes[..found]), Err(DelegationError::Truncated { found, part: "signature" }));
}

#[test]
fn bytes_after_the_signature_are_refused() {
    let longer = [sample().as_bytes(), &[0]].concat();
    let what = "there are bytes after the signature";
    assert_eq!(read(&longer), Err(DelegationError::NotCanonical { what }));
}

#[test]
fn another_version_is_named_whatever_follows() {
    for found in [0, 2, 255] {
        let mut bytes = sample().to_bytes();
        bytes[0] = found;
        assert_eq!(read(&bytes), Err(DelegationError::Version { found }));
        assert_eq!(read(&[found]), Err(DelegationError::Version { found }));
    }
}

#[test]
fn owner_and_node_cannot_be_swapped() {
    let bad = |owner| Err(DelegationError::BadSignature { owner });
    let bytes = sample().to_bytes();
    let swapped = [&bytes[..1], &bytes[33..65], &bytes[1..33], &bytes[65..]].concat();
    assert_eq!(read(&swapped), bad(node()));
    // A node that names itself as the owner's node, and signs in place of the owner.
    let body = &bytes[..bytes.len() - 64];
    let forged = [body, secret(2).sign_raw(&[CONTEXT, body].concat()).as_bytes()].concat();
    assert_eq!(read(&forged), bad(owner().public_key()));
}

#[test]
fn a_signature_over_the_same_bytes_for_another_purpose_is_refused() {
    let bytes = sample().to_bytes();
    let body = &bytes[..bytes.len() - 64];
    for context in [&b""[..], b"twolane delegation v1", b"twolane delegation v2\0"] {
        let signature = owner().sign_raw(&[context, body].concat());
        let other = [body, signature.as_bytes()].concat();
        assert_eq!(read(&other), Err(DelegationError::BadSignature { owner: owner().public_key() }));
    }
}

#[test]
fn a_signed_message_is_no_certificate_whatever_it_says() {
    let bytes = sample().to_bytes();
    let body = &bytes[..bytes.len() - 64];
    let owner = owner();
    for message in [body.to_vec(), [CONTEXT, body].concat()] {
        for context in ["", "twolane delegation v1\0", "file"] {
            let forged = [body, owner.sign(context, &message).as_bytes()].concat();
            assert_eq!(read(&forged), Err(DelegationError::BadSignature { owner: owner.public_key() }), "{context:?}");
        }
    }
}

#[test]
fn the_signature_of_another_certificate_of_the_same_owner_is_refused() {
    let (bytes, other) = (sample().to_bytes(), builder().serial([5; 16]).sign(&owner()).unwrap().to_bytes());
    let mixed = [&bytes[..bytes.len() - 64], &other[other.len() - 64..]].concat();
    assert_eq!(read(&mixed), Err(DelegationError::BadSignature { owner: owner().public_key() }));
}

#[test]
fn a_weak_key_is_refused_wherever_it_stands() {
    let error = InvalidPublicKey::SmallOrder;
    let weak = [0; 32];
    let (owner, node) = (Parts { owner: weak, ..Parts::sample() }, Parts { node: weak, ..Parts::sample() });
    let audience = Parts { audience: [&[1], &weak[..]].concat(), ..Parts::sample() };
    for (parts, which) in [(owner, "owner"), (node, "node"), (audience, "audience")] {
        assert_eq!(read(&parts.signed()), Err(DelegationError::BadKey { which, error }));
    }
}

#[test]
fn an_owner_that_is_its_own_node_is_refused() {
    let owner = owner().public_key();
    let parts = Parts { node: owner.to_bytes(), ..Parts::sample() };
    assert_eq!(read(&parts.signed()), Err(DelegationError::OwnerIsNode { owner }));
}

#[test]
fn a_time_that_is_empty_backwards_or_absurd_is_refused() {
    for (not_before, expires, what) in [
        (END, END, "it expires before it begins"),
        (END, BEGIN, "it expires before it begins"),
        (0, 0, "it expires before it begins"),
        (u64::MAX, END, "it expires before it begins"),
        (BEGIN, time::MAX + 1, "its expiry is after the year 9999"),
        (u64::MAX - 1, u64::MAX, "its expiry is after the year 9999"),
    ] {
        assert_eq!(refused_for(&Parts { not_before, expires, ..Parts::sample() }), what);
    }
    for (not_before, expires) in [(0, 1), (time::MAX - 1, time::MAX)] {
        let delegation = read(&Parts { not_before, expires, ..Parts::sample() }.signed()).unwrap();
        assert_eq!((delegation.not_before(), delegation.expires()), (at(not_before), at(expires)));
    }
}

#[test]
fn a_scope_has_one_order_and_no_duplicates() {
    let what = "its scope is not sorted, or has a pattern twice";
    for patterns in [["mail/1", "chat/*"], ["mail/1", "mail/1"], ["chat/*", "chat/"], ["a", "B"]] {
        assert_eq!(refused_for(&Parts { scope: scope(&patterns), ..Parts::sample() }), what, "{patterns:?}");
    }
    let good = Parts { scope: scope(&["*", "B", "a", "chat/", "chat/*", "chat/1"]), ..Parts::sample() };
    assert!(read(&good.signed()).is_ok());
}

#[test]
fn a_scope_has_1_to_16_patterns_and_nothing_else_in_it() {
    let many: Vec<String> = (b'a'..=b'z').map(|letter| char::from(letter).to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let with = |patterns: &[&str]| Parts { scope: scope(patterns), ..Parts::sample() };
    assert_eq!(refused_for(&with(&[])), "its scope is empty");
    assert_eq!(refused_for(&with(&many[..17])), "its scope has more than 16 patterns");
    assert_eq!(read(&with(&many[..16]).signed()).unwrap().scope().len(), 16);
    for odd in ["", "a b", "a*b", "**", "\u{e9}", "a\n"] {
        assert_eq!(refused_for(&with(&[odd])), "its scope has what is no pattern", "{odd:?}");
    }
    let not_utf8 = Parts { scope: vec![1, 1, 0xff], ..Parts::sample() };
    assert_eq!(refused_for(&not_utf8), "its scope has what is no pattern");
}

#[test]
fn an_audience_has_one_order_no_duplicates_and_at_most_16_keys() {
    let mut keys: Vec<_> = (3..20).map(key).collect();
    keys.sort();
    let with = |keys: &[PublicKey]| Parts { audience: audience(keys), ..Parts::sample() };
    assert_eq!(refused_for(&with(&keys)), "its audience has more than 16 keys");
    assert_eq!(read(&with(&keys[..16]).signed()).unwrap().audience(), &keys[..16]);
    let what = "its audience is not sorted, or has a key twice";
    assert_eq!(refused_for(&with(&[keys[0], keys[0]])), what);
    assert_eq!(refused_for(&with(&[keys[1], keys[0]])), what);
}

#[test]
fn a_certificate_has_at_most_2048_bytes() {
    let texts: Vec<String> = ('a'..='h').map(|letter| letter.to_string().repeat(255)).collect();
    let with = |last: usize| {
        let mut patterns: Vec<&str> = texts.iter().map(String::as_str).collect();
        patterns[7] = &patterns[7][..last];
        Parts { scope: scope(&patterns), ..Parts::sample() }.signed()
    };
    assert_eq!(with(92).len(), Delegation::MAX_LEN);
    assert!(read(&with(92)).is_ok());
    assert_eq!(read(&with(93)), Err(DelegationError::TooLong { len: 2049, max: 2048 }));
    assert_eq!(read(&vec![1; 1 << 20]), Err(DelegationError::TooLong { len: 1 << 20, max: 2048 }));
}

proptest! {
    #[test]
    fn what_is_issued_is_read_as_it_was_and_laid_out_again_as_it_was(delegation in any_delegation()) {
        prop_assert!(delegation.as_bytes().len() <= Delegation::MAX_LEN);
        prop_assert_eq!(read(delegation.as_bytes()), Ok(delegation));
    }

    #[test]
    fn no_other_bit_anywhere_verifies(delegation in any_delegation(), index in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = delegation.to_bytes();
        bytes[index.index(delegation.as_bytes().len())] ^= 1_u8 << bit;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn no_byte_can_be_added_or_taken_away(
        delegation in any_delegation(), index in any::<prop::sample::Index>(), byte: u8, add: bool,
    ) {
        let mut bytes = delegation.to_bytes();
        let index = index.index(bytes.len());
        if add { bytes.insert(index, byte) } else { bytes.truncate(index) }
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2100)) {
        let _ = read(&bytes);
    }

    /// The bytes are signed, so the reader gets as far as possible. Bytes that it then accepts have no other
    /// encoding.
    #[test]
    fn no_signed_bytes_panic_and_those_that_are_read_are_canonical(
        tail in prop::collection::vec(prop_oneof![0..4_u8, Just(b'*'), any::<u8>()], 0..80),
    ) {
        let bytes = sign(&[&sample().as_bytes()[..97], &tail].concat());
        if let Ok(delegation) = read(&bytes) {
            prop_assert_eq!(encode(&delegation.claims, &owner()), bytes);
        }
    }

    #[test]
    fn no_fields_signed_by_their_owner_panic(not_before: u64, expires: u64, node: [u8; 32]) {
        let parts = Parts { not_before, expires, node, ..Parts::sample() };
        if let Ok(delegation) = read(&parts.signed()) {
            prop_assert_eq!(delegation.to_bytes(), parts.signed());
            prop_assert!(delegation.not_before() < delegation.expires());
        }
    }
}
