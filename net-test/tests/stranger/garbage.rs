//! Error lanes that break a rule: what they cost, and what they do not.

use twolane::{NextError, ReadError};

use crate::{
    errors::stream,
    peer::{Stranger, endpoint, write},
    reader::{soon, stop_code},
    wire::{self, Out, Record, bound, header, lane, severity},
};

#[tokio::test]
async fn garbage_on_an_error_lane_ends_its_stream_and_no_other() {
    let endpoint = endpoint().await;
    let mut stranger = Stranger::of(&endpoint).await;
    let (mut other, mut other_send, _other_recv) = stream(&endpoint, &mut stranger).await;

    let warning = |text: &[u8], details: &[u8]| {
        let numbers = Out::default().varint(severity::WARNING).varint(1).varint(0);
        Out::default().block(&numbers.block(text).block(details).0).0
    };
    let noise = |body: &[u8]| Out::default().block(body).0;
    let cases = [
        ("an unknown severity", Record::new(3, 1, 0, "").encode(), false),
        ("a record over its bound", Out::default().varint(bound::RECORD + 1).0, false),
        ("a text over its bound", warning(&[b't'; bound::RECORD_TEXT as usize + 1], b""), false),
        ("details over their bound", warning(b"", &[0; bound::RECORD_DETAILS as usize + 1]), false),
        ("a text that is not UTF-8", warning(&[0xff], b""), false),
        ("an empty record", noise(b""), false),
        ("a byte after the last field", noise(&[0, 1, 0, 0, 0, 0]), false),
        ("a field longer than its frame", noise(&[0, 1, 0, 9, 0]), false),
        ("a record cut by FIN", Record::new(0, 1, 0, "cut").encode()[..3].to_vec(), true),
    ];
    for (what, bytes, fin) in cases {
        let (mut broken, send, _recv) = stream(&endpoint, &mut stranger).await;
        let first = Out(wire::error_lane(send.id().into())).raw(&bytes);
        let (mut errors, _reverse) = stranger.open(&first.0).await;
        if fin {
            errors.finish().expect("the lane is open");
        }
        let read = soon("an end", broken.read_to_end(100)).await;
        assert!(matches!(read, Err(NextError::Read(ReadError::Malformed(_)))), "{what}: {read:?}");
        if !fin {
            assert_eq!(stop_code(&errors).await, lane::MALFORMED, "{what}");
        }
        // That code says why. Of the data nothing more is wanted.
        assert_eq!(stop_code(&send).await, lane::DONE, "{what}");
    }

    write(&mut other_send, b"unharmed").await;
    other_send.finish().expect("the lane is open");
    let data = soon("the data", other.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "unharmed");
}

#[tokio::test]
async fn an_error_lane_without_its_data_lane_is_refused() {
    let endpoint = endpoint().await;
    let mut stranger = Stranger::of(&endpoint).await;
    let (mut stream, mut send, _recv) = stream(&endpoint, &mut stranger).await;
    let record = Record::new(severity::FATAL, 1, 0, "").encode();
    // A lane of the endpoint's that does not exist, one of this side's far ahead, a unidirectional one, the error
    // lane itself, and the largest number there is.
    let itself = u64::from(send.id()) + 4 * 4;
    for data_lane in [1, 400, 2, itself, (1 << 62) - 1] {
        let first = Out(wire::error_lane(data_lane)).raw(&record);
        let (errors, mut reverse) = stranger.open(&first.0).await;
        assert_eq!(data_lane == itself, u64::from(errors.id()) == itself);
        assert_eq!(stop_code(&errors).await, lane::NO_SUCH_LANE, "{data_lane}");
        assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE, "{data_lane}");
    }

    // A second one for the same data lane is one too many.
    let warning = Record::new(severity::WARNING, 1, 0, "").encode();
    let first = Out(wire::error_lane(send.id().into())).raw(&warning);
    let (_errors, _reverse) = stranger.open(&first.0).await;
    let reports = stream.errors();
    soon("a report", reports.next()).await.expect("a report");
    let (second, mut reverse) = stranger.open(&first.0).await;
    assert_eq!(stop_code(&second).await, lane::NO_SUCH_LANE);
    assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE);

    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    let data = soon("the data", stream.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "unharmed");
}

#[tokio::test]
async fn an_error_lane_of_a_stream_that_is_gone_is_refused() {
    let endpoint = endpoint().await;
    let mut stranger = Stranger::of(&endpoint).await;
    let (stream, send, mut recv) = stream(&endpoint, &mut stranger).await;
    drop(stream);
    assert_eq!(recv.reset_code().await, lane::CANCELLED);
    let record = Record::new(severity::FATAL, 1, 0, "late").encode();
    let first = Out(wire::error_lane(send.id().into())).raw(&record);
    let (errors, mut reverse) = stranger.open(&first.0).await;
    assert_eq!(stop_code(&errors).await, lane::NO_SUCH_LANE);
    assert_eq!(reverse.reset_code().await, lane::NO_SUCH_LANE);
}

#[tokio::test]
async fn a_stream_of_an_unknown_kind_is_refused_and_nothing_else_is_touched() {
    let endpoint = endpoint().await;
    let mut stranger = Stranger::of(&endpoint).await;
    let (mut stream, mut send, _recv) = stream(&endpoint, &mut stranger).await;
    for kind in [0, 3, 1_000, (1 << 62) - 1] {
        let first = Out::default().varint(kind).raw(&header("work/1", b"")).0;
        let (unknown, mut reverse) = stranger.open(&first).await;
        assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND, "{kind}");
        assert_eq!(reverse.reset_code().await, lane::UNKNOWN_KIND, "{kind}");
    }
    write(&mut send, b"unharmed").await;
    send.finish().expect("the lane is open");
    let data = soon("the data", stream.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "unharmed");
}
