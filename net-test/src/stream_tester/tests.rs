//! Cases must fail against an acceptor that does not follow its script, and when they panic or hang.

use std::{sync::Arc, time::Duration};

use twolane::{Connection, Endpoint, XStream};

use super::{
    acceptor,
    board::Board,
    cases::{CASES, Case},
    player::{Part, play},
    report::Report,
    role::{PROTOCOL, Role, Script, Side, Step, Words},
    run::Runner,
    tester::{Fault, Tester},
};
use crate::{output::Output, signals::Signals};

/// A timeout that is longer than any step here takes.
const SOON: Duration = Duration::from_secs(30);

/// Replaces a step of the acceptor by a wrong one. In all other tests of the cases, the library is at both ends.
type Fake = fn(Step) -> Step;

macro_rules! faults {
    ($($case:literal, $what:literal: $step:pat $(if $condition:expr)? => $other:expr;)*) => {
        [$(($case, $what, (|step| match step { $step $(if $condition)? => $other, step => step }) as Fake)),*]
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptor_that_does_something_else_is_found_out() {
    let faults = faults! {
        "data-to-opener", "one byte too few": Step::Write { len, piece } => Step::Write { len: len - 1, piece };
        "data-to-opener", "one byte too many": Step::Write { len, piece } => Step::Write { len: len + 1, piece };
        "data-to-opener", "no end": Step::Finish => Step::DropSend;
        "data-to-acceptor", "an error in place of an end": Step::Finish => Step::Fail(Words::new(1));
        "half-close-by-opener", "other data": Step::Write { .. } => Step::Raw(vec![7; 1000]);
        "error-in-middle-by-acceptor", "an end in place of the error": Step::Fail(_) => Step::Finish;
        "error-while-idle-by-acceptor", "an abort in place of the error": Step::Fail(words) => Step::Abort(words);
        "error-at-start-by-acceptor", "another code": Step::Fail(words) => Step::Fail(words.nth(1));
        "error-after-last-by-acceptor", "another text": Step::Fail(words) =>
            Step::Fail(Words { text: words.text - 1, ..words });
        "error-lengths", "other details": Step::Fail(words) if words.details > 0 =>
            Step::Fail(Words { details: words.details - 1, ..words });
        "error-known-early-by-acceptor", "another offset": Step::Write { len, piece } =>
            Step::Write { len: len + 1, piece };
        "abort-by-acceptor", "an error in place of the abort": Step::Abort(words) => Step::Fail(words);
        "warnings-by-acceptor", "one warning too many": Step::Warn { words, count: 20 } =>
            Step::Warn { words, count: 21 };
        "reset-by-acceptor", "an end in place of the reset": Step::Hear(_) => Step::Finish;
        "lines", "one line too few": Step::WriteLines(count) => Step::WriteLines(count - 1);
    };
    for (name, what, fake) in faults {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        let (tester, other) = pair().await;
        let board = Arc::new(Board::default());
        let handler = Arc::clone(&board);
        other.serve(PROTOCOL, move |stream| faulty(stream, Arc::clone(&handler), fake)).unwrap();
        let found = tokio::time::timeout(SOON, (case.run)(tester)).await;
        assert!(matches!(found, Ok(Err(Fault::Mismatch(_)))), "{name}, {what}: {found:?}");

        // The same acceptor without the fault passes.
        let (tester, other) = pair().await;
        other.serve(PROTOCOL, move |stream| faulty(stream, Arc::clone(&board), |step| step)).unwrap();
        let found = tokio::time::timeout(SOON, (case.run)(tester)).await;
        assert!(matches!(found, Ok(Ok(_))), "{name} without a fault: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_that_fails_hangs_or_breaks_does_not_stop_the_others() {
    static ODD: [Case; 5] = [
        Case::new("fails", "", |_| Box::pin(async { Err(Fault::Broke("on purpose".into())) })),
        Case {
            bound: Duration::from_millis(50),
            bytes: Some(1),
            ..Case::new("hangs", "", |_| Box::pin(std::future::pending()))
        },
        Case::new("breaks", "", |t| {
            Box::pin(async move {
                assert!(t.number() == 0, "this panic is part of the test");
                Ok(String::new())
            })
        }),
        Case::new("loses", "", |t| {
            Box::pin(async move {
                let connection: Connection = t.endpoint.connect(&t.peer).await.unwrap();
                connection.close("on purpose");
                connection.closed().await;
                Ok(String::new())
            })
        }),
        Case::new("holds", "", |t| Box::pin(async move { t.still_there().await.map(|()| "a note".into()) })),
    ];
    let (tester, other) = pair().await;
    let served = acceptor::serve(&other).await.unwrap();
    let runner = Runner::new(tester, Report::new(Output::new(false, true), 0), Signals::listen().unwrap());
    let verdicts = runner.all(&ODD.each_ref()).await.unwrap();
    let errors: Vec<_> = verdicts.iter().map(|verdict| verdict.error.as_deref().unwrap_or_default()).collect();
    assert!(errors[0].contains("on purpose"), "{errors:?}");
    assert!(errors[1].contains("50ms"), "{errors:?}");
    assert!(errors[2].contains("part of the test"), "{errors:?}");
    assert!(errors[3].contains("connection was lost"), "{errors:?}");
    // The last case finds no connection and makes one. This must not count as its failure.
    assert_eq!(verdicts.iter().map(|verdict| verdict.ok).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert_eq!(verdicts[4].note.as_deref(), Some("a note"));
    assert!(served.streams() >= 2, "{}", served.streams());
}

async fn pair() -> (Arc<Tester>, Endpoint) {
    let opener = Endpoint::builder().offline().limits(Tester::limits(SOON)).bind().await.unwrap();
    let other = Endpoint::builder().offline().limits(acceptor::limits()).bind().await.unwrap();
    (Arc::new(Tester::new(opener, other.ticket())), other)
}

async fn faulty(mut stream: XStream, board: Arc<Board>, fake: Fake) {
    let peer = stream.peer();
    match Role::from_bytes(stream.metadata()).unwrap() {
        Role::Play(Script { id, steps, .. }) => {
            let meter = std::sync::atomic::AtomicU64::new(0);
            let part = Part { seed: Script::seed(id, Side::Acceptor), early: 0, within: SOON, meter: &meter };
            let steps: Vec<_> = steps.into_iter().map(fake).collect();
            board.keep((peer, id), Box::pin(play(stream, &steps, part)).await);
        }
        Role::Report { id } => {
            let seen = board.take((peer, id), SOON).await.unwrap();
            stream.send_json(&seen).await.unwrap();
            stream.finish().unwrap();
        }
    }
}
