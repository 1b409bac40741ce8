//! The demo, which checks more than this does.

use twolane_cli::output::Event;

use crate::support::{DEMO, Program, bytes, command, file};

#[test]
fn the_demo_holds_for_generated_data_and_for_a_file() {
    let (_guard, path, data) = file("data", 3_000_000);
    let expected = blake3::hash(&bytes(data.len())).to_hex().to_string();
    for (args, hash, len) in
        [(&["--size", "8MiB"][..], None, 8 << 20), (&["--file", path.to_str().unwrap()], Some(expected), 3_000_000)]
    {
        let ended = Program::start(&mut command(DEMO, args)).ended();
        let Some(Event::Summary(summary)) = ended.events.last() else {
            panic!("the last line is no summary: {:#?} {}", ended.events, ended.stderr)
        };
        assert_eq!(ended.status.code(), Some(0), "{summary:#?}");
        assert!(summary.ok && summary.failures.is_empty());
        assert_eq!(summary.bytes, len);
        assert!(hash.is_none_or(|hash| summary.blake3 == Some(hash)));
        assert_eq!(summary.paths, ["relay", "direct"]);
        let lane = summary.error_lane.as_ref().unwrap();
        assert_eq!((lane.code, lane.offset), (507, 15 << 19));
        assert!(lane.blocked_ms > 0.0 && lane.sent > lane.offset);
    }
}

#[test]
fn a_demo_that_is_interrupted_ends_with_130_and_a_summary() {
    let mut demo = Program::start(&mut command(DEMO, &["--size", "8MiB"]));
    demo.wait_for(|event| matches!(event, Event::Path { .. }).then_some(()));
    demo.signal("-INT");
    let ended = demo.ended();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
    assert!(matches!(ended.events.last(), Some(Event::Summary(summary)) if !summary.ok));
}
