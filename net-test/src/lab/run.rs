//! Plays the cases, several at a time, and judges them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    bounds,
    cases::{Case, named},
    fault::Fault,
    figures::Figures,
    lag::Lag,
    needs,
    report::{Report, Tally, Verdict},
};
use crate::{cli::Problem, exit::Exit, report::milliseconds, signals::Signals};

/// The number of cases that are played at a time. A case moves 0.5 MB/s and mostly waits. Six cases use a third of
/// two processors, so a stall of the machine is not taken for a stall of the network.
const AT_A_TIME: usize = 6;
/// A case is void if the lag during it was longer than this. Nearly all bounds are longer.
const BUSY: Duration = Duration::from_millis(200);

/// Plays these cases and their pairs.
pub async fn ladder(
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
    if let Some(why) = missing {
        return Ok(nothing(&cases, report, &why));
    }
    let lag = Arc::new(Lag::watch());
    let played = tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
        played = play(&cases, bound, report, &lag) => played,
    };
    let exit = tally(&played).end(report.output, begun.elapsed());
    complete(&cases, &played).map_err(|lost| Problem::new(Exit::Failure, lost))?;
    Ok(exit)
}

fn tally(verdicts: &[Verdict]) -> Tally {
    Tally::of(verdicts.iter().map(Verdict::outcome))
}

/// Reports all cases as skipped, on a machine that cannot play any.
pub fn nothing(cases: &[&'static Case], report: Report, why: &str) -> Exit {
    let played: Vec<_> = cases.iter().map(|case| skipped(case, why)).collect();
    for verdict in &played {
        report.verdict(verdict);
    }
    tally(&played).end(report.output, Duration::ZERO)
}

/// Checks that every case that was asked for has exactly one verdict.
fn complete(cases: &[&'static Case], played: &[Verdict]) -> Result<(), String> {
    let mut asked: Vec<_> = cases.iter().map(|case| case.name).collect();
    let mut judged: Vec<_> = played.iter().map(|verdict| verdict.name.as_str()).collect();
    asked.sort_unstable();
    judged.sort_unstable();
    if asked == judged { Ok(()) } else { Err(format!("asked for were {asked:?}, and judged {judged:?}")) }
}

/// Plays the cases, and reports each verdict when it is final.
async fn play(cases: &[&'static Case], bound: Duration, report: Report, lag: &Arc<Lag>) -> Vec<Verdict> {
    let (alone, together): (Vec<_>, Vec<_>) = cases.iter().copied().partition(|case| case.alone);
    let (mut verdicts, mut waiting) = (Vec::new(), Vec::new());
    let mut take = |case: &'static Case, verdict: Verdict| {
        if verdict.void || (case.pair.is_some() && verdict.ok) {
            waiting.push((case, verdict));
        } else {
            report.verdict(&verdict);
            verdicts.push(verdict);
        }
    };
    // These cases measure times that other cases would disturb.
    for case in alone {
        take(case, one(case, bound, lag).await);
    }
    let (permits, mut running) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    for case in together {
        let (permits, lag) = (Arc::clone(&permits), Arc::clone(lag));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (case, one(case, bound, &lag).await)
        });
    }
    while let Some(done) = running.join_next().await {
        // `one` does not panic. If a verdict is lost nevertheless, `complete` notices.
        if let Ok((case, verdict)) = done {
            take(case, verdict);
        }
    }
    // Void cases are played once more, one at a time.
    for (case, verdict) in &mut waiting {
        if verdict.void {
            *verdict = one(case, bound, lag).await;
        }
    }
    // A case that is a pair has no pair itself, so its verdict is final first.
    waiting.sort_by_key(|(case, _)| case.pair.is_some());
    for (case, mut verdict) in waiting {
        if let Some(pair) = case.pair.filter(|_| verdict.ok) {
            let pair_verdict = verdicts.iter().find(|verdict| verdict.name == pair);
            if !pair_verdict.is_some_and(|pair| pair.ok) {
                verdict.ok = false;
                verdict.void = pair_verdict.is_some_and(|pair| pair.void);
                verdict.why = Some(format!("proves nothing: {pair} did not go direct on the same harness"));
            }
        }
        report.verdict(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

/// Plays a case in its own task. A panic becomes a fault, and the end of the task ends the world of the case.
async fn one(case: &'static Case, bound: Duration, lag: &Lag) -> Verdict {
    let begun = Instant::now();
    let bound = bound.max(Duration::from_secs(case.seconds));
    let playing = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut figures = Figures::default();
        let played = match timeout(bound, (case.run)(&mut figures)).await {
            Ok(played) => played,
            Err(_) => Err(Fault::Late { what: "the end of the case".into(), after: bound }),
        };
        (figures, played)
    }));
    let (mut figures, played) = playing.await.unwrap_or_else(|error| (Figures::default(), Err(panicked(error))));
    let played = played.and_then(|()| bounds::check(case.name, &figures));
    let worst = lag.worst_since(begun);
    figures.lag_ms = Some(worst.as_micros() as f64 / 1e3);
    let void = worst > BUSY && played.as_ref().err().is_none_or(Fault::may_be_late);
    let why = played.err().map(|fault| fault.to_string());
    let busy = void.then(|| format!("the machine stood still for {worst:?}"));
    Verdict {
        name: case.name.into(),
        ok: why.is_none() && !void,
        skipped: false,
        void,
        figures,
        ms: milliseconds(begun.elapsed()),
        why: match (busy, why) {
            (Some(busy), Some(why)) => Some(format!("{busy}; {why}")),
            (busy, why) => busy.or(why),
        },
    }
}

fn panicked(error: JoinError) -> Fault {
    let Ok(panic) = error.try_into_panic() else { return Fault::Panicked("it was aborted".into()) };
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    Fault::Panicked(words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
}

fn skipped(case: &Case, why: &str) -> Verdict {
    Verdict {
        name: case.name.into(),
        ok: false,
        skipped: true,
        void: false,
        figures: Figures::default(),
        ms: 0,
        why: Some(why.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use super::*;
    use crate::output::Output;

    const SECOND: Duration = Duration::from_secs(1);

    macro_rules! fake {
        ($name:literal, $run:expr) => {{
            const CASE: &Case = &Case::of($name, "a case for the tests", $run);
            CASE
        }};
    }

    fn holds() -> &'static Case {
        fake!("holds", |_| Box::pin(ready(Ok(()))))
    }

    fn fails() -> &'static Case {
        fake!("fails", |_| Box::pin(ready(Err(Fault::Not("it does not hold".into())))))
    }

    fn panics() -> &'static Case {
        fake!("panics", |_| Box::pin(async { panic!("at the {}", "disco") }))
    }

    fn paired(pair: &'static str) -> &'static Case {
        Box::leak(Box::new(Case { pair: Some(pair), name: "paired", ..*holds() }))
    }

    async fn played(cases: &[&'static Case], lag: Lag) -> Vec<Verdict> {
        play(cases, 50 * Duration::from_millis(1), Report::new(Output::new(false, true), 9), &Arc::new(lag)).await
    }

    fn find<'a>(verdicts: &'a [Verdict], name: &str) -> &'a Verdict {
        verdicts.iter().find(|verdict| verdict.name == name).expect(name)
    }

    #[tokio::test]
    async fn a_case_that_panics_has_failed_and_the_others_are_played() {
        let cases = [panics(), holds(), fails()];
        let verdicts = played(&cases, Lag::of(&[])).await;
        assert_eq!(complete(&cases, &verdicts), Ok(()));
        let tally = tally(&verdicts);
        assert_eq!(tally, Tally { passed: 1, failed: 2, ..Tally::default() });
        assert_eq!(tally.judge(false), Exit::Failure);
        let why = find(&verdicts, "panics").why.as_deref();
        assert_eq!(why, Some("the case has panicked: at the disco"));
    }

    #[tokio::test]
    async fn a_case_that_does_not_end_is_late_and_what_it_holds_is_dropped() {
        static HELD: AtomicU32 = AtomicU32::new(0);
        struct Held;
        impl Drop for Held {
            fn drop(&mut self) {
                HELD.fetch_sub(1, Relaxed);
            }
        }
        let endless = fake!("endless", |_| Box::pin(async {
            HELD.fetch_add(1, Relaxed);
            let _held = Held;
            pending().await
        }));
        let verdicts = played(&[endless], Lag::of(&[])).await;
        assert!(!verdicts[0].ok && verdicts[0].why.as_deref().unwrap().contains("within 50ms"), "{verdicts:?}");
        assert_eq!(HELD.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_case_proves_nothing_without_its_pair() {
        for (pair, other, ok) in [("holds", holds(), true), ("fails", fails(), false), ("panics", panics(), false)] {
            let verdicts = played(&[paired(pair), other], Lag::of(&[])).await;
            assert_eq!(find(&verdicts, "paired").ok, ok, "{pair}");
            assert_eq!(verdicts.len(), 2);
        }
    }

    #[tokio::test]
    async fn what_a_busy_machine_has_disturbed_is_played_again_alone() {
        static PLAYED: AtomicU32 = AtomicU32::new(0);
        let counted = fake!("counted", |_| Box::pin(async {
            PLAYED.fetch_add(1, Relaxed);
            Ok(())
        }));
        // The lag lasts, so the second try is disturbed as well.
        let later = Instant::now() + 60 * SECOND;
        let verdicts = played(&[counted, paired("counted")], Lag::of(&[(later, BUSY * 2)])).await;
        assert_eq!(PLAYED.load(Relaxed), 2);
        let tally = tally(&verdicts);
        assert_eq!(tally, Tally { void: 2, ..Tally::default() });
        assert_eq!((tally.judge(false), tally.judge(true)), (Exit::Done, Exit::Failure));
    }

    #[tokio::test]
    async fn no_busy_machine_excuses_a_panic_or_wrong_data() {
        let wrong = fake!("wrong", |_| Box::pin(ready(Err(Fault::Wrong("what arrived is not what was sent".into())))));
        let later = Instant::now() + 60 * SECOND;
        let verdicts = played(&[wrong, panics()], Lag::of(&[(later, BUSY * 2)])).await;
        assert_eq!(tally(&verdicts), Tally { failed: 2, ..Tally::default() });
    }

    #[test]
    fn a_verdict_that_is_missing_or_there_twice_is_noticed() {
        let verdict = |case| skipped(case, "no reason");
        let cases = [holds(), fails()];
        assert!(complete(&cases, &[verdict(holds()), verdict(fails())]).is_ok());
        assert!(complete(&cases, &[verdict(holds())]).unwrap_err().contains("fails"));
        assert!(complete(&cases, &[verdict(holds()), verdict(holds())]).is_err());
    }
}
