//! Section 7: error lanes.

use super::{Check, Subject, checks};
use crate::{
    stranger::{
        peer::{Stranger, write},
        reader::{Reader, stop_code},
    },
    wire::{self, Out, Record, bound, lane, severity},
};

pub(super) const CHECKS: &[Check] = checks! {
    "7 no such lane": "An error lane that names no open data lane is stopped and reset with NO_SUCH_LANE." => no_such_lane,
    "7 one too many": "A second error lane of the same side is stopped and reset with NO_SUCH_LANE." => one_too_many,
    "7 malformed records": "The half is stopped with MALFORMED, and the data lane ends with MALFORMED in both directions." => malformed,
    "7 records of a later version": "An unknown severity and a critical parameter stop the half with UNSUPPORTED." => unsupported,
    "7 optional parameters": "A record's parameters with even ids are ignored." => optional,
    "7 records at every bound": "They are read, with varints in their longest form and 1,024 bytes of parameters." => at_the_bounds,
    "7 a warning of the peer": "It has the offset of what was written, and the stream goes on." => warning,
};

async fn no_such_lane(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let record = Record::new(severity::FATAL, 1, 0, "").encode();
    // A data lane of the peer that does not exist, a data lane of this side far ahead, a unidirectional stream, and
    // the largest number.
    for data_lane in [1, 400, 2, wire::MAX] {
        refused(stranger.error_lane(data_lane, &record).await, &format!("lane {data_lane}")).await;
    }
    // A stream that is an error lane.
    let warning = Record::new(severity::WARNING, 1, 0, "").encode();
    let (errors, _reverse) = stranger.error_lane(send.id().into(), &warning).await;
    stranger.round_trip().await;
    refused(stranger.error_lane(errors.id().into(), &record).await, "an error lane").await;
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"unharmed");
    // A data lane that has ended. Its FIN came before, so its acceptor has ended it.
    stranger.round_trip().await;
    refused(stranger.error_lane(send.id().into(), &record).await, "a lane that has ended").await;
}

async fn refused((errors, mut reverse): (quinn::SendStream, Reader), what: &str) {
    assert_eq!(stop_code(&errors).await, lane::NO_SUCH_LANE, "{what}");
    assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE, "{what}");
}

async fn one_too_many(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let warning = Record::new(severity::WARNING, 1, 0, "").encode();
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &warning).await;
    stranger.round_trip().await;
    refused(stranger.error_lane(send.id().into(), &warning).await, "a second one").await;
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"unharmed");
}

/// Opens a new data lane with an error lane that holds `bytes`, and expects that the peer ends both lanes.
async fn broken(stranger: &mut Stranger, what: &str, bytes: &[u8], fin: bool, code: u64) {
    let (send, mut recv) = stranger.conform(b"echo").await;
    let (mut errors, _reverse) = stranger.error_lane(send.id().into(), bytes).await;
    if fin {
        // No STOP_SENDING can come after FIN.
        errors.finish().expect("the lane is open");
    } else {
        assert_eq!(stop_code(&errors).await, code, "{what}");
    }
    assert_eq!(stop_code(&send).await, lane::MALFORMED, "{what}");
    assert_eq!(recv.reset_code().await, lane::MALFORMED, "{what}");
}

async fn malformed(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let warning = |text: &[u8], details: &[u8]| {
        let numbers = Out::default().varint(severity::WARNING).varint(1).varint(0);
        wire::block(&numbers.block(text).block(details).0)
    };
    for (what, bytes, fin) in [
        ("a record over its bound", wire::varint(bound::RECORD + 1), false),
        ("a text over its bound", warning(&[b't'; bound::RECORD_TEXT as usize + 1], b""), false),
        ("details over their bound", warning(b"", &[0; bound::RECORD_DETAILS as usize + 1]), false),
        ("a text that is not UTF-8", warning(&[0xff], b""), false),
        ("an empty record", wire::block(b""), false),
        ("half a parameter", wire::block(&[0, 1, 0, 0, 0, 58]), false),
        ("a parameter twice", wire::block(&[0, 1, 0, 0, 0, 58, 0, 58, 0]), false),
        ("a malformed record of an unknown severity", wire::block(&[3, 1, 0, 0, 0, 58]), false),
        ("a field longer than its frame", wire::block(&[0, 1, 0, 9, 0]), false),
        ("a record cut by FIN", Record::new(0, 1, 0, "cut").encode()[..3].to_vec(), true),
    ] {
        broken(&mut stranger, what, &bytes, fin, lane::MALFORMED).await;
    }
    stranger.round_trip().await;
}

async fn unsupported(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let critical = Record::new(severity::WARNING, 1, 0, "").encode_then(&[58, 0, 59, 0]);
    broken(&mut stranger, "a critical parameter", &critical, false, lane::UNSUPPORTED).await;
    let severity = Record::new(3, 1, 0, "").encode();
    broken(&mut stranger, "an unknown severity", &severity, false, lane::UNSUPPORTED).await;
    stranger.round_trip().await;
}

async fn optional(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let warning = Record::new(severity::WARNING, 1, 0, "").encode_then(&[0, 0, 58, 1, 9]);
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &warning).await;
    stranger.round_trip().await;
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"unharmed");
}

async fn at_the_bounds(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let body = Out::default().varint_in(severity::WARNING, 3).varint(wire::MAX).varint(wire::MAX);
    let body = body.varint_in(bound::RECORD_TEXT, 3).raw(&[b't'; bound::RECORD_TEXT as usize]);
    let body = body.varint_in(bound::RECORD_DETAILS, 3).raw(&[0x77; bound::RECORD_DETAILS as usize]);
    let body = body.varint(58).block(&[0x55; 1_021]).0;
    assert_eq!(body.len() as u64, bound::RECORD);
    let record = Out::default().varint_in(bound::RECORD, 3).raw(&body).0;
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &record).await;
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"unharmed");
}

async fn warning(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"warn").await;
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    assert_eq!(errors.record().await, Record::new(severity::WARNING, 5, 5, "half way"));
    assert_eq!(recv.bytes(5).await, b"12345");
    assert_eq!(recv.rest().await, b"");
    send.finish().expect("the lane is open");
}
