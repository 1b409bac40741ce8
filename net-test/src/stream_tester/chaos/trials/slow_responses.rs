//! Many large responses share a slow link. Each of them makes progress slowly.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use twolane::Limits;

use super::{
    Verdict,
    stage::{Linked, Stage, close, ensure, none_of, not},
};
use crate::stream_tester::{chaos::link::Shape, pattern};

const PROTOCOL: &str = "slow-responses/1";
/// The number of requests. Their responses have 58 MB in total. That is more than a connection takes without an
/// acknowledgement, and more than a peer may have unread with default limits.
const REQUESTS: u64 = 64;
const LEN: usize = 900_000;
/// The shape of the link. Each stream gets about 31 kB/s of it.
const SHAPE: Shape = Shape { rate: 2_000_000, delay: Duration::from_millis(50), queue: Duration::from_millis(500) };
/// The time without progress after which a response may be given up. A quarter of a megabyte takes 8 s.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum time for a request. The link needs 30 s for all responses.
const DEADLINE: Duration = Duration::from_secs(70);

pub async fn play(mut stage: Stage) -> Verdict {
    let limits = Limits { header_timeout: PATIENCE, ..Limits::default() };
    let Linked { near, far, link, ticket } = stage.linked(SHAPE, limits).await?;
    let number = |body: &[u8]| body.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    far.serve_requests(
        PROTOCOL,
        move |request| async move { Ok(Bytes::from(pattern::bytes(number(&request.body), LEN))) },
    )
    .map_err(not("nothing can be served"))?;
    let mut asking = JoinSet::new();
    for number in 0..REQUESTS {
        let (near, ticket) = (near.clone(), ticket.clone());
        asking.spawn(async move {
            let answer = near.request(&ticket, PROTOCOL, number.to_be_bytes().to_vec(), DEADLINE).await;
            let answer = answer.map_err(not("a request was not answered, while its link made progress"))?;
            ensure(answer == pattern::bytes(number, LEN), || {
                format!("a response of {} bytes is not whole", answer.len())
            })
        });
    }
    let mut faults = Vec::new();
    while let Some(asked) = asking.join_next().await {
        faults.extend(asked.map_err(|error| error.to_string()).flatten().err());
    }
    let ([carried, lost], rtt) = (link.packets(), far.peers().first().and_then(|peer| peer.rtt));
    faults.extend(close([near, far]).await.err());
    none_of(&faults, REQUESTS)
        .map_err(|fault| format!("{fault} (the link carried {carried} packets and lost {lost}, round trip {rtt:?})"))
}
