//! Every codec: round trips, cut at every byte, bounds, and any bytes at all.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Decoded, Malformed,
    control::{DEFAULT_UNREAD_BYTES, Dial, Frame, GoawayReason, PeerLimits},
    header::{Header, MAX_METADATA, Opening},
    record::{MAX_DETAILS, MAX_TEXT, Record, Severity},
    status::{Reason, Rejection, Status},
    varint,
};
use crate::protocol::Protocol;

#[test]
fn varints_follow_the_examples_of_rfc_9000_appendix_a_1() {
    let examples: [(&[u8], u64); 5] = [
        (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ];
    for (bytes, value) in examples {
        assert_eq!(varint::decode(bytes), Some((value, bytes.len())));
    }
}

#[test]
fn a_length_over_its_bound_is_refused_before_its_bytes_arrive() {
    // kind data, then a header frame that announces 2^62 - 1 bytes.
    let mut bytes = vec![1];
    varint::encode(&mut bytes, varint::MAX);
    assert!(matches!(Opening::decode(&bytes), Err(Malformed::TooLong { len: varint::MAX, .. })));
    let mut bytes = vec![];
    varint::encode(&mut bytes, varint::MAX);
    assert!(matches!(Record::decode(&bytes), Err(Malformed::TooLong { .. })));
    assert!(matches!(Frame::decode(&[&[9], &bytes[..]].concat()), Err(Malformed::TooLong { .. })));
    assert!(matches!(Status::decode(&[&[2], &bytes[..]].concat()), Err(Malformed::TooLong { .. })));
}

#[test]
fn a_frame_with_bytes_left_over_is_refused() {
    let mut bytes = Vec::new();
    Frame::Goaway { reason: GoawayReason::Duplicate }.encode(&mut bytes);
    bytes[1] += 1;
    bytes.push(0);
    assert!(matches!(Frame::decode(&bytes), Err(Malformed::Length { .. })));
}

#[test]
fn an_unknown_control_frame_is_skipped_whole() {
    let bytes = [63, 3, 1, 2, 3, 1, 1, 0];
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Unknown, 5))));
    let goaway = Frame::Goaway { reason: GoawayReason::Duplicate };
    assert_eq!(Frame::decode(&bytes[5..]), Ok(Some((goaway, 3))));
}

#[test]
fn unknown_limits_in_hello_are_skipped() {
    let mut bytes = vec![0, 23, 1];
    bytes.extend_from_slice(&[7; 16]);
    bytes.extend_from_slice(&[60, 9, 1, 5, 61, 1]);
    let limits = PeerLimits { data_lanes: 5, metadata: 0, unread_bytes: DEFAULT_UNREAD_BYTES };
    let hello = Frame::Hello { version: 1, nonce: [7; 16], limits, delegated: false, dial: Dial::default() };
    assert_eq!(Frame::decode(&bytes), Ok(Some((hello, 25))));
}

#[test]
fn of_another_versions_hello_only_the_version_and_the_nonce_are_read() {
    // What follows is no pair of varints.
    let mut bytes = vec![0, 18, 2];
    bytes.extend_from_slice(&[7; 16]);
    bytes.push(0xff);
    let limits = PeerLimits { data_lanes: 1, metadata: 0, unread_bytes: DEFAULT_UNREAD_BYTES };
    let hello = Frame::Hello { version: 2, nonce: [7; 16], limits, delegated: false, dial: Dial::default() };
    assert_eq!(Frame::decode(&bytes), Ok(Some((hello, 20))));
}

#[test]
fn a_kind_of_a_later_version_is_told_apart_from_garbage() {
    assert_eq!(Opening::decode(&[9, 1, 2]), Ok(Some((Opening::Unknown { kind: 9 }, 1))));
}

#[test]
fn a_protocol_name_with_a_space_is_refused_on_the_wire() {
    let mut bytes = vec![1, 6, 0, 3];
    bytes.extend_from_slice(b"a b");
    bytes.push(0);
    assert!(matches!(Opening::decode(&bytes), Err(Malformed::Text { .. })));
}

#[test]
fn a_rejection_is_cut_at_a_character_boundary() {
    let rejection = Rejection::new(Reason::Refused, "\u{e4}".repeat(1000));
    assert_eq!(rejection.text.len(), 1024);
    let rejection = Rejection::new(Reason::Refused, format!("x{}", "\u{e4}".repeat(1000)));
    assert_eq!(rejection.text.len(), 1023);
}

/// What is cut anywhere is "not yet", what is whole is the value with its length, and what follows does not matter.
fn round_trip<T: Clone + PartialEq + std::fmt::Debug>(value: &T, bytes: &[u8], decode: impl Fn(&[u8]) -> Decoded<T>) {
    for cut in 0..bytes.len().min(64) {
        assert_eq!(decode(&bytes[..cut]), Ok(None), "cut at {cut}");
    }
    if bytes.len() > 64 {
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Ok(None), "cut before the last byte");
    }
    let whole = Ok(Some((value.clone(), bytes.len())));
    assert_eq!(decode(bytes), whole);
    assert_eq!(decode(&[bytes, b"next"].concat()), whole);
}

fn protocols() -> impl Strategy<Value = Protocol> {
    "[!-~]{1,255}".prop_map(|name| Protocol::new(name).expect("visible ASCII"))
}

fn blocks(max: u64) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..100),
        1 => prop::collection::vec(any::<u8>(), max as usize..=max as usize),
    ]
    .prop_map(Bytes::from)
}

fn varints() -> impl Strategy<Value = u64> {
    prop_oneof![0..64u64, 0..20_000u64, 0..=varint::MAX]
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<[u8; 16]>(), varints(), varints(), varints(), any::<bool>(), varints(), varints()).prop_map(
            |(nonce, data_lanes, metadata, unread_bytes, delegated, number, knows)| {
                let limits = PeerLimits { data_lanes, metadata, unread_bytes };
                Frame::Hello { version: 1, nonce, limits, delegated, dial: Dial { number, knows } }
            }
        ),
        prop::collection::vec(any::<u8>(), 0..2048).prop_map(|bytes| Frame::Delegation(bytes.into())),
        prop_oneof![
            Just(GoawayReason::Duplicate),
            Just(GoawayReason::ShuttingDown),
            (2..=varint::MAX).prop_map(GoawayReason::Other)
        ]
        .prop_map(|reason| Frame::Goaway { reason }),
        (varints(), varints()).prop_map(|(opened, accepted)| Frame::Drained { opened, accepted }),
        (varints(), varints()).prop_map(|(lane, offset)| Frame::Watermark { lane, offset }),
        (varints(), varints()).prop_map(|(lane, offset)| Frame::Consumed { lane, offset }),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Accepted),
        ((1..=varint::MAX), ".{0,200}").prop_map(|(code, text)| {
            let bytes = {
                let mut out = Vec::new();
                varint::encode(&mut out, code);
                let mut body = Vec::new();
                super::encode_frame(&mut body, text.as_bytes());
                super::encode_frame(&mut out, &body);
                out
            };
            Status::decode(&bytes).expect("well-formed").expect("whole").0
        }),
    ]
}

proptest! {
    #[test]
    fn varints_round_trip(value in varints()) {
        let mut bytes = Vec::new();
        varint::encode(&mut bytes, value);
        prop_assert_eq!(bytes.len(), varint::len(value));
        round_trip(&value, &bytes, |input| Ok(varint::decode(input)));
    }

    #[test]
    fn headers_round_trip(protocol in protocols(), metadata in blocks(MAX_METADATA)) {
        let header = Header { protocol, metadata };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        round_trip(&Opening::Data(header), &bytes, Opening::decode);
    }

    #[test]
    fn error_lane_openings_round_trip(data_lane in varints()) {
        let mut bytes = Vec::new();
        Opening::encode_error_lane(&mut bytes, data_lane);
        round_trip(&Opening::Error { data_lane }, &bytes, Opening::decode);
    }

    #[test]
    fn records_round_trip(
        severity in prop_oneof![Just(Severity::Warning), Just(Severity::Fatal), Just(Severity::Abort)],
        code in varints(),
        offset in varints(),
        text in prop_oneof![4 => ".{0,100}".boxed(), 1 => Just("x".repeat(MAX_TEXT as usize)).boxed()],
        details in blocks(MAX_DETAILS),
    ) {
        let record = Record { severity, code, offset, text, details };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        round_trip(&record, &bytes, Record::decode);
    }

    #[test]
    fn control_frames_round_trip(frame in frames()) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        round_trip(&frame, &bytes, Frame::decode);
    }

    #[test]
    fn statuses_round_trip(status in statuses()) {
        let mut bytes = Vec::new();
        status.encode(&mut bytes);
        round_trip(&status, &bytes, Status::decode);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic_or_claim_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fn check<T>(decoded: Decoded<T>, len: usize) {
            if let Ok(Some((_, used))) = decoded {
                assert!(used > 0 && used <= len);
            }
        }
        check(Opening::decode(&bytes), bytes.len());
        check(Record::decode(&bytes), bytes.len());
        check(Frame::decode(&bytes), bytes.len());
        check(Status::decode(&bytes), bytes.len());
    }
}
