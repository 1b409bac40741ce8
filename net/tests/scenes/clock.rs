//! Tokio's clock, standing still: a scene then tells "at once" from "soon" and "at its bound" from "some time later", and takes
//! as long on a busy machine as on an idle one.

use std::{
    future::Future,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking, yield_now},
    time::{advance, pause, resume},
};

/// What needs longer than this by the clock of the machine waits for a timer.
const STANDSTILL: Duration = Duration::from_secs(100);
/// So much before a bound nothing ends, and so much after it everything has.
const MOMENT: Duration = Duration::from_millis(10);
/// Turns at the runtime in which every task has seen the timers that fired, and has told those who wait for it.
const TURNS: usize = 100;

/// The clock stands still while this lives. The timers of QUIC do not fire either: what arrives was sent once, and is
/// waiting for nobody's timer.
struct Stopped {
    /// Dropped, it ends the blocking call below.
    _hold: Sender<()>,
    /// Tokio moves a clock that was stopped when all tasks wait, unless a blocking call is under way.
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

/// What `what` comes to without any timer: by what the peers say to each other alone.
pub(crate) fn at_once<F: Future>(what: F) -> impl Future<Output = F::Output> {
    // Futures of a dial are some 40 kB large.
    let what = Box::pin(what);
    async move { Stopped::new().wait(what).await }
}

/// What `what` comes to when `bound` is over: once `begun` is done nothing but the clock is missing. It fails if `what` ends
/// before its bound, or goes on after it.
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
