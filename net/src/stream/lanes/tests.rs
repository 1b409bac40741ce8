//! Lanes over a QUIC connection: records that come before this side has accepted the stream, and streams that the
//! access rules do not allow any more.

use bytes::Bytes;
use iroh::endpoint::VarInt;

use super::Cause;
use crate::{
    error::StreamError,
    stream::{
        Errors,
        pair::{Opened, Pair, record},
    },
    wire::{
        codes::lane,
        record::{Record, Severity},
    },
};

#[tokio::test]
async fn of_a_stream_that_nobody_has_accepted_no_warning_is_kept_and_no_details_of_its_error() {
    let pair = Pair::new().await;
    let opened = pair.open().await;
    for _ in 0..10 {
        assert!(opened.lanes.on_record(record(Severity::Warning, 0)));
    }
    assert!(opened.lanes.inbox.get().is_none(), "nobody can read them");
    let fatal = Record { details: Bytes::from_static(b"details"), ..record(Severity::Fatal, 0) };
    assert!(!opened.lanes.on_record(fatal));
    let Some(Cause::PeerFailed(error)) = opened.lanes.cause() else { panic!("it has not failed") };
    assert_eq!((error.text(), error.details().len()), ("a word", 0));

    let accepted = pair.open().await;
    accepted.lanes.accept();
    assert!(accepted.lanes.on_record(record(Severity::Warning, 0)));
    assert!(Errors(accepted.lanes.inbox()).try_next().is_some());
}

/// A program may hold the stream and not use it, or may have released a stream that it has failed.
#[tokio::test]
async fn a_stream_that_is_not_allowed_any_more_is_reset_and_stopped_whatever_its_state() {
    let pair = Pair::new().await;
    for (failed, released) in [(false, false), (true, false), (true, true)] {
        let Opened { there: _there, mut send, recv: _recv, lanes } = pair.open().await;
        send.write_all(b"data").await.unwrap();
        if failed {
            let _ = lanes.end(StreamError::new(7, "a word"), Severity::Fatal).map(drop);
        }
        let _send = (!released).then_some(send);
        lanes.revoke("not any more");
        // noq refuses to reset and to stop a half for the second time.
        assert!(!lanes.reset(lane::DONE), "not reset: failed {failed}, released {released}");
        let stopped = lanes.quic_recv().as_mut().is_some_and(|quic| quic.stop(VarInt::from_u32(0)).is_err());
        assert!(stopped, "not stopped: failed {failed}, released {released}");
    }
}
