//! Runs one scene: before the attack, under attack, and after it.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    judge::{Measured, Phase, Window},
    raid::{Going, Raid, Trouble},
    scenes::Scene,
    witness::Witness,
};
use crate::{cli::Problem, exit::Exit, output::in_one_line};

/// The number of windows before the attack, and of those under attack. It is fixed, because measuring until a limit
/// is met would select a favourable result.
const WINDOWS: u32 = 7;
/// The number of windows after the attack. Of 31 scenes without a fault, one had a share of 0.88 after the attack
/// when it was taken from seven windows.
const AFTERWARDS: u32 = 2 * WINDOWS;
/// The time before the first window, in which the connections and the memory of the process are set up. In the
/// first second there are 21,000 requests a second, and 19,000 later, with and without an attack.
const WARM_UP: Duration = Duration::from_secs(1);
/// Maximum time until the hostile peers reach their full strength. Binding 16 endpoints takes 50 ms.
const PATIENCE: Duration = Duration::from_secs(20);
/// Maximum time for which the attack goes on until every needed count is reached. Timeouts in scenes are 1 s.
const UNTIL_SEEN: Duration = Duration::from_secs(15);
/// Maximum time until the heap has shrunk again. QUIC forgets a connection after three of its timeouts for lost
/// packets, which are 1 s if no packet was ever answered.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// Runs a scene. The windows last `seconds` in total.
pub async fn play(scene: &Scene, seconds: f64) -> Result<Measured, Problem> {
    let window = Duration::try_from_secs_f64(seconds / f64::from(2 * WINDOWS + AFTERWARDS))
        .map_err(|error| Problem::because(Exit::Usage, "--seconds takes a number above 0", &error))?;
    let mut watch = Watch { witness: Witness::start(scene).await?, measured: Measured::default() };
    watch.look(WARM_UP, Phase::Between).await?;
    watch.windows(WINDOWS, window, Phase::Before).await?;

    let raid = Arc::new(Raid::new(watch.witness.ticket.to_addr()));
    let mut attack = UnderWay::start(scene, &raid);
    timeout(PATIENCE, attack.is_ready())
        .await
        .map_err(|_| Problem::new(Exit::Failure, format!("the hostile peers took over {PATIENCE:?} to attack")))?;
    watch.look(Duration::ZERO, Phase::Between).await?;
    watch.windows(WINDOWS, window, Phase::Attacked).await?;
    let (waiting, own) = (Instant::now(), raid.tally.clone());
    let is_missing = |measured: &Measured| !measured.with(&own.counts()).missing(scene).is_empty();
    while is_missing(&watch.measured) && waiting.elapsed() < UNTIL_SEEN && !attack.is_over() {
        watch.look(LOOK, Phase::Between).await?;
    }
    watch.measured.broke = attack.end().await;

    watch.look(Duration::ZERO, Phase::Between).await?;
    watch.windows(AFTERWARDS, window, Phase::After).await?;
    let settling = Instant::now();
    while watch.measured.heap_left() > scene.left && settling.elapsed() < SETTLE {
        watch.look(LOOK, Phase::Between).await?;
    }
    let Watch { witness, measured } = watch;
    let ended = witness.end().await;
    let mut measured = measured.with(&raid.tally.counts());
    measured.broke = measured.broke.or(ended);
    Ok(measured)
}

struct Watch {
    witness: Witness,
    measured: Measured,
}

impl Watch {
    async fn windows(&mut self, count: u32, window: Duration, phase: Phase) -> Result<(), Problem> {
        for _ in 0..count {
            self.look(window, phase).await?;
        }
        Ok(())
    }

    async fn look(&mut self, wait: Duration, phase: Phase) -> Result<(), Problem> {
        sleep(wait).await;
        let look = self.witness.look().await?;
        self.measured.windows.push(Window { phase, look });
        Ok(())
    }
}

struct UnderWay {
    raid: Arc<Raid>,
    task: JoinHandle<Going<Infallible>>,
}

impl UnderWay {
    fn start(scene: &Scene, raid: &Arc<Raid>) -> Self {
        Self { raid: Arc::clone(raid), task: tokio::spawn((scene.attack)(Arc::clone(raid))) }
    }

    /// Returns once the attack has reached its full strength, or cannot go on.
    async fn is_ready(&mut self) {
        let over = async {
            while !self.task.is_finished() {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = self.raid.ready.cancelled() => {}
            () = over => {}
        }
    }

    fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops the attack, closes every connection, and returns the trouble that had ended the attack before.
    async fn end(self) -> Option<String> {
        self.raid.tally.close();
        if self.task.is_finished() {
            let Err(trouble) = self.task.await.map_err(Trouble::from).flatten();
            self.raid.close().await;
            return Some(in_one_line(&trouble));
        }
        // The connections are closed first: dropping the attack would finish its open lanes.
        self.raid.close().await;
        self.task.abort();
        None
    }
}
