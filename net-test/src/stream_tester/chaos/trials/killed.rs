//! A program is killed and is back at its address at once, then stands still for a while, and in the end is gone for good.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use twolane::Endpoint;

use super::{
    Verdict,
    stage::{SOON, Stage, bind, ensure, link_to, not, soon, within},
};
use crate::stream_tester::chaos::{
    link::{Shape, V4, V6},
    shutdown::shut_down,
};

const PROTOCOL: &str = "killed/1";
/// A peer that is silent is asked after some 0.5 to 1 s who it is. The idle timeout, which was what it took before, is 20 s.
const FOUND: Duration = Duration::from_secs(4);
/// Less than the idle timeout, and as long as a silent peer was waited for before it was dialled anew.
const STILL: Duration = Duration::from_secs(8);
const TRY: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(20);
/// A peer that acknowledges nothing is waited for some 0.8 s in the end, and iroh's own close takes 3 s at most: three probe timeouts,
/// which are long after a standstill.
const LET_GO: Duration = Duration::from_secs(5);

fn serve(endpoint: &Endpoint) -> Verdict {
    endpoint.serve_requests(PROTOCOL, |request| async move { Ok(request.body) }).map_err(not("nothing can be served"))
}

pub async fn play(mut stage: Stage) -> Verdict {
    let (key, delay) = (stage.key(), stage.ms_between(1, 50));
    let (near, far) = (bind(stage.builder(V6)).await?, bind(stage.builder(V4).secret_key(key.clone())).await?);
    serve(&far)?;
    let shape = Shape { rate: 20_000_000, delay, queue: Duration::from_secs(1) };
    let (link, ticket) = link_to(&far, shape).await?;
    let ask = async |within| near.request(&ticket, PROTOCOL, "a", within).await;
    ask(SOON).await.map_err(not("a request of the first instance"))?;

    // No packet of its end gets through, and what is sent on the old connection goes nowhere.
    link.cut();
    drop(far);
    let far = bind(stage.builder(V4).secret_key(key)).await?;
    serve(&far)?;
    link.forget_connections();
    link.lead_to(far.status().sockets.first().copied().ok_or("an endpoint has no socket")?);
    link.heal();
    let found =
        within(FOUND, "a request after the peer was killed and came back", async { while ask(TRY).await.is_err() {} });
    found.await.map_err(|fault| format!("{fault} (one way takes {delay:?})"))?;

    let dialled = near.metrics().connections_dialled.get();
    link.cut();
    let (asked, ()) = tokio::join!(ask(DEADLINE), async {
        sleep(STILL).await;
        link.heal();
    });
    asked.map_err(not("a request during which the peer stood still"))?;
    let again = near.metrics().connections_dialled.get() - dialled;
    ensure(again == 0, || format!("a peer that stood still for {STILL:?} was dialled anew {again} times"))?;

    link.cut();
    let ends = async |endpoint: Endpoint| {
        let began = Instant::now();
        let report = soon("a shutdown beside a peer that is gone", endpoint.shutdown(DEADLINE)).await?;
        let took = began.elapsed();
        let (_, left) = shut_down(&endpoint, DEADLINE).await;
        ensure(took < LET_GO && (report.silent, report.cut, left) == (1, 0, 0), || {
            format!(
                "a shutdown with nothing open took {took:?} beside a peer that is gone, and {left} tasks went on: {report:?}"
            )
        })
    };
    let (near, far) = tokio::join!(ends(near), ends(far));
    near.and(far)
}
