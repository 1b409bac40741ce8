//! Both sides dial at the same time, over paths of unequal delay and with a slow rule. In a second trial, one path
//! dies.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::sleep};
use twolane::{Access, Endpoint, Identity, Limits, Ticket, Verdict as Answer};

use super::{
    Verdict,
    stage::{SOON, Stage, bind, close, link_to, none_of, not, within},
};
use crate::stream_tester::{
    chaos::link::{Shape, V4, V6},
    scale::footprint::until,
};

const PROTOCOL: &str = "crossed/1";
const ROUNDS: u64 = 4;
const STREAMS: usize = 6;
const RATE: u64 = 20_000_000;
/// Maximum time until a dead connection is replaced. A peer that is silent on a connection and answers elsewhere is
/// dialled anew after 8 s, and this is noticed within two more seconds. The dial and the other steps take
/// milliseconds.
const DEAD: Duration = Duration::from_secs(17);
/// The number of requests of both sides after the first one that was answered.
const AGAIN: usize = 5;
const TRY: Duration = Duration::from_secs(2);

struct Slow(Duration);

impl Access for Slow {
    async fn connection(&self, _: &Identity) -> Answer {
        sleep(self.0).await;
        Answer::Allow
    }
}

fn shape(delay: Duration) -> Shape {
    Shape { rate: RATE, delay, queue: Duration::from_secs(1) }
}

fn serve(endpoint: &Endpoint) -> Verdict {
    endpoint.serve_requests(PROTOCOL, |request| async move { Ok(request.body) }).map_err(not("nothing can be served"))
}

/// Both sides dial at once.
pub async fn play(mut stage: Stage) -> Verdict {
    let mut faults = Vec::new();
    for _ in 0..ROUNDS {
        faults.extend(at_once(&mut stage).await.err());
    }
    none_of(&faults, ROUNDS)
}

async fn at_once(stage: &mut Stage) -> Verdict {
    let (there, back, rule) = (stage.ms_between(1, 300), stage.ms_between(1, 300), stage.ms_between(0, 600));
    let (near, far) =
        (bind(stage.builder(V6)).await?, bind(stage.builder(V4).limits(Limits::default()).access(Slow(rule))).await?);
    serve(&near)?;
    serve(&far)?;
    let ((_there, to_far), (_back, to_near)) = (link_to(&far, shape(there)).await?, link_to(&near, shape(back)).await?);
    let mut asking = JoinSet::new();
    for number in 0..STREAMS {
        let (from, to) = if number % 2 == 0 { (&near, &to_far) } else { (&far, &to_near) };
        let (from, to): (Endpoint, Ticket) = (from.clone(), to.clone());
        asking.spawn(async move {
            let answer = from.request(&to, PROTOCOL, "a", SOON).await;
            answer.map(drop).map_err(not("a request while both sides dialled"))
        });
    }
    let mut faults = Vec::new();
    while let Some(asked) = asking.join_next().await {
        faults.extend(asked.map_err(|error| error.to_string()).flatten().err());
    }
    let one = |a: &Endpoint, b: &Endpoint| a.peer(&b.id()).is_some_and(|info| info.connections == 1);
    if !until(SOON, || one(&near, &far) && one(&far, &near)).await {
        faults.push(format!("they have {:?} connections", [near.peer(&far.id()), far.peer(&near.id())]));
    }
    faults.extend(close([near, far]).await.err());
    none_of(&faults, STREAMS as u64)
        .map_err(|fault| format!("{fault} (ways of {there:?} and {back:?}, a rule of {rule:?})"))
}

/// The path has forgotten the connection, and carries others.
pub async fn dead_way(mut stage: Stage) -> Verdict {
    let [small, large] = stage.keys();
    let delay = stage.ms_between(1, 30);
    // By the order of the keys alone, the connection that the smaller key dialled would stay.
    let (near, far) =
        (bind(stage.builder(V6).secret_key(small)).await?, bind(stage.builder(V4).secret_key(large)).await?);
    serve(&near)?;
    serve(&far)?;
    let (there, to_far) = link_to(&far, shape(delay)).await?;
    near.request(&to_far, PROTOCOL, "a", SOON).await.map_err(not("a request over the first connection"))?;
    there.forget_connections();
    let began = Instant::now();
    let mut last = None;
    let answered = within(DEAD, "a request of the side that has not dialled", async {
        loop {
            // A request on the dead connection is lost with it. It may have been handled.
            match far.request(near.id(), PROTOCOL, "a", TRY).await {
                Ok(_) => return,
                Err(error) => last = Some(error),
            }
        }
    });
    let mut answered = answered.await.map_err(|fault| format!("{fault}; the last error: {last:?}"));
    let took = began.elapsed();
    // Both sides use the new connection.
    for _ in 0..AGAIN {
        if answered.is_ok() {
            sleep(TRY / 4).await;
            let (there, back) =
                tokio::join!(near.request(&to_far, PROTOCOL, "a", TRY), far.request(near.id(), PROTOCOL, "a", TRY),);
            let failed = |error| format!("{took:?} after it died the connection had a successor, and then: {error:?}");
            answered = there.and(back).map(drop).map_err(failed);
        }
    }
    answered.and(close([near, far]).await)
}
