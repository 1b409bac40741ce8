//! tokio's clock, stopped. A scene can then distinguish "at once" from "soon", and "at its timeout" from "some time
//! later". It takes the same time on a busy machine as on an idle one.

use std::{
    future::Future,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking, yield_now},
    time::{advance, pause, resume},
};

/// A step that takes longer than this by the clock of the machine waits for a timer.
const STANDSTILL: Duration = Duration::from_secs(100);
/// A call must not end this much before its timeout, and must have ended this much after it.
const MOMENT: Duration = Duration::from_millis(10);
/// The number of turns of the runtime in which every task has seen the timers that fired, and has notified the
/// tasks that wait for it.
const TURNS: usize = 100;

/// Stops the clock while this lives. The timers of QUIC do not fire either, so all data that arrives was sent once,
/// without any timer.
struct Stopped {
    /// Dropping it ends the blocking call below.
    _hold: Sender<()>,
    /// tokio advances a stopped clock when all tasks wait, unless a blocking call is running.
    too_long: JoinHandle<bool>,
}

impl Stopped {
    fn new() -> Self {
        pause();
        let (hold, held) = channel::<()>();
        let too_long = spawn_blocking(move || held.recv_timeout(STANDSTILL) == Err(RecvTimeoutError::Timeout));
        Self { _hold: hold, too_long }
    }

    async fn wait<F: Future>(&mut self, what: F) -> F::Output {
        tokio::select! {
            biased;
            output = what => output,
            _ = &mut self.too_long => panic!("it waits for a timer, or for what never comes"),
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        resume();
    }
}

/// Returns the output of `what`, which must end without any timer: only through packets that the peers exchange.
pub(crate) fn at_once<F: Future>(what: F) -> impl Future<Output = F::Output> {
    // Futures of a dial have about 40 kB.
    let what = Box::pin(what);
    async move { Stopped::new().wait(what).await }
}

/// Returns the output of `what` when `bound` is over. Once `begun` is done, only the clock must be missing. Fails
/// if `what` ends before its timeout, or goes on after it.
pub(crate) fn at_its_bound<F: Future>(
    bound: Duration,
    begun: impl Future<Output = ()>,
    what: F,
) -> impl Future<Output = F::Output> {
    let (begun, what) = (Box::pin(begun), Box::pin(what));
    ends_at(bound, begun, what)
}

async fn ends_at<F: Future + Unpin>(
    bound: Duration,
    begun: impl Future<Output = ()> + Unpin,
    mut what: F,
) -> F::Output {
    let mut clock = Stopped::new();
    let begun = async {
        begun.await;
        turns().await;
    };
    clock
        .wait(async {
            tokio::select! {
                biased;
                _ = &mut what => panic!("it ended before anything was left to wait for"),
                () = begun => {}
            }
        })
        .await;
    advance(bound - MOMENT).await;
    tokio::select! {
        biased;
        _ = &mut what => panic!("it ended before its bound of {bound:?}"),
        () = turns() => {}
    }
    advance(2 * MOMENT).await;
    clock.wait(what).await
}

async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}
