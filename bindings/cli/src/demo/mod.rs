//! `demo`: a file transfer on one machine, without any setup.
//!
//! The demo starts a relay on loopback, and a receiver and a sender in their own processes, which know each other
//! only by key and relay. One file goes from the sender to the receiver, and its data takes the direct path as soon
//! as there is one. The receiver refuses a second file half-way, while the data lane is full; the error arrives on
//! the error lane.

mod child;
mod data;
mod relay;
mod transfer;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use indicatif::DecimalBytes;

use self::{
    relay::Relay,
    transfer::{Sent, Setup},
};
use crate::{
    cli::{self, Problem, parse_size},
    exit::Exit,
    output::{Event, Output, Summary, SummaryErrorLane},
    signals::Signals,
};

/// The error code of the refusal of the second transfer.
const CODE: u64 = 507;
/// Length of the second file in bytes. A data lane takes 2 MB that the receiver has not read, so the sender is far
/// from the end of the file when it is refused. A longer file would go over several streams, which take all of it.
const REFUSED: u64 = 15 << 20;
/// Time for which the receiver reads nothing before it refuses. The data lane is full after about 10 ms.
const STALL: Duration = Duration::from_millis(300);
/// Minimum time for which the sender must have waited for room. It is above zero, because a write that has just
/// begun waits too.
const BLOCKED: Duration = Duration::from_millis(150);
/// Minimum length of a file, in bytes, for which the path has to become direct during the transfer. Paths become
/// direct after 10 to 45 ms, in which about 2 MB go over the relay. A shorter file can end before that.
const LONG: u64 = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  demo
  demo --size 1GiB
  demo --file video.mp4 --json

Nothing leaves this machine, and nothing is left on it. With --json the last line is the summary.

Exit codes:
    0  all of it held: the file is identical, the two connected over the relay first and then (if the file is
       not over by then) directly, the refusal came with its code while the data lane was full, and left no file behind
    1  something did not; 2 the command line; 130 interrupted; 143 terminated
";

/// Send a file from one process to another over a relay, then directly, and show the error lane
#[derive(Debug, Parser)]
#[command(name = "demo", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// Send this file. Default: generated data
    #[arg(long, conflicts_with = "size")]
    file: Option<PathBuf>,

    /// How much to generate
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    size: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

/// Runs the program. The first argument is the name of the program. The demo also runs the sender and the receiver,
/// in child processes, so that only one program has to be built: see `child.rs`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match args.get(1).and_then(|part| part.to_str()) {
        Some(child::SENDER) => return cli::sender::main(args[1..].to_vec()),
        Some(child::RECEIVER) => return cli::receiver::main(args[1..].to_vec()),
        _ => {}
    }
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(args.json, false);
    if let Some(file) = args.file.as_ref().filter(|file| !file.is_file()) {
        let problem = Problem::new(Exit::Usage, format!("{} is not a file", file.display()));
        output.fail(&problem.into_failure());
        return Exit::Usage.into();
    }
    let mut summary = Summary::default();
    let result = cli::drive(async |signals: Signals| {
        tokio::select! {
            exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
            done = show(&args, output, &mut summary) => done,
        }
    });
    let exit = match result {
        Ok(()) if summary.failures.is_empty() => Exit::Done,
        Ok(()) => Exit::Failure,
        Err(problem) => {
            let exit = problem.exit;
            summary.failures.push(problem.message.clone());
            output.fail(&problem.into_failure());
            exit
        }
    };
    summary.ok = exit == Exit::Done;
    output.say(format_args!("{}", if summary.ok { "All of it held." } else { "Not all of it held:" }));
    for failure in &summary.failures {
        output.say(format_args!("  {failure}"));
    }
    output.event(Event::Summary(Box::new(summary)));
    exit.into()
}

/// Runs both transfers. When the future is dropped, the children and the relay are ended, and the directory is
/// removed.
async fn show(args: &Args, output: Output, summary: &mut Summary) -> Result<(), Problem> {
    let dir = tempfile::Builder::new()
        .prefix("twolane-demo-")
        .tempdir()
        .map_err(|error| Problem::because(Exit::Failure, "no temporary directory", &error))?;
    let relay = Relay::start().await?;
    output.say(format_args!("a relay runs at {}", relay.url()));

    let file = match &args.file {
        Some(file) => file.clone(),
        None => data::generate(dir.path().join("demo.bin"), args.size).await?,
    };
    let hash = data::hash(file.clone()).await?;
    let setup = Setup { output, relay: relay.url() };

    output.say(format_args!("1. a file, between two processes that know each other by key and relay alone:"));
    let inbox = dir.path().join("received");
    let sent = setup.run(&file, &inbox, &[]).await?;
    summary.bytes = sent.bytes;
    summary.path = sent.paths.last().cloned();
    summary.paths = sent.paths.clone();
    summary.open_ms = milliseconds(sent.open_ns);
    summary.mb_per_s = rate(&sent);
    let failures = &mut summary.failures;
    check(failures, sent.codes == (0, 0), || format!("the sender and the receiver ended with {:?}", sent.codes));
    check(failures, relay_then_direct(&sent.paths, sent.bytes), || {
        format!("the data's way was {:?}, not relay, then direct", sent.paths)
    });
    let received = data::only_file(inbox).await?;
    let identical = match received {
        Some(received) => data::hash(received).await? == hash,
        None => false,
    };
    check(failures, identical, || "the file that arrived is not the file that was sent".into());
    if identical {
        summary.blake3 = Some(hash.to_hex().to_string());
        output.say(format_args!(
            "   {} at {}/s, identical: BLAKE3 {hash}",
            DecimalBytes(sent.bytes),
            DecimalBytes((summary.mb_per_s * 1e6) as u64),
        ));
    }

    output.say(format_args!("2. a file that the receiver refuses half-way:"));
    let file = data::generate(dir.path().join("refused.bin"), REFUSED).await?;
    let inbox = dir.path().join("refused");
    let (after, code, stall) = ((REFUSED / 2).to_string(), CODE.to_string(), STALL.as_millis().to_string());
    let refusing =
        [["--refuse-after", after.as_str()], ["--refuse-code", code.as_str()], ["--refuse-stall", stall.as_str()]];
    let sent = setup.run(&file, &inbox, refusing.as_flattened()).await?;
    refused(&sent, output, summary);
    let left = data::count(inbox).await?;
    check(&mut summary.failures, left == 0, || format!("the refused transfer left {left} files behind"));
    relay.stop().await;
    Ok(())
}

/// Checks the transfer that the receiver had to refuse.
fn refused(sent: &Sent, output: Output, summary: &mut Summary) {
    let failures = &mut summary.failures;
    let expected = i32::from(Exit::Refused.code());
    check(failures, sent.codes == (expected, expected), || {
        format!("refused, the sender and the receiver ended with {:?}", sent.codes)
    });
    let (Some(lane), Some(refused_at)) = (&sent.error_lane, sent.refused_at_ns) else {
        return failures.push("the refusal did not come on the error lane".into());
    };
    let seen = SummaryErrorLane {
        code: lane.code,
        after_ms: milliseconds(lane.at_ns.saturating_sub(refused_at)),
        offset: lane.offset.unwrap_or_default(),
        sent: lane.sent,
        blocked_ms: milliseconds(lane.blocked_ns.unwrap_or_default()),
    };
    check(failures, seen.code == CODE, || format!("the refusal came with the code {}, not {CODE}", seen.code));
    check(failures, seen.offset == REFUSED / 2, || {
        format!("the receiver took {} bytes, not {}", seen.offset, REFUSED / 2)
    });
    let blocked = lane.blocked_ns.map(Duration::from_nanos).unwrap_or_default();
    check(failures, blocked >= BLOCKED, || {
        format!("the data lane had been full for {blocked:?} when the refusal came, and not for {BLOCKED:?}")
    });
    output.say(format_args!(
        "   code {} after {:.2} ms at byte {}; the sender had written {} and waited {:.0} ms for room",
        seen.code, seen.after_ms, seen.offset, seen.sent, seen.blocked_ms
    ));
    summary.error_lane = Some(seen);
}

fn check(failures: &mut Vec<String>, held: bool, otherwise: impl FnOnce() -> String) {
    if !held {
        failures.push(otherwise());
    }
}

fn relay_then_direct(paths: &[String], bytes: u64) -> bool {
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    match paths[..] {
        ["relay"] => bytes < LONG,
        ["relay", .., last] => last == "direct",
        _ => false,
    }
}

fn rate(sent: &Sent) -> f64 {
    let seconds = sent.elapsed_ns as f64 / 1e9;
    if seconds > 0.0 { (sent.bytes as f64 / 1e6 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Converts nanoseconds to milliseconds, cut to microseconds, the precision of the measurement.
fn milliseconds(nanos: u64) -> f64 {
    (nanos / 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ErrorLane, nanos};

    fn paths(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn only_a_way_from_relay_to_direct_holds_unless_the_file_is_over_by_then() {
        for (words, long, short) in [
            (&["relay", "direct"][..], true, true),
            (&["relay", "direct", "relay", "direct"], true, true),
            (&["relay"], false, true),
            (&[], false, false),
            (&["direct"], false, false),
            (&["relay", "direct", "relay"], false, false),
        ] {
            assert_eq!(relay_then_direct(&paths(words), LONG), long, "{words:?}");
            assert_eq!(relay_then_direct(&paths(words), LONG - 1), short, "{words:?}");
        }
    }

    #[test]
    fn a_write_that_had_only_just_begun_is_no_lane_that_was_full() {
        let failures = |blocked_ns| {
            let lane = ErrorLane {
                code: CODE,
                text: String::new(),
                offset: Some(REFUSED / 2),
                sent: REFUSED,
                blocked_ns,
                at_ns: 2,
            };
            let code = i32::from(Exit::Refused.code());
            let sent = Sent { codes: (code, code), error_lane: Some(lane), refused_at_ns: Some(1), ..Sent::default() };
            let mut summary = Summary::default();
            refused(&sent, Output::new(false, true), &mut summary);
            summary.failures.len()
        };
        assert_eq!((failures(None), failures(Some(1_000)), failures(Some(nanos(BLOCKED)))), (1, 1, 0));
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(rate(&Sent::default()), 0.0);
        assert_eq!(milliseconds(1_234_567), 1.234);
    }
}
