use bytes::Bytes;
use proptest::prelude::*;

use super::{
    codec::{Malformed, header},
    frame::{Attributes, FromReceiver, FromSender, MAX_BASE},
    offer::{Offer, PartOffer},
};
use crate::piece::{MAX_PIECES, PIECE_LEN};

/// Takes a frame apart: its type, and its body.
fn split(frame: &[u8]) -> (u64, Bytes) {
    let (kind, len, before) = header(frame).expect("a frame has a header");
    let body = Bytes::copy_from_slice(&frame[before..]);
    assert_eq!(body.len() as u64, len);
    (kind, body)
}

fn from_sender(frame: &[u8]) -> Result<Option<FromSender>, Malformed> {
    let (kind, body) = split(frame);
    FromSender::decode(kind, &body)
}

fn from_receiver(frame: &[u8]) -> Result<Option<FromReceiver>, Malformed> {
    let (kind, body) = split(frame);
    FromReceiver::decode(kind, &body)
}

#[test]
fn the_examples_of_the_specification_are_what_is_sent() {
    let attributes = Attributes { mode: Some(0o644), modified: Some((1_700_000_000, 0)) };
    let file = FromSender::File { path: vec!["a".into(), "b.txt".into()], size: Some(3), attributes };
    let body = [
        &[0x02, 0x01, b'a', 0x05, b'b', b'.', b't', b'x', b't'][..], // the path
        &[0x04],                                                     // the size and one
        &[0x02, 0x02, 0x41, 0xa4],                                   // the mode
        &[0x04, 0x08, 0xc0, 0x00, 0x00, 0x00, 0x65, 0x53, 0xf1, 0x00], // the seconds
        &[0x06, 0x01, 0x00],                                         // the nanoseconds
    ]
    .concat();
    assert_eq!(body.len(), 0x1b);
    assert_eq!(file.encode(), [&[0x03, 0x1b][..], &body].concat());
    assert_eq!(FromReceiver::Take { file: 7, base: 0 }.encode(), [0x03, 0x02, 0x07, 0x00]);
    assert_eq!(FromSender::EndItem { item: 0 }.encode(), [0x0d, 0x01, 0x00]);
}

#[test]
fn frames_that_are_not_known_are_skipped_if_they_may_be() {
    assert_eq!(FromSender::decode(64, &Bytes::from_static(b"later")), Ok(None));
    assert_eq!(FromSender::decode(65, &Bytes::new()), Err(Malformed::Type(65)));
    assert_eq!(FromReceiver::decode(64, &Bytes::new()), Ok(None));
    assert_eq!(FromReceiver::decode(65, &Bytes::new()), Err(Malformed::Type(65)));
}

#[test]
fn parameters_that_are_not_known_are_skipped_if_they_may_be_and_have_to_ascend() {
    let offer = Offer { id: [7; 16], name: "a".into(), items: 1, files: None, bytes: Some(3) };
    let with = |more: &[u8]| Offer::from_bytes(&[offer.to_bytes(), more.to_vec()].concat());
    assert_eq!(with(&[]).unwrap(), offer);
    assert_eq!(with(&[6, 1, 0]).unwrap(), offer);
    assert!(with(&[7, 0]).is_err());
    assert!(with(&[2, 1, 0]).is_err());
    assert!(with(&[4, 1, 0]).is_err());
    assert!(with(&[6, 2, 0]).is_err());
}

#[test]
fn what_is_over_its_bound_is_refused() {
    let file = |path: Vec<String>| FromSender::File { path, size: None, attributes: Attributes::default() }.encode();
    let long = "x".repeat(255);
    assert!(from_sender(&file(vec![long.clone()])).is_ok());
    for path in [vec![], vec!["x".repeat(256)], vec!["x".into(); 65], vec![long; 17]] {
        assert!(from_sender(&file(path)).is_err());
    }
    let piece = |len| FromSender::Piece { file: 0, index: 0, last: false, hash: [0; 32], data: vec![0; len].into() };
    assert!(from_sender(&piece(PIECE_LEN).encode()).is_ok());
    assert!(from_sender(&piece(PIECE_LEN + 1).encode()).is_err());
    assert!(from_sender(&FromSender::Zeros { file: 0, first: 0, count: 1025 }.encode()).is_err());
    assert!(from_sender(&FromSender::Same { file: 0, first: MAX_PIECES + 1, count: 1 }.encode()).is_err());
    let base = |len| FromReceiver::Base { file: 0, first: 0, hashes: vec![[1; 32]; len] }.encode();
    assert!(from_receiver(&base(MAX_BASE)).is_ok());
    assert!(from_receiver(&base(MAX_BASE + 1)).is_err());
    let text = FromSender::GiveUp { item: 0, code: 8, text: "ä".repeat(10_000) };
    assert!(from_sender(&text.encode()).is_ok(), "this side cuts its own text");
}

#[test]
fn the_bits_of_a_mode_that_give_rights_of_another_user_do_not_arrive() {
    let attributes = Attributes { mode: Some(0o4755), modified: None };
    let frame = FromSender::Folder { path: vec!["a".into()], attributes }.encode();
    let Ok(Some(FromSender::Folder { attributes, .. })) = from_sender(&frame) else { panic!("a folder") };
    assert_eq!(attributes.mode, Some(0o755));
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    (proptest::option::of(0u32..0o1000), proptest::option::of((0..1u64 << 40, 0u32..1_000_000_000)))
        .prop_map(|(mode, modified)| Attributes { mode, modified })
}

fn any_path() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("\\PC{1,20}", 1..5)
}

fn any_from_sender() -> impl Strategy<Value = FromSender> {
    let number = 0..1u64 << 40;
    prop_oneof![
        (any_path(), any_attributes()).prop_map(|(path, attributes)| FromSender::Folder { path, attributes }),
        (any_path(), proptest::option::of(number.clone()), any_attributes())
            .prop_map(|(path, size, attributes)| FromSender::File { path, size, attributes }),
        (number.clone(), number.clone(), 0..1024u64)
            .prop_map(|(file, first, count)| FromSender::Same { file, first, count }),
        (number.clone(), number.clone(), 0..1024u64)
            .prop_map(|(file, first, count)| FromSender::Zeros { file, first, count }),
        (number.clone(), number.clone(), any::<bool>(), any::<[u8; 32]>(), any::<Vec<u8>>()).prop_map(
            |(file, index, last, hash, data)| FromSender::Piece { file, index, last, hash, data: data.into() }
        ),
        (number.clone(), number.clone(), any::<[u8; 32]>())
            .prop_map(|(file, size, hash)| FromSender::EndFile { file, size, hash }),
        (number.clone(), number.clone(), any::<[u8; 32]>())
            .prop_map(|(file, size, hash)| FromSender::Proof { file, size, hash }),
        number.clone().prop_map(|item| FromSender::EndItem { item }),
        (number.clone(), number, "\\PC{0,50}")
            .prop_map(|(item, code, text)| FromSender::GiveUp { item, code, text }),
    ]
}

fn any_from_receiver() -> impl Strategy<Value = FromReceiver> {
    let number = 0..1u64 << 40;
    prop_oneof![
        (number.clone(), number.clone()).prop_map(|(streams, files)| FromReceiver::Start { streams, files }),
        (number.clone(), number.clone()).prop_map(|(file, base)| FromReceiver::Take { file, base }),
        (number.clone(), number.clone(), proptest::collection::vec(any::<[u8; 32]>(), 0..5))
            .prop_map(|(file, first, hashes)| FromReceiver::Base { file, first, hashes }),
        number.clone().prop_map(|file| FromReceiver::Check { file }),
        (number.clone(), any::<bool>(), "\\PC{0,50}", number.clone(), number.clone(), any::<Option<[u8; 32]>>())
            .prop_map(|(item, already, name, files, bytes, hash)| FromReceiver::Stored {
                item,
                already,
                name,
                files,
                bytes,
                hash
            }),
        (number.clone(), number, "\\PC{0,50}")
            .prop_map(|(item, code, text)| FromReceiver::Refused { item, code, text }),
    ]
}

proptest! {
    #[test]
    fn every_frame_arrives_as_it_was_made(sent in any_from_sender(), answered in any_from_receiver()) {
        prop_assert_eq!(from_sender(&sent.encode()), Ok(Some(sent)));
        prop_assert_eq!(from_receiver(&answered.encode()), Ok(Some(answered)));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(kind in 0..20u64, body in any::<Vec<u8>>()) {
        let body = Bytes::from(body);
        let _ = FromSender::decode(kind, &body);
        let _ = FromReceiver::decode(kind, &body);
        let _ = Offer::from_bytes(&body);
        let _ = PartOffer::from_bytes(&body);
        let _ = header(&body);
    }

    #[test]
    fn a_frame_that_is_cut_is_never_taken_for_whole(sent in any_from_sender(), cut in 0..200usize) {
        let frame = sent.encode();
        let (kind, body) = split(&frame);
        let cut = body.slice(..cut.min(body.len().saturating_sub(1)));
        if let Ok(Some(decoded)) = FromSender::decode(kind, &cut) {
            // Only what has no fixed end can be shorter: the data of a piece, and parameters.
            prop_assert!(matches!(
                decoded,
                FromSender::Piece { .. } | FromSender::File { .. } | FromSender::Folder { .. }
            ));
        }
    }
}
