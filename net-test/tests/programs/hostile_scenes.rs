//! Runs some scenes of `stream-tester hostile`, and checks the output. `stream_tester/hostile/judge.rs` tests that
//! a bad measurement fails.

use serde_json::Value;

use crate::{failed, lines, ran};

/// One scene for each kind of defence: an answer, a reset, a timeout, and the end of the connection.
const SHORT: [&str; 4] = ["slow-headers", "oversize-header", "unknown-kinds", "second-hello"];

#[test]
fn scenes_see_their_defence_and_honest_peers_that_are_not_disturbed() {
    let ended = ran("hostile", &[&["--seconds", "1", "--only"], &SHORT[..]].concat());
    let mut events = lines(&ended);
    let summary = events.pop().unwrap();
    assert_eq!(summary["event"], "summary", "{summary}");
    let names: Vec<_> = events.iter().map(|scene| scene["name"].as_str().unwrap()).collect();
    assert_eq!(names, SHORT);
    for scene in &events {
        assert_eq!(scene["event"], "scene");
        // If the machine is late because of other tests, the scene says so.
        assert!(scene["ok"] == true || scene["void"].is_string(), "{scene}");
        assert_eq!(scene["faults"], Value::Array(Vec::new()), "{scene}");
        for (name, least) in scene["needed"].as_object().unwrap() {
            assert!(scene["seen"][name].as_u64() >= least.as_u64(), "{scene}");
        }
        assert!(scene["rates"].as_array().unwrap().iter().all(|rates| rates.as_array().unwrap().len() > 4), "{scene}");
    }
    let held = events.iter().filter(|scene| scene["ok"] == true).count();
    assert_eq!((&summary["passed"], &summary["failed"]), (&held.into(), &0.into()), "{summary}");
    assert_eq!(summary["void"], SHORT.len() - held);
    assert_eq!(ended.status.code(), Some(i32::from(held < SHORT.len())));
}

#[test]
fn the_list_has_every_scene_and_its_sentence() {
    let listed = lines(&ran("hostile", &["--list"]));
    assert!(listed.len() >= 31, "{} scenes", listed.len());
    for scene in &listed {
        assert!(scene["event"] == "listed" && !scene["sentence"].as_str().unwrap().is_empty(), "{scene}");
    }
    assert!(SHORT.iter().all(|name| listed.iter().any(|scene| scene["name"] == *name)));
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    for args in [&["--only", "no-such-scene"][..], &["--seconds", "0"], &["--seconds", "-1"], &["--witness", "nothing"]]
    {
        failed(&ran("hostile", args), 2);
    }
}

#[test]
fn help_says_what_is_measured_and_in_which_process() {
    let text = String::from_utf8(ran("hostile", &["--help"]).stdout).unwrap().replace('\n', " ");
    for words in ["Examples:", "Exit codes:", "the hostile peers are in another one", "It is void"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("--witness"), "{text}");
}
