//! Sections 4 and 6: streams and data lanes.

use super::{CONFORM, Check, Subject, checks};
use crate::{
    stranger::{
        peer::write,
        reader::{Answer, Reader, code, stop_code},
    },
    wire::{self, Out, answer, bound, grease, header, header_then, kind, lane},
};

pub(super) const CHECKS: &[Check] = checks! {
    "4 bidirectional streams": "Streams of unknown kinds are stopped and reset with UNKNOWN_KIND." => unknown_kinds,
    "4 the time for a kind and a header": "If they do not come in time, the stream is reset and stopped with TIMED_OUT." => silent,
    "6 data": "Early data and late data come whole, and end with FIN." => echo,
    "6 an unknown protocol": "It is rejected with UNKNOWN_PROTOCOL, and stopped with REJECTED." => unknown_protocol,
    "6 a header at every bound": "It is read, with varints in their longest form and 1,024 bytes of parameters." => at_the_bounds,
    "6 a header over a bound": "It is rejected with TOO_LARGE." => over_the_bounds,
    "6 a malformed header": "It is rejected with MALFORMED." => malformed,
    "6 a header with parameters": "Even ids are ignored, and an odd one is rejected with UNSUPPORTED." => parameters,
    "6 a header that is cut": "FIN in it, or in the kind, is rejected with MALFORMED; RESET_STREAM needs no answer." => cut,
    "6 several lanes": "What one lane does wrong touches no other." => unharmed,
};

async fn unknown_kinds(subject: Subject) {
    let mut stranger = subject.greeted().await;
    for kind in [0, 3, 58, grease::id(), wire::MAX] {
        let (unknown, mut reverse) = stranger.open(&[wire::varint(kind), header("work/1", b"")].concat()).await;
        assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND, "{kind}");
        assert_eq!(reverse.reset_code().await, lane::UNKNOWN_KIND, "{kind}");
    }
    stranger.round_trip().await;
}

async fn silent(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let mut streams = Vec::new();
    // Half of a kind, and half of a header.
    for bytes in [&[0x40][..], &header("work/1", b"")[..3]] {
        streams.push(stranger.open(bytes).await);
    }
    for (send, mut recv) in streams {
        assert_eq!(recv.reset_code().await, lane::TIMED_OUT);
        assert_eq!(stop_code(&send).await, lane::TIMED_OUT);
    }
    stranger.round_trip().await;
}

async fn echo(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.open(&[&header(CONFORM, b"echo")[..], b"early"].concat()).await;
    recv.accepted().await;
    assert_eq!(recv.bytes(5).await, b"early");
    write(&mut send, b" and late").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b" and late");
}

async fn unknown_protocol(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (send, mut recv) = stranger.open(&header("no-such-protocol/1", b"")).await;
    assert_eq!(recv.rejected().await, answer::UNKNOWN_PROTOCOL);
    assert_eq!(stop_code(&send).await, lane::REJECTED);
}

async fn at_the_bounds(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (name, metadata) = (vec![b'n'; bound::PROTOCOL as usize], vec![0xa5; bound::METADATA as usize]);
    let body = Out::default().varint_in(bound::PROTOCOL, 3).raw(&name);
    let body = body.varint_in(bound::METADATA, 3).raw(&metadata);
    let body = body.varint(58).block(&[0x55; 1_021]).0;
    assert_eq!(body.len() as u64, bound::HEADER);
    let first = Out::default().varint_in(kind::DATA, 3).varint_in(bound::HEADER, 3).raw(&body).0;
    let (_send, mut recv) = stranger.open(&first).await;
    assert_eq!(recv.rejected().await, answer::UNKNOWN_PROTOCOL);
}

async fn rejects(subject: Subject, cases: Vec<(&str, Vec<u8>, u64)>) {
    let mut stranger = subject.greeted().await;
    for (what, bytes, code) in cases {
        let (bad, mut refusal) = stranger.open(&bytes).await;
        assert_eq!(refusal.rejected().await, code, "{what}");
        assert_eq!(stop_code(&bad).await, lane::REJECTED, "{what}");
    }
    stranger.round_trip().await;
}

fn framed(body: &[u8]) -> Vec<u8> {
    Out::default().varint(kind::DATA).block(body).0
}

async fn over_the_bounds(subject: Subject) {
    let name = Out::default().block(&[b'n'; bound::PROTOCOL as usize + 1]).block(b"").0;
    let metadata = Out::default().block(b"n").block(&[0; bound::METADATA as usize + 1]).0;
    let beyond = Out::default().block(b"n").varint(bound::METADATA + 1).raw(b"few").0;
    rejects(
        subject,
        vec![
            // The frame has only its length.
            ("a frame", Out::default().varint(kind::DATA).varint(bound::HEADER + 1).0, answer::TOO_LARGE),
            ("a name", framed(&name), answer::TOO_LARGE),
            ("metadata", framed(&metadata), answer::TOO_LARGE),
            ("metadata that are outside their frame as well", framed(&beyond), answer::TOO_LARGE),
        ],
    )
    .await;
}

async fn malformed(subject: Subject) {
    rejects(
        subject,
        vec![
            ("a name with a space", header("echo 1", b""), answer::MALFORMED),
            ("an empty name", header("", b""), answer::MALFORMED),
            ("a name beyond ASCII", header("\u{e9}cho/1", b""), answer::MALFORMED),
            ("an empty frame", framed(b""), answer::MALFORMED),
            ("a frame of noise", framed(&[0x3f; 40]), answer::MALFORMED),
            (
                "metadata that are longer than their frame",
                framed(&Out::default().block(b"echo/1").varint(5).raw(b"four").0),
                answer::MALFORMED,
            ),
        ],
    )
    .await;
}

async fn parameters(subject: Subject) {
    let with = |parameters: &[u8]| header_then("no-such-protocol/1", b"", parameters);
    rejects(
        subject,
        vec![
            ("one with an even id", with(&[0, 0]), answer::UNKNOWN_PROTOCOL),
            ("reserved ones", with(&[58, 1, 9, 0x40, 120, 0]), answer::UNKNOWN_PROTOCOL),
            ("a critical one", with(&[1, 0]), answer::UNSUPPORTED),
            ("a critical one behind an optional one", with(&[58, 0, 59, 2, 1, 1]), answer::UNSUPPORTED),
            ("half a one", with(&[58]), answer::MALFORMED),
            ("one that is longer than the frame", with(&[58, 5, 1, 2]), answer::MALFORMED),
            ("one twice", with(&[58, 0, 58, 0]), answer::MALFORMED),
            ("ids that do not grow", with(&[0x40, 120, 0, 58, 0]), answer::MALFORMED),
            ("a critical one, then half a one", with(&[1, 0, 58]), answer::MALFORMED),
        ],
    )
    .await;
}

async fn cut(subject: Subject) {
    let mut stranger = subject.greeted().await;
    for cut in [0, 1, 2, 5] {
        let (mut bad, mut refusal) = stranger.open(&header(CONFORM, b"")[..cut]).await;
        bad.finish().expect("the lane is open");
        assert_eq!(refusal.rejected().await, answer::MALFORMED, "FIN after {cut} bytes");
    }
    for cut in [0, 1, 5] {
        let (mut gone, _recv) = stranger.open(&header(CONFORM, b"")[..cut]).await;
        gone.reset(code(lane::CANCELLED)).expect("the lane is open");
    }
    stranger.round_trip().await;
}

async fn unharmed(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let (_bad, mut refusal) = stranger.open(&framed(b"")).await;
    assert!(matches!(refusal.answer().await, Answer::Rejected { .. }));
    let (mut gone, _recv): (_, Reader) = stranger.conform(b"echo").await;
    gone.reset(code(lane::CANCELLED)).expect("the lane is open");
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"unharmed");
}
