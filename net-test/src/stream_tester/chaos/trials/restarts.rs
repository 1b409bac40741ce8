//! A program is killed while the rules of its peer are still deciding about it, and is started again at once with
//! the same key.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;
use twolane::{Access, Identity, Limits, Verdict as Answer};

use super::{
    Verdict,
    stage::{SOON, Stage, bind, close, ensure, link_to, not, soon, within},
};
use crate::stream_tester::{
    chaos::link::{Shape, V4, V6},
    lock,
    scale::footprint::until,
};

const PROTOCOL: &str = "restarts/1";
const SHAPE: Shape = Shape { rate: 10_000_000, delay: Duration::from_millis(1), queue: Duration::from_secs(1) };
/// The time after the slowest rule has answered for an instance that is gone.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Slow rules. `times` has the time for each connection, in order.
#[derive(Debug, Clone, Default)]
struct Slow {
    times: Arc<Mutex<VecDeque<Duration>>>,
    asked: Arc<AtomicUsize>,
}

impl Access for Slow {
    async fn connection(&self, _: &Identity) -> Answer {
        let time = lock(&self.times).pop_front().unwrap_or_default();
        self.asked.fetch_add(1, Relaxed);
        sleep(time).await;
        Answer::Allow
    }
}

pub async fn play(mut stage: Stage) -> Verdict {
    // The first instance is allowed last.
    let times = [stage.ms_between(2_500, 4_000), stage.ms_between(1_000, 2_000), stage.ms_between(0, 100)];
    let (rules, key) = (Slow::default(), stage.key());
    lock(&rules.times).extend(times);
    let far = bind(stage.builder(V4).limits(Limits::default()).access(rules.clone())).await?;
    far.serve_requests(PROTOCOL, |request| async move { Ok(request.body) }).map_err(not("nothing can be served"))?;
    let began = Instant::now();
    for instance in 1..times.len() {
        let near = bind(stage.builder(V6).secret_key(key.clone())).await?;
        let (link, ticket) = link_to(&far, SHAPE).await?;
        let dialling = near.clone();
        let dial = tokio::spawn(async move { drop(dialling.connect(ticket).await) });
        ensure(until(SOON, || rules.asked.load(Relaxed) >= instance).await, || "the rules were not asked".to_owned())?;
        // The instance is killed: no packet of its end gets through.
        link.cut();
        dial.abort();
        drop(near);
    }
    let near = bind(stage.builder(V6).secret_key(key)).await?;
    let (_link, ticket) = link_to(&far, SHAPE).await?;
    let held = within(SOON, "the last instance's connection", near.connect(&ticket)).await?;
    let held = held.map_err(not("the last instance is not connected"))?;
    let staying = async {
        let end = times[0] + AFTERWARDS;
        while began.elapsed() < end {
            let answer = near.request(&ticket, PROTOCOL, "a", SOON).await;
            answer.map_err(not("the last instance's request"))?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    let stayed = tokio::select! {
        stayed = staying => stayed,
        lost = held.closed() => Err(format!("the last instance lost its connection after {:?}: {lost:?}", began.elapsed())),
    };
    drop(held);
    let closed = soon("the end", close([near, far])).await?;
    stayed.and(closed).map_err(|fault| format!("{fault} (the rules took {times:?})"))
}
