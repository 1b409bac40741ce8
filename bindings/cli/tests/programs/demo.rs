//! The demo, which makes most checks itself.

use twolane_cli::output::Event;

use crate::support::{DEMO, Program, bytes, command, file};

#[test]
fn the_demo_holds_for_generated_data_and_for_files_long_and_short() {
    let (_guard, long, data) = file("long", 40 << 20);
    let (_guard, short, _) = file("short", 10);
    let hash = blake3::hash(&data).to_hex().to_string();
    let cases = [
        (&["--size", "40MiB"][..], None, 40 << 20),
        (&["--file", long.to_str().unwrap()], Some(hash), 40 << 20),
        (&["--file", short.to_str().unwrap()], Some(blake3::hash(&bytes(10)).to_hex().to_string()), 10),
    ];
    for (args, hash, len) in cases {
        let ended = Program::start(&mut command(DEMO, args)).ended();
        let Some(Event::Summary(summary)) = ended.events.last() else {
            panic!("the last line is no summary: {:#?} {}", ended.events, ended.stderr)
        };
        assert_eq!(ended.status.code(), Some(0), "{summary:#?}");
        assert!(summary.ok && summary.failures.is_empty());
        assert_eq!(summary.bytes, len);
        assert!(hash.is_none_or(|hash| summary.blake3 == Some(hash)));
        // The transfer of a short file can end before there is a direct path.
        let paths = summary.paths.iter().map(String::as_str).collect::<Vec<_>>();
        assert!(paths == ["relay", "direct"] || (len == 10 && paths == ["relay"]), "{paths:?}");
        let lane = summary.error_lane.as_ref().unwrap();
        assert_eq!((lane.code, lane.offset), (507, 15 << 19));
        assert!(lane.blocked_ms >= 150.0 && lane.sent > lane.offset, "{lane:?}");
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
