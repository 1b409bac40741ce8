//! Streams whose opener gives up before the answer, when all of its data is sent and acknowledged. A reset has no
//! effect then, so the opener aborts the stream.

use std::{future::pending, time::Duration};

use twolane::{Access, Endpoint, IncomingStream, Limits, StreamRequest, Verdict};

use crate::{
    peer::{Stranger, write},
    reader::{code, soon},
    wire::{Record, header, lane, severity},
};

/// The code of an opener that has given up before the answer (WIRE.md, section 7).
pub const GIVEN_UP: u64 = (1 << 61) + 3;
/// The number of bytes that the endpoint may hold unread: ten bodies. Twice as many bodies are given up.
const UNREAD: u64 = 4 << 20;
const BODY: usize = 400_000;
const STREAMS: usize = 20;
const NEVER: Duration = Duration::from_secs(3_600);

/// Rules that never decide about one protocol.
struct Undecided;

impl Access for Undecided {
    async fn stream(&self, request: &StreamRequest) -> Verdict {
        if request.protocol.as_str() == "think/1" { pending().await } else { Verdict::Allow }
    }
}

async fn endpoint() -> Endpoint {
    let limits = Limits { unread_bytes: UNREAD, access_timeout: NEVER, accept_timeout: NEVER, ..Limits::default() };
    Endpoint::builder().offline().limits(limits).access(Undecided).bind().await.expect("an endpoint")
}

/// Sends many requests one after the other. All bytes of each arrive, and then the request is given up.
async fn give_up(stranger: &mut Stranger, protocol: &str) {
    for _ in 0..STREAMS {
        let (mut send, mut recv) = stranger.open(&header(protocol, b"")).await;
        write(&mut send, &vec![0x2a; BODY]).await;
        send.finish().expect("the lane is open");
        let stopped = soon("the acknowledgement of all data", send.stopped()).await;
        assert_eq!(stopped.expect("the connection goes on"), None);
        recv.0.stop(code(lane::CANCELLED)).expect("it was not stopped before");
        let abort = Record::new(severity::ABORT, GIVEN_UP, BODY as u64, "");
        stranger.error_lane(send.id().into(), &abort.encode()).await;
    }
}

#[tokio::test]
async fn what_was_aborted_holds_no_room_while_the_rules_think() {
    let endpoint = endpoint().await;
    give_up(&mut Stranger::of(&endpoint).await, "think/1").await;
}

#[tokio::test]
async fn what_was_aborted_holds_no_room_while_nobody_accepts_it() {
    let endpoint = endpoint().await;
    give_up(&mut Stranger::of(&endpoint).await, "later/1").await;
}

#[tokio::test]
async fn what_was_aborted_holds_no_room_while_a_handler_holds_it() {
    let endpoint = endpoint().await;
    let holder = |incoming: IncomingStream| async move {
        pending::<()>().await;
        drop(incoming);
    };
    endpoint.serve_incoming("hold/1", holder).expect("nobody serves it");
    give_up(&mut Stranger::of(&endpoint).await, "hold/1").await;
}
