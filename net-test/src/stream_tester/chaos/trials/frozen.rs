//! Peers stand still for a while, on links that lose packets. Connections of live peers must not be replaced, and
//! no request may be lost.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};
use twolane::Limits;

use super::{
    Verdict,
    stage::{Linked, Stage, close, ensure, none_of, not},
};
use crate::stream_tester::chaos::link::Shape;

const PROTOCOL: &str = "frozen/1";
const PAIRS: u64 = 10;
/// The number of packets of a hundred that are lost.
const LOST: u32 = 5;
/// The time for which a peer stands still. It is less than the idle timeout, and as long as the wait for a silent
/// peer was before the peer was dialled anew.
const STILL: Duration = Duration::from_secs(8);
/// Maximum time for a request. After a silence the probe timeout is as long as the silence was, and its packet may
/// be lost.
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn play(mut stage: Stage) -> Verdict {
    let mut playing = JoinSet::new();
    for _ in 0..PAIRS {
        let shape = Shape { rate: 20_000_000, delay: stage.ms_between(1, 50), queue: Duration::from_secs(1) };
        let linked = stage.linked(shape, Limits::default()).await?;
        linked.link.lose(LOST, StdRng::from_rng(&mut stage.rng));
        playing.spawn(stand_still(linked, shape.delay));
    }
    let mut faults = Vec::new();
    while let Some(played) = playing.join_next().await {
        faults.extend(played.map_err(|error| error.to_string()).flatten().err());
    }
    none_of(&faults, PAIRS)
}

async fn stand_still(Linked { near, far, link, ticket }: Linked, delay: Duration) -> Verdict {
    far.serve_requests(PROTOCOL, |request| async move { Ok(request.body) }).map_err(not("nothing can be served"))?;
    let ask = async || near.request(&ticket, PROTOCOL, "a", DEADLINE).await;
    ask().await.map_err(not("a request before"))?;
    let dialled = near.metrics().connections_dialled.get();
    link.cut();
    let (asked, ()) = tokio::join!(ask(), async {
        sleep(STILL).await;
        link.heal();
    });
    asked.map_err(not("a request during which the peer stood still"))?;
    ask().await.map_err(not("a request after that"))?;
    let again = near.metrics().connections_dialled.get() - dialled + far.metrics().connections_dialled.get();
    ensure(again == 0, || {
        format!("a peer that stood still for {STILL:?} was dialled anew {again} times (one way takes {delay:?})")
    })?;
    close([near, far]).await
}
