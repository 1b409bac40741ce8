//! The control stream: HELLO as the first frame, what is skipped, what closes the connection, and reports of
//! consumption.

use twolane::Limits;

use crate::{
    errors::{stream, with_stream},
    peer::{NONCE, Socket, Stranger, close_code, connected, endpoint, endpoint_with, greeting, say_first, write},
    reader::{BRIEF, Reader, soon, stop_code},
    wire::{
        self, Out, bound, close, control_frame, frame, header, hello, hello_then, kind, lane, numbers, numbers_then,
        parameter,
    },
};

#[tokio::test]
async fn the_endpoint_says_who_it_is_and_what_it_allows() {
    let endpoint = endpoint_with(Limits { streams_per_peer: 40, ..Limits::default() }).await;
    let one = Stranger::of(&endpoint).await;
    let two = Socket::new(8).dial(&endpoint, NONCE).await;
    let limits = [
        (parameter::DATA_LANES, 40),
        (parameter::METADATA, bound::METADATA),
        (parameter::UNREAD_BYTES, 64 << 20),
        (parameter::UNREAD_CHUNKS, 2_048),
    ];
    assert!(one.hello.numbers.starts_with(&limits), "{:?}", one.hello.numbers);
    assert_eq!(one.hello.delegation, None);
    // The nonce belongs to the endpoint, and not to the connection.
    assert_eq!(one.hello.nonce, two.hello.nonce);
}

#[tokio::test]
async fn what_breaks_the_rules_before_hello_closes_the_connection() {
    let endpoint = endpoint().await;
    let control = || Out::default().varint(kind::CONTROL);
    let cases = [
        ("another frame first", control().raw(&numbers(frame::GOAWAY, &[1])).0, close::PROTOCOL_VIOLATION),
        ("an unknown frame first", control().raw(&control_frame(63, b"x")).0, close::PROTOCOL_VIOLATION),
        ("a nonce that is cut", control().raw(&control_frame(frame::HELLO, &[1; 15])).0, close::PROTOCOL_VIOLATION),
        ("half a parameter", control().raw(&hello_then(NONCE, &[], &[2])).0, close::PROTOCOL_VIOLATION),
        (
            "a frame over its bound",
            control().varint(frame::HELLO).varint(bound::CONTROL_FRAME + 1).0,
            close::PROTOCOL_VIOLATION,
        ),
        ("noise", control().raw(&[0xff; 64]).0, close::PROTOCOL_VIOLATION),
        ("a parameter twice", control().raw(&hello_then(NONCE, &[], &[2, 1, 5, 2, 1, 5])).0, close::PROTOCOL_VIOLATION),
        (
            "ids that do not grow",
            control().raw(&hello_then(NONCE, &[], &[4, 1, 5, 2, 1, 5])).0,
            close::PROTOCOL_VIOLATION,
        ),
        ("a number that is none", control().raw(&hello_then(NONCE, &[], &[2, 2, 5, 5])).0, close::PROTOCOL_VIOLATION),
        ("nothing to be held", control().raw(&hello_then(NONCE, &[], &[6, 1, 0])).0, close::PROTOCOL_VIOLATION),
        ("a critical parameter", control().raw(&hello_then(NONCE, &[], &[2, 1, 5, 59, 0])).0, close::UNSUPPORTED),
    ];
    for (what, bytes, code) in cases {
        let connection = Socket::new(7).connect(&endpoint).await;
        let _control = say_first(&connection, &bytes).await;
        assert_eq!(close_code(&connection).await, code, "{what}");
    }
    // A control stream that ends.
    let connection = Socket::new(7).connect(&endpoint).await;
    let mut control = say_first(&connection, &greeting(NONCE)[..9]).await;
    control.finish().expect("the stream is open");
    assert_eq!(close_code(&connection).await, close::PROTOCOL_VIOLATION);
    // None of these peers was ever connected.
    assert!(endpoint.peers().is_empty());
}

#[tokio::test]
async fn what_breaks_the_rules_after_hello_closes_the_connection() {
    let cases = [
        ("a second HELLO", hello(NONCE, &[])),
        ("a field that is missing", numbers_then(frame::DRAINED, &[1], &[])),
        ("half a parameter", numbers_then(frame::GOAWAY, &[1], &[58])),
        ("a byte after the last field", numbers_then(frame::MAX_LANES, &[1], &[0])),
        ("a frame over its bound", Out::default().varint(63).varint(bound::CONTROL_FRAME + 1).0),
    ];
    for (what, bytes) in cases {
        let (_endpoint, mut stranger) = connected().await;
        stranger.say(&bytes).await;
        let code = close_code(&stranger.connection).await;
        assert_eq!(code, close::PROTOCOL_VIOLATION, "{what}");
    }
    for (frame_type, values) in [(frame::GOAWAY, &[1][..]), (frame::DRAINED, &[0, 0])] {
        let (_endpoint, mut stranger) = connected().await;
        stranger.say(&numbers_then(frame_type, values, &[1, 0])).await;
        assert_eq!(close_code(&stranger.connection).await, close::UNSUPPORTED);
    }
    let (_endpoint, mut stranger) = connected().await;
    stranger.control.finish().expect("the stream is open");
    let code = close_code(&stranger.connection).await;
    assert_eq!(code, close::PROTOCOL_VIOLATION, "the control stream stays open");
}

#[tokio::test]
async fn silence_is_not_waited_for_longer_than_its_bound() {
    let limits = Limits { hello_timeout: BRIEF, ..Limits::default() };
    let endpoint = endpoint_with(limits).await;
    let connection = Socket::new(7).connect(&endpoint).await;
    assert_eq!(close_code(&connection).await, close::HELLO_TIMEOUT);

    let mut stranger = Stranger::of(&endpoint).await;
    let (send, mut recv) = stranger.open(&header("work/1", b"")[..3]).await;
    assert_eq!(recv.reset_code().await, lane::TIMED_OUT);
    assert_eq!(stop_code(&send).await, lane::TIMED_OUT);
    stranger.round_trip().await;
}

#[tokio::test]
async fn frames_limits_and_streams_of_a_later_version_are_skipped() {
    let endpoint = endpoint().await;
    // Unknown parameters in HELLO, before the known ones and after them, and unknown frames in the same packet.
    let limits = [(0, 5), (parameter::METADATA, 100), (1_000_000, wire::MAX)];
    let bytes = Out::default()
        .varint_in(kind::CONTROL, 2)
        .raw(&hello_then(NONCE, &limits, b""))
        .raw(&control_frame(63, b""))
        .raw(&control_frame(wire::MAX, &[0; bound::CONTROL_FRAME as usize]));
    let mut stranger = Socket::new(7).dial_with(&endpoint, &bytes.0).await;
    stranger.say(&control_frame(7, b"\x01\x02\x03")).await;
    // A lane that is not known here.
    stranger.say(&numbers(frame::CONSUMED, &[400, 7])).await;
    stranger.say(&numbers(frame::WATERMARK, &[400, 7])).await;

    // A second control stream is a stream of an unknown kind.
    for kind in [kind::CONTROL, kind::DATA, kind::ERROR, 3, wire::MAX] {
        let unknown = say_first(&stranger.connection, &[&wire::varint(kind)[..], b"something new"].concat()).await;
        assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND, "{kind}");
    }

    let (mut stream, mut send, mut recv) = stream(&endpoint, &mut stranger).await;
    write(&mut send, b"ping").await;
    let chunk = soon("the data", stream.read_chunk(100)).await;
    assert_eq!(chunk.expect("data").expect("data"), "ping");
    // More than was ever written.
    stranger.say(&numbers(frame::CONSUMED, &[send.id().into(), wire::MAX])).await;
    soon("a write", stream.write_all(b"pong")).await.expect("the lane is open");
    assert_eq!(recv.bytes(4).await, b"pong");
}

#[tokio::test]
async fn a_unidirectional_stream_of_an_unknown_kind_may_come_before_the_control_stream() {
    let endpoint = endpoint().await;
    let socket = Socket::new(7);
    let connection = socket.connect(&endpoint).await;
    let unknown = say_first(&connection, &[&wire::varint(4)[..], b"something new"].concat()).await;
    let _control = say_first(&connection, &greeting(NONCE)).await;
    assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND);
    let control = soon("a control stream", connection.accept_uni()).await;
    let mut control = Reader(control.expect("a control stream"));
    assert!(!control.hello().await.numbers.is_empty());
}

#[tokio::test]
async fn the_endpoint_reports_what_its_user_has_read_and_not_what_has_arrived() {
    let (_endpoint, mut stranger, (mut stream, mut send, _recv)) = with_stream().await;
    let id = u64::from(send.id());
    write(&mut send, &[0; 1_000]).await;
    stranger.say(&numbers(frame::WATERMARK, &[id, 1_000])).await;
    let mut buf = [0; 600];
    let read = soon("the data", stream.read(&mut buf)).await.expect("data");
    assert_eq!(read, 600);
    stranger.round_trip().await;
    stranger.frames.no_frame_has_come().await;

    let rest = soon("the data", stream.read(&mut buf)).await.expect("data");
    assert_eq!(read + rest, 1_000);
    stranger.hears(frame::CONSUMED, &[id, 1_000]).await;
    // A mark that was passed before it came is answered at once.
    stranger.say(&numbers(frame::WATERMARK, &[id, 1])).await;
    stranger.hears(frame::CONSUMED, &[id, 1_000]).await;
    // If a stream is not read any more, every mark is answered, even after the stream is gone.
    write(&mut send, &[0; 1_000]).await;
    stranger.say(&numbers(frame::WATERMARK, &[id, 2_000])).await;
    stranger.round_trip().await;
    drop(stream);
    stranger.hears(frame::CONSUMED, &[id, 2_000]).await;
    stranger.say(&numbers(frame::WATERMARK, &[id, 2_000])).await;
    stranger.hears(frame::CONSUMED, &[id, 2_000]).await;
}

#[tokio::test]
async fn a_certificate_that_is_none_closes_the_connection() {
    for (what, bytes) in [("three bytes", vec![1, 2, 3]), ("too many", vec![1; bound::DELEGATION as usize + 1])] {
        let endpoint = endpoint().await;
        let mut stranger = Socket::new(7).dial(&endpoint, NONCE).await;
        stranger.say(&control_frame(frame::DELEGATION, &bytes)).await;
        assert_eq!(close_code(&stranger.connection).await, close::BAD_DELEGATION, "{what}");
    }
    // The same certificate in HELLO.
    let endpoint = endpoint().await;
    let certificate = Out::default().varint(parameter::DELEGATION).block(&[1, 2, 3]).0;
    let connection = Socket::new(7).connect(&endpoint).await;
    let bytes = Out::default().varint(kind::CONTROL).raw(&hello_then(NONCE, &[], &certificate)).0;
    let _control = say_first(&connection, &bytes).await;
    assert_eq!(close_code(&connection).await, close::BAD_DELEGATION);
}
