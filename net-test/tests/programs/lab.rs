//! Tests the lab's command line. `cargo lab` runs the cases.

use std::process::Command;

use crate::lines;

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(args).env_remove("CI");
    command
}

#[test]
fn the_list_has_every_case_with_what_it_shows() {
    let listed = lab(&["--list", "--json"]).output().unwrap();
    assert!(listed.status.success());
    let lines = lines(&listed);
    assert!(lines.len() > 15);
    for line in &lines {
        assert_eq!(line["event"], "listed");
        assert!(line["sentence"].as_str().unwrap().len() > 10, "{line}");
    }
    let shared = lab(&["share", "--list", "--json"]).output().unwrap();
    let rows = crate::lines(&shared);
    assert!(shared.status.success() && rows.len() > 30);
    assert!(rows.iter().all(|row| row["event"] == "listed" && row["sentence"].is_string()));
    let relayed = lines.iter().find(|line| line["name"] == "symmetric-both").unwrap();
    assert_eq!(relayed["pair"], "two-home-nats");
}

#[test]
fn what_is_not_there_to_be_played_is_2() {
    let wrong: [&[&str]; 5] = [
        &["--only", "nothing"],
        &["links", "--only", "nothing"],
        &["--seconds", "soon"],
        &["share", "--only", "nothing"],
        &["share", "--ours", "nothing"],
    ];
    for args in wrong {
        let output = lab(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_machine_without_the_tools_skips_what_it_cannot_play_and_ci_does_not_take_that() {
    let played: [(&[&str], _); 3] = [
        (&["--json", "--only", "symmetric-both"], "case"),
        (&["links", "--json"], "link"),
        (&["share", "--quick", "--json"], "row"),
    ];
    for (args, what) in played {
        let skipped = lab(args).env("PATH", "/nothing/here").output().unwrap();
        assert_eq!(skipped.status.code(), Some(0));
        let lines = lines(&skipped);
        let (first, last) = (&lines[0], lines.last().unwrap());
        assert_eq!((&first["event"], &first["ok"], &first["skipped"]), (&what.into(), &false.into(), &true.into()));
        assert!(first["why"].as_str().unwrap().contains("apt-get install"), "{first}");
        assert_eq!((&last["event"], &last["passed"], &last["failed"]), (&"summary".into(), &0.into(), &0.into()));
        assert_eq!(last["skipped"], lines.len() - 1);
        let strict = lab(args).env("PATH", "/nothing/here").env("CI", "true").output().unwrap();
        assert_eq!(strict.status.code(), Some(1), "CI does not take what was skipped");
    }
}
