//! One scene in a process of its own: the endpoint under attack and the honest peer, and what is measured of them.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use twolane::Limits;

use super::{attacker::Attacker, honest::Honest, judge::Measured, memory::Watch, scenes::Scene, victim::Victim};
use crate::{cli::Problem, exit::Exit};

/// Turns at first: each is a while without an attack, and one with.
const TURNS: u32 = 4;
/// Windows in each while. The median of twelve is spoilt by no single pause of the machine.
const WINDOWS: u32 = 3;
/// Before the first window: what is set up once for a connection, and for the memory of a process, is by then.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long the last attack may go on until everything has been seen that is to be. Timeouts in scenes are 1 s.
const UNTIL_SEEN: Duration = Duration::from_secs(15);
/// How often to look: counters can be asked only.
const LOOK: Duration = Duration::from_millis(50);
/// How long the ends may take: they close whatever is left.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Plays a scene, with windows of `seconds` in all.
pub(super) async fn play(scene: &'static Scene, seconds: f64) -> Result<Measured, Problem> {
    let window = Duration::try_from_secs_f64(seconds / f64::from(2 * TURNS * WINDOWS))
        .ok()
        .filter(|window| !window.is_zero())
        .ok_or_else(|| Problem::new(Exit::Usage, "--seconds takes a number above 0"))?;
    let mut victim = Victim::start((scene.limits)(Limits::default())).await?;
    let honest = Honest::start(victim.endpoint.ticket()).await?;
    if scene.bait {
        victim.bait(honest.id());
    }
    let mut attacker = Attacker::start(scene, &victim.endpoint.ticket())?;
    honest.rate(WARM_UP).await;
    let since = victim.endpoint.peer(&honest.id()).map(|info| info.since);
    let memory = Watch::start();

    let mut measured = Measured::default();
    for turn in 0..2 * TURNS {
        // One after the other, so that what else the machine does falls on both alike.
        watch(&honest, window, &mut measured.undisturbed).await;
        let answer = attacker.attack().await?;
        watch(&honest, window, &mut measured.attacked).await;
        note(&mut measured, answer.broke);
        let enough = turn + 1 >= TURNS && measured.honest_share().is_some_and(|share| share >= scene.share);
        // A share under its bound is measured for up to twice as long before it is believed; all windows count.
        let last = enough || turn + 1 == 2 * TURNS || measured.broke.is_some();
        if last {
            until_seen(scene, &mut attacker, &victim, &mut measured).await?;
        }
        let answer = attacker.rest().await?;
        note(&mut measured, answer.broke);
        measured.seen = answer.seen;
        if last {
            break;
        }
    }
    // And it goes on afterwards.
    watch(&honest, window, &mut measured.undisturbed).await;
    measured.seen.extend(victim.counts());
    (measured.rss_before, measured.rss_peak) = memory.growth();
    (measured.failed_requests, measured.first_failure) = honest.failures();
    let info = victim.endpoint.peer(&honest.id());
    let same = info.is_some_and(|info| Some(info.since) == since && info.connections == 1);
    measured.reconnected = !(same && honest.is_undisturbed());
    drop(attacker);
    honest.end(SHUTDOWN).await;
    victim.endpoint.shutdown(SHUTDOWN).await;
    Ok(measured)
}

async fn watch(honest: &Honest, window: Duration, rates: &mut Vec<f64>) {
    for _ in 0..WINDOWS {
        rates.push(honest.rate(window).await);
    }
}

/// Waits for what has to be seen. What is not by then is missing.
async fn until_seen(
    scene: &Scene,
    attacker: &mut Attacker,
    victim: &Victim,
    measured: &mut Measured,
) -> Result<(), Problem> {
    let started = Instant::now();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while started.elapsed() < UNTIL_SEEN && measured.broke.is_none() {
        let answer = attacker.report().await?;
        note(measured, answer.broke);
        measured.seen = answer.seen;
        measured.seen.extend(victim.counts());
        if measured.missing(scene).is_empty() {
            break;
        }
        look.tick().await;
    }
    Ok(())
}

/// The first trouble counts.
fn note(measured: &mut Measured, broke: Option<String>) {
    measured.broke = measured.broke.take().or(broke);
}
