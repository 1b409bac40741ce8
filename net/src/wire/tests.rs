//! Tests of every codec: round trips, input cut at every byte, limits, and arbitrary bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Decoded, Malformed,
    control::{DEFAULT_LIMITS, Frame, GoawayReason, Hello, PeerLimits},
    grease,
    header::{Header, MAX_METADATA, Opening},
    parameters,
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
    // The kind of a data lane, then a header frame that announces 2^62 - 1 bytes.
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

/// Decodes a HELLO with these bytes after its nonce.
fn hello_with(parameters: &[u8]) -> Decoded<Frame> {
    let mut bytes = vec![0, 16 + u8::try_from(parameters.len()).expect("short")];
    bytes.extend_from_slice(&[7; 16]);
    bytes.extend_from_slice(parameters);
    Frame::decode(&bytes)
}

#[test]
fn parameters_of_hello_that_are_not_known_are_skipped_if_their_id_is_even() {
    let limits = PeerLimits { data_lanes: 5, ..DEFAULT_LIMITS };
    let hello = Hello { nonce: [7; 16], limits, delegation: None, dial: None, knows: None };
    let bytes = [0, 0, 2, 1, 5, 58, 2, 1, 2, 0x40, 120, 0];
    assert_eq!(hello_with(&bytes), Ok(Some((Frame::Hello(hello), 30))));
    let critical = hello_with(&[2, 1, 5, 59, 0, 61, 0]);
    assert_eq!(critical, Err(Malformed::Critical { what: "the control frame", id: 59 }));
}

#[test]
fn parameters_that_break_a_rule_are_malformed_whatever_else_is_critical() {
    for (parameters, what) in [
        (&[1, 0, 4, 1, 5, 2, 1, 5][..], "ids that do not grow"),
        (&[1, 0, 2, 1, 5, 2, 1, 5], "an id that comes twice"),
        (&[1, 0, 2, 2, 5, 0], "a varint that does not fill its block"),
        (&[1, 0, 2, 0], "no varint"),
        (&[1, 0, 2], "no length"),
        (&[1, 0, 58, 9, 1], "a value outside the frame"),
        (&[1, 0, 6, 2, 0x40, 0xff], "less than 64 KiB unread"),
        (&[1, 0, 8, 1, 0x3f], "fewer than 256 chunks"),
    ] {
        let decoded = hello_with(parameters);
        assert!(matches!(&decoded, Err(malformed) if !malformed.is_unsupported()), "{what}: {decoded:?}");
    }
}

#[test]
fn a_header_says_that_its_lane_may_be_early_with_an_empty_parameter_and_with_no_other() {
    let early = |header: &[u8]| match Opening::decode(header) {
        Ok(Some((Opening::Data(header), _))) => Ok(header.early),
        other => Err(other),
    };
    assert_eq!(early(&[1, 3, 1, b'a', 0]), Ok(false));
    assert_eq!(early(&[1, 5, 1, b'a', 0, 2, 0]), Ok(true));
    assert_eq!(early(&[1, 5, 1, b'a', 0, 4, 0]), Ok(false));
    let with_a_value = early(&[1, 6, 1, b'a', 0, 2, 1, 1]);
    assert!(matches!(with_a_value, Err(Err(Malformed::Length { .. }))), "{with_a_value:?}");
}

#[test]
fn a_critical_parameter_is_refused_in_a_header_and_a_record_and_an_acceptance_and_not_in_a_rejection() {
    let header = [1, 5, 1, b'a', 0, 1, 0];
    assert!(matches!(Opening::decode(&header), Err(Malformed::Critical { id: 1, .. })));
    let record = [7, 0, 7, 0, 0, 0, 1, 0];
    assert!(matches!(Record::decode(&record), Err(Malformed::Critical { id: 1, .. })));
    assert!(matches!(Status::decode(&[0, 2, 1, 0]), Err(Malformed::Critical { id: 1, .. })));
    assert!(matches!(Frame::decode(&[1, 3, 0, 1, 0]), Err(Malformed::Critical { id: 1, .. })));
    assert!(matches!(Frame::decode(&[2, 4, 0, 0, 1, 0]), Err(Malformed::Critical { id: 1, .. })));
    let rejection = Status::Rejected(Rejection::new(Reason::Busy, ""));
    assert_eq!(Status::decode(&[3, 3, 0, 1, 0]), Ok(Some((rejection, 5))));
}

#[test]
fn a_record_that_is_malformed_is_so_whatever_its_severity() {
    assert!(matches!(Record::decode(&[5, 9, 7, 0, 0, 0]), Err(Malformed::Value { value: 9, .. })));
    assert!(matches!(Record::decode(&[4, 9, 7, 0, 0]), Err(Malformed::Length { .. })));
}

/// Encodes a value in 8 bytes, where one byte may be enough.
fn long(value: u64) -> [u8; 8] {
    (value | 0xc000_0000_0000_0000).to_be_bytes()
}

#[test]
fn what_is_at_its_bound_is_taken_in_the_longest_form_of_its_numbers_and_beside_1_024_bytes_of_parameters() {
    let mut tail = Vec::new();
    parameters::encode(&mut tail, parameters::reserved(0), &[0; 1_021]);
    assert_eq!(tail.len(), 1_024);
    let framed = |body: Vec<u8>| [&long(body.len() as u64)[..], &body].concat();
    let name = [b'n'; 255];
    let metadata = vec![1; MAX_METADATA as usize];
    let header = [&long(255)[..], &name, &long(MAX_METADATA), &metadata, &tail].concat();
    let header = [&long(1)[..], &framed(header)].concat();
    assert!(matches!(Opening::decode(&header), Ok(Some((Opening::Data(_), len))) if len == header.len()));
    let (text, details) = (vec![b't'; MAX_TEXT as usize], vec![1; MAX_DETAILS as usize]);
    let numbers = [long(1), long(varint::MAX), long(varint::MAX)].concat();
    let record = framed([&numbers[..], &long(MAX_TEXT), &text, &long(MAX_DETAILS), &details, &tail].concat());
    assert!(matches!(Record::decode(&record), Ok(Some((_, len))) if len == record.len()));
    let accepted = framed([&long(2)[..], &long(MAX_METADATA), &metadata, &tail].concat());
    let accepted = [&long(0)[..], &accepted].concat();
    assert_eq!(Status::decode(&accepted), Ok(Some((Status::Accepted { metadata: metadata.into() }, accepted.len()))));
    let text = "t".repeat(1024);
    let rejected = [&long(2)[..], &framed([&long(1024)[..], text.as_bytes(), &tail].concat())].concat();
    let rejection = Status::Rejected(Rejection { reason: Reason::Refused, text });
    assert_eq!(Status::decode(&rejected), Ok(Some((rejection, rejected.len()))));
}

#[test]
fn the_acceptance_that_is_written_as_it_is_is_one_without_metadata() {
    let accepted = Status::Accepted { metadata: Bytes::new() };
    assert_eq!(Status::decode(super::status::ACCEPTED), Ok(Some((accepted, super::status::ACCEPTED.len()))));
}

#[test]
fn what_is_reserved_is_even_and_of_all_lengths() {
    let mut lengths = [0; 9];
    for seed in 0..200 {
        let tail = grease::tail(seed);
        let Some((id, _)) = varint::decode(&tail) else { continue };
        assert_eq!((id % 62, id % 2), (58, 0));
        lengths[varint::len(id)] += 1;
    }
    assert!([1, 2, 4, 8].iter().all(|len| lengths[*len] > 20), "{lengths:?}");
}

#[test]
fn a_kind_of_a_later_version_is_told_apart_from_garbage() {
    assert_eq!(Opening::decode(&[9, 1, 2]), Ok(Some((Opening::Unknown { kind: 9 }, 1))));
}

#[test]
fn a_protocol_name_with_a_space_is_refused_on_the_wire() {
    let mut bytes = vec![1, 5, 3];
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

/// Checks that bytes which are cut anywhere decode to `None`, that complete bytes decode to the value and its length,
/// and that the bytes after them do not matter.
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
        hellos().prop_map(Frame::Hello),
        varints().prop_map(|count| Frame::MaxLanes { count }),
        prop::collection::vec(any::<u8>(), 0..2048).prop_map(|bytes| Frame::Delegation(bytes.into())),
        prop_oneof![
            Just(GoawayReason::Duplicate),
            Just(GoawayReason::ShuttingDown),
            Just(GoawayReason::Unused),
            (3..=varint::MAX).prop_map(GoawayReason::Other)
        ]
        .prop_map(|reason| Frame::Goaway { reason }),
        (varints(), varints()).prop_map(|(opened, accepted)| Frame::Drained { opened, accepted }),
        (varints(), varints()).prop_map(|(lane, offset)| Frame::Watermark { lane, offset }),
        (varints(), varints()).prop_map(|(lane, offset)| Frame::Consumed { lane, offset }),
    ]
}

fn hellos() -> impl Strategy<Value = Hello> {
    let certificate = prop::option::of(prop::collection::vec(any::<u8>(), 0..2048).prop_map(Bytes::from));
    let limits = (varints(), varints(), (64 << 10)..=varint::MAX, prop::option::of(256..=varint::MAX)).prop_map(
        |(data_lanes, metadata, unread_bytes, unread_chunks)| PeerLimits {
            data_lanes,
            metadata,
            unread_bytes,
            unread_chunks,
        },
    );
    let dials = (prop::option::of(varints()), prop::option::of(varints()));
    (any::<[u8; 16]>(), limits, certificate, dials).prop_map(|(nonce, limits, delegation, (dial, knows))| Hello {
        nonce,
        limits,
        delegation,
        dial,
        knows,
    })
}

fn statuses() -> impl Strategy<Value = Status> {
    prop_oneof![
        blocks(MAX_METADATA).prop_map(|metadata| Status::Accepted { metadata }),
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
    fn headers_round_trip(protocol in protocols(), metadata in blocks(MAX_METADATA), early: bool, seed: u64) {
        let header = Header { protocol, metadata, early };
        let mut bytes = Vec::new();
        let tail = grease::tail(seed);
        header.encode(&mut bytes, &tail);
        prop_assert_eq!(bytes.len(), header.len(&tail));
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
        seed: u64,
    ) {
        let record = Record { severity, code, offset, text, details };
        let mut bytes = Vec::new();
        record.encode(&mut bytes, &grease::tail(seed));
        round_trip(&record, &bytes, Record::decode);
    }

    #[test]
    fn control_frames_round_trip(frame in frames(), seed: u64) {
        let mut bytes = Vec::new();
        frame.encode_with(&mut bytes, &grease::tail(seed));
        round_trip(&frame, &bytes, Frame::decode);
    }

    #[test]
    fn statuses_round_trip(status in statuses(), seed: u64) {
        let mut bytes = Vec::new();
        status.encode(&mut bytes, &grease::tail(seed));
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
