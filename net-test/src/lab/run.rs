//! Plays the cases, some at a time, and judges them.

use std::{
    collections::BTreeMap,
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    cases::{Case, named},
    fault::Fault,
    figures::Figures,
    link, needs,
    report::{Event, Report, Verdict},
};
use crate::{cli::Problem, exit::Exit, signals::Signals, stream_tester::report::milliseconds};

/// How many cases are played at a time. A case moves 0.5 MB/s and mostly waits; with six of them two processors are busy to a
/// third, and stalls of the machine are not taken for stalls of the network.
const AT_A_TIME: usize = 6;

/// Plays these cases, and those that they are paired with.
pub(super) async fn ladder(
    mut cases: Vec<&'static Case>,
    bound: Duration,
    report: Report,
    signals: &Signals,
) -> Result<Exit, Problem> {
    for case in cases.clone() {
        if let Some(pair) = case.pair.and_then(named)
            && !cases.iter().any(|case| case.name == pair.name)
        {
            cases.push(pair);
        }
    }
    let begun = Instant::now();
    report.head();
    let missing = needs::probe().await.err();
    let played = tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
        played = play(cases, bound, report, missing) => played,
    };
    let count = |is: fn(&Verdict) -> bool| played.iter().filter(|verdict| is(verdict)).count();
    let passed = count(|verdict| verdict.ok);
    let skipped = count(|verdict| verdict.skipped);
    let failed = played.len() - passed - skipped;
    report.output.say(format_args!(
        "{passed} held, {failed} failed, {skipped} skipped, in {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
    report.event(Event::Summary { passed, failed, skipped, ms: milliseconds(begun.elapsed()) });
    Ok(exit(failed, skipped))
}

/// A machine on which nothing can be played.
pub(super) fn nothing(cases: &[&'static Case], report: Report, why: &str) -> Exit {
    report.head();
    for case in cases {
        report.verdict(&skipped(case, why));
    }
    let skipped = cases.len();
    report.output.say(format_args!("0 held, 0 failed, {skipped} skipped: {why}"));
    report.event(Event::Summary { passed: 0, failed: 0, skipped, ms: 0 });
    exit(0, skipped)
}

/// In CI a case that is skipped has failed: nobody looks at what is missing there.
fn exit(failed: usize, skipped: usize) -> Exit {
    let strict = env::var_os("CI").is_some_and(|ci| ci == "true");
    if failed > 0 || (strict && skipped > 0) { Exit::Failure } else { Exit::Done }
}

async fn play(cases: Vec<&'static Case>, bound: Duration, report: Report, missing: Option<String>) -> Vec<Verdict> {
    let links = link::available().err();
    let mut verdicts = BTreeMap::new();
    let (alone, together): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.alone);
    let why = |case: &Case| missing.clone().or_else(|| links.clone().filter(|_| case.links));
    // What measures the lab's own times is not disturbed by others.
    for case in alone {
        let verdict = match why(case) {
            Some(why) => skipped(case, &why),
            None => one(case, bound).await,
        };
        report.verdict(&verdict);
        verdicts.insert(case.name, verdict);
    }
    let (permits, mut running) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    let mut waiting = Vec::new();
    for case in together {
        if let Some(why) = why(case) {
            let verdict = skipped(case, &why);
            report.verdict(&verdict);
            verdicts.insert(case.name, verdict);
            continue;
        }
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (case, one(case, bound).await)
        });
    }
    while let Some(done) = running.join_next().await {
        let Ok((case, verdict)) = done else { continue };
        if case.pair.is_some() && verdict.ok {
            // Judged when its pair is known.
            waiting.push((case, verdict));
        } else {
            report.verdict(&verdict);
            verdicts.insert(case.name, verdict);
        }
    }
    for (case, mut verdict) in waiting {
        let pair = case.pair.unwrap_or_default();
        if !verdicts.get(pair).is_some_and(|pair| pair.ok) {
            verdict.ok = false;
            verdict.why = Some(format!("proves nothing: {pair} did not go direct on the same harness"));
        }
        report.verdict(&verdict);
        verdicts.insert(case.name, verdict);
    }
    verdicts.into_values().collect()
}

async fn one(case: &'static Case, bound: Duration) -> Verdict {
    let (begun, mut figures) = (Instant::now(), Figures::default());
    let result = match timeout(bound, (case.run)(&mut figures)).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Late { what: "the end of the case".into(), after: bound }),
    };
    Verdict {
        name: case.name.into(),
        ok: result.is_ok(),
        skipped: false,
        figures,
        ms: milliseconds(begun.elapsed()),
        why: result.err().map(|fault| fault.to_string()),
    }
}

fn skipped(case: &Case, why: &str) -> Verdict {
    Verdict {
        name: case.name.into(),
        ok: false,
        skipped: true,
        figures: Figures::default(),
        ms: 0,
        why: Some(why.to_owned()),
    }
}
