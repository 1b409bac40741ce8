//! Sections 2, 3, 5, 9, 10, 11 and 14: the connection and its control stream.

use super::{CONFORM, Check, Subject, checks};
use crate::{
    stranger::{
        peer::{NONCE, close_code, greeting, say_first, write},
        reader::{Reader, code, soon, stop_code},
    },
    wire::{
        self, Out, answer, bound, close, control_frame, frame, goaway, grease, hello, hello_then, kind, lane, numbers,
        numbers_then, parameter,
    },
};

pub(super) const CHECKS: &[Check] = checks! {
    "2 the server's key": "The server presents the key that was dialled." => the_key,
    "5 HELLO": "HELLO comes first, with limits that can be used, and one nonce on all connections." => hello_comes,
    "3 optional parameters": "Parameters of HELLO, GOAWAY and DRAINED with even ids that are not known are ignored." => optional,
    "3 critical parameters": "A critical parameter that is not known closes the connection with UNSUPPORTED." => critical,
    "5 a HELLO that is none": "What is no HELLO closes the connection with PROTOCOL_VIOLATION." => no_hello,
    "5 the time for HELLO": "If HELLO does not come in time, the connection is closed with HELLO_TIMEOUT." => no_hello_at_all,
    "5 frames that break a rule": "A frame that is malformed, over its bound or a second HELLO is a PROTOCOL_VIOLATION." => bad_frames,
    "5 the end of the control stream": "A control stream that ends or is reset is a PROTOCOL_VIOLATION." => control_ends,
    "5 data lanes that may be open": "One lane over DATA_LANES is answered BUSY, and MAX_LANES makes up for those that have ended." => data_lanes,
    "5 a certificate that is none": "It closes the connection with BAD_DELEGATION, in HELLO and after it, or is ignored." => certificate,
    "14 frames of later versions": "Frames of unknown types are skipped, up to their bound." => unknown_frames,
    "14 unidirectional streams": "Streams of unknown kinds, and a second control stream, are stopped with UNKNOWN_KIND." => unknown_kinds,
    "9 watermarks of what is not there": "A WATERMARK for a lane that is not there is answered with its offset." => marks,
    "9 watermarks of what was read": "A WATERMARK is answered once the data before it was read." => marks_of_a_lane,
    "9 false reports": "CONSUMED for unknown lanes, or beyond what was written, changes nothing." => false_reports,
    "10 an orderly end": "GOAWAY is answered with the same reason, then with DRAINED, and mirrored counts close with DONE." => orderly,
    "10 counts that do not mirror": "A stream that is still under way keeps the connection." => not_yet,
    "11 a restart": "A connection with a new nonce has the old one closed with REPLACED." => restart,
    "11 a second dial": "A second dial of the same instance drains the first connection with DUPLICATE." => second_dial,
};

async fn the_key(subject: Subject) {
    // `connect` compares the keys.
    subject.socket().connect(subject.0).await;
}

async fn hello_comes(subject: Subject) {
    let socket = subject.socket();
    let one = socket.dial(subject.0, NONCE).await;
    let two = socket.dial(subject.0, NONCE).await;
    assert_eq!(one.hello.nonce, two.hello.nonce, "the nonce is the endpoint's");
    for (id, value) in one.hello.numbers {
        let least = match id {
            parameter::DATA_LANES | parameter::METADATA | parameter::DIAL | parameter::KNOWS => 0,
            parameter::UNREAD_BYTES => 64 << 10,
            parameter::UNREAD_CHUNKS => 256,
            other => panic!("HELLO has a parameter {other}"),
        };
        assert!(value >= least, "parameter {id} is {value}");
    }
}

async fn optional(subject: Subject) {
    let tail = [&[58, 3, 1, 2, 3][..], &Out::default().varint(1_000).block(b"").0].concat();
    let bytes = [wire::varint(kind::CONTROL), hello_then(NONCE, &[(0, 5), (parameter::METADATA, 9)], &tail)].concat();
    let mut stranger = subject.socket().dial_with(subject.0, &bytes).await;
    stranger.round_trip().await;
    stranger.say(&numbers_then(frame::DRAINED, &[0, 0], &tail)).await;
    stranger.say(&numbers_then(frame::GOAWAY, &[7], &tail)).await;
    stranger.hears(frame::GOAWAY, &[7]).await;
}

async fn critical(subject: Subject) {
    let bytes = [wire::varint(kind::CONTROL), hello_then(NONCE, &[], &[2, 1, 5, 59, 0])].concat();
    closes(subject, "HELLO", &bytes, close::UNSUPPORTED).await;
    for (frame_type, values) in [(frame::GOAWAY, &[1][..]), (frame::DRAINED, &[0, 0])] {
        let mut stranger = subject.greeted().await;
        stranger.say(&numbers_then(frame_type, values, &[1, 0])).await;
        assert_eq!(close_code(&stranger.connection).await, close::UNSUPPORTED, "a frame of type {frame_type}");
    }
}

/// Sends `bytes` on a control stream, and expects that the peer closes the connection with `code`.
async fn closes(subject: Subject, what: &str, bytes: &[u8], code: u64) {
    let connection = subject.socket().connect(subject.0).await;
    let _control = say_first(&connection, bytes).await;
    assert_eq!(close_code(&connection).await, code, "{what}");
}

async fn no_hello(subject: Subject) {
    let control = || Out::default().varint(kind::CONTROL);
    let with = |parameters: &[u8]| control().raw(&hello_then(NONCE, &[], parameters)).0;
    for (what, bytes) in [
        ("another frame first", control().raw(&numbers(frame::GOAWAY, &[1])).0),
        ("an unknown frame first", control().raw(&control_frame(grease::id(), b"x")).0),
        ("a nonce that is cut", control().raw(&control_frame(frame::HELLO, &[1; 15])).0),
        ("a frame over its bound", control().varint(frame::HELLO).varint(bound::CONTROL_FRAME + 1).0),
        ("noise", control().raw(&[0xff; 64]).0),
        ("half a parameter", with(&[2])),
        ("a parameter beyond the frame", with(&[58, 9, 1])),
        ("a parameter twice", with(&[2, 1, 5, 2, 1, 5])),
        ("ids that do not grow", with(&[4, 1, 5, 2, 1, 5])),
        ("a number that does not fill its block", with(&[2, 2, 5, 5])),
        ("UNREAD_BYTES of 0", with(&[6, 1, 0])),
        ("a critical parameter before a malformed one", with(&[1, 0, 2, 0])),
    ] {
        closes(subject, what, &bytes, close::PROTOCOL_VIOLATION).await;
    }
}

async fn no_hello_at_all(subject: Subject) {
    let connection = subject.socket().connect(subject.0).await;
    assert_eq!(close_code(&connection).await, close::HELLO_TIMEOUT);
}

async fn bad_frames(subject: Subject) {
    for (what, bytes) in [
        ("a second HELLO", hello(NONCE, &[])),
        ("a field that is missing", numbers_then(frame::DRAINED, &[1], &[])),
        ("half a parameter", numbers_then(frame::GOAWAY, &[1], &[58])),
        ("a byte after the last field", numbers_then(frame::MAX_LANES, &[1], &[0])),
        ("a byte after a watermark", numbers_then(frame::WATERMARK, &[0, 0], &[0])),
        ("a frame over its bound", Out::default().varint(grease::id()).varint(bound::CONTROL_FRAME + 1).0),
    ] {
        let mut stranger = subject.greeted().await;
        stranger.say(&bytes).await;
        assert_eq!(close_code(&stranger.connection).await, close::PROTOCOL_VIOLATION, "{what}");
    }
}

async fn control_ends(subject: Subject) {
    let mut finished = subject.greeted().await;
    finished.control.finish().expect("the stream is open");
    assert_eq!(close_code(&finished.connection).await, close::PROTOCOL_VIOLATION, "FIN");
    let mut reset = subject.greeted().await;
    reset.control.reset(0u32.into()).expect("the stream is open");
    assert_eq!(close_code(&reset.connection).await, close::PROTOCOL_VIOLATION, "RESET_STREAM");
    let connection = subject.socket().connect(subject.0).await;
    let mut control = say_first(&connection, &greeting(NONCE)[..9]).await;
    control.finish().expect("the stream is open");
    assert_eq!(close_code(&connection).await, close::PROTOCOL_VIOLATION, "half a HELLO");
}

async fn data_lanes(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let announced = stranger.hello.numbers.iter().find(|(id, _)| *id == parameter::DATA_LANES);
    let allowed = announced.map_or(1, |(_, lanes)| *lanes);
    let mut lanes = Vec::new();
    for _ in 0..allowed {
        lanes.push(stranger.conform(b"echo").await);
    }
    // This data lane exceeds the limit that the peer announced.
    let (_over, mut refusal) = stranger.open(&wire::header(CONFORM, b"echo")).await;
    assert_eq!(refusal.rejected().await, answer::BUSY);
    // The rejected data lane has ended, and now another one ends. The limit grows by two.
    let (mut send, mut recv) = lanes.swap_remove(0);
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"");
    while stranger.frames.max_lanes().await < allowed + 2 {}
    stranger.conform(b"echo").await;
}

async fn certificate(subject: Subject) {
    let parameter = Out::default().varint(parameter::DELEGATION).block(&[1, 2, 3]).0;
    let in_hello = [wire::varint(kind::CONTROL), hello_then(NONCE, &[], &parameter)].concat();
    let after_it = [greeting(NONCE), control_frame(frame::DELEGATION, &[1, 2, 3])].concat();
    for (what, bytes) in [("in HELLO", in_hello), ("after it", after_it)] {
        let connection = subject.socket().connect(subject.0).await;
        let _control = say_first(&connection, &bytes).await;
        // A peer that ignores certificates sends HELLO and answers.
        let (mut send, recv) = soon("a stream", connection.open_bi()).await.expect("an open connection");
        let told = async {
            let _ = send.write_all(&wire::header("", b"")).await;
            Reader(recv).0.read_to_end(2_000).await.is_ok()
        };
        tokio::select! {
            code = close_code(&connection) => assert_eq!(code, close::BAD_DELEGATION, "{what}"),
            answered = told => if !answered {
                assert_eq!(close_code(&connection).await, close::BAD_DELEGATION, "{what}");
            },
        }
    }
}

async fn unknown_frames(subject: Subject) {
    let mut stranger = subject.greeted().await;
    for frame_type in [7, 58, 1_000, wire::MAX] {
        stranger.say(&control_frame(frame_type, &[0x55; bound::CONTROL_FRAME as usize])).await;
        stranger.say(&control_frame(frame_type, b"")).await;
    }
    stranger.say(&numbers(frame::WATERMARK, &[400, 7])).await;
    stranger.hears(frame::CONSUMED, &[400, 7]).await;
}

async fn unknown_kinds(subject: Subject) {
    let mut stranger = subject.greeted().await;
    for kind in [kind::CONTROL, kind::DATA, kind::ERROR, 3, 58, grease::id(), wire::MAX] {
        let unknown = say_first(&stranger.connection, &[&wire::varint(kind)[..], b"something new"].concat()).await;
        assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND, "{kind}");
    }
    stranger.round_trip().await;
    // A stream of an unknown kind before the control stream.
    let connection = subject.socket().connect(subject.0).await;
    let unknown = say_first(&connection, &[4, 1, 2, 3]).await;
    let _control = say_first(&connection, &greeting(NONCE)).await;
    assert_eq!(stop_code(&unknown).await, lane::UNKNOWN_KIND);
    let control = soon("a control stream", connection.accept_uni()).await;
    Reader(control.expect("a control stream")).hello().await;
}

async fn marks(subject: Subject) {
    let mut stranger = subject.greeted().await;
    // Data lanes that never existed, of either side, and a unidirectional stream.
    for lane in [400, 401, 2, wire::MAX] {
        stranger.say(&numbers(frame::WATERMARK, &[lane, 7])).await;
        stranger.hears(frame::CONSUMED, &[lane, 7]).await;
    }
}

async fn marks_of_a_lane(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    let lane = u64::from(send.id());
    write(&mut send, &[7; 1_000]).await;
    stranger.say(&numbers(frame::WATERMARK, &[lane, 1_000])).await;
    stranger.hears(frame::CONSUMED, &[lane, 1_000]).await;
    assert_eq!(recv.bytes(1_000).await, [7; 1_000]);
    // A WATERMARK whose offset was already passed when it came, and is not larger than the previous one.
    stranger.say(&numbers(frame::WATERMARK, &[lane, 1])).await;
    let (frame_type, fields) = stranger.frames.frame().await;
    assert_eq!((frame_type, fields[0]), (frame::CONSUMED, lane));
    assert!((1..=1_000).contains(&fields[1]), "{fields:?}");
    // A WATERMARK beyond the data is answered at the end of the lane.
    stranger.say(&numbers(frame::WATERMARK, &[lane, 9_000])).await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"");
    stranger.hears(frame::CONSUMED, &[lane, 9_000]).await;
}

async fn false_reports(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    for lane in [send.id().into(), 400, 401, wire::MAX] {
        for offset in [wire::MAX, 0] {
            stranger.say(&numbers(frame::CONSUMED, &[lane, offset])).await;
        }
    }
    write(&mut send, b"all the same").await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"all the same");
}

async fn orderly(subject: Subject) {
    for reason in [goaway::SHUTTING_DOWN, goaway::UNUSED, 58] {
        let mut stranger = subject.greeted().await;
        stranger.round_trip().await;
        stranger.say(&numbers(frame::GOAWAY, &[reason])).await;
        stranger.hears(frame::GOAWAY, &[reason]).await;
        stranger.hears(frame::DRAINED, &[0, 1]).await;
        // A second GOAWAY with another reason changes nothing.
        stranger.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;
        stranger.say_drained().await;
        assert_eq!(close_code(&stranger.connection).await, close::DONE);
    }
}

async fn not_yet(subject: Subject) {
    let mut stranger = subject.greeted().await;
    let (mut send, mut recv) = stranger.conform(b"echo").await;
    stranger.say(&numbers(frame::GOAWAY, &[goaway::SHUTTING_DOWN])).await;
    stranger.hears(frame::GOAWAY, &[goaway::SHUTTING_DOWN]).await;
    write(&mut send, b"still here").await;
    assert_eq!(recv.bytes(10).await, b"still here");
    stranger.frames.no_frame_has_come().await;
    send.finish().expect("the lane is open");
    assert_eq!(recv.rest().await, b"");
    stranger.hears(frame::DRAINED, &[0, 1]).await;
    // This DRAINED counts a stream that the peer has not seen yet.
    stranger.say(&numbers(frame::DRAINED, &[2, 0])).await;
    let probe = say_first(&stranger.connection, &[4]).await;
    assert_eq!(stop_code(&probe).await, lane::UNKNOWN_KIND);
    let (mut late, _recv) = soon("a stream", stranger.connection.open_bi()).await.expect("an open connection");
    late.reset(code(lane::CANCELLED)).expect("the lane is open");
    assert_eq!(close_code(&stranger.connection).await, close::DONE);
}

async fn restart(subject: Subject) {
    let socket = subject.socket();
    let mut old = socket.dial(subject.0, NONCE).await;
    old.round_trip().await;
    let mut new = socket.dial(subject.0, *b"a stranger's two").await;
    assert_eq!(close_code(&old.connection).await, close::REPLACED);
    new.round_trip().await;
}

async fn second_dial(subject: Subject) {
    let socket = subject.socket();
    let mut old = socket.dial(subject.0, NONCE).await;
    old.round_trip().await;
    let mut new = socket.dial(subject.0, NONCE).await;
    new.round_trip().await;
    old.hears(frame::GOAWAY, &[goaway::DUPLICATE]).await;
    old.say(&numbers(frame::GOAWAY, &[goaway::DUPLICATE])).await;
    old.hears(frame::DRAINED, &[0, 1]).await;
    old.say_drained().await;
    assert_eq!(close_code(&old.connection).await, close::DONE);
    new.round_trip().await;
}
