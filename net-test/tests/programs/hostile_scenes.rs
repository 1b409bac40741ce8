//! `stream-tester hostile`: a few of its scenes, and that what it says follows from what it measured. (That a bad
//! measurement fails is tested beside the judge, in `stream_tester/hostile/judge.rs`.)

use std::process::{Command, Output};

use twolane_cli::output::{self, SCHEMA};
use twolane_test::stream_tester::hostile::{
    report::{Event, Line, Verdict},
    scenes::SCENES,
};

const STREAM_TESTER: &str = env!("CARGO_BIN_EXE_stream-tester");

/// One for each kind of defence: an answer, a reset, a timeout, and the end of the connection.
const SHORT: [&str; 4] = ["oversize-header", "unknown-kinds", "slow-headers", "second-hello"];

#[test]
fn scenes_see_their_defence_and_an_honest_peer_that_is_not_disturbed() {
    let ended = run(&[&["--json", "--seconds", "1", "--only"], &SHORT[..]].concat());
    let mut events: Vec<_> = std::str::from_utf8(&ended.stdout).unwrap().lines().map(event).collect();
    let Some(Event::Summary { passed, failed, .. }) = events.pop() else {
        panic!("the last line is no summary: {events:#?}")
    };
    let verdicts: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            Event::Scene(verdict) => verdict,
            other => panic!("{other:?} in place of a scene"),
        })
        .collect();
    let mut names: Vec<_> = verdicts.iter().map(|verdict| verdict.name.as_str()).collect();
    names.sort_unstable_by_key(|name| SHORT.iter().position(|short| short == name));
    assert_eq!(names, SHORT);
    verdicts.iter().for_each(holds);
    assert_eq!((passed, failed), (count(&verdicts, true), count(&verdicts, false)));
    assert_eq!(ended.status.code(), Some(i32::from(failed > 0)));
}

/// Everything but the share, of which a debug build among other tests says nothing; that it was compared is seen.
#[track_caller]
fn holds(verdict: &Verdict) {
    for (name, least) in &verdict.needed {
        assert!(verdict.seen.get(name) >= Some(least), "{verdict:#?}");
    }
    assert!(!verdict.needed.is_empty(), "{verdict:#?}");
    assert_eq!(verdict.failed_requests, 0, "{verdict:#?}");
    assert!(verdict.peak_rss_mb > 0.0 && verdict.peak_rss_mb <= verdict.rss_bound_mb, "{verdict:#?}");
    assert!(verdict.undisturbed.len() > verdict.attacked.len() && verdict.attacked.len() >= 4, "{verdict:#?}");
    let share = verdict.honest_share.unwrap();
    assert!(share > 0.0, "{verdict:#?}");
    assert_eq!(verdict.ok, share >= verdict.share_bound, "{verdict:#?}");
    assert_eq!(verdict.ok, verdict.faults.is_empty(), "{verdict:#?}");
    assert!(verdict.faults.iter().all(|fault| fault.contains("honest share")), "{verdict:#?}");
}

fn count(verdicts: &[Verdict], ok: bool) -> usize {
    verdicts.iter().filter(|verdict| verdict.ok == ok).count()
}

#[test]
fn the_list_has_every_scene_and_its_sentence() {
    let ended = run(&["--list", "--json"]);
    let listed: Vec<_> = std::str::from_utf8(&ended.stdout)
        .unwrap()
        .lines()
        .map(|line| match event(line) {
            Event::Listed { name, sentence } => (name, sentence),
            other => panic!("{other:?} in a list"),
        })
        .collect();
    let expected: Vec<_> = SCENES.iter().map(|scene| (scene.name.to_owned(), scene.sentence.to_owned())).collect();
    assert_eq!(listed, expected);
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    for args in [&["--only", "no-such-scene"][..], &["--seconds", "0"], &["--seconds", "-1"], &["--attack", "churn"]] {
        let ended = run(&[&["--json"], args].concat());
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
        match serde_json::from_slice::<output::Line>(&ended.stdout).map(|line| line.event) {
            Ok(output::Event::Error(failure)) => assert_eq!(failure.exit_code, 2),
            other => panic!("{args:?}: {other:?}"),
        }
    }
}

#[test]
fn help_says_what_is_measured_and_in_which_process() {
    let text = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for words in ["Examples:", "Exit codes:", "the hostile peers are in another one"] {
        assert!(text.replace('\n', " ").contains(words), "{text}");
    }
    assert!(!text.contains("--attack") && !text.contains("--scene"), "{text}");
}

fn run(args: &[&str]) -> Output {
    Command::new(STREAM_TESTER).arg("hostile").args(args).env_remove("RUST_LOG").output().unwrap()
}

fn event(line: &str) -> Event {
    let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    assert!(line.schema == SCHEMA && line.ts > 0);
    line.event
}
