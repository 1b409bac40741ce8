//! Tests of the program `id52` through its interface: arguments, both output streams and the exit code.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod delegations;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use delegations::{GENUINE, NODE};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// The seed 32 times 01, its id52, and its signature over `hello` for the purpose `file`.
const SECRET: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const ID52: &str = "ha4e7nbk17opbvaircmjpeiteb56e2dv3ma146vjei403d0fdte0";
const SIGNATURE: &str = "886172761759255b2eb95ff2b5a2afc4dba30bc232d196959ad5a0e063939097\
    1b71af7de6e915e8d6038013580afd0ba7d5c8556a72c9b400712b272c35820c";

/// Its raw signature over `hello`: that of RFC 8032 over these five bytes.
const RAW_SIGNATURE: &str = "e1430c6ebd0d53573b5c803452174f8991ef5955e0906a09e8fdc7310459e9c8\
    2a402526748c3431fe7f0e5faafbf7e703234789734063ee42be17af16438d08";

struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// Returns the only line on standard output.
    fn line(&self) -> &str {
        let line = self.out.strip_suffix('\n').expect("standard output ends with a line end");
        assert!(!line.contains('\n'), "one line: {line:?}");
        line
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.line()).expect("standard output is one JSON object")
    }

    /// Checks the exit code, that standard output is empty, and that the error is one line.
    fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}", self.err);
        assert_eq!(self.out, "");
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        self.err.trim_end().strip_prefix("error: ").expect("an error says that it is one")
    }
}

/// A working directory with a valid key in the file `key`.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempdir().unwrap());
        scene.write("key", format!("{SECRET}\n"));
        scene
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).unwrap();
        self.set_mode(name, 0o600);
    }

    #[cfg(unix)]
    fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(not(unix))]
    fn set_mode(&self, _: &str, _: u32) {}

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_id52"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("XDG_RUNTIME_DIR", self.path())
            // With backtraces on, each error would take 0.2 s to collect a backtrace that no test reads.
            .env("RUST_LIB_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args).output().unwrap())
    }

    fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A program that has read enough may close its standard input, so an error of this write is ignored.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        finish(child.wait_with_output().unwrap())
    }
}

fn finish(output: Output) -> Run {
    Run {
        code: output.status.code().expect("not ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn generate_makes_a_key_that_show_sign_and_verify_work_with() {
    let scene = Scene::new();
    let generated = scene.run(&["generate", "--key-file", "sub/new"]);
    assert_eq!(generated.code, 0, "{}", generated.err);
    let id52 = generated.line();
    assert_eq!(id52.len(), 52);
    assert_eq!(scene.run(&["show", "--key-file", "sub/new"]).line(), id52);

    scene.write("letter", "dear reader");
    let signed = scene.run(&["sign", "--key-file", "sub/new", "letter"]);
    let verified = scene.run(&["verify", id52, signed.line(), "letter"]);
    assert_eq!((verified.code, verified.out.as_str()), (0, ""));
}

#[cfg(unix)]
#[test]
fn a_generated_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::new();
    assert_eq!(scene.run(&["generate", "-f", "new"]).code, 0);
    let mode = fs::metadata(scene.path().join("new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn generate_never_overwrites() {
    let scene = Scene::new();
    let error = scene.run(&["generate", "--key-file", "key"]);
    assert!(error.fails(1).contains("key already exists"));
    assert_eq!(scene.read("key"), format!("{SECRET}\n"));
    assert_eq!(scene.names(), ["key"]);
}

#[test]
fn generate_needs_exactly_one_place_for_the_key() {
    let scene = Scene::new();
    for args in [&["generate"][..], &["generate", "--show-secret"], &["generate", "--key-file", "new", "--keyring"]] {
        let run = scene.run(args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}: {}", run.err);
    }
    assert_eq!(scene.names(), ["key"]);
}

#[test]
fn generate_to_standard_output_prints_the_secret_there_and_the_id52_as_talk() {
    let scene = Scene::new();
    let run = scene.run(&["generate", "--key-file", "-"]);
    assert_eq!(run.code, 0);
    assert_eq!(run.line().len(), 64);
    let shown = scene.run_with_input(&["show", "--key-file", "-"], &run.out);
    assert_eq!(shown.line(), run.err.trim_end());
    assert_eq!(scene.names(), ["key"]);
}

#[test]
fn no_secret_is_printed_unless_asked_for() {
    let scene = Scene::new();
    for json in [&[][..], &["--json"]] {
        let file = format!("new{}", json.len());
        let run = scene.run(&[&["generate", "--key-file", &file][..], json].concat());
        let secret = scene.read(&file);
        assert!(!run.out.contains(secret.trim_end()) && !run.err.contains(secret.trim_end()));

        for args in [&["show", "-f", "key"][..], &["sign", "-f", "key"], &["show", "-e", "KEY"]] {
            let output = scene.command(&[args, json].concat()).env("KEY", SECRET).output().unwrap();
            let run = finish(output);
            assert_eq!(run.code, 0, "{}", run.err);
            assert!(!run.out.contains(SECRET) && !run.err.contains(SECRET), "{args:?}");
        }
    }
}

#[test]
fn show_secret_prints_the_secret_after_the_id52() {
    let scene = Scene::new();
    let shown = scene.run(&["show", "-f", "key", "--show-secret"]);
    assert_eq!(shown.out, format!("{ID52}\n{SECRET}\n"));
    let shown = scene.run(&["show", "-f", "key", "--show-secret", "--json"]);
    assert_eq!(shown.json()["secret_key"], SECRET);

    let made = scene.run(&["generate", "-f", "new", "--show-secret"]);
    assert_eq!(made.out.lines().nth(1), Some(scene.read("new").trim_end()));
    let made = scene.run(&["generate", "-f", "newer", "--show-secret", "--json"]);
    assert_eq!(made.json()["secret_key"], scene.read("newer").trim_end());
}

#[test]
fn show_checks_an_id52_and_writes_it_in_lower_case() {
    let scene = Scene::new();
    assert_eq!(scene.run(&["show", ID52]).line(), ID52);
    assert_eq!(scene.run(&["show", &ID52.to_uppercase()]).line(), ID52);
    let input = format!(" {}\n", ID52.to_uppercase());
    assert_eq!(scene.run_with_input(&["show", "-"], input).line(), ID52);
    let json = scene.run(&["show", "--json", ID52]).json();
    assert_eq!(json["event"], "key");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["id52"], ID52);
    assert_eq!(json["public_key"], "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
}

#[test]
fn show_names_what_is_wrong_with_an_id52() {
    let scene = Scene::new();
    let weak = "0".repeat(52);
    for (id52, reason) in [
        ("abc", "has 52 characters, this text has 3"),
        (&ID52.replace('h', "w"), "'w', character 1 of 52"),
        (&format!("{}1", &ID52[..51]), "the last character of an id52 is 0 or g, not '1'"),
        (&weak, "weak points"),
    ] {
        assert!(scene.run(&["show", id52]).fails(2).contains(reason), "{id52}");
        let error = scene.run_with_input(&["show", "-"], id52);
        assert!(error.fails(1).contains(reason), "{id52}");
    }
}

#[test]
fn a_secret_pasted_where_an_id52_belongs_is_not_repeated() {
    let scene = Scene::new();
    for args in [&["show", SECRET][..], &["show", "-k", SECRET], &["verify", SECRET, SIGNATURE]] {
        let run = scene.run(args);
        assert_ne!(run.code, 0);
        assert!(!run.fails(run.code).contains("0101"), "{args:?}");
    }
}

#[test]
fn sign_reads_the_message_from_a_file_or_from_standard_input() {
    let scene = Scene::new();
    scene.write("message", "hello");
    assert_eq!(scene.run(&["sign", "-f", "key", "message"]).line(), SIGNATURE);
    assert_eq!(scene.run_with_input(&["sign", "-f", "key", "-"], "hello").line(), SIGNATURE);
    assert_eq!(scene.run_with_input(&["sign", "-f", "key"], "hello").line(), SIGNATURE);
    let json = scene.run(&["sign", "-f", "key", "message", "--json"]).json();
    assert_eq!((&json["id52"], &json["signature"]), (&Value::from(ID52), &Value::from(SIGNATURE)));
    assert_eq!(json["context"], "file");
}

#[test]
fn a_signature_is_valid_for_the_purpose_that_the_signer_has_named() {
    let scene = Scene::new();
    scene.write("message", "hello");
    let signed = scene.run(&["sign", "-f", "key", "--context", "mail", "message"]);
    assert_eq!(scene.run(&["verify", ID52, signed.line(), "--context", "mail", "message"]).code, 0);
    scene.run(&["verify", ID52, signed.line(), "message"]).fails(5);
    scene.run(&["verify", ID52, signed.line(), "--raw", "message"]).fails(5);
    scene.run(&["verify", ID52, SIGNATURE, "-c", "mail", "message"]).fails(5);
    assert_eq!(scene.run(&["verify", ID52, SIGNATURE, "-c", "file", "message"]).code, 0);
}

#[test]
fn a_raw_signature_is_asked_for_by_name_on_both_sides() {
    let scene = Scene::new();
    scene.write("message", "hello");
    assert_eq!(scene.run(&["sign", "-f", "key", "--raw", "message"]).line(), RAW_SIGNATURE);
    assert_eq!(scene.run(&["sign", "-f", "key", "--raw", "message", "--json"]).json()["context"], Value::Null);
    assert_eq!(scene.run(&["verify", ID52, RAW_SIGNATURE, "--raw", "message"]).code, 0);
    scene.run(&["verify", ID52, RAW_SIGNATURE, "message"]).fails(5);
    for args in [&["sign", "-f", "key"][..], &["verify", ID52, RAW_SIGNATURE]] {
        assert_eq!(scene.run(&[args, &["--raw", "--context", "file", "message"]].concat()).code, 2);
    }
}

#[test]
fn the_key_is_read_from_a_file_from_standard_input_or_from_the_environment() {
    let scene = Scene::new();
    scene.write("message", "hello");
    let piped = scene.run_with_input(&["sign", "-f", "-", "message"], format!("{SECRET}\n"));
    assert_eq!(piped.line(), SIGNATURE);
    let output = scene.command(&["sign", "-e", "KEY", "message"]).env("KEY", SECRET).output().unwrap();
    assert_eq!(finish(output).line(), SIGNATURE);
}

#[test]
fn key_and_message_cannot_both_be_standard_input() {
    let scene = Scene::new();
    let run = scene.run_with_input(&["sign", "-f", "-"], SECRET);
    assert!(run.fails(2).contains("standard input cannot be both"));
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_with_its_reason() {
    let scene = Scene::new();
    scene.write("short", "0123");
    for (args, reason) in [
        (&["show", "-f", "none"][..], "there is no key file none"),
        (&["show", "-f", "short"], "64 hexadecimal digits, this text has 4"),
        (&["show", "-e", "NOT_SET"], "no environment variable NOT_SET"),
        (&["show", "-e", "EMPTY"], "EMPTY is empty"),
        (&["show", "-e", "WRONG"], "WRONG does not hold a secret key: character 64"),
        (&["show", "-f", "-"], "standard input is not a secret key"),
    ] {
        let mut command = scene.command(args);
        command.env("EMPTY", "").env("WRONG", format!("{}x", &SECRET[1..]));
        let run = finish(command.output().unwrap());
        assert!(run.fails(1).contains(reason), "{args:?}: {}", run.err);
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let scene = Scene::new();
    scene.set_mode("key", 0o644);
    let run = scene.run(&["sign", "-f", "key"]);
    assert!(run.fails(1).contains("chmod 600 key"));
    assert_eq!(scene.run(&["sign", "-f", "key", "--container-secret"]).code, 0);
    scene.set_mode("key", 0o666);
    assert!(scene.run(&["sign", "-f", "key", "--container-secret"]).fails(1).contains("chmod go-w key"));
    assert_eq!(scene.run(&["show", "-e", "KEY", "--container-secret"]).code, 2);
}

#[test]
fn verify_answers_by_its_exit_code() {
    let scene = Scene::new();
    scene.write("message", "hello");
    assert_eq!(scene.run(&["verify", ID52, SIGNATURE, "message"]).code, 0);
    assert_eq!(scene.run_with_input(&["verify", ID52, SIGNATURE], "hello").code, 0);

    let forged = scene.run_with_input(&["verify", ID52, SIGNATURE, "-"], "hello!");
    assert!(forged.fails(5).contains(ID52));
    let other = "g4sne3l8fkblull3ahjc6j3upj5or2khmjn3f8ituo7ln3u9mea0";
    scene.run(&["verify", other, SIGNATURE, "message"]).fails(5);

    for (id52, signature) in [("abc", SIGNATURE), (ID52, "abc"), (ID52, &"z".repeat(128))] {
        scene.run(&["verify", id52, signature, "message"]).fails(2);
    }
    scene.run(&["verify", ID52, SIGNATURE, "none"]).fails(1);
}

#[test]
fn json_reports_success_and_failure_and_the_exit_code_agrees() {
    let scene = Scene::new();
    let good = scene.run_with_input(&["verify", ID52, SIGNATURE, "--json"], "hello");
    assert_eq!((good.code, &good.json()["valid"]), (0, &Value::from(true)));

    for (args, code) in [
        (&["--json", "verify", ID52, SIGNATURE][..], 5),
        (&["--json", "show", "abc"], 2),
        (&["--json", "show", "-f", "none"], 1),
        (&["--json", "generate"], 2),
        (&["--json", "dance"], 2),
    ] {
        let run = scene.run(args);
        let json = run.json();
        assert_eq!(run.code, code, "{args:?}");
        assert_eq!((&json["event"], &json["exit_code"]), (&Value::from("error"), &Value::from(code)));
        let text = json["error"].as_str().unwrap();
        assert_eq!(run.err, format!("error: {text}\n"));
    }
}

#[test]
fn a_message_of_more_than_64_mib_is_refused_with_the_limit() {
    let scene = Scene::new();
    let file = fs::File::create(scene.path().join("message")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let run = scene.run(&["sign", "-f", "key", "message"]);
    assert!(run.fails(1).contains("longer than 64 MiB (67108864 bytes): sign its hash instead"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_not_a_panic() {
    let scene = Scene::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let run = finish(scene.command(&["show", ID52]).stdout(full).output().unwrap());
    assert!(run.fails(1).contains("cannot write to standard output"));
}

#[test]
fn a_machine_without_a_keyring_is_told_what_to_do_instead() {
    let scene = Scene::new();
    let run = scene.run(&["generate", "--keyring"]);
    if cfg!(all(feature = "keyring", any(windows, target_os = "macos"))) {
        // These systems have a keyring. Whether it is unlocked depends on the user that runs the test.
        assert!([0, 1].contains(&run.code));
    } else {
        assert!(run.fails(1).contains("file"));
    }
    scene.run(&["show", "--keyring", "abc"]).fails(2);
}

#[test]
fn help_documents_the_exit_codes_with_examples_and_goes_to_standard_output() {
    let scene = Scene::new();
    let run = scene.run(&["--help"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    for part in [
        "Examples:",
        "Exit codes:",
        "  4  the delegation is genuine",
        "  5  the signature does not verify",
        "--show-secret",
    ] {
        assert!(run.out.contains(part), "{part}");
    }
    for command in ["generate", "show", "sign", "verify", "delegate", "inspect"] {
        let run = scene.run(&[command, "--help"]);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        assert!(run.out.contains("Examples:") && run.out.contains(&format!("id52 {command}")));
    }
    let version = scene.run(&["--version"]);
    assert_eq!(version.line(), format!("id52 {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(scene.run(&[]).code, 2);
}

#[test]
fn arguments_of_every_kind_end_with_a_documented_exit_code() {
    let scene = Scene::new();
    let long = "0".repeat(100_000);
    for odd in ["", " ", "-", "--", "\u{1F511}", "é".repeat(26).as_str(), &long, "/", ".", "a\nb"] {
        for args in [
            &["show", odd][..],
            &["show", "-f", odd],
            &["show", "-e", odd],
            &["show", "-k", odd],
            &["sign", "-f", odd, odd],
            &["sign", "-f", "key", odd],
            &["verify", odd, SIGNATURE],
            &["verify", ID52, odd],
            &["verify", ID52, SIGNATURE, odd],
            &["generate", "-f", odd],
            &["delegate", "-f", "key", odd, "-s", "*", "--for", "1h"],
            &["delegate", "-f", "key", NODE, "-s", odd, "--for", odd],
            &["delegate", "-f", "key", NODE, "-s", "*", "-a", odd, "--expires", odd],
            &["delegate", "-f", "key", NODE, "-s", "*", "--for", "1h", "--not-before", odd],
            &["delegate", "-f", "key", NODE, "-s", "*", "--for", "1h", "--serial", odd],
            &["inspect", odd],
            &["inspect", GENUINE, "--node", odd],
            &["inspect", GENUINE, "--audience", odd],
            &["inspect", GENUINE, "--protocol", odd],
            &[odd],
        ] {
            let run = scene.run(args);
            assert!([0, 1, 2, 4, 5].contains(&run.code), "{args:?}: {}", run.code);
            assert!(!run.err.contains("panicked"), "{args:?}: {}", run.err);
        }
    }
}
