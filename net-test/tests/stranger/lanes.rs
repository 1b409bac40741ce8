//! Data lanes: headers, answers, and ends.

use twolane::{Endpoint, IncomingStream, ReadError};

use crate::{
    peer::{Stranger, connected, endpoint, write},
    reader::{Answer, Reader, code, soon, stop_code},
    wire::{Out, answer, bound, header, kind, lane},
};

fn serve_echo(endpoint: &Endpoint) {
    endpoint
        .serve("echo/1", |mut stream| async move {
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX).await {
                if stream.write_chunk(chunk).await.is_err() {
                    return;
                }
            }
            let _ = stream.finish();
        })
        .expect("nobody serves it yet");
}

/// Sends data on a lane and finishes it, and reads it back.
async fn returns(data: &str, mut send: quinn::SendStream, mut recv: Reader) {
    write(&mut send, data.as_bytes()).await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, data.as_bytes());
}

#[tokio::test]
async fn data_travels_with_the_header_and_back_and_ends_with_fin() {
    let (endpoint, mut stranger) = connected().await;
    let first = Out(header("greet/1", b"a token")).raw(b"early").0;
    let (mut send, mut recv) = stranger.open(&first).await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&["greet/1"])).await;
    let (protocol, mut stream) = accepted.expect("a stream");
    assert_eq!(protocol.as_str(), "greet/1");
    assert_eq!(stream.metadata(), "a token");
    assert_eq!(stream.id(), u64::from(send.id()));
    let key = stream.peer();
    assert!(endpoint.peer(&key).is_some());

    recv.accepted().await;
    write(&mut send, b" and late").await;
    send.finish().expect("the lane is open");
    let data = soon("the data", stream.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "early and late");
    soon("a write", stream.write_all(b"well received")).await.expect("the lane is open");
    stream.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"well received");
}

#[tokio::test]
async fn an_answer_of_the_programs_own_carries_its_metadata() {
    let endpoint = endpoint().await;
    let answer = |incoming: IncomingStream| async move {
        assert_eq!(incoming.metadata(), "a token");
        let mut stream = incoming.accept_with("welcome").await.expect("the lane is open");
        stream.finish().expect("the lane is open");
    };
    endpoint.serve_incoming("greet/1", answer).expect("nobody serves it");
    let mut stranger = Stranger::of(&endpoint).await;
    let (_send, mut recv) = stranger.open(&header("greet/1", b"a token")).await;
    assert_eq!(recv.answer().await, Answer::Accepted { metadata: b"welcome".to_vec() });
    assert_eq!(recv.rest().await, b"");
}

#[tokio::test]
async fn an_unknown_protocol_is_rejected_and_nothing_else_is_touched() {
    let endpoint = endpoint().await;
    serve_echo(&endpoint);
    let mut stranger = Stranger::of(&endpoint).await;
    let (send, recv) = stranger.open_lane("echo/1").await;

    let (other, mut refusal) = stranger.open(&header("nope/1", b"")).await;
    let rejected = Answer::Rejected { code: answer::UNKNOWN_PROTOCOL, text: "nope/1".into() };
    assert_eq!(refusal.answer().await, rejected);
    assert_eq!(refusal.rest().await, b"");
    assert_eq!(stop_code(&other).await, lane::REJECTED);

    returns("still here", send, recv).await;
}

#[tokio::test]
async fn a_header_at_every_bound_is_taken() {
    let (endpoint, mut stranger) = connected().await;
    let name = "n".repeat(bound::PROTOCOL as usize);
    let metadata = vec![0xa5; bound::METADATA as usize];
    // Varints that are longer than necessary are accepted, and so is a parameter without a meaning.
    let body = Out::default().varint_in(bound::PROTOCOL, 3).raw(name.as_bytes());
    let body = body.varint_in(bound::METADATA, 3).raw(&metadata);
    let body = body.varint(58).block(&[0x55; 1_021]).0;
    assert_eq!(body.len() as u64, bound::HEADER);
    let first = Out::default().varint_in(kind::DATA, 3).block(&body).0;
    let (_send, mut recv) = stranger.open(&first).await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&[name.as_str()])).await;
    let (_, stream) = accepted.expect("a stream");
    assert_eq!(*stream.metadata(), metadata);
    recv.accepted().await;
}

#[tokio::test]
async fn a_header_that_breaks_a_rule_costs_its_stream_only() {
    let endpoint = endpoint().await;
    serve_echo(&endpoint);
    let mut stranger = Stranger::of(&endpoint).await;
    let (send, recv) = stranger.open_lane("echo/1").await;

    let framed = |body: &[u8]| Out::default().varint(kind::DATA).block(body).0;
    let fields = Out::default;
    let whole = || fields().block(b"echo/1").block(b"");
    let cases = [
        // Only the length has to arrive.
        ("a frame over its bound", Out::default().varint(kind::DATA).varint(bound::HEADER + 1).0, answer::TOO_LARGE),
        (
            "a name over its bound",
            framed(&fields().block(&[b'n'; bound::PROTOCOL as usize + 1]).block(b"").0),
            answer::TOO_LARGE,
        ),
        (
            "metadata over their bound",
            framed(&fields().block(b"n").block(&[0; bound::METADATA as usize + 1]).0),
            answer::TOO_LARGE,
        ),
        ("a name with a space", header("echo 1", b""), answer::MALFORMED),
        ("an empty name", header("", b""), answer::MALFORMED),
        ("a name beyond ASCII", header("\u{e9}cho/1", b""), answer::MALFORMED),
        ("an empty frame", framed(b""), answer::MALFORMED),
        ("a frame of noise", framed(&[0x3f; 40]), answer::MALFORMED),
        ("half a parameter", framed(&whole().raw(&[58]).0), answer::MALFORMED),
        ("a parameter that is longer than its frame", framed(&whole().raw(&[58, 5, 1, 2]).0), answer::MALFORMED),
        ("a parameter twice", framed(&whole().raw(&[58, 0, 58, 0]).0), answer::MALFORMED),
        ("ids that do not grow", framed(&whole().raw(&[120, 0, 58, 0]).0), answer::MALFORMED),
        ("a critical parameter", framed(&whole().raw(&[1, 0]).0), answer::UNSUPPORTED),
        ("a critical parameter, then half a one", framed(&whole().raw(&[1, 0, 58]).0), answer::MALFORMED),
        (
            "a field that is longer than its frame",
            framed(&fields().block(b"echo/1").varint(5).raw(b"four").0),
            answer::MALFORMED,
        ),
    ];
    for (what, bytes, code) in cases {
        let (bad, mut refusal) = stranger.open(&bytes).await;
        assert_eq!(refusal.rejected().await, code, "{what}");
        assert_eq!(stop_code(&bad).await, lane::REJECTED, "{what}");
    }
    for cut in [0, 1, 2, 5] {
        let (mut bad, mut refusal) = stranger.open(&header("echo/1", b"")[..cut]).await;
        bad.finish().expect("the lane is open");
        assert_eq!(refusal.rejected().await, answer::MALFORMED, "cut at {cut}");
    }
    // An opener that gives up gets no answer, and needs none.
    let (mut gone, _recv) = stranger.open(&header("echo/1", b"")[..3]).await;
    gone.reset(1u32.into()).expect("the lane is open");

    stranger.round_trip().await;
    returns("unharmed", send, recv).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_reset_and_never_finished() {
    let (endpoint, mut stranger) = connected().await;
    let (send, mut recv) = stranger.open(&header("drop/1", b"")).await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&["drop/1"])).await;
    // RESET_STREAM may overtake an answer that has not been read.
    recv.accepted().await;
    drop(accepted.expect("a stream"));
    assert_eq!(recv.reset_code().await, lane::CANCELLED);
    assert_eq!(stop_code(&send).await, lane::CANCELLED);

    // The other direction.
    let (mut send, _recv) = stranger.open(&header("drop/1", b"")).await;
    let accepted = soon("accept_bi", endpoint.accept_bi(&["drop/1"])).await;
    let (_, mut stream) = accepted.expect("a stream");
    write(&mut send, b"not all").await;
    send.reset(code(lane::CANCELLED)).expect("the lane is open");
    let ended = soon("an end", stream.read_to_end(100)).await;
    let Err(twolane::NextError::Read(ReadError::Reset { code })) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(code, lane::CANCELLED);
}
