//! Warnings.

use std::sync::Arc;

use twolane::Limits;

use super::Fault;
use crate::stream_tester::{
    check,
    role::{
        Side::{self, Acceptor, Opener},
        Step, Words,
    },
    seen::{Ending, Heard},
    tester::Tester,
};

pub(super) async fn in_order(t: Arc<Tester>, side: Side) -> Result<String, Fault> {
    const FIRST: Words = Words { code: 100, text: 30, details: 50 };
    const LATER: Words = Words { code: 200, text: 0, details: 0 };
    const LAST: Words = Words { code: 300, text: 10, details: 0 };
    const ANSWER: Words = Words { code: 400, text: 20, details: 5 };
    const COUNT: u32 = 20;
    let active = vec![
        Step::Warn { words: FIRST, count: COUNT },
        Step::write(1000),
        Step::warn(LATER),
        Step::Finish,
        Step::warn(LAST),
        Step::ReadEnd,
        Step::Hear(1),
    ];
    let passive = vec![Step::warn(ANSWER), Step::ReadEnd, Step::Hear(COUNT + 2), Step::write(500), Step::Finish];
    let played = t.play(side, active, passive).await?;
    let mut expected: Vec<_> = (0..COUNT).map(|n| Heard::new("warning", FIRST.nth(n).told(0))).collect();
    expected.push(Heard::new("warning", LATER.told(1000)));
    expected.push(Heard::new("warning", LAST.told(1000)));
    check::heard("the passive side", &played.passive.reports, &expected)?;
    check::heard("the active side", &played.active.reports, &[Heard::new("warning", ANSWER.told(0))])?;
    // The warnings ended nothing.
    played.passive_read(1000, &Ending::End)?;
    played.active_read(500, &Ending::End)?;
    played.wrote(&Ending::End, &Ending::End)?;
    check::equal("what the active side said", &played.active.said, &Ending::Open)?;
    Ok(format!("{} there, 1 back", expected.len()))
}

pub(super) async fn unread(t: Arc<Tester>) -> Result<String, Fault> {
    const WARNINGS: u32 = 500;
    const FIRST: Words = Words { code: 1000, text: 1000, details: 0 };
    const FATAL: Words = Words { code: 1, text: 5, details: 0 };
    // Both programs use the default limit.
    let kept = u32::try_from(Limits::default().warnings).unwrap_or(u32::MAX);
    let missed = WARNINGS + 1 - kept;
    for side in [Opener, Acceptor] {
        let active = vec![Step::Warn { words: FIRST, count: WARNINGS }, Step::Fail(FATAL)];
        let played = t.play(side, active, vec![Step::ReadEnd]).await?;
        played.passive_read(0, &Ending::Failed(FATAL.told(0)))?;
        let mut expected: Vec<_> = (missed..WARNINGS).map(|n| Heard::new("warning", FIRST.nth(n).told(0))).collect();
        expected.push(Heard::new("fatal", FATAL.told(0)));
        if let Some(first) = expected.first_mut() {
            first.missed = missed.into();
        }
        check::heard("the passive side", &played.passive.reports, &expected)?;
    }
    Ok(format!("{missed} of {} dropped and counted", WARNINGS + 1))
}
