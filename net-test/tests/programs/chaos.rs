//! A small chaos run: few places and few seconds, in a debug build. `stream_tester/chaos/tests.rs` tests that its
//! model can fail.

use std::process::Output;

use serde::de::DeserializeOwned;
use twolane_test::stream_tester::chaos::{
    report::Summary,
    tally::{Kind, Outcomes},
};

use crate::{failed, lines, ran};

/// Returns the last line of a run, which is its summary.
#[track_caller]
pub(crate) fn summary<T: DeserializeOwned>(ended: &Output) -> T {
    let line = lines(ended).pop().expect("a summary");
    assert_eq!(line["event"], "summary", "{line}");
    serde_json::from_value(line).unwrap()
}

#[test]
fn a_few_seconds_of_chaos_hold_and_show_every_action() {
    let ended = ran("chaos", &["--seed", "7", "--seconds", "6", "--endpoints", "6", "--rate", "60"]);
    let summary: Summary = summary(&ended);
    assert!(summary.ok && summary.violations.is_empty(), "{summary:#?}");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!((summary.seed, summary.seconds, summary.endpoints), (7, 6, 6));
    for (action, floor) in &summary.floors {
        let done = &summary.actions[action];
        assert!(done >= floor, "{action:?}: {done} of {floor}");
    }
    // On a machine that is busy with other tests, less can be expected. Otherwise every action except one has a
    // floor, and each kind is judged.
    let busy = summary.waited_share > 0.25;
    let floors = summary.floors.values().filter(|floor| **floor > 0).count();
    let judged = summary.outcomes.values().all(|outcomes| *outcomes != Outcomes::default());
    assert!(busy || (floors >= summary.floors.len() - 1 && judged), "{summary:#?}");
    assert!(summary.bytes > 0, "{summary:#?}");
    for side in [Kind::Opener, Kind::Acceptor] {
        let Outcomes { strictly, forgiven, .. } = summary.outcomes[&side];
        assert!(strictly > forgiven, "{summary:#?}");
    }
    assert!(summary.lives > summary.endpoints as u64);
}

#[test]
fn a_chaos_that_makes_no_sense_is_2() {
    for args in [&["--endpoints", "1"][..], &["--seconds", "0"], &["--rate", "0"], &["--seed", "x"]] {
        failed(&ran("chaos", args), 2);
    }
}
