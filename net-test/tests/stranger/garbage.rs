//! Error lanes that break a rule: which streams they end, and which not.

use twolane::{NextError, ReadError};

use crate::{
    errors::{arrives, stream, with_stream},
    reader::{soon, stop_code},
    wire::{self, Out, Record, bound, header, lane, severity},
};

#[tokio::test]
async fn garbage_on_an_error_lane_ends_its_stream_and_no_other() {
    let (endpoint, mut stranger, (mut other, other_send, _other_recv)) = with_stream().await;

    let warning = |text: &[u8], details: &[u8]| {
        let numbers = Out::default().varint(severity::WARNING).varint(1).varint(0);
        wire::block(&numbers.block(text).block(details).0)
    };
    let malformed = Some(lane::MALFORMED);
    let cases = [
        ("a critical parameter", Record::new(0, 1, 0, "").encode_then(&[1, 0]), Some(lane::UNSUPPORTED)),
        ("an unknown severity", Record::new(3, 1, 0, "").encode(), Some(lane::UNSUPPORTED)),
        ("an unknown severity of a record with half a parameter", wire::block(&[3, 1, 0, 0, 0, 58]), malformed),
        ("half a parameter", wire::block(&[0, 1, 0, 0, 0, 58]), malformed),
        ("a parameter twice", wire::block(&[0, 1, 0, 0, 0, 58, 0, 58, 0]), malformed),
        ("a record over its bound", wire::varint(bound::RECORD + 1), malformed),
        ("a text over its bound", warning(&[b't'; bound::RECORD_TEXT as usize + 1], b""), malformed),
        ("details over their bound", warning(b"", &[0; bound::RECORD_DETAILS as usize + 1]), malformed),
        ("a text that is not UTF-8", warning(&[0xff], b""), malformed),
        ("an empty record", wire::block(b""), malformed),
        ("a field longer than its frame", wire::block(&[0, 1, 0, 9, 0]), malformed),
        ("a record cut by FIN", Record::new(0, 1, 0, "cut").encode()[..3].to_vec(), None),
    ];
    for (what, bytes, code) in cases {
        let (mut broken, send, mut recv) = stream(&endpoint, &mut stranger).await;
        let (mut errors, _reverse) = stranger.error_lane(send.id().into(), &bytes).await;
        if code.is_none() {
            errors.finish().expect("the lane is open");
        }
        let read = soon("an end", broken.read_to_end(100)).await;
        assert!(matches!(read, Err(NextError::Read(ReadError::Malformed(_)))), "{what}: {read:?}");
        // No STOP_SENDING can come after FIN.
        if let Some(code) = code {
            assert_eq!(stop_code(&errors).await, code, "{what}");
        }
        assert_eq!(stop_code(&send).await, lane::MALFORMED, "{what}");
        drop(broken);
        assert_eq!(recv.reset_code().await, lane::MALFORMED, "{what}");
    }

    arrives("unharmed", other_send, &mut other).await;
}

#[tokio::test]
async fn an_error_lane_without_its_data_lane_is_refused() {
    let (_endpoint, mut stranger, (mut stream, send, _recv)) = with_stream().await;
    let record = Record::new(severity::FATAL, 1, 0, "").encode();
    // A lane of the endpoint that does not exist, a lane of this side far ahead, a unidirectional stream, the error
    // lane itself, and the largest number.
    let itself = u64::from(send.id()) + 4 * 4;
    for data_lane in [1, 400, 2, itself, wire::MAX] {
        let (errors, mut reverse) = stranger.error_lane(data_lane, &record).await;
        assert_eq!(data_lane == itself, u64::from(errors.id()) == itself);
        assert_eq!(stop_code(&errors).await, lane::NO_SUCH_LANE, "{data_lane}");
        assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE, "{data_lane}");
    }

    // A second error lane for the same data lane.
    let warning = Record::new(severity::WARNING, 1, 0, "").encode();
    let (_errors, _reverse) = stranger.error_lane(send.id().into(), &warning).await;
    let reports = stream.errors();
    soon("a report", reports.next()).await.expect("a report");
    let (second, mut reverse) = stranger.error_lane(send.id().into(), &warning).await;
    assert_eq!(stop_code(&second).await, lane::NO_SUCH_LANE);
    assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE);

    arrives("unharmed", send, &mut stream).await;
}

#[tokio::test]
async fn an_error_lane_of_a_stream_that_is_gone_is_refused() {
    let (_endpoint, mut stranger, (stream, send, mut recv)) = with_stream().await;
    drop(stream);
    assert_eq!(recv.reset_code().await, lane::CANCELLED);
    let record = Record::new(severity::FATAL, 1, 0, "late").encode();
    let (errors, mut reverse) = stranger.error_lane(send.id().into(), &record).await;
    assert_eq!(stop_code(&errors).await, lane::NO_SUCH_LANE);
    assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE);
}

#[tokio::test]
async fn a_stream_of_an_unknown_kind_is_refused_and_nothing_else_is_touched() {
    let (_endpoint, mut stranger, (mut stream, send, _recv)) = with_stream().await;
    for kind in [0, 3, 1_000, wire::MAX] {
        let (unknown, mut reverse) = stranger.open(&[wire::varint(kind), header("work/1", b"")].concat()).await;
        assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND, "{kind}");
        assert_eq!(reverse.reset_code().await, lane::UNKNOWN_KIND, "{kind}");
    }
    arrives("unharmed", send, &mut stream).await;
}
