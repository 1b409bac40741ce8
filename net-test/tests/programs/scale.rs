//! Small runs of `leaks` and `scale` in a debug build: a few cycles and a few endpoints.

use twolane_test::stream_tester::{chaos::leaks, scale::crowd};

use crate::{chaos::summary, failed, ran};

#[test]
fn fifty_connections_with_everything_that_streams_do_leave_nothing_behind() {
    let ended = ran("leaks", &["--cycles", "50"]);
    let summary: leaks::Summary = summary(&ended);
    assert!(summary.ok && summary.failures.is_empty(), "{summary:#?}");
    assert_eq!((ended.status.code(), summary.cycles, summary.restarts), (Some(0), 50, 2));
    assert!(summary.heap.iter().all(|heap| *heap > 100_000), "the heap is counted: {summary:#?}");
}

#[test]
fn twenty_endpoints_with_four_peers_each_start_talk_and_end() {
    let ended = ran("scale", &["--endpoints", "20"]);
    let summary: crowd::Summary = summary(&ended);
    assert!(summary.ok && summary.failures.is_empty(), "{summary:#?}");
    assert_eq!((ended.status.code(), summary.endpoints, summary.peers), (Some(0), 20, 4));
    assert!(summary.heap_per_endpoint > 1_000 && summary.heap_per_peer > 1_000, "{summary:#?}");
    // With all endpoints connected there are more tasks than before. Otherwise nothing was measured.
    assert!(summary.tasks[1] > summary.tasks[0] + 20, "{summary:#?}");
}

#[test]
fn a_crowd_that_makes_no_sense_is_2() {
    for args in
        [&["--endpoints", "2"][..], &["--peers", "3"], &["--endpoints", "10", "--peers", "10"], &["--peers", "0"]]
    {
        failed(&ran("scale", args), 2);
    }
    failed(&ran("leaks", &["--cycles", "1"]), 2);
}
