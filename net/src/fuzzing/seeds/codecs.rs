//! The messages that travel on lanes and on the control stream.

use super::{Named, bytes, certificate};
use crate::{
    protocol::Protocol,
    wire::{
        control::{DEFAULT_LIMITS, Frame, GoawayReason, Hello, MAX_FRAME, OWN_UNREAD_CHUNKS, PeerLimits},
        header::{Header, MAX_HEADER, Opening},
        record::{MAX_RECORD, Record, Severity},
        status::{MAX_ANSWER, Reason, Rejection, Status},
        varint,
    },
};

pub(super) fn wire() -> Vec<Named> {
    let mut seeds = headers();
    seeds.extend(error_lanes());
    seeds.extend(statuses());
    seeds
}

pub(super) fn control() -> Vec<Named> {
    let certificate = || certificate().to_bytes().into();
    let hello = |delegation, dial, knows| {
        let unread_chunks = Some(OWN_UNREAD_CHUNKS);
        let limits = PeerLimits { data_lanes: 256, metadata: 4096, unread_chunks, ..DEFAULT_LIMITS };
        frame(&Frame::Hello(Hello { nonce: *b"0123456789abcdef", limits, delegation, dial, knows }))
    };
    let with_parameters = |parameters: &[u8]| [&[0, 16 + parameters.len() as u8][..], &[7; 16], parameters].concat();
    let delegation = frame(&Frame::Delegation(certificate()));
    let goaway = |reason| frame(&Frame::Goaway { reason });
    let drained = frame(&Frame::Drained { opened: 3, accepted: 70 });
    let watermark = frame(&Frame::Watermark { lane: 4, offset: 300_000 });
    let consumed = frame(&Frame::Consumed { lane: 4, offset: varint::MAX });
    let max_lanes = frame(&Frame::MaxLanes { count: 300 });
    let of_later_version = vec![63, 3, 1, 2, 3];
    let left_over = vec![1, 2, 0, 58];
    vec![
        ("hello", hello(None, None, None)),
        ("hello-with-its-dials", hello(None, Some(7), Some(300))),
        ("hello-with-a-delegation", hello(Some(certificate()), Some(7), None)),
        ("hello-without-parameters", with_parameters(&[])),
        ("hello-with-parameters-nobody-knows", with_parameters(&[2, 1, 5, 58, 2, 1, 2, 0x40, 120, 0])),
        ("hello-with-a-critical-parameter-nobody-knows", with_parameters(&[2, 1, 5, 59, 0])),
        ("hello-with-a-parameter-twice", with_parameters(&[2, 1, 5, 2, 1, 5])),
        ("hello-with-parameters-in-another-order", with_parameters(&[4, 1, 5, 2, 1, 5])),
        ("hello-cut-in-a-parameter", with_parameters(&[2, 1])),
        ("hello-with-a-number-that-does-not-fill-its-block", with_parameters(&[2, 2, 5, 0])),
        ("hello-that-holds-nothing-unread", with_parameters(&[6, 1, 0])),
        ("hello-without-a-nonce", vec![0, 2, 1, 7]),
        ("goaway-duplicate", goaway(GoawayReason::Duplicate)),
        ("goaway-shutting-down", goaway(GoawayReason::ShuttingDown)),
        ("goaway-with-a-parameter", vec![1, 4, 1, 58, 1, 9]),
        ("goaway-with-a-critical-parameter", vec![1, 3, 1, 1, 0]),
        ("max-lanes", max_lanes.clone()),
        ("max-lanes-with-a-byte-left-over", vec![6, 2, 5, 0]),
        ("goaway-for-a-reason-of-a-later-version", goaway(GoawayReason::Other(300))),
        ("drained", drained.clone()),
        ("watermark", watermark.clone()),
        ("consumed-everything-there-can-be", consumed.clone()),
        ("delegation", delegation.clone()),
        ("frame-of-a-later-version-then-goaway", [of_later_version, goaway(GoawayReason::Duplicate)].concat()),
        ("goaway-with-half-a-parameter", left_over),
        ("frame-over-its-bound", over(&[9], MAX_FRAME)),
        ("frame-in-long-varints", vec![0x40, 1, 0xc0, 0, 0, 0, 0, 0, 0, 1, 0]),
        (
            "a-whole-connection",
            [
                hello(Some(certificate()), Some(1), Some(0)),
                delegation,
                max_lanes,
                watermark,
                consumed,
                goaway(GoawayReason::ShuttingDown),
                drained,
            ]
            .concat(),
        ),
    ]
}

fn headers() -> Vec<Named> {
    let header = |name: &str, metadata| {
        let mut out = Vec::new();
        Header { protocol: Protocol::new(name).unwrap(), metadata, early: false }.encode(&mut out, &[]);
        out
    };
    let mut cut = header("chat/1", bytes("token"));
    cut.pop();
    let mut early = Vec::new();
    Header { protocol: Protocol::from_static("chat/1"), metadata: bytes(""), early: true }.encode(&mut early, &[]);
    vec![
        ("header", header("chat/1", bytes(""))),
        ("header-with-metadata", header("chat/1", bytes("token"))),
        ("header-with-the-longest-name", header(&"x".repeat(Protocol::MAX_LEN), bytes("token"))),
        ("header-cut", cut),
        ("header-that-may-be-early", early),
        ("header-that-may-be-early-with-a-value", vec![1, 6, 1, b'a', 0, 2, 1, 9]),
        ("header-with-a-parameter-of-a-later-version", vec![1, 7, 1, b'a', 0, 58, 2, 1, 2]),
        ("header-with-a-critical-parameter", vec![1, 5, 1, b'a', 0, 1, 0]),
        ("header-with-half-a-parameter", vec![1, 4, 1, b'a', 0, 58]),
        ("header-with-a-space-in-the-name", vec![1, 5, 3, b'a', b' ', b'b', 0]),
        ("header-with-an-empty-name", vec![1, 2, 0, 0]),
        ("header-whose-metadata-goes-on-after-the-frame", vec![1, 4, 1, b'a', 9, 9]),
        ("header-over-its-bound", over(&[1], MAX_HEADER)),
        ("stream-of-a-kind-of-a-later-version", vec![9, 1, 2]),
        ("varint-of-eight-bytes", vec![0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ("varint-of-four-bytes", vec![0x9d, 0x7f, 0x3e, 0x7d]),
        ("varint-that-just-fits-one-byte", vec![0x3f]),
        ("varint-that-just-fits-two-bytes", vec![0x7f, 0xff]),
        ("varint-that-just-fits-four-bytes", vec![0xbf, 0xff, 0xff, 0xff]),
        ("varint-of-two-bytes-where-one-would-do", vec![0x40, 0x25]),
    ]
}

fn error_lanes() -> Vec<Named> {
    let record = |severity, offset, text: &str, details| {
        let mut out = Vec::new();
        Record { severity, code: 7, offset, text: text.to_owned(), details }.encode(&mut out, &[]);
        out
    };
    let warning = record(Severity::Warning, 0, "disk nearly full", bytes(""));
    let fatal = record(Severity::Fatal, 1 << 40, "cannot count further \u{1f40c}", bytes("{\"at\":11}"));
    let abort = record(Severity::Abort, 16_384, "", bytes(""));
    let mut opening = Vec::new();
    Opening::encode_error_lane(&mut opening, 16_000);
    let lane = [opening.clone(), warning.clone(), warning.clone(), fatal.clone()].concat();
    vec![
        ("error-lane", opening.clone()),
        ("error-lane-with-warnings-and-a-failure", lane),
        ("error-lane-with-garbage", [&opening[..], &[3, 9, 9, 9]].concat()),
        ("record-warning", warning),
        ("record-fatal-with-details", fatal),
        ("record-abort", abort),
        ("record-of-unknown-severity", vec![5, 3, 7, 0, 0, 0]),
        ("record-with-half-a-parameter", vec![6, 0, 7, 0, 0, 0, 0]),
        ("record-with-a-parameter", vec![8, 0, 7, 0, 0, 0, 58, 1, 9]),
        ("record-with-a-critical-parameter", vec![7, 0, 7, 0, 0, 0, 1, 0]),
        ("record-with-a-parameter-again-and-again", [&[0x40, 69, 0, 7, 0, 0, 0][..], &[0; 64]].concat()),
        ("record-whose-text-is-not-utf-8", vec![6, 0, 7, 0, 1, 0xff, 0]),
        ("record-over-its-bound", over(&[], MAX_RECORD)),
    ]
}

fn statuses() -> Vec<Named> {
    let status = |status: Status| {
        let mut out = Vec::new();
        status.encode(&mut out, &[]);
        out
    };
    let rejected = |reason, text: &str| status(Status::Rejected(Rejection::new(reason, text)));
    vec![
        ("status-accepted", status(Status::Accepted { metadata: bytes("") })),
        ("status-accepted-with-metadata", status(Status::Accepted { metadata: bytes("welcome") })),
        ("status-accepted-with-a-parameter", vec![0, 3, 58, 1, 9]),
        ("status-accepted-with-a-critical-parameter", vec![0, 2, 1, 0]),
        ("status-rejected-with-a-critical-parameter", vec![2, 3, 0, 1, 0]),
        ("status-unknown-protocol", rejected(Reason::UnknownProtocol, "")),
        ("status-refused-in-words", rejected(Reason::Refused, "not today")),
        ("status-busy", rejected(Reason::Busy, "64 streams wait")),
        ("status-with-a-code-of-a-later-version", rejected(Reason::Other(1000), "later")),
        ("status-whose-text-is-over-its-bound", vec![2, 3, 0x44, 1, 0]),
        ("status-whose-frame-is-over-its-bound", over(&[2], MAX_ANSWER)),
        ("status-that-announces-all-there-can-be", [&[2][..], &[0xff; 8], &[0; 1050]].concat()),
    ]
}

fn frame(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// Returns a length prefix that is one over the limit, after the bytes `before`.
fn over(before: &[u8], bound: u64) -> Vec<u8> {
    let mut out = before.to_vec();
    varint::encode(&mut out, bound + 1);
    out
}
