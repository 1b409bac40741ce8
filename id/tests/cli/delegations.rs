//! `id52 delegate` and `id52 inspect`.

use data_encoding::{BASE32_DNSSEC, HEXLOWER};
use serde_json::json;

use super::*;

/// The id52s of the seeds 32 times 02 and 03.
pub(crate) const NODE: &str = "g4sne3l8fkblull3ahjc6j3upj5or2khmjn3f8ituo7ln3u9mea0";
const PEER: &str = "tl4ihhh8q71cdqn90cs90mclc4kli9pqbhhvidhmo5319b476v8g";

/// Arguments with which the key delegates everything to the node, from 2020 to 2040.
const DELEGATE: [&str; 12] = [
    "delegate",
    "--key-file",
    "key",
    NODE,
    "--scope",
    "*",
    "--not-before",
    "2020-01-01T00:00:00Z",
    "--expires",
    "2040-01-01T00:00:00Z",
    "--serial",
    "000102030405060708090a0b0c0d0e0f",
];

/// The resulting delegation. Another program, which knows only the documented layout, has made it.
pub(crate) const GENUINE: &str = "\
    delegation0658houteg4v35ftabdiqf5qblpckpo9nsep84grudq8g0dk1tnlp09pes7agv8nbtba6l36od67tj6bhm593d7e6uh5rtgfbe7sjcs\
    k0000002u1fgg000000087ajug00020g30g2gc1o81450m30d1o7g209a02s09vv113iq6jl8d4rof2guc9piej854p6b9suash1b16ssojikgrou\
    aqtuar6u73ma8775qrivb2a1qtl5rc7gfkfbjo5e852oglg0";

/// The same delegation, from 2020 to 2021 and from 9000 to 9999.
const EXPIRED: &str = "\
    delegation0658houteg4v35ftabdiqf5qblpckpo9nsep84grudq8g0dk1tnlp09pes7agv8nbtba6l36od67tj6bhm593d7e6uh5rtgfbe7sjcs\
    k0000002u1fgg00000005vrj6000020g30g2gc1o81450m30d1o7g209a02fvrj9qjs7vhna2p2qc9ui77am5o236e6tj16eoimfv6c7soqqddpl9\
    pk35idgifd85rre217rtj7v36333cji8q23v7j3vb33gk1o7";
const FUTURE: &str = "\
    delegation0658houteg4v35ftabdiqf5qblpckpo9nsep84grudq8g0dk1tnlp09pes7agv8nbtba6l36od67tj6bhm593d7e6uh5rtgfbe7sjcs\
    k00000ct70g58000000tfs4oe000020g30g2gc1o81450m30d1o7g209a03m8b9j5g4d85l8l0ek0l1ak8m5l0behl7juvvkq8v3ss37sefhjcbt2\
    i8msn4td7crq2daplq1no639f1nrdfagfg9dp1fbcsutm8g7";

/// Delegates to the node with these additional arguments, and returns the text.
fn delegate(scene: &Scene, args: &[&str]) -> String {
    let run = scene.run(&[&["delegate", "-f", "key", NODE][..], args].concat());
    assert_eq!(run.code, 0, "{}", run.err);
    run.line().to_owned()
}

/// Returns the values of a row of the table.
fn row<'a>(run: &'a Run, name: &str) -> Vec<&'a str> {
    let rows = run.out.lines().filter_map(|line| line.split_once("  "));
    rows.filter(|(found, _)| *found == name).map(|(_, value)| value.trim_start()).collect()
}

#[test]
fn delegate_prints_the_text_that_the_documented_layout_asks_for() {
    let scene = Scene::new();
    let run = scene.run(&DELEGATE);
    assert_eq!((run.code, run.line()), (0, GENUINE));
    assert!(run.err.contains("000102030405060708090a0b0c0d0e0f") && run.err.contains("2040-01-01T00:00:00Z"));
}

#[test]
fn what_delegate_prints_inspect_accepts() {
    let scene = Scene::new();
    let text = delegate(&scene, &["-s", "mail/1", "-s", "chat/*", "-a", PEER, "--for", "30d"]);
    for (args, input) in [(&["inspect", &text][..], ""), (&["inspect", "-"], &format!(" {}\n", text.to_uppercase()))] {
        let args = [args, &["--node", NODE, "--audience", PEER, "--protocol", "chat/7"]].concat();
        let run = scene.run_with_input(&args, input);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        assert_eq!(row(&run, "owner"), [ID52]);
        assert_eq!(row(&run, "node"), [NODE]);
        assert_eq!(row(&run, "scope"), ["chat/*", "mail/1"]);
        assert_eq!(row(&run, "audience"), [PEER]);
        assert_eq!(row(&run, "signature"), ["good: the owner's, for exactly this"]);
        assert!(row(&run, "now")[0].starts_with("yes, and for another 29days 23h 59m"), "{}", run.out);
        assert_eq!(row(&run, "from the node"), [format!("yes, from {NODE}")]);
        assert_eq!(row(&run, "by the peer"), [format!("yes, by {PEER}")]);
        assert_eq!(row(&run, "for the protocol"), ["yes, for chat/7"]);
    }
}

#[test]
fn the_key_of_the_owner_comes_from_a_file_from_standard_input_or_from_the_environment() {
    let scene = Scene::new();
    let mut args = DELEGATE;
    args[2] = "-";
    assert_eq!(scene.run_with_input(&args, SECRET).line(), GENUINE);
    (args[1], args[2]) = ("--env", "KEY");
    assert_eq!(finish(scene.command(&args).env("KEY", SECRET).output().unwrap()).line(), GENUINE);
    for run in [scene.run(&DELEGATE), scene.run_with_input(&["inspect", GENUINE], "")] {
        assert!(!run.out.contains(SECRET) && !run.err.contains(SECRET));
    }
}

#[test]
fn for_counts_from_the_beginning_and_the_serial_is_another_each_time() {
    let scene = Scene::new();
    let args = ["-s", "*", "--not-before", "2020-01-01T00:00:00Z", "--for", "1h30m", "--json"];
    let made = || serde_json::from_str::<Value>(&delegate(&scene, &args)).unwrap();
    let (one, other) = (made(), made());
    assert_eq!(one["expires"], "2020-01-01T01:30:00Z");
    assert_ne!(one["serial"], other["serial"]);
}

#[test]
fn delegate_for_programs_is_one_object() {
    let scene = Scene::new();
    let json = scene.run(&[&DELEGATE[..], &["--json"]].concat()).json();
    let expected = json!({
        "event": "delegated", "schema": 1, "delegation": GENUINE, "owner": ID52, "node": NODE, "scope": ["*"],
        "audience": [], "not_before": "2020-01-01T00:00:00Z", "expires": "2040-01-01T00:00:00Z",
        "serial": "000102030405060708090a0b0c0d0e0f",
    });
    assert_eq!(json, expected);
}

#[test]
fn a_delegation_that_makes_no_sense_is_a_wrong_command_line() {
    let scene = Scene::new();
    let many =
        ["-s"; 34].iter().enumerate().map(|(i, flag)| if i % 2 == 0 { (*flag).to_owned() } else { i.to_string() });
    let many: Vec<String> = many.collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["--for", "1h"]).collect();
    for (node, args, reason) in [
        (ID52, &["-s", "*", "--for", "1h"][..], "a key cannot delegate to itself"),
        ("abc", &["-s", "*", "--for", "1h"], "NODE is not an id52"),
        (NODE, &["-s", "a*b", "--for", "1h"], "--scope is not a pattern: the star at character 2"),
        (NODE, &["-s", "*", "--for", "1h", "-a", "abc"], "--audience is not an id52"),
        (NODE, &["-s", "*", "--for", "soon"], "--for is no duration such as 30d"),
        (NODE, &["-s", "*", "--for", "0s"], "never hold"),
        (NODE, &["-s", "*", "--for", "18446744073709551615s"], "longer than this machine's clock can count"),
        (NODE, &["-s", "*", "--expires", "2031-05-01"], "--expires is no time in UTC such as"),
        (NODE, &["-s", "*", "--expires", "2031-05-01T12:00:00+02:00"], "--expires is no time in UTC such as"),
        (NODE, &["-s", "*", "--expires", "2020-01-01T00:00:00Z"], "never hold"),
        (NODE, &["-s", "*", "--for", "1h", "--not-before", "now"], "--not-before is no time in UTC such as"),
        (NODE, &["-s", "*", "--for", "1h", "--serial", "7"], "--serial is not a serial: a serial has 32"),
        (NODE, &many, "at most 16 patterns, not 17"),
    ] {
        let run = scene.run(&[&["delegate", "-f", "key", node][..], args].concat());
        assert!(run.fails(2).contains(reason), "{args:?}: {}", run.err);
    }
    for args in [&["-s", "*"][..], &["--for", "1h"], &["-s", "*", "--for", "1h", "--expires", "2040-01-01T00:00:00Z"]] {
        assert_eq!(scene.run(&[&["delegate", "-f", "key", NODE][..], args].concat()).code, 2, "{args:?}");
    }
    assert_eq!(scene.run(&["delegate", NODE, "-s", "*", "--for", "1h"]).code, 2);
    scene.run(&["delegate", "-f", "none", NODE, "-s", "*", "--for", "1h"]).fails(1);
}

#[test]
fn one_that_has_expired_already_is_issued_and_said_to_be() {
    let scene = Scene::new();
    let run =
        scene.run(&["delegate", "-f", "key", NODE, "-s", "*", "--not-before", "2020-01-01T00:00:00Z", "--for", "1h"]);
    assert_eq!(run.code, 0);
    assert!(run.err.contains("It has expired already."));
    assert!(!scene.run(&DELEGATE).err.contains("expired"));
}

#[test]
fn inspect_tells_expired_and_not_yet_valid_from_malformed_and_forged() {
    let scene = Scene::new();
    let forged = GENUINE.replace("g00020g30g2gc", "g00020g30g2gd");
    let longer = format!("{GENUINE}00");
    for (text, argument, input, reason) in [
        (EXPIRED, 4, 4, "the delegation expired at 2021-01-01T00:00:00Z"),
        (FUTURE, 4, 4, "the delegation holds from 9000-01-01T00:00:00Z on"),
        (&forged, 5, 5, "is not signed by"),
        (&GENUINE[..200], 2, 1, "a part of the delegation is missing"),
        (&GENUINE[..202], 2, 1, "ends after 120 bytes, within its signature"),
        (&longer, 2, 1, "there are bytes after the signature"),
        (&GENUINE.replace('h', "w"), 2, 1, "'w', character"),
        (ID52, 2, 1, "begins with the word delegation"),
        ("", 2, 1, "begins with the word delegation"),
    ] {
        let as_argument = scene.run(&["inspect", text]);
        let as_input = scene.run_with_input(&["inspect", "-"], text);
        for (run, code) in [(as_argument, argument), (as_input, input)] {
            assert_eq!(run.code, code, "{text}: {}", run.err);
            assert!(run.err.starts_with("error: ") && run.err.contains(reason), "{text}: {}", run.err);
            assert_eq!(run.err.lines().count(), 1);
            // The content of an unsigned delegation is not shown.
            assert_eq!(run.out.is_empty(), code != 4, "{text}: {}", run.out);
        }
    }
}

#[test]
fn inspect_refuses_another_node_peer_or_protocol_each_for_its_own_reason() {
    let scene = Scene::new();
    let text = delegate(&scene, &["-s", "chat/*", "-a", PEER, "--for", "1h"]);
    for (args, name, reason) in [
        (["--node", PEER], "from the node", "shows it: do not accept it"),
        (["--audience", NODE], "by the peer", "is not meant for"),
        (["--protocol", "mail/1"], "for the protocol", "does not cover \"mail/1\""),
    ] {
        let run = scene.run(&[&["inspect", &text][..], &args].concat());
        assert_eq!(run.code, 4);
        assert!(row(&run, "now")[0].starts_with("yes"));
        assert!(row(&run, name)[0].starts_with("no: ") && row(&run, name)[0].contains(reason), "{}", run.out);
        assert!(run.err.starts_with("error: ") && run.err.contains(reason), "{}", run.err);
    }
    // The answer about the node does not depend on the time.
    let run = scene.run(&["inspect", EXPIRED, "--node", NODE]);
    assert_eq!((run.code, row(&run, "from the node")), (4, vec![format!("yes, from {NODE}").as_str()]));
    for args in [["--node", "abc"], ["--audience", SECRET]] {
        let run = scene.run(&[&["inspect", &text][..], &args].concat());
        assert!(!run.fails(2).contains("0101"), "{}", run.err);
    }
}

#[test]
fn one_for_anybody_is_accepted_by_anybody() {
    let scene = Scene::new();
    let run = scene.run(&["inspect", GENUINE, "--audience", PEER]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(row(&run, "audience"), ["anybody"]);
}

#[test]
fn inspect_for_programs_is_one_object_whatever_it_finds() {
    let scene = Scene::new();
    let json = scene.run(&["inspect", GENUINE, "--json"]).json();
    assert_eq!((&json["event"], &json["schema"]), (&json!("inspected"), &json!(1)));
    assert_eq!((&json["accepted"], &json["refusals"], &json["exit_code"]), (&json!(true), &json!([]), &json!(0)));
    assert_eq!((&json["owner"], &json["node"]), (&json!(ID52), &json!(NODE)));
    assert_eq!((&json["signature_holds"], &json["expires"]), (&json!(true), &json!("2040-01-01T00:00:00Z")));
    assert!(json["seconds_left"].as_u64().unwrap() > 0);

    for text in [EXPIRED, FUTURE] {
        let run = scene.run(&["inspect", text, "--node", PEER, "--protocol", "chat/1", "--json"]);
        let json = run.json();
        assert_eq!((run.code, &json["exit_code"], &json["accepted"]), (4, &json!(4), &json!(false)));
        assert_eq!((&json["seconds_left"], json["refusals"].as_array().unwrap().len()), (&Value::Null, 2));
    }

    let forged = scene.run(&["inspect", &GENUINE.replace("g00020g30g2gc", "g00020g30g2gd"), "--json"]);
    let json = forged.json();
    assert_eq!((forged.code, &json["event"], &json["exit_code"]), (5, &json!("error"), &json!(5)));
}

#[test]
fn a_message_in_disguise_gets_no_raw_signature() {
    let scene = Scene::new();
    let handshake = [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[7; 32]].concat();
    for (message, what) in [
        (&b"twolane delegation v1\0\x01 whatever follows"[..], "a delegation"),
        (&handshake, "a TLS handshake"),
        (b"3:seqi1900000000e1:v7:address", "an address record"),
        (b"4:salt1:x3:seqi1e1:v7:address", "an address record"),
    ] {
        scene.write("letter", message);
        let run = scene.run(&["sign", "-f", "key", "--raw", "letter"]);
        assert!(run.fails(1).contains(what) && run.fails(1).contains("do not sign it"), "{}", run.err);
        // Signed for a purpose, it is a message like any other.
        assert_eq!(scene.run(&["sign", "-f", "key", "letter"]).code, 0);
    }
    scene.write("letter", b"twolane delegation v1 is how it begins");
    assert_eq!(scene.run(&["sign", "-f", "key", "--raw", "letter"]).code, 0);
}

#[test]
fn a_signed_message_is_no_delegation() {
    let scene = Scene::new();
    let bytes = BASE32_DNSSEC.decode(GENUINE.strip_prefix("delegation").unwrap().as_bytes()).unwrap();
    let body = &bytes[..bytes.len() - 64];
    scene.write("letter", [b"twolane delegation v1\0", body].concat());
    let signature = scene.run(&["sign", "-f", "key", "letter"]);
    let signature = HEXLOWER.decode(signature.line().as_bytes()).unwrap();
    let forged = format!("delegation{}", BASE32_DNSSEC.encode(&[body, &signature].concat()));
    scene.run(&["inspect", &forged]).fails(5);
}
