//! What travels on lanes and on the control stream.

use super::{Named, bytes, certificate};
use crate::{
    protocol::Protocol,
    wire::{
        control::{DEFAULT_UNREAD_BYTES, Dial, Frame, GoawayReason, MAX_FRAME, PeerLimits},
        header::{Header, MAX_HEADER, Opening},
        record::{MAX_RECORD, Record, Severity},
        status::{Reason, Rejection, Status},
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
    let hello = |version, delegated| {
        let limits = PeerLimits { data_lanes: 256, metadata: 4096, unread_bytes: DEFAULT_UNREAD_BYTES };
        frame(&Frame::Hello {
            version,
            nonce: *b"0123456789abcdef",
            limits,
            delegated,
            dial: Dial { number: 3, knows: 2 },
        })
    };
    let delegation = frame(&Frame::Delegation(certificate().to_bytes().into()));
    let goaway = |reason| frame(&Frame::Goaway { reason });
    let drained = frame(&Frame::Drained { opened: 3, accepted: 70 });
    let watermark = frame(&Frame::Watermark { lane: 4, offset: 300_000 });
    let consumed = frame(&Frame::Consumed { lane: 4, offset: varint::MAX });
    let mut unknown_limits = vec![0, 23, 1];
    unknown_limits.extend([7; 16]);
    unknown_limits.extend([60, 9, 1, 5, 61, 1]);
    let mut later_version = vec![0, 18, 2];
    later_version.extend([7; 16]);
    later_version.push(0xff);
    let of_later_version = vec![63, 3, 1, 2, 3];
    let left_over = vec![1, 2, 0, 0];
    vec![
        ("hello", hello(1, false)),
        ("hello-with-limits-nobody-knows", unknown_limits),
        ("hello-of-a-later-version", later_version),
        ("hello-cut-in-a-limit", [&[0, 18, 1][..], &[7; 16], &[1]].concat()),
        ("hello-without-a-nonce", vec![0, 2, 1, 7]),
        ("hello-then-delegation", [hello(1, true), delegation.clone()].concat()),
        ("goaway-duplicate", goaway(GoawayReason::Duplicate)),
        ("goaway-shutting-down", goaway(GoawayReason::ShuttingDown)),
        ("goaway-for-a-reason-of-a-later-version", goaway(GoawayReason::Other(300))),
        ("drained", drained.clone()),
        ("watermark", watermark.clone()),
        ("consumed-everything-there-can-be", consumed.clone()),
        ("delegation", delegation.clone()),
        ("frame-of-a-later-version-then-goaway", [of_later_version, goaway(GoawayReason::Duplicate)].concat()),
        ("frame-with-bytes-left-over", left_over),
        ("frame-over-its-bound", over(&[9], MAX_FRAME)),
        ("frame-in-long-varints", vec![0x40, 1, 0xc0, 0, 0, 0, 0, 0, 0, 1, 0]),
        (
            "a-whole-connection",
            [hello(1, true), delegation, watermark, consumed, goaway(GoawayReason::ShuttingDown), drained].concat(),
        ),
    ]
}

fn headers() -> Vec<Named> {
    let header = |name: &str, metadata| {
        let mut out = Vec::new();
        Header { protocol: Protocol::new(name).unwrap(), metadata }.encode(&mut out);
        out
    };
    let mut cut = header("chat/1", bytes("token"));
    cut.pop();
    vec![
        ("header", header("chat/1", bytes(""))),
        ("header-with-metadata", header("chat/1", bytes("token"))),
        ("header-with-the-longest-name", header(&"x".repeat(Protocol::MAX_LEN), bytes("token"))),
        ("header-cut", cut),
        ("header-with-flags-of-a-later-version", vec![1, 5, 0x40, 0x40, 1, b'a', 0]),
        ("header-with-a-space-in-the-name", vec![1, 6, 0, 3, b'a', b' ', b'b', 0]),
        ("header-with-an-empty-name", vec![1, 3, 0, 0, 0]),
        ("header-whose-metadata-goes-on-after-the-frame", vec![1, 5, 0, 1, b'a', 9, 9]),
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
        Record { severity, code: 7, offset, text: text.to_owned(), details }.encode(&mut out);
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
        ("record-with-a-byte-left-over", vec![6, 0, 7, 0, 0, 0, 0]),
        ("record-with-many-bytes-left-over", [&[0x40, 69, 0, 7, 0, 0, 0][..], &[0; 64]].concat()),
        ("record-whose-text-is-not-utf-8", vec![6, 0, 7, 0, 1, 0xff, 0]),
        ("record-over-its-bound", over(&[], MAX_RECORD)),
    ]
}

fn statuses() -> Vec<Named> {
    let status = |status: Status| {
        let mut out = Vec::new();
        status.encode(&mut out);
        out
    };
    let rejected = |reason, text: &str| status(Status::Rejected(Rejection::new(reason, text)));
    vec![
        ("status-accepted", status(Status::Accepted)),
        ("status-unknown-protocol", rejected(Reason::UnknownProtocol, "")),
        ("status-refused-in-words", rejected(Reason::Refused, "not today")),
        ("status-busy", rejected(Reason::Busy, "64 streams wait")),
        ("status-with-a-code-of-a-later-version", rejected(Reason::Other(1000), "later")),
        ("status-whose-text-is-over-its-bound", vec![2, 3, 0x44, 1, 0]),
        ("status-whose-frame-is-over-its-bound", over(&[2], 1026)),
        ("status-that-announces-all-there-can-be", [&[2][..], &[0xff; 8], &[0; 1050]].concat()),
    ]
}

fn frame(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// A length that is one too many, after what stands before it.
fn over(before: &[u8], bound: u64) -> Vec<u8> {
    let mut out = before.to_vec();
    varint::encode(&mut out, bound + 1);
    out
}
