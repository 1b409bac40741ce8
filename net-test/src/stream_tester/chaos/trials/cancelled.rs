//! Requests are dropped at each of their awaits, with up to 400 kB of early data that was not read. Other requests
//! go on.

use std::{pin::pin, time::Duration};

use rand::RngExt;
use tokio::time::sleep;
use twolane::{Access, Limits, StreamRequest, Verdict as Answer};

use super::{
    Verdict,
    stage::{Linked, Stage, bind, close, ensure, link_to, none_of, not, within},
};
use crate::stream_tester::{
    chaos::link::{Shape, V4, V6},
    player::poll_once,
};

const SLOW: &str = "cancelled/1";
const QUICK: &str = "beside/1";
const SHAPE: Shape = Shape { rate: 20_000_000, delay: Duration::from_millis(5), queue: Duration::from_secs(1) };
/// The number of bytes that the peer may have unread: ten of the largest requests.
const UNREAD: u64 = 4 << 20;
const REQUESTS: u64 = 64;
const LEAST: usize = 1_000;
const MOST: usize = 400 * 1024;
/// The time that the rules take for the requests that are dropped.
const THINKING: Duration = Duration::from_secs(4);
/// Maximum time for a small request. A round trip takes 10 ms, and the dropped requests take 0.3 s of the link.
const BESIDE: Duration = Duration::from_secs(2);

struct Thoughtful;

impl Access for Thoughtful {
    async fn stream(&self, request: &StreamRequest) -> Answer {
        if request.protocol.as_str() == SLOW {
            sleep(THINKING).await;
        }
        Answer::Allow
    }
}

pub async fn play(mut stage: Stage) -> Verdict {
    let limits = Limits { unread_bytes: UNREAD, ..Limits::default() };
    let (near, far) =
        (bind(stage.builder(V6)).await?, bind(stage.builder(V4).limits(limits).access(Thoughtful)).await?);
    let (link, ticket) = link_to(&far, SHAPE).await?;
    let linked = Linked { near, far, link, ticket };
    for protocol in [SLOW, QUICK] {
        linked
            .far
            .serve_requests(protocol, |request| async move { Ok(request.body) })
            .map_err(not("nothing can be served"))?;
    }
    beside(&linked).await.map_err(|fault| format!("before the first was dropped: {fault}"))?;
    let mut faults = Vec::new();
    for _ in 0..REQUESTS {
        // The request is dropped after `polls` polls that are 5 ms apart: before its header is sent, after it, in
        // the middle of its data, or while it waits for the answer.
        let (len, polls) = (stage.rng.random_range(LEAST..=MOST), stage.rng.random_range(1..=8u32));
        let mut asking = pin!(linked.near.request(&linked.ticket, SLOW, vec![b'a'; len], THINKING * 4));
        for _ in 0..polls {
            if let Some(answered) = poll_once(&mut asking).await {
                faults.push(format!("a request was answered before the rules had: {:?}", answered.map(|_| ())));
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
    for _ in 0..4 {
        faults.extend(beside(&linked).await.err());
    }
    faults.extend(close([linked.near, linked.far]).await.err());
    none_of(&faults, REQUESTS)
}

/// Makes a small request while dropped requests are still being processed.
async fn beside(Linked { near, ticket, .. }: &Linked) -> Verdict {
    let answer = within(BESIDE * 3, "a request", near.request(ticket, QUICK, "abc", BESIDE)).await?;
    let answer = answer.map_err(not("a small request beside requests that were dropped"))?;
    ensure(answer == "abc", || "another answer".to_owned())
}
