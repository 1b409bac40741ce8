//! From an error to a line and an exit code.

use std::process::ExitCode;

use eyre::Report;
use serde_json::json;
use thiserror::Error;
use twolane_id::{DelegationError, IssueError, VerifyError};

use super::output;

/// The command line makes no sense, in a way that the argument parser cannot see.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) &'static str);

/// Tells what went wrong, in one line with all its causes, and with an object for programs if they
/// asked.
pub(super) fn report(report: &Report, json: bool) -> ExitCode {
    tell(&in_one_line(report), exit_code(report), json)
}

/// The exit code for a delegation that is genuine, and would not be accepted.
pub(super) const NOT_ACCEPTED: u8 = 4;

/// Ends with what the argument parser has to say: help, a version, or how the arguments are wrong.
pub(super) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if json {
        let text = error.to_string();
        return tell(text.lines().next().unwrap_or_default().trim_start_matches("error: "), 2, json);
    }
    let _ = error.print();
    ExitCode::from(2)
}

fn tell(text: &str, code: u8, json: bool) -> ExitCode {
    if json {
        // When even this cannot be written, the line on standard error and the exit code remain.
        let _ = output::object("error", json!({ "error": text, "exit_code": code }));
    }
    output::talk(format_args!("error: {text}"));
    ExitCode::from(code)
}

/// The chain of causes, from the outermost on. Many errors repeat their own cause in their text:
/// what has been said is not said again.
fn in_one_line(report: &Report) -> String {
    report.chain().fold(String::new(), |mut line, cause| {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause.replace(['\n', '\r'], " "));
        }
        line
    })
}

fn exit_code(report: &Report) -> u8 {
    // A forged delegation is that before it is a wrong argument.
    if let Some(DelegationError::BadSignature { .. }) = report.downcast_ref() {
        return 5;
    }
    if report.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    match report.downcast_ref() {
        Some(IssueError::Randomness(_)) => return 1,
        Some(_) => return 2,
        None => {}
    }
    if report.downcast_ref::<VerifyError>().is_some() { 5 } else { 1 }
}
