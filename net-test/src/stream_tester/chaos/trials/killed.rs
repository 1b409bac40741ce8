//! A program is killed and is back at its address at once. Then it stands still for a while, and in the end it is
//! gone for good.

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
/// Maximum time until a restarted peer is found. After about 0.5 to 1 s of silence, the library probes which
/// instance the peer is. Without the probe it would take the idle timeout, 20 s.
const FOUND: Duration = Duration::from_secs(4);
/// The time for which the peer stands still. It is less than the idle timeout, and as long as the wait for a silent
/// peer was before the peer was dialled anew.
const STILL: Duration = Duration::from_secs(8);
const TRY: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(20);
/// Maximum time of a shutdown beside a peer that is gone. In the end the library waits about 0.8 s for a peer that
/// acknowledges nothing. iroh's own close takes 3 s at most: three probe timeouts, which are long after a
/// standstill.
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

    // No packet of the endpoint's end gets through, and packets on the old connection are lost.
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
