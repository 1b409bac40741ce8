//! Endpoints that dial the stranger.

use std::time::Duration;

use tokio::task::JoinHandle;
use twolane::{Endpoint, GetStreamError, Limits, ReadError, Reason, RequestError, StreamError, StreamOptions, XStream};

use crate::{
    errors::{arrives, read_to_error},
    given_up::GIVEN_UP,
    peer::{Known, NONCE, Socket, Stranger, endpoint, endpoint_with, write},
    reader::{BRIEF, Reader, code, soon, stop_code},
    wire::{
        self, Header, Out, Record, accepted, accepted_then, accepted_with, answer, bound, frame, lane, numbers,
        parameter, rejected, severity,
    },
};

type Asked = JoinHandle<Result<XStream, GetStreamError>>;

/// Lets an endpoint ask the stranger for a stream.
pub fn ask(endpoint: &Endpoint, socket: &Socket, protocol: &'static str, options: StreamOptions) -> Asked {
    let (endpoint, ticket) = (endpoint.clone(), socket.ticket());
    tokio::spawn(async move { endpoint.get_stream_with(ticket, protocol, options).await })
}

pub async fn outcome(asked: Asked) -> Result<XStream, GetStreamError> {
    soon("get_stream", asked).await.expect("no panic")
}

/// Returns a stream that the endpoint opened and the stranger accepted.
pub async fn stream(
    endpoint: &Endpoint,
    socket: &Socket,
    stranger: &mut Stranger,
) -> (XStream, quinn::SendStream, Reader) {
    let asked = ask(endpoint, socket, "work/1", StreamOptions::default());
    let (send, recv) = stranger.take().await;
    let stream = outcome(asked).await.expect("a stream");
    (stream, send, recv)
}

#[tokio::test]
async fn an_endpoint_dials_the_stranger_which_takes_one_stream_and_rejects_another() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let options = StreamOptions { metadata: "a token".into(), early_data: "early".into(), ..StreamOptions::default() };
    let asked = ask(&endpoint, &socket, "greet/1", options);
    let mut stranger = socket.accept(NONCE).await;
    assert_eq!(crate::tls::peer_of(&stranger.connection), endpoint.id().to_bytes());

    let (mut send, mut recv) = stranger.accept().await;
    let header = Header { protocol: "greet/1".into(), metadata: b"a token".to_vec(), early: false };
    assert_eq!(recv.header().await, header);
    assert_eq!(recv.bytes(5).await, b"early");
    // The answer and the first data may share a packet.
    write(&mut send, &[&accepted()[..], b"welcome"].concat()).await;
    let mut stream = outcome(asked).await.expect("a stream");
    assert_eq!((stream.peer(), stream.id()), (socket.id(), u64::from(send.id())));

    let asked = ask(&endpoint, &socket, "other/1", StreamOptions::default());
    let (mut refusal, mut other) = stranger.accept().await;
    assert_eq!(other.header().await.protocol, "other/1");
    write(&mut refusal, &rejected(answer::REFUSED, "not you")).await;
    refusal.finish().expect("the lane is open");
    other.0.stop(code(lane::REJECTED)).expect("the lane is open");
    let Err(GetStreamError::Rejected { rejection, .. }) = outcome(asked).await else {
        panic!("not rejected");
    };
    assert_eq!((rejection.reason, &rejection.text[..]), (Reason::Refused, "not you"));

    // The first stream goes on, to its end in both directions.
    send.finish().expect("the lane is open");
    let data = soon("the data", stream.read_to_end(100)).await;
    assert_eq!(data.expect("complete data"), "welcome");
    soon("a write", stream.write_all(b" and late")).await.expect("the lane is open");
    stream.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b" and late");
}

#[tokio::test]
async fn every_code_of_a_rejection_is_understood_and_a_later_one_told_as_it_is() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let first = ask(&endpoint, &socket, "ask/1", StreamOptions::default());
    let mut stranger = socket.accept(NONCE).await;
    let mut asked = Some(first);
    let longest = "t".repeat(usize::try_from(bound::REJECTION_TEXT).expect("small"));
    for (code, reason) in [
        (answer::UNKNOWN_PROTOCOL, Reason::UnknownProtocol),
        (answer::REFUSED, Reason::Refused),
        (answer::BUSY, Reason::Busy),
        (answer::SHUTTING_DOWN, Reason::ShuttingDown),
        (answer::TOO_LARGE, Reason::TooLarge),
        (answer::MALFORMED, Reason::Malformed),
        (answer::UNSUPPORTED, Reason::Unsupported),
        (8, Reason::Other(8)),
        (wire::MAX, Reason::Other(wire::MAX)),
    ] {
        let asked = asked.take().unwrap_or_else(|| ask(&endpoint, &socket, "ask/1", StreamOptions::default()));
        let (mut send, _recv) = stranger.accept().await;
        write(&mut send, &rejected(code, &longest)).await;
        send.finish().expect("the lane is open");
        let Err(GetStreamError::Rejected { rejection, .. }) = outcome(asked).await else {
            panic!("{code} is no rejection");
        };
        assert_eq!((rejection.reason, &rejection.text), (reason, &longest));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_a_rule_costs_its_stream_only() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let first = ask(&endpoint, &socket, "work/1", StreamOptions::default());
    let mut stranger = socket.accept(NONCE).await;
    let (send, _recv) = stranger.take().await;
    let mut unharmed = outcome(first).await.expect("a stream");

    for (what, bytes, code) in [
        ("a frame over its bound", Out::default().varint(answer::BUSY).varint(bound::ANSWER + 1).0, lane::MALFORMED),
        (
            "an acceptance over its bound",
            Out::default().varint(answer::ACCEPTED).varint(bound::ANSWER + 1).0,
            lane::MALFORMED,
        ),
        (
            "a text over its bound",
            rejected(answer::BUSY, &"t".repeat(bound::REJECTION_TEXT as usize + 1)),
            lane::MALFORMED,
        ),
        ("a critical parameter", accepted_then(&[1, 0]), lane::UNSUPPORTED),
        ("half a parameter", accepted_then(&[58]), lane::MALFORMED),
        ("a parameter twice", accepted_then(&[58, 0, 58, 0]), lane::MALFORMED),
        ("a text that is not UTF-8", Out::default().varint(answer::BUSY).block(&[1, 0xff]).0, lane::MALFORMED),
        ("a byte after the text", Out::default().varint(answer::BUSY).block(&[1, b'x', 0]).0, lane::MALFORMED),
        ("an empty frame", Out::default().varint(answer::BUSY).block(b"").0, lane::MALFORMED),
        ("half an answer", rejected(answer::BUSY, "busy")[..3].to_vec(), lane::MALFORMED),
        ("no answer", Vec::new(), lane::MALFORMED),
    ] {
        let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
        let (mut bad, mut recv) = stranger.accept().await;
        write(&mut bad, &bytes).await;
        bad.finish().expect("the lane is open");
        let got = outcome(asked).await;
        assert!(matches!(got, Err(GetStreamError::Malformed(_))), "{what}: {got:?}");
        assert_eq!(recv.reset_code().await, code, "{what}");
    }

    arrives("unharmed", send, &mut unharmed).await;
}

#[tokio::test]
async fn metadata_of_an_answer_are_read_and_those_over_what_the_endpoint_takes_make_it_malformed() {
    const TAKES: usize = 4;
    let endpoint = endpoint_with(Limits { metadata: TAKES, ..Limits::default() }).await;
    let socket = Socket::new(7);
    let mut asked = Some(ask(&endpoint, &socket, "work/1", StreamOptions::default()));
    let mut stranger = socket.accept(NONCE).await;
    for len in [0, TAKES, TAKES + 1, bound::METADATA as usize] {
        let asked = asked.take().unwrap_or_else(|| ask(&endpoint, &socket, "work/1", StreamOptions::default()));
        let (mut send, mut recv) = stranger.accept().await;
        let metadata = vec![b'm'; len];
        let parameter = Out::default().varint(accepted_with::METADATA).block(&metadata).0;
        write(&mut send, &accepted_then(&parameter)).await;
        match outcome(asked).await {
            Ok(stream) if len <= TAKES => assert_eq!(*stream.answer_metadata(), metadata),
            Err(GetStreamError::Malformed(_)) if len > TAKES => {
                assert_eq!(recv.header().await.protocol, "work/1");
                assert_eq!(recv.reset_code().await, lane::MALFORMED);
            }
            other => panic!("{len} bytes: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_endpoint_keeps_to_what_the_strangers_hello_allows() {
    // If HELLO does not announce the limits, they are one lane and no metadata.
    for (limits, allowed) in [(&[(parameter::DATA_LANES, 1), (parameter::METADATA, 10)][..], 10), (&[], 0)] {
        let (endpoint, socket) = (endpoint().await, Socket::new(7));
        let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
        let mut stranger = socket.accept_with(&wire::greeting(NONCE, limits)).await;
        let (_send, mut recv) = stranger.take().await;
        let only = outcome(asked).await.expect("a stream");
        // The endpoint answers a stream only after it has read the peer's HELLO.
        stranger.round_trip().await;

        let options = StreamOptions { metadata: vec![0; allowed + 1].into(), ..StreamOptions::default() };
        let too_much = outcome(ask(&endpoint, &socket, "work/1", options)).await;
        let Err(GetStreamError::MetadataTooLarge { max, .. }) = too_much else {
            panic!("{too_much:?}");
        };
        assert_eq!(max, allowed as u64);
        let options = StreamOptions { timeout: Some(BRIEF), ..StreamOptions::default() };
        let too_many = outcome(ask(&endpoint, &socket, "work/1", options)).await;
        assert!(matches!(too_many, Err(GetStreamError::TooManyStreams { max: 1, .. })), "{too_many:?}");
        // The end of the stream makes room for the next one.
        drop(only);
        assert_eq!(recv.reset_code().await, lane::CANCELLED);
        stranger.say(&numbers(frame::MAX_LANES, &[2])).await;
        stream(&endpoint, &socket, &mut stranger).await;
    }
}

/// Sends a request with a body of this length, and returns it together with the stranger. The endpoint knows that
/// all bytes have arrived, and the stranger has not answered yet.
async fn requested(
    endpoint: &Endpoint,
    body: usize,
) -> (JoinHandle<Result<(), RequestError>>, Stranger, quinn::SendStream, Reader) {
    let socket = Socket::new(7);
    let (calling, ticket) = (endpoint.clone(), socket.ticket());
    let call = tokio::spawn(async move {
        calling.request(ticket, "bulk/1", vec![0x2a; body], Duration::from_secs(300)).await.map(drop)
    });
    let mut stranger = socket.accept(NONCE).await;
    let (send, mut recv) = stranger.accept().await;
    recv.header().await;
    assert_eq!(recv.rest().await, vec![0x2a; body]);
    stranger.round_trip().await;
    (call, stranger, send, recv)
}

#[tokio::test]
async fn a_request_that_was_given_up_before_its_answer_is_taken_back_and_nothing_is_asked_about_it() {
    let endpoint = endpoint().await;
    let (call, mut stranger, send, _recv) = requested(&endpoint, 400_000).await;
    call.abort();
    assert!(soon("the call's end", call).await.is_err_and(|error| error.is_cancelled()));
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    let record = errors.record().await;
    assert_eq!((record.severity, record.code), (severity::ABORT, GIVEN_UP));
    stranger.round_trip().await;
    stranger.frames.no_frame_has_come().await;
}

#[tokio::test]
async fn nothing_is_taken_back_of_a_request_that_was_rejected() {
    let endpoint = endpoint().await;
    let (call, mut stranger, mut send, _recv) = requested(&endpoint, 65_536).await;
    write(&mut send, &rejected(answer::BUSY, "later")).await;
    send.finish().expect("the lane is open");
    assert!(soon("the answer", call).await.expect("no panic").is_err());
    stranger.round_trip().await;
    assert_eq!(endpoint.metrics().records_sent.get(), 0);
}

#[tokio::test]
async fn consumption_is_asked_about_only_after_the_lane_was_accepted() {
    const EARLY: usize = 400_000;
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let options = StreamOptions { early_data: vec![0x2a; EARLY].into(), ..StreamOptions::default() };
    let asked = ask(&endpoint, &socket, "bulk/1", options);
    let mut stranger = socket.accept(NONCE).await;
    let (mut send, mut recv) = stranger.accept().await;
    recv.header().await;
    assert_eq!(recv.bytes(EARLY).await, vec![0x2a; EARLY]);
    stranger.round_trip().await;
    stranger.frames.no_frame_has_come().await;

    write(&mut send, &accepted()).await;
    let _stream = outcome(asked).await.expect("a stream");
    let watermark = vec![send.id().into(), EARLY as u64];
    stranger.hears(frame::WATERMARK, &watermark).await;
}

#[tokio::test]
async fn both_sides_fail_streams_that_the_endpoint_opened() {
    let (endpoint, socket) = (endpoint().await, Socket::new(7));
    let asked = ask(&endpoint, &socket, "work/1", StreamOptions::default());
    let mut stranger = socket.accept(NONCE).await;
    let (mut send, mut recv) = stranger.accept().await;
    recv.header().await;
    write(&mut send, &[&accepted()[..], b"12345"].concat()).await;
    let mut stream_a = outcome(asked).await.expect("a stream");
    // The offset counts data bytes only, without the answer and the header.
    let (_errors, _reverse) =
        stranger.error_lane(send.id().into(), &Record::new(severity::FATAL, 5, 5, "").encode()).await;
    let (data, end) = read_to_error(&mut stream_a).await;
    assert_eq!(data, b"12345");
    assert!(matches!(&end, ReadError::Failed(error) if error.code() == 5), "{end:?}");
    assert_eq!(stop_code(&send).await, lane::DONE);

    let (mut stream_b, send, mut recv) = stream(&endpoint, &socket, &mut stranger).await;
    soon("a write", stream_b.write_all(b"123")).await.expect("the lane is open");
    soon("an error", stream_b.fail(StreamError::new(6, "no"))).await.expect("the record is on its way");
    let (_, mut errors) = stranger.accept_error_lane(&send).await;
    assert_eq!(errors.record().await, Record::new(severity::FATAL, 6, 3, "no"));
    assert_eq!(recv.bytes(3).await, b"123");
    assert_eq!(stop_code(&send).await, lane::FAILED);
}
